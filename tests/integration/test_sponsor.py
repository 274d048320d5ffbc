"""What a sponsor pays comes by statement, with the reference of its plan, and lowers what it owes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.reference import Kind, Reference
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, post
from engine.reconcile.custody import Quarter, custody_of
from engine.reconcile.sponsor import Sponsor, sponsor_of
from tests.integration.bank_statement import Line
from tests.integration.books import charge
from tests.integration.custody import Custody, custody

pytestmark = pytest.mark.integration

CASH, OWED = Account.CUSTODIAN_CASH, Account.SPONSOR_RECEIVABLE


async def sponsored(custody: Custody, rest: int, waived: list[int]) -> None:
    """A run that leaves this to the sponsor: the rest, and shares of seats."""
    plan_id = custody.world.plan_id
    lines = {account_id(plan_id, OWED): rest, account_id(plan_id, Account.RUN_CLEARING): -rest}
    async with custody.engine.begin() as connection:
        await post(connection, Journal(custody.world.shard(0), "run:7:seal", "seal", date(2019, 7, 14), lines))
        charged = charge(custody.world.shard(1), [0] * len(waived), waived=waived, run_id=7)
        await post(connection, charged)


async def found(custody: Custody) -> Sponsor:
    async with custody.engine.connect() as connection:
        return await sponsor_of(connection, custody.world.plan_id)


async def test_what_the_sponsor_pays_lowers_what_it_owes(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await sponsored(world, 500, [20, 0, 30, 0])
    owed = await found(world)
    assert (owed.owed_minor, owed.reference) == (550, Reference(Kind.SPONSOR, world.world.plan_id, 0, 0))
    paid = str(owed.reference)
    taken = await world.takes_lines(
        Line(600, paid, "top-up"),
        Line(600, paid, "top-up"),
        Line(-600, paid, "return", reason="AC04"),  # sent twice, and called back
        Line(-50, paid, "other"),  # the rest of it paid back
        Line(-3, paid, "charge"),
        Line(0, paid, "return", reason="AC04"),
    )
    assert await world.breaks() == []
    assert (await found(world)).owed_minor == 0
    books = await world.world.accounts()
    assert {code: books[code] for code in (CASH, OWED, Account.BANK_CHARGES)} == {
        CASH: 547, OWED: -50, Account.BANK_CHARGES: 3,
    }  # fmt: skip
    assert [(each.outcome.name, total.count) for each, total in taken.tally] == [("MATCHED", 5), ("IGNORED", 1)]


async def test_the_custody_report_shows_it(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    paid = str((await found(world)).reference)
    await world.takes_lines(Line(600, paid, "top-up"))
    await world.takes_lines(Line(-50, paid, "other", on=date(2019, 7, 16)), opening=600)
    async with engine.connect() as connection:
        report = await custody_of(connection, world.world.plan, Quarter(2019, 3))
    assert (report.inflow, report.outflow) == ({"paid by the sponsor": 600}, {"paid back to the sponsor": 50})
    assert (report.closing, report.difference) == (550, 0)


async def test_a_plan_whose_money_is_elsewhere_has_no_sponsor_here(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    elsewhere = str(Reference(Kind.SPONSOR, world.world.plan_id + 1, 0, 0))
    await world.takes_lines(Line(600, elsewhere, "top-up"), Line(0, elsewhere, "return"))
    assert await world.breaks() == [("UNKNOWN_REFERENCE", 600, 600)]
    assert (await found(world)).owed_minor == 0
