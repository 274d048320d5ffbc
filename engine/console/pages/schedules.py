"""Schedules: which plans' runs the clock plans, and what became of each debit slot."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from engine.access.roles import EVERYONE
from engine.api.fields import LIMIT_MAX, Code, Page, Paged, whole
from engine.api.plans import PlanPart, list_of_plans
from engine.api.schedules import (
    ScheduleFilter,
    ScheduleStandingView,
    ScheduleView,
    SlotFilter,
    SlotView,
    list_of_schedules,
    list_of_slots,
)
from engine.console.page import Pages, Shown
from engine.console.visits import Visit

pages = Pages("/ops")


class SlotsShown(Paged):
    """Whose slots; of the first plan that missed one unless a plan is given."""

    plan: Code | None = None
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX), BeforeValidator(whole)] = 24


@pages.get("/ops/schedules", EVERYONE)
async def schedules(visit: Visit, params: SlotsShown) -> Shown:
    """What the clock plans, and the slots of one plan."""
    found = (await list_of_schedules(visit.call, ScheduleFilter(limit=LIMIT_MAX))).items
    plans = [each for each in (await list_of_plans(visit.call, PlanPart(limit=LIMIT_MAX))).items if not each.ended_on]
    scheduled = {each.plan for each in found}
    plan = params.plan or _most_pressing(found)
    slots: Page[SlotView] = Page(items=[])
    if plan is not None:
        slots = await list_of_slots(visit.call, SlotFilter.model_validate({**params.model_dump(), "plan": plan}))
    shown = {
        "schedules": found,
        "seen": {each.plan: ScheduleView(**each.model_dump(include=set(ScheduleView.model_fields))) for each in found},
        "unscheduled": [each for each in plans if each.plan not in scheduled],
        "plan": plan,
        "slots": slots,
        "is_later": params.after is not None,
        "plans": [(each.plan, f"{each.plan} · {each.name}") for each in plans],
    }
    return Shown("ops/schedules.html", shown)


def _most_pressing(found: list[ScheduleStandingView]) -> str | None:
    missed = [each.plan for each in found if each.missed_slots]
    return next(iter([*missed, *(each.plan for each in found)]), None)
