"""The custody report on real PostgreSQL: what came in and went out of a plan's account in a quarter, by kind."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, Segment, post
from engine.reconcile.custody import Custody, Quarter, custody_of
from tests.integration.bank_statement import BOOKED_ON, Line
from tests.integration.prepaid import opened, prepaid
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import World, alike, build

pytestmark = pytest.mark.integration

SHARE = 10
Q2, Q3, Q4 = (Quarter(2019, number) for number in (2, 3, 4))


async def report(world: World, quarter: Quarter = Q3) -> Custody:
    async with world.engine.connect() as connection:
        return await custody_of(connection, world.plan, quarter)


async def settled(world: Asked, key: str, number: int, code: Account, amounts: dict[int, int], on: date) -> None:
    """A settlement against cash by position."""
    plan_id = world.world.plan_id
    account, cash = account_id(plan_id, code), account_id(plan_id, Account.CUSTODIAN_CASH)
    total = sum(amounts.values())
    segment = Segment(account, np.array(list(amounts.values()), np.int64), np.array(list(amounts), np.int32))
    detail = (segment,) if code.is_control else ()
    async with world.world.engine.begin() as connection:
        journal = Journal(plan_shard(plan_id) + number, key, "settlement", on, {account: total, cash: -total}, detail)
        await post(connection, journal)


async def test_a_quarter_is_opening_and_flows_by_kind_and_the_books(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await asked(engine, tmp_path)
    await world.takes(
        Line(SHARE, world.reference(0)),
        Line(SHARE, world.reference(1)),
        Line(SHARE, world.reference(2)),
        Line(40, "", "other"),
        Line(7, "", "interest"),
        Line(-2, "", "charge"),
    )
    # The same day as another comes in: a day's collections and returns are not netted.
    await world.takes(
        Line(-SHARE - 3, world.reference(0), "return", BOOKED_ON + timedelta(days=1), "AM04", SHARE, 3),
        Line(SHARE, world.reference(3), on=BOOKED_ON + timedelta(days=1)),
        opening=75,
    )
    first, october = BOOKED_ON + timedelta(days=2), date(2019, 10, 1)
    await settled(world, "run:1:statement:3:2019-07-17", 0, Account.PAYOUTS_IN_TRANSIT, {0: 20}, first)
    await settled(world, "refund:1:statement:3:2019-07-17", 1, Account.PAYOUTS_IN_TRANSIT, {0: 4}, first)
    await settled(world, "run:1:statement:4:2019-07-17", 0, Account.AID_PAYABLE, {0: -5}, first)
    await settled(world, "run:1:statement:5:2019-10-01", 1, Account.CONTRIBUTIONS_RECEIVABLE, {1: 9}, october)
    found = await report(world.world)
    assert found.inflow == {
        "shares collected": 4 * SHARE, "payouts that came back": 5, "unknown receipts": 40, "interest": 7,
    }  # fmt: skip
    assert found.outflow == {"debits that came back": SHARE, "aid paid": 20, "refunds paid": 4, "bank charges": 5}
    assert (found.opening, found.closing, found.book, found.difference) == (0, 53, 53, 0)
    shown = found.as_json()
    assert (shown["from"], shown["to"], shown["quarter"]) == ("2019-07-01", "2019-09-30", "2019Q3")
    assert (shown["inflow_total"], shown["outflow_total"], shown["closing"], shown["difference"]) == (
        "0.92", "0.39", "0.53", "0.00",
    )  # fmt: skip
    after = await report(world.world, Q4)
    assert (after.opening, after.inflow, after.outflow, after.book) == (53, {}, {"debits that came back": 9}, 44)


async def test_top_ups_are_a_kind_of_their_own(engine: AsyncEngine) -> None:
    plan = await build(engine, prepaid(), alike(2))
    await opened(plan, [5_00, 7_00])
    before = await report(plan, Q2)
    assert (before.inflow, before.outflow, before.book) == ({"deposits paid in": 12_00}, {}, 12_00)
    assert (await report(plan)).opening == 12_00


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("2019Q1", date(2019, 1, 1), date(2019, 3, 31)),
        ("2019-q2", date(2019, 4, 1), date(2019, 6, 30)),
        (" 2020Q3", date(2020, 7, 1), date(2020, 9, 30)),
        ("2019Q4", date(2019, 10, 1), date(2019, 12, 31)),
    ],
)
def test_a_quarter_is_three_months(said: str, first: date, last: date) -> None:
    quarter = Quarter.read(said)
    assert (quarter.first_on, quarter.last_on) == (first, last)


@pytest.mark.parametrize("said", ["2019Q5", "2019", "Q3", "19Q3", "0000Q1", "2019Q33"])
def test_what_is_no_quarter_is_refused(said: str) -> None:
    with pytest.raises(InvalidInput, match="is no quarter; write it like 2019Q3"):
        Quarter.read(said)
