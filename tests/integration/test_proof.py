"""The proof of a custodian's account on real PostgreSQL: books and statements agree, or it says by what (I11)."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.breaks import Code
from engine.custodian.registered import assign, custodian_of
from engine.custodian.verdicts import NotConserved, Sum
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, post
from engine.plans.rules import BusinessDays, Roll
from engine.reconcile.proof import Waiting, proof_of, reconciled, strips
from tests.integration.bank_statement import BOOKED_ON, Line
from tests.integration.held import ACTOR, profile_of
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import DEBIT, alike, build

pytestmark = pytest.mark.integration

SHARE = 10
DAY = timedelta(days=1)


async def posted(world: Asked, key: str, kind: str, on: date, cash: int, plan_id: int | None = None) -> None:
    """A journal that moves custodian cash against suspense."""
    plan = plan_id or world.world.plan_id
    lines = {account_id(plan, Account.CUSTODIAN_CASH): cash, account_id(plan, Account.SUSPENSE): -cash}
    async with world.world.engine.begin() as connection:
        await post(connection, Journal(plan_shard(plan), key, kind, on, lines))


async def told(world: Asked) -> dict[str, Any]:
    async with world.world.engine.connect() as connection:
        found = await reconciled(connection, await custodian_of(connection, world.custodian.code))
    return found.as_json()


def balances(proof: Any) -> tuple[int, ...]:
    names = ("opening", "credits", "debits", "closing", "book", "difference")
    return tuple(getattr(proof, name) for name in names)


async def test_I11_each_day_is_proved_by_its_statement(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    before = await world.proof(DEBIT)
    assert balances(before) == (0, 0, 0, 0, 0, 0)
    assert (before.in_transit, before.coverage.first_on) == (Sum(4, 4 * SHARE), None)
    await world.takes(Line(SHARE, world.reference(0)), Line(SHARE, world.reference(1)))
    late = [
        Line(-SHARE - 2, world.reference(0), "return", BOOKED_ON + DAY, "AM04", SHARE, 2),
        Line(500, "", "other", BOOKED_ON + DAY),
        Line(SHARE - 1, world.reference(2), on=BOOKED_ON + DAY),
    ]
    await world.takes(*late, opening=2 * SHARE)
    assert balances(await world.proof()) == (0, 20, 0, 20, 20, 0)
    proof = await world.proof(BOOKED_ON + DAY)
    assert balances(proof) == (20, 509, 12, 517, 517, 0)
    assert proof.suspense == 509
    assert proof.breaks == {
        Code.MISSING_IN_LEDGER: Waiting(1, 500, 500),
        Code.AMOUNT_MISMATCH: Waiting(1, 9, 9),
    }
    assert proof.in_transit == Sum(1, SHARE)
    assert (proof.coverage.first_on, proof.coverage.last_on, proof.coverage.missing) == (BOOKED_ON, BOOKED_ON + DAY, ())
    shown = proof.as_json()
    assert {name: shown[name] for name in ("account", "date", "closing", "book", "difference", "in_transit")} == {
        "account": "generic-csv", "date": "2019-07-16", "closing": "5.17", "book": "5.17", "difference": "0.00",
        "in_transit": "0.10",
    }  # fmt: skip
    assert await told(world) == {
        "lines": 5, "matched": 3, "pending": 0, "ignored": 0, "in_breaks": 2,
        "breaks": {"AMOUNT_MISMATCH": 1, "MISSING_IN_LEDGER": 1}, "difference": "0.00",
    }  # fmt: skip


async def test_I11_what_people_enter_by_hand_is_named(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(Line(SHARE, world.reference(0)))
    await posted(world, "by-hand:1", "deposit", BOOKED_ON, 77)
    proof = await world.proof()
    assert balances(proof) == (0, 10, 0, 10, 87, 0)
    assert proof.by_hand == 77
    assert proof.as_json()["entered_by_hand"] == "0.77"


async def test_I11_a_statement_that_was_posted_wrongly_shows_as_a_difference(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """The guard fires: nothing explains what passes itself off as a statement's."""
    world = await asked(engine, tmp_path)
    taken = await world.takes(Line(SHARE, world.reference(0)))
    await posted(world, f"wrong:statement:{taken.statement_id}:{BOOKED_ON}", "settlement", BOOKED_ON, 3)
    assert balances(await world.proof()) == (0, 10, 0, 10, 13, -3)
    assert (await told(world))["difference"] == "-0.03"
    await posted(world, f"unknown:statement:99:{BOOKED_ON}", "settlement", BOOKED_ON, 4)
    assert (await world.proof()).difference == -7


