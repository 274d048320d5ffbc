"""Every endpoint there is, by resource."""

from __future__ import annotations

from engine.api import (
    audit,
    batches,
    breaks,
    claims,
    custodians,
    decisions,
    exports,
    jobs,
    ledger,
    members,
    notices,
    periods,
    plans,
    queues,
    reconciliation,
    rosters,
    runs,
    schedules,
    statements,
    tokens,
    webhooks,
    workers,
)
from engine.api.endpoint import Endpoint

RESOURCES = (
    plans.endpoints,
    members.endpoints,
    notices.endpoints,
    periods.endpoints,
    claims.endpoints,
    decisions.endpoints,
    runs.endpoints,
    schedules.endpoints,
    ledger.endpoints,
    reconciliation.endpoints,
    breaks.endpoints,
    rosters.endpoints,
    custodians.endpoints,
    batches.endpoints,
    statements.endpoints,
    exports.endpoints,
    jobs.endpoints,
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
