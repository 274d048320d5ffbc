"""Every endpoint there is, by resource."""

from __future__ import annotations

from engine.api import ledger, runs, tokens, webhooks
from engine.api.endpoint import Endpoint

RESOURCES = (runs.endpoints, ledger.endpoints, tokens.of_the_caller, tokens.endpoints, webhooks.endpoints)

ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoint for each in RESOURCES for endpoint in each.all)

SCOPES = frozenset(endpoint.scope for endpoint in ENDPOINTS)
"""All that a token with scopes can have."""
