"""Runs: which there are, and planning one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from urllib.parse import urlencode

from engine.access.roles import EVERYONE, SCHEDULERS
from engine.api.claims import ClaimFilter, list_of_claims
from engine.api.fields import LIMIT_MAX, Code, Day, Model
from engine.api.plans import (
    CalendarView,
    DayOf,
    YearOf,
    show_calendar,
    show_forecast,
    show_plan,
)
from engine.api.plans import OfPlan as PlanOf
from engine.api.runs import RunFilter, SomeRuns, list_of_runs, show_run_counts
from engine.api.schedules import OfSlot, SlotFilter, SlotView, list_of_slots, show_due_claims
from engine.claims import State
from engine.console.page import Pages, Shown
from engine.console.views import plans_of, shown
from engine.console.visits import Visit
from engine.runs.slots import SlotState

pages = Pages("/runs")

SLOTS_SHOWN = 12
MISSED_SHOWN = 5


class Planning(Model):
    """The run to be planned, as far as it is chosen."""

    plan: Code | None = None
    debit_on: Day | None = None


class Estimated(Model):
    """The plan whose next run is estimated."""

    plan: Code


@pages.get("/runs", EVERYONE)
async def show_runs(visit: Visit, params: RunFilter) -> Shown:
    """The runs, newest first, and how many are in each state."""
    asked = params.model_dump(exclude={"after", "limit", "state"})
    kept = {name: str(value) for name, value in asked.items() if value is not None}
    counts = await show_run_counts(visit.call, SomeRuns(**asked))
    found = await list_of_runs(visit.call, params)
    context = {
        "runs": shown(found),
        "counts": shown(counts),
        "plans": await plans_of(visit),
        "asked": params,
        "all_of_them": _runs_at(kept),
        "by_state": {state: _runs_at(kept | {"state": state}) for state in counts.by_state},
        "start": _runs_at(kept | ({"state": params.state} if params.state else {})),
    }
    return Shown("runs/runs.html", context)


@pages.get("/runs/new", SCHEDULERS)
async def plan_one(visit: Visit, params: Planning) -> Shown:
    """Plan a run: of which plan, for which day; what it would carry."""
    plans = [plan for plan in await plans_of(visit) if plan["ended_on"] is None]
    if params.plan is None:
        return Shown("runs/new.html", {"plans": plans, "plan": None})
    plan = shown(await show_plan(visit.call, PlanOf(plan=params.plan)))
    year = visit.now.year
    calendars = [await show_calendar(visit.call, YearOf(plan=params.plan, year=each)) for each in (year, year + 1)]
    slots = (await list_of_slots(visit.call, SlotFilter(plan=params.plan, limit=LIMIT_MAX))).items
    missed = [slot for slot in reversed(slots) if slot.state is SlotState.MISSED]
    today = visit.call.today(calendars[0].time_zone)
    debit_on = params.debit_on or _next(slots, calendars, today)
    due = await show_due_claims(visit.call, OfSlot(plan=params.plan, debit_on=debit_on))
    waiting = await list_of_claims(visit.call, ClaimFilter(plan=params.plan, state=State.PASSED, limit=LIMIT_MAX))
    context = {
        "plans": plans,
        "plan": plan,
        "slots": [shown(slot) for slot in slots[:SLOTS_SHOWN]],
        "missed": [shown(slot) for slot in missed[:MISSED_SHOWN]],
        "more_missed": max(len(missed) - MISSED_SHOWN, 0),
        "debit_on": debit_on.isoformat(),
        "due": shown(due),
        "later": len(waiting.items) - len(due.claims),
        "taken": next((shown(slot) for slot in slots if slot.debit_on == debit_on and slot.run_id), None),
    }
    return Shown("runs/new.html", context)


@pages.get("/runs/new/estimate", EVERYONE)
async def estimate(visit: Visit, params: Estimated) -> Shown:
    """What members would share next, by the claims under notice and today's roster."""
    found = shown(await show_forecast(visit.call, DayOf(plan=params.plan)))
    return Shown("runs/estimate.html", {"estimate": found, "sums": balanced(found)})


def balanced(of: Mapping[str, object]) -> Mapping[str, str]:
    """Both sides of the line of I5 with their sums, of decimal text and as such."""
    money_in = {name: Decimal(str(of[name])) for name in ("charged", "sponsor", "carry_in")}
    money_out = {name: Decimal(str(of[name])) for name in ("aid", "fee", "carry_out")}
    sums = {"money_in": sum(money_in.values()), "money_out": sum(money_out.values())}
    return {name: str(amount) for name, amount in (money_in | money_out | sums).items()}


def _next(slots: list[SlotView], calendars: list[CalendarView], today: date) -> date:
    """The first slot that was missed, else the next that has no run yet; today where a plan debits on any day."""
    waits = [slot.debit_on for slot in reversed(slots) if slot.state in (SlotState.MISSED, SlotState.OPEN)]
    taken = {slot.debit_on for slot in slots}
    days = [slot.debit_on for calendar in calendars for slot in calendar.slots]
    ahead = [day for day in days if day >= today and day not in taken]
    return next(iter(waits + ahead), today)


def _runs_at(query: Mapping[str, object]) -> str:
    return "/runs" + (f"?{urlencode(query)}" if query else "")
