"""Operations: the queues with what failed in them, and the workers."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.fields import LIMIT_MAX, Paged
from engine.api.queues import (
    FailedPart,
    FailurePage,
    OfQueue,
    list_failed,
    list_failures,
    list_queues,
    show_queue,
)
from engine.api.workers import list_of_workers
from engine.console.page import Pages, Shown
from engine.console.visits import Visit

pages = Pages("/ops")

GROUPS_SHOWN = 50
"""Of the reasons for which something failed, the most frequent."""


@pages.get("/ops", EVERYONE)
async def queues(visit: Visit) -> Shown:
    """Every queue now."""
    found = (await list_queues(visit.call)).items
    return Shown("ops/queues.html", {"queues": found})


@pages.get("/ops/queues/{queue}", EVERYONE)
async def queue(visit: Visit, params: FailedPart) -> Shown:
    """One queue, and what failed in it: by its reason, and one by one."""
    of = params.queue
    groups = await list_failures(visit.call, FailurePage(queue=of, limit=GROUPS_SHOWN))
    shown = {
        "queue": await show_queue(visit.call, OfQueue(queue=of)),
        "groups": groups.items,
        "has_more_groups": groups.next is not None,
        "failed": await list_failed(visit.call, params),
        "chosen": next((group for group in groups.items if group.group == params.group), None),
        "is_later": params.after is not None,
    }
    return Shown("ops/queue.html", shown)


@pages.get("/ops/paused", EVERYONE)
async def paused(_: Visit) -> Shown:
    """What every page says of paused queues, for those that have been open for a while."""
    return Shown("ops/paused.html", {})


@pages.get("/ops/workers", EVERYONE)
async def workers(visit: Visit) -> Shown:
    """The workers that were heard of in the last hour."""
    found = await list_of_workers(visit.call, Paged(limit=LIMIT_MAX))
    lost = sum(each.is_lost for each in found.items)
    return Shown("ops/workers.html", {"workers": found.items, "lost": lost, "is_part": found.next is not None})
