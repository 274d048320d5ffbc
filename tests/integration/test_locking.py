"""Locked periods: what they ask for, what two decide, and what the database refuses from then on."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.breaks import Code
from engine.custodian.coverage import Covered, uncovered
from engine.decisions import Decision, FourEyes
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, post
from engine.reconcile.decided import carry_out
from engine.reconcile.locking import NotProved, first_open_day, propose_lock
from engine.store.tables import statements
from tests.integration.broken import Teller, holds, propose, resolve, sent, totals
from tests.integration.worlds import APPROVER, DEBIT, LATE_JULY, PLANNER, World, alike

pytestmark = pytest.mark.integration

TODAY = date(2019, 8, 6)
FRIDAY, MONDAY, LAST = date(2019, 7, 19), date(2019, 7, 22), date(2019, 7, 31)


@pytest.fixture
async def teller(engine: AsyncEngine, tmp_path: Path) -> Teller:
    return await sent(engine, tmp_path, alike(4))


async def statement(
    connection: AsyncConnection,
    first: date,
    last: date,
    opening: int = 0,
    closing: int = 0,
    state: str = "taken",
) -> int:
    """A statement of these days; its number."""
    moved = closing - opening
    there = await connection.scalar(select(func.count()).select_from(statements))
    values = {"sha256": str(there).encode(), "number": 1, "file": "f", "message": "camt.053", "identity": "1"}
    values |= {"books": True, "from_on": first, "to_on": last, "opening_minor": opening, "closing_minor": closing}
    values |= {"credits_minor": max(moved, 0), "debits_minor": max(-moved, 0), "state": state, "lines": 0}
    taken_at = func.now() if state == "taken" else None
    put = insert(statements).values(**values, custodian_id=1, imported_by="anna", taken_at=taken_at)
    return int(await connection.scalar(put.returning(statements.c.statement_id)) or 0)


async def lock(connection: AsyncConnection, world: World, through: date = LAST) -> Decision:
    decision = await propose_lock(connection, world.plan, through, on=TODAY, actor=PLANNER)
    return await carry_out(connection, decision.decision_id, actor=APPROVER)


def paid(world: World, on: date, key: str = "by hand", amount: int = 5) -> Journal:
    cash, interest = (account_id(world.plan_id, code) for code in (Account.CUSTODIAN_CASH, Account.INTEREST))
    return Journal(plan_shard(world.plan_id), key, "settlement", on, {cash: amount, interest: -amount})


async def test_I11_the_guard_refuses_what_is_posted_in_a_locked_period(teller: Teller, engine: AsyncEngine) -> None:
    world = teller.world
    async with engine.begin() as connection:
        await statement(connection, DEBIT, LAST)
        decision = await lock(connection, world)
        assert decision.outcome == {"locked_through": LAST.isoformat()}
        assert await first_open_day(connection, world.plan_id, LAST) == LAST + timedelta(days=1)
        assert await first_open_day(connection, world.plan_id, TODAY) == TODAY
    with pytest.raises(DBAPIError, match=f"locked through {LAST}"):
        async with engine.begin() as connection:
            await post(connection, paid(world, LAST))
    async with engine.begin() as connection:
        await post(connection, paid(world, LAST + timedelta(days=1)))
        assert (await totals(connection))[Account.INTEREST] == -5


async def test_I13_who_proposes_a_lock_does_not_approve_it(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await statement(connection, DEBIT, LAST)
        decision = await propose_lock(connection, teller.world.plan, LAST, on=TODAY, actor=PLANNER)
        with pytest.raises(FourEyes):
            await carry_out(connection, decision.decision_id, actor=PLANNER)


async def test_what_bars_a_lock_is_all_said_at_once(teller: Teller, engine: AsyncEngine) -> None:
    world = teller.world
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE share_runs SET state = 'approved'"))
        known = await statement(connection, DEBIT, FRIDAY)
        parked = await statement(connection, MONDAY, MONDAY, state="parked")
        await post(connection, paid(world, DEBIT, f"statement:{known}:{DEBIT}"))
        with pytest.raises(NotProved) as refused:
            await propose_lock(connection, world.plan, LAST, on=TODAY, actor=PLANNER)
        for said in (
            "run 1 is approved and would post on 2019-07-14",
            f"statement {parked} of generic-csv is parked: `fentan statement show {parked}`",
            "speaks of 2019-07-22, 2019-07-23, 2019-07-24, 2019-07-25, 2019-07-26 and 3 more",
            "-0.05 of generic-csv is not explained: `fentan reconcile proof generic-csv 2019-07-31`",
        ):
            assert said in str(refused.value)
        with pytest.raises(NotProved) as before:
            await propose_lock(connection, world.plan, DEBIT - timedelta(days=1), on=TODAY, actor=PLANNER)
        assert "run 1" not in str(before.value)


async def test_a_parked_statement_bars_no_more_once_its_break_is_explained(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await statement(connection, DEBIT, LAST)
        again = await statement(connection, DEBIT, LAST, state="parked")
        opening = Opening(Code.DUPLICATE_FILE, teller.world.plan_id, 0, 0, LAST, statement_id=again)
        await open_breaks(connection, teller.custodian.custodian_id, [opening])
        with pytest.raises(NotProved, match="is parked"):
            await lock(connection, teller.world)
        number = await connection.scalar(text("SELECT break_id FROM breaks"))
        assert number is not None
        await resolve(connection, [number], Action.EXPLAIN, on=LAST)
        await lock(connection, teller.world)


async def test_days_that_cannot_be_locked(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        with pytest.raises(NotProved, match="speaks of 2019-07-31 or a day before"):
            await lock(connection, teller.world)
        await statement(connection, DEBIT, TODAY)
        with pytest.raises(InvalidInput, match="is not over"):
            await lock(connection, teller.world, TODAY)
        await lock(connection, teller.world)
        with pytest.raises(InvalidInput, match="locked through 2019-07-31 already"):
            await lock(connection, teller.world)
        await lock(connection, teller.world, LAST + timedelta(days=1))


async def test_a_resolution_decided_for_a_locked_day_is_posted_on_the_first_open_one(
    teller: Teller, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1], 7)
        decision = await propose(connection, numbers, Action.GIVE_BACK)
        await statement(connection, DEBIT, LAST, 0, 7)
        await lock(connection, teller.world)
        await carry_out(connection, decision.decision_id, actor=APPROVER)
        posted = await connection.scalar(text("SELECT effective_on FROM journals WHERE kind = 'resolution'"))
        assert posted == LAST + timedelta(days=1)
        await holds(connection)


A, B, C = date(2019, 7, 1), date(2019, 7, 2), date(2019, 7, 5)


@pytest.mark.parametrize(
    ("taken", "missing"),
    [
        ([Covered(A, C, 0, 0)], []),
        ([Covered(A, B, 0, 5), Covered(C, C, 5, 5)], []),
        ([Covered(A, B, 0, 5), Covered(C, C, 6, 6)], [3, 4]),
        ([Covered(A, B, None, None), Covered(C, C, None, None)], [3, 4]),
        ([Covered(A, B, 0, 5), Covered(A, B, 5, 5)], [3, 4, 5]),
        ([Covered(B, LATE_JULY, 0, 0)], []),
    ],
)  # fmt: skip
def test_days_are_spoken_of_by_a_statement_or_between_two_that_follow(taken: list[Covered], missing: list[int]) -> None:
    assert [day.day for day in uncovered(taken, C)] == missing
