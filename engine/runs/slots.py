"""The debit slots of a plan: which had their run, which were skipped by decision, and which were missed.

A slot that nothing waited for is no miss. One that claims waited for is run late, its debit day in the past, or skipped
by somebody; until then no later one is planned. Where members are debited on any day there are no slots to miss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.states import State
from engine.errors import InvalidInput
from engine.plans.calendar import (
    debit_days,
    debits_on_any_day,
    is_debit_day,
    last_notice_day,
    next_debit_day,
    notice_end,
)
from engine.plans.member_rules import Direction
from engine.plans.rules import PlanRules
from engine.roster.plan import Plan, lock_living
from engine.runs.states import RunState
from engine.store.audit import record
from engine.store.tables import claims, notices, objections, run_cases, share_runs, skipped_slots

_DAY = timedelta(days=1)
_ENDED = (RunState.VOIDED, RunState.FAILED)


class SlotState(StrEnum):
    """What became of a slot."""

    RUN = "run"
    SKIPPED = "skipped"
    MISSED = "missed"
    EMPTY = "empty"
    """Nothing waited for it."""

    OPEN = "open"
    """Today's, or the next to come."""


@dataclass(frozen=True)
class DueSlot:
    """One debit day. `claims`: those of its run, or the passed ones that could have gone with it and still wait."""

    debit_on: date
    state: SlotState
    claims: int
    run_id: int | None = None
    run_state: RunState | None = None
    skipped_by: str | None = None
    reason: str | None = None


class Waiting(NamedTuple):
    """A passed claim that no run carries, and the first day on which it could have passed."""

    claim_id: int
    number: int
    due_on: date


@dataclass(frozen=True)
class SlotFacts:
    """What tells the state of a plan's slots.

    `began`: its first run's debit day and its first claim's day, as far as there are any; or the first day that is
    told of. `ended`: debit days of runs that were voided or failed. `skipped`: by debit day, who skipped it and why.
    """

    began: Sequence[date]
    runs: Mapping[date, DueSlot]
    ended: frozenset[date]
    skipped: Mapping[date, tuple[str, str]]
    waiting: Sequence[Waiting]

    def slots(self, rules: PlanRules, on: date) -> list[DueSlot]:
        """As `slots_due` says."""
        if debits_on_any_day(rules):
            return []
        due_days = [claim.due_on for claim in self.waiting]
        is_credit = rules.direction is Direction.CREDIT
        final = None if due_days else _final_debit(rules)  # what still waits goes with any later slot
        last = min(next_debit_day(rules, on), final or date.max)
        first = min(self.began, default=on)
        days = {*debit_days(rules, first, last), *(day for day in self.runs if day <= on), *self.skipped}
        found = []
        for day in sorted(days):
            waited = sum(due_on <= day for due_on in due_days)
            if (run := self.runs.get(day)) is not None:
                found.append(run)
            elif (skip := self.skipped.get(day)) is not None:
                found.append(DueSlot(day, SlotState.SKIPPED, waited, skipped_by=skip[0], reason=skip[1]))
            elif day >= on:
                found.append(DueSlot(day, SlotState.OPEN, waited))
            else:
                found.append(DueSlot(day, SlotState.MISSED if waited or is_credit else SlotState.EMPTY, waited))
        return found

    def next_slot(self, rules: PlanRules, on: date) -> date | None:
        """The first slot from `on` that has no run yet and is not skipped; None after the plan's last, or any day."""
        if debits_on_any_day(rules):
            return None
        day = next_debit_day(rules, on)
        while day in self.runs or day in self.skipped:
            day = next_debit_day(rules, day + _DAY)
        final = None if self.waiting else _final_debit(rules)
        return day if final is None or day <= final else None


async def slot_facts(
    connection: AsyncConnection, rules: Mapping[int, PlanRules], *, since: date | None = None
) -> dict[int, SlotFacts]:
    """Those of every plan in `rules`, by its number, in as many queries as for one.

    `since`: only what tells of the slots from that day on, and of earlier ones that a claim waits for.
    """
    plan_ids, passed = list(rules), await _waiting(connection, rules)
    if since is None or any(each.direction is Direction.CREDIT for each in rules.values()):
        first, began = date.min, await _first_days(connection, plan_ids)
    else:
        first = min([since, *(claim.due_on for claims in passed.values() for claim in claims)])
        began = {plan_id: [first] for plan_id in plan_ids}
    (live, ended), skipped = await _runs(connection, plan_ids, first), await _skipped(connection, plan_ids)
    return {
        plan_id: SlotFacts(began[plan_id], live[plan_id], frozenset(ended[plan_id]), skipped[plan_id], passed[plan_id])
        for plan_id in rules
    }


