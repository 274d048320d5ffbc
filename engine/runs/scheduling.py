"""Runs planned by the clock: once the time of a debit day has come and something waits for it, in somebody's name.

The clock plans a slot once. What was voided or failed is for a person, who may plan it again; so is what is refused,
which is written down and tried again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import ColumnElement, Row, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.claims.states import State
from engine.errors import FentanError, InvalidInput, NotFound
from engine.plans import PlanRules, from_json
from engine.plans.calendar import debits_on_any_day
from engine.plans.member_rules import Direction
from engine.roster.plan import Plan, refuse_ended, rules_of
from engine.runs.planning import plan_run
from engine.runs.run import Run
from engine.runs.slots import SlotFacts, SlotState, slot_facts
from engine.store.audit import record
from engine.store.tables import claims, plan_rules, plans, schedules

TRIED_AGAIN_AFTER = timedelta(minutes=10)
"""What was refused: somebody has to do something about it first."""

_LOCK_WAIT = text("SET LOCAL lock_timeout = '1s'")
"""An import may hold a plan for minutes; the sweep has other things to do than to wait for it."""

_REFUSAL_MAX = 2000

log = structlog.get_logger()


@dataclass(frozen=True)
class Schedule:
    """When the runs of a plan are planned: at a time of its debit days, in its zone, in the name of `set_by`.

    `refusal`, `tried_at`: why the last try was refused and when; None once a run was planned.
    """

    plan_code: str
    plans_at: time
    set_by: str
    set_at: datetime
    tried_at: datetime | None
    refusal: str | None


@dataclass(frozen=True)
class Standing:
    """A schedule and what it has to do as of a day: `claims` wait for a run; slots were `missed`, without one.

    `next_slot`: the next debit day that has no run yet; None where any day will do, and after the plan's last.
    """

    schedule: Schedule
    next_slot: date | None
    missed: int
    claims: int


_SCHEDULES = select(schedules, plans.c.code.label("plan_code")).join(plans, plans.c.plan_id == schedules.c.plan_id)


async def set_schedule(
    connection: AsyncConnection, plan: Plan, *, plans_at: time, now: datetime, actor: str
) -> Schedule:
    """Let the clock plan the plan's runs in this name from now on, instead of what was set before.

    Raises InvalidInput for a plan that ended, and one that gives a surplus: the clock does not know what it came to.
    """
    await refuse_ended(connection, plan.plan_id)
    rules = await rules_of(connection, plan.plan_id, plan.version)
    if rules.direction is Direction.CREDIT:
        raise InvalidInput(
            f"{plan.code} gives its members a surplus, and only a person knows what it comes from; plan each by itself"
        )
    values = {"plans_at": plans_at, "set_by": actor, "set_at": now, "tried_at": None, "refusal": None}
    row = insert(schedules).values(plan_id=plan.plan_id, **values)
    await connection.execute(row.on_conflict_do_update(constraint="schedules_pkey", set_=values))
    await record(connection, actor, "set schedule", f"plan:{plan.code}", {"plans_at": f"{plans_at:%H:%M}"})
    return await schedule_of(connection, plan)


async def end_schedule(connection: AsyncConnection, plan: Plan, *, actor: str) -> None:
    """Let the clock plan no more. Raises NotFound where it does not."""
    ended = await connection.execute(delete(schedules).where(schedules.c.plan_id == plan.plan_id))
    if not ended.rowcount:
        raise _no_schedule(plan)
    await record(connection, actor, "end schedule", f"plan:{plan.code}")


async def find_schedule(connection: AsyncConnection, plan: Plan) -> Schedule | None:
    """The plan's schedule, if it has one."""
    row = (await connection.execute(_SCHEDULES.where(schedules.c.plan_id == plan.plan_id))).one_or_none()
    return None if row is None else _schedule(row._asdict())


async def schedule_of(connection: AsyncConnection, plan: Plan) -> Schedule:
    """The plan's schedule. Raises NotFound."""
    found = await find_schedule(connection, plan)
    if found is None:
        raise _no_schedule(plan)
    return found


async def list_schedules(
    connection: AsyncConnection, *, now: datetime, after: str = "", limit: int | None = None
) -> list[Standing]:
    """What the clock plans, by the codes of the plans; those after a code."""
    query = _SCHEDULES.where(plans.c.code > after).order_by(plans.c.code).limit(limit)
    rows = [row._asdict() for row in await connection.execute(query)]
    known = await _newest(connection, [row["plan_id"] for row in rows])
    today = now.date() - timedelta(days=1)  # it is not over everywhere
    facts = await slot_facts(connection, {plan_id: rules for plan_id, (_, rules) in known.items()}, since=today)
    return [_standing(_schedule(row), known[row["plan_id"]][1], facts[row["plan_id"]], now) for row in rows]


