"""Locked periods: what was proved stays as it was, and what comes late is posted in the open one.

A lock is proposed by one person and made once another approves (I13). It asks for what a proof of the period rests on:
statements of every business day, none of them parked, books that agree with them, and no run that is still to post in
it. From then on the database refuses what would be posted in it (trigger `journals_open_period`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.aging import is_business_day
from engine.custodian.break_rows import UNRESOLVED
from engine.custodian.registered import Custodian, custodian_of_plan
from engine.decisions import Decision, Kind, propose
from engine.errors import FentanError, InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.money import grouped
from engine.roster.plan import Plan, lock_roster
from engine.store.tables import IN_THE_BOOKS, PLAN_STRIDE, breaks, journals, plans, shards, share_runs, statements

_DAY = timedelta(days=1)


class NotProved(FentanError):
    """The period cannot be locked: it is not proved yet."""

    invariant = "I11"


class Covered(NamedTuple):
    """A taken statement that books: its days, and the balances it opens and closes with, where it says them."""

    from_on: date
    to_on: date
    opening_minor: int | None
    closing_minor: int | None


async def first_open_day(connection: AsyncConnection, plan_id: int, on: date) -> date:
    """The day on which what happened `on` is posted: the same or, where it is locked, the first one after the lock."""
    locked_through = await connection.scalar(select(plans.c.locked_through).where(plans.c.plan_id == plan_id))
    return on if locked_through is None or on > locked_through else locked_through + _DAY


async def propose_lock(connection: AsyncConnection, plan: Plan, through: date, *, on: date, actor: str) -> Decision:
    """Propose that nothing is posted any more on `through` or before; nothing is locked yet.

    Raises InvalidInput for a day that is not over or is locked already, NotProved with all that is missing.
    """
    if through >= on:
        raise InvalidInput(f"{through} is not over (it is {on}); lock through a day before today")
    await _check(connection, plan.plan_id, through)
    detail = {"through": through.isoformat()}
    return await propose(connection, plan.plan_id, Kind.PERIOD_LOCK, f"plan:{plan.code}", detail, on=on, actor=actor)


async def lock_period(connection: AsyncConnection, decision: Decision) -> dict[str, Any]:
    """Lock what was proposed; through which day. Raises InvalidInput, NotProved as `propose_lock` does."""
    through = date.fromisoformat(decision.detail["through"])
    await lock_roster(connection, decision.plan_id)
    # Every posting locks its shard first: what is under way ends before, and what follows sees the lock.
    of_plan = shards.c.plan_id == decision.plan_id
    await connection.execute(select(shards.c.shard_id).where(of_plan).order_by(shards.c.shard_id).with_for_update())
    await _check(connection, decision.plan_id, through)
    await connection.execute(update(plans).where(plans.c.plan_id == decision.plan_id).values(locked_through=through))
    return {"locked_through": through.isoformat()}


async def _check(connection: AsyncConnection, plan_id: int, through: date) -> None:
    locked = await connection.scalar(select(plans.c.locked_through).where(plans.c.plan_id == plan_id))
    if locked is not None and through <= locked:
        raise InvalidInput(f"the books are locked through {locked} already; give a later day")
    custodian = await custodian_of_plan(connection, plan_id)
    missing = [
        *await _runs_open(connection, plan_id, through),
        *await _parked(connection, custodian, through),
        *await _days_missing(connection, custodian, locked, through),
        *await _difference(connection, custodian, through),
    ]
    if missing:
        raise NotProved("\n".join([f"the books cannot be locked through {through}:", *missing]))


async def _runs_open(connection: AsyncConnection, plan_id: int, through: date) -> list[str]:
    """Runs that are still to post on a day of the period."""
    ended = (*IN_THE_BOOKS, "voided")
    found = await connection.execute(
        select(share_runs.c.run_id, share_runs.c.state, share_runs.c.debit_on)
        .where(share_runs.c.plan_id == plan_id, share_runs.c.debit_on <= through, share_runs.c.state.not_in(ended))
        .order_by(share_runs.c.run_id)
    )
    return [
        f"run {run_id} is {state} and would post on {debit_on}: seal it, or void it"
        for run_id, state, debit_on in found
    ]


async def _parked(connection: AsyncConnection, custodian: Custodian, through: date) -> list[str]:
    """Statements of the period that are parked, but those whose breaks people have explained."""
    waits = breaks.c.ordinal.is_(None) & (breaks.c.statement_id == statements.c.statement_id)
    explained = select(breaks.c.break_id).where(waits).exists() & ~(
        select(breaks.c.break_id).where(waits, breaks.c.state.in_(UNRESOLVED)).exists()
    )
    found = await connection.scalars(
        select(statements.c.statement_id)
        .where(statements.c.custodian_id == custodian.custodian_id, statements.c.books, statements.c.state == "parked")
        .where(or_(statements.c.from_on.is_(None), statements.c.from_on <= through), ~explained)
        .order_by(statements.c.statement_id)
    )
    return [
        f"statement {each} of {custodian.code} is parked: `fentan statement show {each}` says why" for each in found
    ]


async def _days_missing(
    connection: AsyncConnection, custodian: Custodian, locked: date | None, through: date
) -> list[str]:
    """Business days of the period that no statement speaks of."""
    found = await connection.execute(
        select(*(statements.c[name] for name in Covered._fields))
        .where(statements.c.custodian_id == custodian.custodian_id, statements.c.books, statements.c.state == "taken")
        .where(statements.c.from_on.is_not(None), statements.c.to_on.is_not(None))
        .order_by(statements.c.from_on, statements.c.to_on)
    )
    taken = [Covered(*row) for row in found]
    if not taken:
        return [f"no statement of {custodian.code} was taken: `fentan statement import FILE`"]
    days = custodian.profile.business_days
    calendar = {} if days is None else {"holidays": days.holidays, "worked": days.worked}
    gaps = [day for day in uncovered(taken, locked, through) if is_business_day(day, **calendar)]
    shown = ", ".join(map(str, gaps[:5])) + (f" and {len(gaps) - 5} more" if len(gaps) > 5 else "")
    return [f"no statement of {custodian.code} speaks of {shown}: `fentan statement import FILE`"] if gaps else []


def uncovered(taken: Sequence[Covered], locked: date | None, through: date) -> Iterator[date]:
    """The days up to `through` that no statement speaks of, from the first one's or those after the lock.

    Between a statement and one that opens with what it closed with nothing happened: those days are spoken of. `taken`
    is in the order of its days.
    """
    day = taken[0].from_on if locked is None else locked + _DAY
    closing: int | None = None
    for each in taken:
        chained = closing is not None and each.opening_minor == closing
        while day < min(each.from_on, through + _DAY) and not chained:
            yield day
            day += _DAY
        day = max(day, each.to_on + _DAY)
        closing = each.closing_minor
    while day <= through:
        yield day
        day += _DAY


async def _difference(connection: AsyncConnection, custodian: Custodian, through: date) -> list[str]:
    """What the books say the custodian holds at the end of a day, against what its last statement by then does."""
    closing = await connection.scalar(
        select(statements.c.closing_minor)
        .where(statements.c.custodian_id == custodian.custodian_id, statements.c.books, statements.c.state == "taken")
        .where(statements.c.to_on <= through, statements.c.closing_minor.is_not(None))
        .order_by(statements.c.to_on.desc(), statements.c.statement_id.desc())
        .limit(1)
    )
    if closing is None:
        return []
    book = 0
    for plan_id in custodian.plans:
        book += await _cash(connection, plan_id, through)
    if book == closing:
        return []
    code, both = custodian.code, f"{grouped(book)} in the books and {grouped(closing)} on its statement"
    return [f"{code} holds {both} on {through}: `fentan reconcile proof {code} {through}` shows where they differ"]


async def _cash(connection: AsyncConnection, plan_id: int, through: date) -> int:
    cash, first = account_id(plan_id, Account.CUSTODIAN_CASH), plan_shard(plan_id)
    line = func.unnest(journals.c.accounts, journals.c.amounts).table_valued("account", "amount")
    total = await connection.scalar(
        select(func.coalesce(func.sum(line.c.amount), 0))
        .select_from(journals.join(line, line.c.account == cash))
        .where(journals.c.shard_id.between(first, first + PLAN_STRIDE - 1), journals.c.effective_on <= through)
    )
    return int(total or 0)
