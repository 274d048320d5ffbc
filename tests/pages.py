"""The console's pages, for whoever opens every one: which paths are pages, and what they say nothing without."""

from __future__ import annotations

from engine.console.routes import PAGES

PARTS = {
    "/runs/{run_id}/live": "a part of its run's page",
    "/ops/paused": "a part of every page",
    "/share/mine/proofs/{run_id}": "a file",
}
"""What is asked for by a script, or kept as a file: nobody opens it."""

QUERIES = {
    "/claims/new": "?plan={plan}",
    "/runs/new": "?plan={plan}",
    "/runs/new/estimate": "?plan={plan}",
    "/finance/breaks/chosen": "?ids={break_id}",
}
"""What a path says nothing without."""

OPENED = [page.path for area in PAGES for page in area.all if page.method == "GET" and page.path not in PARTS]
"""The paths that somebody opens."""


def address_of(path: str, **world: object) -> str:
    """Where a page is in a world, by the names of parameters. Raises KeyError for one that the world does not name."""
    return (path + QUERIES.get(path, "")).format(**world)
