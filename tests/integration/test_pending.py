"""Stage 7 on real PostgreSQL: lines that wait for what they name, become breaks over it, and are decided in the end."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.breaks import Code, State
from engine.ledger.accounts import Account
from engine.reconcile.breaks import assign
from engine.reconcile.decided import carry_out, refuse
from engine.reconcile.pending import open_overdue
from engine.reconcile.proof import proof_of, reconciled
from tests.integration.bank_statement import BOOKED_ON, TODAY, Line
from tests.integration.broken import propose
from tests.integration.custody import Custody, custody, debit
from tests.integration.worlds import APPROVER, PLANNER

pytestmark = pytest.mark.integration

CASH, OWED, SUSPENSE = Account.CUSTODIAN_CASH, Account.CONTRIBUTIONS_RECEIVABLE, Account.SUSPENSE
THURSDAY, FRIDAY = date(2019, 7, 18), date(2019, 7, 19)
"""Three business days after the Monday on which the lines are booked, which the custodian has; and four."""

MISSING = Code.MISSING_IN_LEDGER


async def waiting(engine: AsyncEngine, folder: Path) -> Custody:
    """The custodian booked a debit whose file waits, and took back one of which no statement says it was booked."""
    world = await custody(engine, folder)
    await world.owing([300, 200])
    await world.asked({1: [0, 1]}, sent_on=None)
    await world.takes_lines(Line(300, debit(0)), Line(-200, debit(1), "return"))
    return world


async def overdue(world: Custody, on: date) -> int:
    async with world.engine.begin() as connection:
        return await open_overdue(connection, world.custodian, on=on)


async def told(world: Custody) -> dict[str, int]:
    async with world.engine.connect() as connection:
        found = (await reconciled(connection, world.custodian)).as_json()
    assert found["difference"] == "0.00"
    return {name: found[name] for name in ("matched", "pending", "in_breaks")}


async def explained(world: Custody, on: date) -> tuple[int, int]:
    """What is on suspense on a day, and what breaks and pending lines say of it."""
    async with world.engine.connect() as connection:
        proof = await proof_of(connection, world.custodian, on)
    waits = [*proof.breaks.values(), proof.pending]
    return proof.suspense, sum(each.suspense_minor for each in waits)


async def balances(world: Custody) -> tuple[int, int, int]:
    found = await world.world.accounts()
    return found.get(CASH, 0), found.get(OWED, 0), found.get(SUSPENSE, 0)


async def test_a_line_that_waits_too_long_is_a_break_once(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await waiting(engine, tmp_path)
    assert await overdue(world, THURSDAY) == 0
    assert await told(world) == {"matched": 0, "pending": 2, "in_breaks": 0}
    assert await overdue(world, FRIDAY) == 2
    assert await overdue(world, FRIDAY) == 0
    assert await told(world) == {"matched": 0, "pending": 0, "in_breaks": 2}
    assert await world.breaks() == [(MISSING, 300, 300), (MISSING, -200, -200)]
    about = "SELECT plan_id, run_id, kind, attempt, seat, opened_on FROM breaks ORDER BY break_id"
    plan, run = world.world.plan_id, world.run
    assert await world.world.rows(about) == [(plan, run, "D", 1, seat, BOOKED_ON) for seat in (0, 1)]
    assert await explained(world, TODAY) == (100, 100)
    assert await balances(world) == (100, 500, -100)


async def test_a_later_statement_decides_the_line_and_clears_its_break(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await waiting(engine, tmp_path)
    assert await overdue(world, FRIDAY) == 2
    async with engine.begin() as connection:
        await assign(connection, [2], "cara", on=FRIDAY, actor="cara")
    # Nothing new: they go on waiting.
    await world.takes_lines(Line(-1, "", "charge", on=THURSDAY), opening=100)
    assert await told(world) == {"matched": 1, "pending": 0, "in_breaks": 2}
    await world.sends()
    await world.takes_lines(Line(200, debit(1), on=FRIDAY), opening=99)
    assert await world.states() == ["booked", "returned", "none", "none"]
    ended = "SELECT state, closed_on, suspense_minor FROM breaks ORDER BY break_id"
    assert await world.world.rows(ended) == [(State.RESOLVED, TODAY, 300), (State.RESOLVED, TODAY, -200)]
    steps = "SELECT event, reason FROM break_events WHERE event = 'clear'"
    assert await world.world.rows(steps) == [("clear", "statement 3 decides its line")] * 2
    assert await told(world) == {"matched": 4, "pending": 0, "in_breaks": 0}
    assert await balances(world) == (299, 200, 0)
    assert await explained(world, TODAY) == (0, 0)
    assert await overdue(world, TODAY) == 0


async def test_one_that_turns_out_wrong_is_another_break_in_its_place(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300])
    await world.asked({1: [0]}, sent_on=None)
    await world.takes_lines(Line(299, debit(0)))
    await overdue(world, FRIDAY)
    await world.sends()
    await world.takes_lines(Line(300, debit(0), on=FRIDAY), opening=299)
    assert await world.breaks() == [("AMOUNT_MISMATCH", 299, 299)]
    assert await world.states() == ["booked", "none", "none", "none"]
    assert await told(world) == {"matched": 1, "pending": 0, "in_breaks": 1}
    assert await balances(world) == (599, 0, -299)
    for day in (FRIDAY, TODAY):
        assert await explained(world, day) == (299, 299)


async def test_what_people_decide_about_it_no_statement_decides_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await waiting(engine, tmp_path)
    await overdue(world, FRIDAY)
    async with engine.begin() as connection:
        refused = await propose(connection, [2], Action.WRITE_OFF, on=FRIDAY)
        given_back = await propose(connection, [1], Action.GIVE_BACK, on=FRIDAY)
    await world.state_of_run("collecting")
    await world.sends()
    # While somebody decides, it is left to them.
    await world.takes_lines(Line(200, debit(1), on=FRIDAY), opening=100)
    assert await world.states() == ["sent", "booked", "none", "none"]
    async with engine.begin() as connection:
        await carry_out(connection, given_back.decision_id, actor=APPROVER)
        await refuse(connection, refused.decision_id, reason="its booking came", actor=PLANNER)
    await world.takes_lines(Line(300, debit(0), on=FRIDAY), opening=300)
    assert await world.states() == ["booked", "returned", "none", "none"]
    assert await world.breaks() == []
    assert await balances(world) == (600, 200, 0)
    assert (await world.world.accounts())[Account.REFUNDS_PAYABLE] == -300
    assert await explained(world, TODAY) == (0, 0)