async def slots_due(connection: AsyncConnection, plan: Plan, rules: PlanRules, *, on: date) -> list[DueSlot]:
    """The plan's slots since its first run or claim, up to today's or the next, in order; none where any day will do.

    A credit plan's slot is missed without claims: a period's surplus waited for it.
    """
    return (await slot_facts(connection, {plan.plan_id: rules}))[plan.plan_id].slots(rules, on)


async def waiting(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> list[Waiting]:
    """The plan's passed claims that no run carries, in filing order.

    A claim could pass once its notice had ended and its last objection was resolved, whenever somebody let it.
    """
    return (await _waiting(connection, {plan_id: rules}))[plan_id]


async def overdue(connection: AsyncConnection, plan: Plan, rules: PlanRules, *, on: date) -> list[Waiting]:
    """Where any day will do: claims that could pass more than a day before `on`, and still wait for a run."""
    if not debits_on_any_day(rules):
        return []
    return [claim for claim in await waiting(connection, plan.plan_id, rules) if claim.due_on + _DAY < on]


async def refuse_past_missed(connection: AsyncConnection, plan: Plan, rules: PlanRules, debit_on: date) -> None:
    """Raises InvalidInput, with both ways out, while an earlier slot that something waits for had no run."""
    if debits_on_any_day(rules):
        return
    due_days = [claim.due_on for claim in await waiting(connection, plan.plan_id, rules)]
    runs = (await _runs(connection, [plan.plan_id]))[0][plan.plan_id]
    skipped = (await _skipped(connection, [plan.plan_id]))[plan.plan_id]
    is_credit = rules.direction is Direction.CREDIT
    first = min([*due_days, *(runs if is_credit else ())], default=debit_on)
    missed = next((day for day in debit_days(rules, first, debit_on - _DAY) if day not in {*runs, *skipped}), None)
    if missed is None:
        return
    count = sum(due_on <= missed for due_on in due_days)
    what = "a period's surplus waits" if is_credit else f"{count:,} passed claim{' waits' if count == 1 else 's wait'}"
    slot = f"--plan {plan.code} --debit-on {missed}"
    raise InvalidInput(
        f"{plan.code} would go past its slot of {missed}, for which {what}; run that first, late as it may be "
        f"(`fentan run plan {slot} --as NAME`), or skip it by decision "
        f"(`fentan run skip {slot} --reason TEXT --as NAME`), after which what waits goes with the next"
    )


async def skip(
    connection: AsyncConnection, plan: Plan, rules: PlanRules, debit_on: date, *, reason: str, actor: str, on: date
) -> DueSlot:
    """Let a slot that is past, or `on`, go without a run: what waited for it goes with the next.

    Raises InvalidInput for a day that is no slot or is to come, has a run, or was skipped already.
    """
    await lock_living(connection, plan.plan_id)
    if debits_on_any_day(rules):
        raise InvalidInput(f"{plan.code} debits on any day and has no slots; there is nothing to skip")
    if debit_on < rules.starts_on or not is_debit_day(rules, debit_on):
        raise InvalidInput(
            f"{debit_on} is no debit day of {plan.code}; "
            f"`fentan calendar {plan.code} --year {debit_on.year}` prints them"
        )
    if debit_on > on:
        raise InvalidInput(f"{debit_on} is still to come, it is {on}; a slot is skipped on its day or later")
    run = (await _runs(connection, [plan.plan_id]))[0][plan.plan_id].get(debit_on)
    if run is not None:
        raise InvalidInput(f"{plan.code} has run {run.run_id} for {debit_on}; void it first")
    if (before := (await _skipped(connection, [plan.plan_id]))[plan.plan_id].get(debit_on)) is not None:
        raise InvalidInput(f"the slot of {debit_on} was skipped already, by {before[0]}")
    waited = sum(claim.due_on <= debit_on for claim in await waiting(connection, plan.plan_id, rules))
    row = {"plan_id": plan.plan_id, "debit_on": debit_on, "reason": reason, "skipped_by": actor}
    await connection.execute(insert(skipped_slots).values(row))
    detail = {"debit_on": str(debit_on), "reason": reason, "claims": waited}
    await record(connection, actor, "skip slot", f"plan:{plan.code}", detail)
    return DueSlot(debit_on, SlotState.SKIPPED, waited, skipped_by=actor, reason=reason)


def _final_debit(rules: PlanRules) -> date | None:
    """The debit day of a notice that begins on the last day there is for one; None: no end is in sight."""
    last = last_notice_day(rules)
    return None if last is None else next_debit_day(rules, notice_end(rules, last))


async def _waiting(connection: AsyncConnection, rules: Mapping[int, PlanRules]) -> dict[int, list[Waiting]]:
    last_resolved = func.max(objections.c.resolved_on).label("day")
    resolved = select(objections.c.claim_id, last_resolved).group_by(objections.c.claim_id).subquery()
    rows = await connection.execute(
        select(
            claims.c.plan_id, claims.c.claim_id, claims.c.number, claims.c.stage_on, notices.c.ends_on, resolved.c.day
        )
        .join(notices, notices.c.claim_id == claims.c.claim_id)
        .outerjoin(resolved, resolved.c.claim_id == claims.c.claim_id)
        .where(claims.c.plan_id.in_(list(rules)), claims.c.state == State.PASSED)
        .order_by(claims.c.number)
    )
    found: dict[int, list[Waiting]] = {plan_id: [] for plan_id in rules}
    for row in rows:
        ends_on = row.ends_on if row.stage_on is None else notice_end(rules[row.plan_id], row.stage_on)
        found[row.plan_id].append(Waiting(row.claim_id, row.number, max(ends_on, row.day or ends_on)))
    return found


async def _first_days(connection: AsyncConnection, plan_ids: Sequence[int]) -> dict[int, list[date]]:
    """By plan, when its first run was to be debited, and its first claim was filed, as far as there are any."""
    firsts = (
        select(share_runs.c.plan_id, func.min(share_runs.c.debit_on))
        .where(share_runs.c.plan_id.in_(plan_ids))
        .group_by(share_runs.c.plan_id),
        select(claims.c.plan_id, func.min(claims.c.filed_on))
        .where(claims.c.plan_id.in_(plan_ids))
        .group_by(claims.c.plan_id),
    )
    found: dict[int, list[date]] = {plan_id: [] for plan_id in plan_ids}
    for first in firsts:
        for plan_id, day in await connection.execute(first):
            found[plan_id].append(day)
    return found


async def _runs(
    connection: AsyncConnection, plan_ids: Sequence[int], first: date = date.min
) -> tuple[dict[int, dict[date, DueSlot]], dict[int, set[date]]]:
    """By plan and debit day, the runs that are neither voided nor failed; and the debit days of those that are.

    `first`: the first debit day to look at.
    """
    rows = await connection.execute(
        select(
            share_runs.c.plan_id,
            share_runs.c.debit_on,
            share_runs.c.run_id,
            share_runs.c.state,
            func.count(run_cases.c.claim_id),
        )
        .outerjoin(run_cases, run_cases.c.run_id == share_runs.c.run_id)
        .where(share_runs.c.plan_id.in_(plan_ids), share_runs.c.debit_on >= first)
        .group_by(share_runs.c.run_id)
    )
    live: dict[int, dict[date, DueSlot]] = {plan_id: {} for plan_id in plan_ids}
    ended: dict[int, set[date]] = {plan_id: set() for plan_id in plan_ids}
    for plan_id, debit_on, run_id, state, count in rows:
        if state in _ENDED:
            ended[plan_id].add(debit_on)
        else:
            live[plan_id][debit_on] = DueSlot(debit_on, SlotState.RUN, count, run_id=run_id, run_state=RunState(state))
    return live, ended


async def _skipped(connection: AsyncConnection, plan_ids: Sequence[int]) -> dict[int, dict[date, tuple[str, str]]]:
    """By plan and debit day, who skipped it and why."""
    found: dict[int, dict[date, tuple[str, str]]] = {plan_id: {} for plan_id in plan_ids}
    for row in await connection.execute(select(skipped_slots).where(skipped_slots.c.plan_id.in_(plan_ids))):
        found[row.plan_id][row.debit_on] = (row.skipped_by, row.reason)
    return found
