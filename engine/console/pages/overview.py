"""The overview: what is under way, what comes next, what needs somebody now."""

from __future__ import annotations

from engine.api.runs import RunFilter, list_of_runs
from engine.console.page import ANYONE, Elsewhere, Pages, Shown
from engine.console.visits import Visit

pages = Pages("/")


@pages.get("/", ANYONE)
async def overview(visit: Visit) -> Shown | Elsewhere:
    """What is under way. Who has not signed in sees what is public."""
    if visit.visitor is None:
        return Elsewhere("/public")
    runs = await list_of_runs(visit.call, RunFilter())
    return Shown("overview/overview.html", {"runs": runs})
