"""Deposits: top-ups from a file, the first of a shard, automatic ones; and coming back from a freeze."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.deposits import TakenTopUps, take_top_ups
from engine.members.returning import Owed, Returned, come_back, owed
from engine.plans import NEVER, day_number
from engine.store.tables import SHARD_SEATS
from tests.integration.prepaid import held_by, known, opened, paying, prepaid
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

TODAY = date(2019, 12, 31)

PAID = date(2019, 6, 3)


async def taken(world: World, path: Path) -> TakenTopUps:
    async with world.engine.begin() as connection:
        return await take_top_ups(connection, world.plan, path, on=TODAY, actor="cashier")


def file(folder: Path, *lines: str, name: str = "paid.csv", header: str = "member_ref,amount,paid_on") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines, ""]), "utf-8")
    return path


async def cost(world: World, ref: str, on: date) -> Owed:
    async with world.engine.connect() as connection:
        return await owed(connection, world.plan, world.rules, ref, on=on)


async def back(world: World, ref: str, amount_minor: int, on: date) -> Returned:
    async with world.engine.begin() as connection:
        return await come_back(connection, world.plan, world.rules, ref, amount_minor, on=on, actor="cashier")


# First deposits.


async def test_first_deposits_are_one_dense_journal_with_its_checkpoint(engine: AsyncEngine) -> None:
    world = await paying(engine, [900, 900, 1800], [900])
    assert (await held_by(world), await held_by(world, 2)) == ([900, 900, 1800], [900])
    journals = await world.rows("SELECT shard_id, kind, idempotency_key FROM journals ORDER BY 1")
    assert journals == [(world.shard(number), "deposit", "opening") for number in (1, 2)]
    assert await world.value("SELECT count(*) FROM balances") == 2
    assert await opened(world, [900, 900, 1800], [900]) == [
        TakenTopUps(3, 3600, repeated=True),
        TakenTopUps(1, 900, repeated=True),
    ]
    assert await world.accounts() == {Account.CUSTODIAN_CASH: 4500, Account.MEMBER_DEPOSITS: -4500}
    assert await world.problems() == []


async def test_first_deposits_below_zero_or_of_a_plan_that_is_not_prepaid_are_refused(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidInput, match="a first deposit is below zero"):
        await paying(engine, [900, -1])
    mandate = await build(engine, rules_of_preset(), alike(1))
    with pytest.raises(InvalidInput, match="xianghubao is not prepaid: nobody pays in beforehand"):
        await opened(mandate, [900])


# Top-ups from a file.


async def test_top_ups_are_taken_once_a_journal_per_shard(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await paying(engine, [900, 900, 900], [900, 900])
    far = f"M{SHARD_SEATS + 1}"
    path = file(tmp_path, "M2,10,2019-06-03", f"{far},0.5,2019-06-02", "M0,7.10,2019-06-03", "M2,1,2019-06-01")
    assert await taken(world, path) == TakenTopUps(4, 1860)
    assert (await held_by(world), await held_by(world, 2)) == ([1610, 900, 2000], [900, 950])
    again = file(tmp_path, *path.read_text("utf-8").split()[1:], name="copy.csv")
    assert await taken(world, again) == TakenTopUps(4, 0, repeated=True)
    journals = "SELECT shard_id, effective_on FROM journals WHERE idempotency_key LIKE 'top-ups:%' ORDER BY 1"
    assert await world.rows(journals) == [(world.shard(1), PAID), (world.shard(2), PAID)]
    assert await world.accounts() == {Account.CUSTODIAN_CASH: 6360, Account.MEMBER_DEPOSITS: -6360}
    assert await world.problems() == []
    audited = await world.rows("SELECT actor, act, detail ->> 'amount_minor' FROM audit_log WHERE act = 'take top-ups'")
    assert audited == [("cashier", "take top-ups", "1860")]


async def test_every_wrong_line_is_named_and_nothing_is_taken(engine: AsyncEngine, tmp_path: Path) -> None:
    seats = alike(5)
    ended_on = np.array([NEVER, day_number(PAID), NEVER, day_number(PAID) + 1, NEVER], np.int32)
    frozen = np.array([0, 0, day_number(PAID) - 1, 0, 0], np.int32)
    frozen_to = np.where(frozen > 0, NEVER, 0).astype(np.int32)
    columns = replace(seats, ended_on=ended_on, frozen_from=frozen, frozen_to=frozen_to)
    world = await known(await build(engine, prepaid(), columns))
    lines = ["M0,0,2019-06-03", "M0,-1,2019-06-03", "M0,ten,2019-06-03", "M0,1.001,2019-06-03", "M9,1,2019-06-03"]
    path = file(tmp_path, *lines, "M0,1,3 June", "M0,,2019-06-03", "M0,900000000,2019-06-03", "M0,9,9999-12-31")
    with pytest.raises(InvalidInput) as refused:
        await taken(world, path)
    assert [line.removeprefix("paid.csv, ") for line in str(refused.value).splitlines()] == [
        "line 8, amount: empty: is missing; every line needs one",
        "line 7, paid_on: '3 June': is not a date; write it like 1985-04-23",
        "line 10, paid_on: '9999-12-31': is still to come; it is 2019-12-31",
        "line 6, member_ref: 'M9': is no member of waterdrop",
        "line 2, amount: '0': is not above zero",
        "line 3, amount: '-1': is not above zero",
        "line 4, amount: 'ten': 'ten' is not an amount; write it like 300000 or 0.10",
        "line 5, amount: '1.001': '1.001' has more than 2 decimal places; amounts are exact to the minor unit",
        "line 9, amount: '900000000': is more than one member pays or gets at once",
        "nothing was changed; correct the file and try again",
    ]
    path = file(tmp_path, *(f"M{seat},5,2019-06-03" for seat in range(5)))
    with pytest.raises(InvalidInput) as refused:
        await taken(world, path)
    assert [line.removeprefix("paid.csv, ") for line in str(refused.value).splitlines()] == [
        "line 3, member_ref: 'M1': left on 2019-06-03; give the money back, or let them join again first",
        "line 4, member_ref: 'M2': is frozen since 2019-06-02; `fentan member return` takes it with the shares missed",
        "nothing was changed; correct the file and try again",
    ]
    with pytest.raises(InvalidInput, match="holds no top-ups; nothing was changed"):
        await taken(world, file(tmp_path))
    assert await held_by(world) == [0, 0, 0, 0, 0]
    assert await world.value("SELECT count(*) FROM imports") == 0


async def test_another_member_may_pay(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await paying(engine, [900, 900])
    header = "member_ref,amount,paid_on,payer_ref"
    with pytest.raises(InvalidInput, match="line 3, payer_ref: 'X1': is no member of waterdrop"):
        await taken(world, file(tmp_path, "M0,1,2019-06-03,M1", "M0,1,2019-06-03,X1", header=header))
    assert await taken(world, file(tmp_path, "M0,1,2019-06-03,M1", "M1,1,2019-06-03,", header=header)) == TakenTopUps(
        2, 200
    )
    assert await held_by(world) == [1000, 1000]


async def test_a_plan_that_debits_takes_no_top_ups(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await known(await build(engine, rules_of_preset(), alike(1)))
    with pytest.raises(InvalidInput, match="xianghubao is not prepaid"):
        await taken(world, file(tmp_path, "M0,5,2019-06-03"))


async def test_nothing_is_taken_once_the_books_are_closed(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await paying(engine, [900])
    await world.sql("UPDATE plans SET ended_on = '2021-03-31'")
    closed = "plan waterdrop ended on 2021-03-31, and its books are closed"
    with pytest.raises(InvalidInput, match=closed):
        await taken(world, file(tmp_path, "M0,5,2019-06-03"))
