"""Every endpoint there is, by resource."""

from __future__ import annotations

from engine.api import (
    audit,
    claims,
    decisions,
    ledger,
    members,
    notices,
    plans,
    queues,
    runs,
    schedules,
    tokens,
    webhooks,
    workers,
)
from engine.api.endpoint import Endpoint

RESOURCES = (
    plans.endpoints,
    members.endpoints,
    notices.endpoints,
    claims.endpoints,
    decisions.endpoints,
    runs.endpoints,
    schedules.endpoints,
    ledger.endpoints,
    tokens.of_the_caller,
    tokens.endpoints,
    webhooks.endpoints,
    queues.endpoints,
    workers.endpoints,
    audit.endpoints,
)

ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoint for each in RESOURCES for endpoint in each.all)

SCOPES = frozenset(endpoint.scope for endpoint in ENDPOINTS)
"""All that a token with scopes can have."""