async def test_money_from_before_the_first_statement_is_confirmed_by_it(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await posted(world, "by-hand:1", "deposit", DEBIT, 500)
    assert (await world.proof(DEBIT)).by_hand == 500
    await world.takes(Line(SHARE, world.reference(0)), opening=500)
    proof = await world.proof()
    assert balances(proof) == (0, 10, 0, 510, 510, 0)
    assert proof.by_hand == 0


async def test_what_comes_after_a_lock_is_posted_later_and_stands_in_the_strip(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await asked(engine, tmp_path)
    await world.world.sql("UPDATE plans SET locked_through = :day", day=BOOKED_ON)
    await world.takes(Line(SHARE, world.reference(0)))
    proof = await world.proof()
    assert balances(proof) == (0, 10, 0, 10, 0, 0)
    assert proof.posted_later == 10
    after = await world.proof(BOOKED_ON + DAY)
    assert balances(after) == (10, 0, 0, 10, 10, 0)
    assert after.posted_later == 0


async def test_a_statement_over_several_days_is_proved_within(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(
        Line(SHARE, world.reference(0)),
        Line(SHARE, world.reference(1), on=BOOKED_ON + 2 * DAY),
        Line(-SHARE, world.reference(0), "return", BOOKED_ON + 2 * DAY, "AM04", SHARE),
        Line(-3, "", "charge", BOOKED_ON + 3 * DAY),
    )
    async with engine.connect() as connection:
        custodian = await custodian_of(connection, world.custodian.code)
        found = await strips(connection, custodian, BOOKED_ON - DAY, BOOKED_ON + 4 * DAY)
    # What comes and goes on one day is posted in one sum.
    assert [balances(each) for each in found] == [
        (0, 0, 0, 0, 0, 0), (0, 10, 0, 10, 10, 0), (10, 0, 0, 10, 10, 0), (10, 0, 0, 10, 10, 0), (10, 0, 3, 7, 7, 0),
        (7, 0, 0, 7, 7, 0),
    ]  # fmt: skip
    assert [len(each.coverage.missing) for each in found] == [0, 0, 0, 0, 0, 1]


async def test_a_strip_is_the_proof_of_each_of_its_days(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(Line(SHARE + 1, world.reference(0)), Line(7, "", on=BOOKED_ON + DAY))
    await world.takes(Line(9, "", on=BOOKED_ON + 2 * DAY), opening=SHARE + 8)
    await world.world.sql(
        "UPDATE breaks SET state = 'resolved', closed_on = :day WHERE amount_minor = 7", day=BOOKED_ON + 3 * DAY
    )
    async with engine.connect() as connection:
        custodian = await custodian_of(connection, world.custodian.code)
        days = [BOOKED_ON + (each - 1) * DAY for each in range(6)]
        each_day = [await proof_of(connection, custodian, day) for day in days]
        assert [sum(each.count for each in proof.breaks.values()) for proof in each_day] == [0, 1, 2, 3, 2, 2]
        for first in range(len(days)):
            assert await strips(connection, custodian, days[first], days[-1]) == each_day[first:]


async def test_days_that_no_statement_speaks_of_are_missing(engine: AsyncEngine, tmp_path: Path) -> None:
    holiday = BOOKED_ON + DAY
    days = BusinessDays(roll=Roll.FOLLOWING, holidays=(holiday,))
    world = await asked(engine, tmp_path, profile=profile_of(business_days=days))
    await world.takes(Line(SHARE, world.reference(0)))
    friday = BOOKED_ON + 4 * DAY
    # Another opening balance: what lies between did not reach us.
    await world.takes(Line(SHARE, world.reference(1), on=friday), opening=99, state="parked")
    proof = await world.proof(friday + 2 * DAY)
    wednesday = BOOKED_ON + 2 * DAY
    assert proof.coverage.missing == (wednesday, wednesday + DAY, friday)
    assert proof.coverage.as_json() == {
        "first": "2019-07-15", "last": "2019-07-15", "missing": ["2019-07-17", "2019-07-18", "2019-07-19"], "parked": 1,
    }  # fmt: skip
    assert proof.closing == proof.book == SHARE


async def test_one_account_holds_several_plans(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    other = await build(engine, world.world.rules.model_copy(update={"code": "another"}), alike(1))
    async with engine.begin() as connection:
        await assign(connection, world.custodian.code, other.plan_id, actor=ACTOR)
    taken = await world.takes(Line(SHARE, world.reference(0)))
    # A resolution moves money from one plan to the other: the account does not feel it.
    await posted(world, "decision:1:transfer", "resolution", BOOKED_ON, -4)
    await posted(world, "decision:1:transfer:1", "resolution", BOOKED_ON, 4, other.plan_id)
    assert taken.statement_id is not None
    proof = await world.proof()
    assert balances(proof) == (0, 10, 0, 10, 10, 0)
    assert proof.by_hand == 0


async def test_I10_lines_that_nobody_decided_are_found(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(Line(SHARE, world.reference(0)))
    await world.world.sql("UPDATE statements SET lines = 2")
    with pytest.raises(NotConserved, match=r"2 lines came, 1 were decided \[I10\]"):
        await told(world)
