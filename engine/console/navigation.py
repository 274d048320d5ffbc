"""Where one goes from every page: the areas and their views, as far as the visitor's scopes reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from engine.console.language import N_, translations
from engine.console.visits import Visit

AREAS: Mapping[str, str] = {
    "/": N_("Overview"),
    "/runs": N_("Runs"),
    "/claims": N_("Claims"),
    "/finance": N_("Finance"),
    "/ops": N_("Operations"),
}
"""Where each area begins, and what it is called."""

READS: Mapping[str, frozenset[str]] = {
    "/": frozenset({"breaks", "custodians", "queues", "runs", "schedules"}),
    "/runs": frozenset({"plans", "runs"}),
    "/claims": frozenset({"claims", "notices", "plans"}),
    "/finance": frozenset({"breaks", "custodians", "decisions", "reconciliation"}),
    "/finance/breaks": frozenset({"breaks", "custodians"}),
    "/finance/statements": frozenset({"custodians", "statements"}),
    "/finance/decisions": frozenset({"decisions", "plans"}),
    "/finance/trial-balance": frozenset({"decisions", "ledger", "plans"}),
    "/finance/members": frozenset({"plans"}),
    "/finance/exports": frozenset({"custodians", "jobs"}),
    "/ops": frozenset({"queues"}),
    "/ops/workers": frozenset({"workers"}),
    "/ops/schedules": frozenset({"plans", "schedules"}),
    "/ops/audit": frozenset({"audit"}),
    "/ops/webhooks": frozenset({"webhooks"}),
    "/ops/tokens": frozenset({"tokens"}),
}
"""What the pages that areas and views lead to show something of, by the API's resources: its handlers ask for all."""


class Area(NamedTuple):
    """One entry of the navigation."""

    url: str
    label: str
    is_current: bool


def is_within_reach(visit: Visit, url: str) -> bool:
    """Whether the visitor's scopes have all that a page shows, of those in READS; to others a page leads."""
    token = visit.visitor
    return token is None or all(token.allows(f"{resource}:read") for resource in READS.get(url, ()))


def areas_of(visit: Visit, current: str) -> list[Area]:
    """The areas that the visitor may enter. `current`: where they are."""
    said = translations(visit.language).gettext
    return [Area(url, said(name), url == current) for url, name in AREAS.items() if is_within_reach(visit, url)]
