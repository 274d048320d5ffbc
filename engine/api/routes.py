"""Every endpoint there is, by resource."""

from __future__ import annotations

from engine.api import runs
from engine.api.endpoint import Endpoint

RESOURCES = (runs.endpoints,)

ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoint for each in RESOURCES for endpoint in each.all)
