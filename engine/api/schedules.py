"""Schedules: which plans' runs the clock plans, what it has to do, and what became of each debit slot."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Any

from pydantic import Field

from engine.access.roles import EVERYONE, SCHEDULERS
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Model, Moment, Money, Page, Paged, Text
from engine.api.service import Call
from engine.plans.calendar import gate_day, is_debit_day
from engine.plans.member_rules import Direction
from engine.roster.plan import Plan, plan_of, rules_of
from engine.runs.planning import claims_due
from engine.runs.run import RunKind
from engine.runs.scheduling import Schedule, Standing, end_schedule, find_schedule, list_schedules, set_schedule
from engine.runs.slots import DueSlot, SlotState, skip, slots_due
from engine.runs.states import RunState

endpoints = Endpoints("schedules", "Runs that the clock plans, and the debit slots of each plan.")

ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""A time of the day in the plan's zone."""


class OfPlan(Model):
    """One plan."""

    plan: Code


class ScheduleFilter(Paged):
    """Which schedules."""

    after: Code | None = None


class SlotFilter(Paged):
    """Which slots of a plan."""

    plan: Code
    after: Annotated[str | None, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = None


class OfSlot(Model):
    """A debit day of a plan."""

    plan: Code
    debit_on: Day


class NewSchedule(Model):
    """When a plan's runs are planned, in the name of whoever sets it."""

    plans_at: ClockTime


class SkippedSlot(Model):
    """The decision to let a slot go without a run."""

    debit_on: Day
    reason: Text


class ScheduleView(Model):
    """When the clock plans the runs of a plan, and in whose name; all null where it does not.

    `refusal`: why its last try was refused, and when it was tried.
    """

    plan: str
    plans_at: ClockTime | None
    set_by: str | None
    set_at: Moment | None
    refusal: str | None
    tried_at: Moment | None


class ScheduleStandingView(ScheduleView):
    """A schedule and what it has to do: the next debit day without a run, slots that were missed, claims that wait."""

    next_slot: Day | None
    missed_slots: int
    claims_waiting: int


class SlotView(Model):
    """One debit day. `claims`: those of its run, or the passed ones that could have gone with it and still wait."""

    debit_on: Day
    state: SlotState
    claims: int
    run_id: int | None
    run_state: RunState | None
    skipped_by: str | None
    reason: str | None


class DueClaim(Model):
    """A passed claim that waits for a run: what the run would carry of it, and the day whose 00:00 is its gate."""

    claim_id: int
    number: int
    aid: Money
    gate_on: Day


class DueClaims(Model):
    """What a run of a debit day would carry if it were planned now, in filing order; one of credit needs no claim."""

    plan: str
    kind: RunKind
    debit_on: Day
    is_debit_day: bool
    claims: list[DueClaim]
    aid: Money


@endpoints.get("/schedules", EVERYONE)
async def list_of_schedules(call: Call, params: ScheduleFilter) -> Page[ScheduleStandingView]:
    """What the clock plans, by plan: the next slot, and what was missed or refused."""
    found = await list_schedules(call.connection, now=call.now, after=params.after or "", limit=params.limit + 1)
    return call.page(found, params.limit, _standing_view, lambda standing: standing.schedule.plan_code)


@endpoints.get("/schedules/{plan}", EVERYONE)
async def show_schedule(call: Call, params: OfPlan) -> ScheduleView:
    """Whether the clock plans the runs of a plan, and when."""
    plan = await plan_of(call.connection, params.plan)
    found = await find_schedule(call.connection, plan)
    if found is None:
        return ScheduleView(plan=plan.code, plans_at=None, set_by=None, set_at=None, refusal=None, tried_at=None)
    return ScheduleView(**_fields(found))


@endpoints.get("/schedules/{plan}/slots", EVERYONE)
async def list_of_slots(call: Call, params: SlotFilter) -> Page[SlotView]:
    """What became of each debit day of a plan, the latest first: run, skipped, missed, empty, or open."""
    plan = await plan_of(call.connection, params.plan)
    rules = await rules_of(call.connection, plan.plan_id, plan.version)
    due = await slots_due(call.connection, plan, rules, on=call.today(rules.time_zone))
    # Days in ISO 8601 sort as text.
    found = [slot for slot in reversed(due) if params.after is None or slot.debit_on.isoformat() < params.after]
    return call.page(found[: params.limit + 1], params.limit, _slot_view, lambda slot: slot.debit_on)


@endpoints.get("/schedules/{plan}/slots/{debit_on}/claims", EVERYONE)
async def show_due_claims(call: Call, params: OfSlot) -> DueClaims:
    """Which claims a run of a debit day would carry if it were planned now, and what they come to."""
    plan, debit_on = await plan_of(call.connection, params.plan), params.debit_on
    rules = await rules_of(call.connection, plan.plan_id, plan.version)
    due = await claims_due(call.connection, plan, rules, debit_on)
    return DueClaims(
        plan=plan.code,
        kind=RunKind.CREDIT if rules.direction is Direction.CREDIT else RunKind.SHARE,
        debit_on=debit_on,
        is_debit_day=is_debit_day(rules, debit_on),
        claims=[
            DueClaim(
                claim_id=claim.claim_id,
                number=claim.number,
                aid=claim.aid_minor,
                gate_on=gate_day(rules, notice_on=claim.notice_on, debit_on=debit_on),
            )
            for claim in due
        ],
        aid=sum(claim.aid_minor for claim in due),
    )


@endpoints.post("/schedules/{plan}", SCHEDULERS, moves_money=True, changes=show_schedule)
async def schedule_plan(call: Call, params: OfPlan, body: NewSchedule) -> ScheduleView:
    """Let the clock plan the runs of a plan from now on, at a time of its debit days, in the caller's name."""
    plan = await _plan(call, params)
    plans_at = time.fromisoformat(body.plans_at)
    await set_schedule(call.connection, plan, plans_at=plans_at, now=call.now, actor=call.actor)
    return await show_schedule(call, params)


@endpoints.post("/schedules/{plan}/end", SCHEDULERS, changes=show_schedule)
async def unschedule_plan(call: Call, params: OfPlan) -> ScheduleView:
    """Let the clock plan no more runs of a plan."""
    await end_schedule(call.connection, await _plan(call, params), actor=call.actor)
    return await show_schedule(call, params)


@endpoints.post("/schedules/{plan}/skip", SCHEDULERS, moves_money=True)
async def skip_slot(call: Call, params: OfPlan, body: SkippedSlot) -> SlotView:
    """Let a debit slot go without a run, by decision: the claims that waited for it go with the next."""
    plan = await _plan(call, params)
    rules = await rules_of(call.connection, plan.plan_id, plan.version)
    today = call.today(rules.time_zone)
    skipped = await skip(call.connection, plan, rules, body.debit_on, reason=body.reason, actor=call.actor, on=today)
    return _slot_view(skipped)


async def _plan(call: Call, params: OfPlan) -> Plan:
    return await plan_of(call.connection, params.plan)


def _fields(found: Schedule) -> dict[str, Any]:
    shown = {name: getattr(found, name) for name in ("set_by", "set_at", "refusal", "tried_at")}
    return {"plan": found.plan_code, "plans_at": f"{found.plans_at:%H:%M}", **shown}


def _standing_view(standing: Standing) -> ScheduleStandingView:
    return ScheduleStandingView(
        **_fields(standing.schedule),
        next_slot=standing.next_slot,
        missed_slots=standing.missed,
        claims_waiting=standing.claims,
    )


def _slot_view(slot: DueSlot) -> SlotView:
    return SlotView(**{name: getattr(slot, name) for name in SlotView.model_fields})
