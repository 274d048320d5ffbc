"""Locked periods: what was proved stays as it was, and what comes late is posted in the open one.

A lock is proposed by one person and made once another approves (I13). It asks for what a proof of the period rests on:
statements of every business day, none of them parked, books that agree with them, and no run that is still to post in
it. From then on the database refuses what would be posted in it (trigger `journals_open_period`).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.registered import Custodian, custodian_of_plan
from engine.decisions import Decision, Kind, propose
from engine.errors import FentanError, InvalidInput
from engine.money import grouped
from engine.reconcile.proof import proof_of
from engine.reconcile.proof_rows import is_parked
from engine.roster.plan import Plan, lock_roster
from engine.store.tables import IN_THE_BOOKS, plans, shards, share_runs, statements

_DAY = timedelta(days=1)


class NotProved(FentanError):
    """The period cannot be locked: it is not proved yet."""

    invariant = "I11"


async def first_open_day(connection: AsyncConnection, plan_id: int, on: date) -> date:
    """The day on which what happened `on` is posted: the same or, where it is locked, the first one after the lock."""
    locked = await locked_through(connection, plan_id)
    return on if locked is None or on > locked else locked + _DAY


async def locked_through(connection: AsyncConnection, plan_id: int) -> date | None:
    """The last day of a plan on which nothing is posted any more; None: none is locked yet."""
    found: date | None = await connection.scalar(select(plans.c.locked_through).where(plans.c.plan_id == plan_id))
    return found


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
    locked = await locked_through(connection, plan_id)
    if locked is not None and through <= locked:
        raise InvalidInput(f"the books are locked through {locked} already; give a later day")
    custodian = await custodian_of_plan(connection, plan_id)
    missing = [
        *await _runs_open(connection, plan_id, through),
        *await _parked(connection, custodian, through),
        *await _unproved(connection, custodian, locked, through),
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
    """Statements of the period that are parked, as the proof counts them."""
    found = await connection.scalars(
        select(statements.c.statement_id)
        .where(statements.c.custodian_id == custodian.custodian_id, is_parked())
        .where(or_(statements.c.from_on.is_(None), statements.c.from_on <= through))
        .order_by(statements.c.statement_id)
    )
    return [
        f"statement {each} of {custodian.code} is parked: `fentan statement show {each}` says why" for each in found
    ]


async def _unproved(connection: AsyncConnection, custodian: Custodian, locked: date | None, through: date) -> list[str]:
    """Business days after the last lock that no statement speaks of, and what the proof of the last day leaves open."""
    proof, code = await proof_of(connection, custodian, through), custodian.code
    if proof.coverage.first_on is None:
        return [f"no statement of {code} speaks of {through} or a day before: `fentan statement import FILE`"]
    said = []
    gaps = [day for day in proof.coverage.missing if locked is None or day > locked]
    if gaps:
        shown = ", ".join(map(str, gaps[:5])) + (f" and {len(gaps) - 5} more" if len(gaps) > 5 else "")
        said.append(f"no statement of {code} speaks of {shown}: `fentan statement import FILE`")
    if proof.difference:
        left = grouped(proof.difference)
        said.append(f"{left} of {code} is not explained: `fentan reconcile proof {code} {through}` shows where")
    return said