async def plan_due(engine: AsyncEngine, *, now: datetime) -> list[Run]:
    """Plan a run of every scheduled plan whose time has come; those that were planned.

    What one plan's rules refuse is written into its schedule and tried again after a while; no other plan waits for it.
    Workers that do this at once plan each once.
    """
    async with engine.connect() as connection:
        asked = select(schedules.c.plan_id).join(plans, plans.c.plan_id == schedules.c.plan_id)
        waits = select(claims.c.claim_id).where(claims.c.plan_id == schedules.c.plan_id, claims.c.state == State.PASSED)
        said_no = schedules.c.refusal.is_not(None)
        query = asked.where(plans.c.ended_on.is_(None), _may_try(now), or_(said_no, waits.exists()))
        plan_ids = list(await connection.scalars(query.order_by(schedules.c.plan_id)))
    planned = []
    for plan_id in plan_ids:
        try:
            run = await _plan_next(engine, plan_id, now)
        except Exception as error:  # whatever it was, the next plan's members wait for theirs
            if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                continue
            log.exception("schedule failed", plan_id=plan_id)
            continue
        if run is not None:
            planned.append(run)
            log.info("run planned by schedule", run_id=run.run_id, plan_id=plan_id)
    return planned


_LOCK_NOT_AVAILABLE = "55P03"


async def _plan_next(engine: AsyncEngine, plan_id: int, now: datetime) -> Run | None:
    """The plan's due run; None where none is due, it is refused, or another worker is just looking."""
    async with engine.begin() as connection:
        await connection.execute(_LOCK_WAIT)
        free = select(schedules).where(schedules.c.plan_id == plan_id, _may_try(now)).with_for_update(skip_locked=True)
        row = (await connection.execute(free)).one_or_none()
        if row is None:
            return None
        try:
            async with connection.begin_nested():
                run = await _plan(connection, row, now)
        except FentanError as error:
            await _note(connection, plan_id, now, str(error)[:_REFUSAL_MAX])
            log.warning("schedule refused", plan_id=plan_id, error=str(error))
            return None
        await _note(connection, plan_id, None, None)
        return run


async def _plan(connection: AsyncConnection, row: Row[Any], now: datetime) -> Run | None:
    """The run of a locked row of the schedules that is due now, if any; by the same checks as everybody's."""
    plan, rules = (await _newest(connection, [row.plan_id]))[row.plan_id]
    facts = (await slot_facts(connection, {row.plan_id: rules}))[row.plan_id]
    debit_on = next_due(rules, facts, plans_at=row.plans_at, now=now)
    if debit_on is None:
        return None
    run = await plan_run(connection, plan, debit_on, actor=row.set_by)
    await record(connection, "fentan", "plan by schedule", run.name, {"debit_on": str(debit_on), "for": row.set_by})
    return run


def next_due(rules: PlanRules, facts: SlotFacts, *, plans_at: time, now: datetime) -> date | None:
    """The debit day whose run the clock plans `now`; None: nothing waits, or its time has not come.

    The earliest slot that was missed, late as it is, or today's; where any day will do today's, once a day. Never one
    that had a run already.
    """
    local = now.astimezone(ZoneInfo(rules.time_zone))
    today, is_time = local.date(), local.time() >= plans_at
    if debits_on_any_day(rules):
        waits = any(claim.due_on <= today for claim in facts.waiting)
        return today if waits and is_time and today not in facts.runs and today not in facts.ended else None
    for slot in facts.slots(rules, today):
        is_due = slot.state is SlotState.MISSED or (slot.state is SlotState.OPEN and slot.debit_on == today and is_time)
        if is_due and slot.claims and slot.debit_on not in facts.ended:
            return slot.debit_on
    return None


def _may_try(now: datetime) -> ColumnElement[bool]:
    return or_(schedules.c.tried_at.is_(None), schedules.c.tried_at <= now - TRIED_AGAIN_AFTER)


async def _note(connection: AsyncConnection, plan_id: int, tried_at: datetime | None, refusal: str | None) -> None:
    """What the last try came to; nothing is written where it is what was there."""
    is_news = or_(schedules.c.refusal.is_distinct_from(refusal), schedules.c.tried_at.is_distinct_from(tried_at))
    said = update(schedules).where(schedules.c.plan_id == plan_id, is_news)
    await connection.execute(said.values(tried_at=tried_at, refusal=refusal))


async def _newest(connection: AsyncConnection, plan_ids: Sequence[int]) -> dict[int, tuple[Plan, PlanRules]]:
    """By its number, each plan and the newest version of its rules."""
    query = (
        select(plan_rules.c.plan_id, plan_rules.c.version, plan_rules.c.rules, plans.c.code)
        .ext(distinct_on(plan_rules.c.plan_id))
        .join(plans, plans.c.plan_id == plan_rules.c.plan_id)
        .where(plan_rules.c.plan_id.in_(plan_ids))
        .order_by(plan_rules.c.plan_id, plan_rules.c.version.desc())
    )
    return {
        row.plan_id: (Plan(row.plan_id, row.code, row.version), from_json(json.dumps(row.rules), f"plan {row.code}"))
        for row in await connection.execute(query)
    }


def _standing(schedule: Schedule, rules: PlanRules, facts: SlotFacts, now: datetime) -> Standing:
    today = now.astimezone(ZoneInfo(rules.time_zone)).date()
    missed = sum(slot.state is SlotState.MISSED for slot in facts.slots(rules, today))
    return Standing(schedule, facts.next_slot(rules, today), missed, len(facts.waiting))


def _schedule(row: Mapping[str, object]) -> Schedule:
    return Schedule(**{name: value for name, value in row.items() if name != "plan_id"})  # type: ignore[arg-type]


def _no_schedule(plan: Plan) -> NotFound:
    return NotFound(f"the clock plans no runs of {plan.code}; `fentan schedule set {plan.code} --at HH:MM` lets it")
