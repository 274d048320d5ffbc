"""Coming back from a freeze: every share missed is paid, into the carry, and the floor is left (SCHEMES: waterdrop)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.returning import Owed, Returned, come_back, owed
from engine.members.sweep import Swept
from engine.plans import day_number
from engine.roster.columns import membership_on
from tests.integration.prepaid import held_by, paying, swept
from tests.integration.worlds import World

pytestmark = pytest.mark.integration

FIRST, SECOND, THIRD = date(2019, 7, 15), date(2019, 7, 28), date(2019, 8, 7)
"""Debit days. Who falls below the floor on the first is frozen from the day after."""


async def cost(world: World, on: date, ref: str = "M1") -> Owed:
    async with world.engine.connect() as connection:
        return await owed(connection, world.plan, world.rules, ref, on=on)


async def back(world: World, amount_minor: int, on: date, ref: str = "M1") -> Returned:
    async with world.engine.begin() as connection:
        return await come_back(connection, world.plan, world.rules, ref, amount_minor, on=on, actor="cashier")


async def frozen_since(world: World, on: date, ref: str = "M1") -> date | None:
    async with world.engine.connect() as connection:
        found = await membership_on(connection, world.plan_id, ref, on)
    assert found is not None
    frozen = found.frozen_from <= day_number(on) < found.frozen_to
    return date(1970, 1, 1) + timedelta(days=found.frozen_from) if frozen else None


@pytest.fixture
async def life(engine: AsyncEngine) -> World:
    """M1 of four fell below the floor in the first run, and two more were shared without it."""
    world = await paying(engine, [3000, 350, 3000, 3000])
    await world.claim(12_00, notice_on=date(2019, 7, 7))
    await world.sealed(FIRST)
    assert await held_by(world) == [2700, 50, 2700, 2700]
    await world.claim(3_00, notice_on=date(2019, 7, 14))  # before the freeze, but shared in it
    await world.claim(6_00, notice_on=date(2019, 7, 20))
    await world.sealed(SECOND)
    await world.claim(9_00, notice_on=date(2019, 7, 30))
    await world.sealed(THIRD)
    assert await held_by(world) == [2100, 50, 2100, 2100]
    return world


async def test_a_return_pays_what_was_missed_into_the_carry(life: World) -> None:
    assert await frozen_since(life, FIRST) is None
    assert await frozen_since(life, SECOND) == FIRST + timedelta(days=1)
    day = date(2019, 8, 10)
    found = await cost(life, day)
    assert found == Owed(
        seat=1,
        frozen_from=date(2019, 7, 16),
        return_by=date(2019, 8, 15),
        balance_minor=50,
        floor_minor=100,
        missed={2: 300, 3: 300},
    )
    assert (found.missed_minor, found.needed_minor) == (600, 650)
    with pytest.raises(InvalidInput) as refused:
        await back(life, 649, day)
    assert str(refused.value) == (
        "M1 needs to pay in 6.50 to return: 6.00 for shares missed, and to be left with 1.00 or more; "
        "the balance is 0.50"
    )
    assert await back(life, 1000, day) == Returned(seat=1, paid_minor=1000, missed_minor=600, balance_minor=450)
    assert await held_by(life) == [2100, 450, 2100, 2100]
    assert await frozen_since(life, day) is None
    assert await frozen_since(life, day - timedelta(days=1)) == date(2019, 7, 16)
    accounts = await life.accounts()
    assert accounts[Account.CARRY] == -600
    assert Account.SUSPENSE not in accounts
    with pytest.raises(InvalidInput, match="M1 is not frozen on 2019-08-10; `fentan member top-up` takes what they"):
        await back(life, 1000, day)
    assert await swept(life, day) == Swept()

    await life.claim(14_00, notice_on=date(2019, 8, 11))
    run = await life.sealed(date(2019, 8, 19))
    assert run.carry_in == 600, "what was missed lowers the next pool"
    assert await held_by(life) == [1900, 250, 1900, 1900]
    assert await life.tied_out(run)
    assert await life.problems() == []


async def test_a_return_is_possible_until_the_last_day(life: World) -> None:
    last = date(2019, 8, 15)
    assert (await cost(life, last)).return_by == last
    assert await swept(life, last) == Swept()
    with pytest.raises(InvalidInput, match="M1 is frozen since 2019-07-16; the 30 days to return ended on 2019-08-15"):
        await back(life, 10_000, last + timedelta(days=1))
    left = await swept(life, last + timedelta(days=1))
    assert left == Swept(lapsed=1, refunded=1, refunded_minor=50)
    with pytest.raises(InvalidInput, match="M1 left waterdrop on 2019-08-16; they can only join again"):
        await cost(life, last + timedelta(days=1))
    assert (await life.accounts())[Account.REFUNDS_PAYABLE] == -50
    assert await life.problems() == []


async def test_a_return_waits_for_the_run_that_holds_the_plan(life: World) -> None:
    await life.claim(9_00, notice_on=date(2019, 7, 31))
    run = await life.previewed(date(2019, 8, 8))
    with pytest.raises(InvalidInput, match=f"run {run.run_id} holds the plan's balances; a member returns once it is"):
        await back(life, 10_000, date(2019, 8, 8))
    await life.voided(run)
    assert (await back(life, 10_000, date(2019, 8, 8))).missed_minor == 600


async def test_a_voided_run_is_not_missed(life: World) -> None:
    state = await life.voided(await life.run(3))
    await life.worked(await life.run(3))
    assert (state, (await life.run(3)).state) == ("voiding", "voided")
    assert (await cost(life, date(2019, 8, 10))).missed == {2: 300}


async def test_who_is_not_frozen_has_nothing_to_return_from(life: World) -> None:
    day = date(2019, 8, 10)
    with pytest.raises(InvalidInput, match="there is no member X of waterdrop"):
        await cost(life, day, "X")
    with pytest.raises(InvalidInput, match="M0 is not frozen"):
        await cost(life, day, "M0")
    with pytest.raises(InvalidInput, match="the amount is below zero"):
        await back(life, -1, day)


async def test_who_was_frozen_on_request_pays_only_what_lay_in_the_freeze(engine: AsyncEngine) -> None:
    world = await paying(engine, [3000, 3000, 3000])
    await world.sql(
        "INSERT INTO roster_changes (shard_id, seat, kind, from_day, until_day, import_id)"
        " VALUES (:shard, 1, 'freeze', :day, 2147483647, 1)",
        shard=world.shard(1),
        day=day_number(date(2019, 7, 10)),
    )
    await world.claim(6_00, notice_on=date(2019, 7, 7))
    await world.claim(4_00, notice_on=date(2019, 7, 10))
    await world.sealed(date(2019, 7, 18))
    assert await held_by(world) == [2600, 2800, 2600]
    found = await cost(world, date(2019, 7, 20))
    assert (found.missed, found.needed_minor) == ({1: 200}, 0)
    assert (await back(world, 0, date(2019, 7, 20))).balance_minor == 2600
    assert await held_by(world) == [2600, 2600, 2600]
    assert await world.problems() == []


async def test_rounds_after_falling_below_the_floor_are_missed_too(engine: AsyncEngine) -> None:
    world = await paying(engine, [3000, 350, 3000, 3000])
    for notice_on, aid_minor in ((4, 1_00), (5, 11_00), (6, 6_00), (7, 8_10)):
        await world.claim(aid_minor, notice_on=date(2019, 7, notice_on))
    run = await world.sealed(FIRST)
    assert run.preview is not None
    assert [each["sharers"] for each in run.preview["rounds"]] == [4, 4, 3, 3]
    assert await held_by(world) == [2230, 50, 2230, 2230]
    await swept(world, SECOND)
    found = await cost(world, SECOND)
    assert (found.frozen_from, found.missed) == (FIRST + timedelta(days=1), {run.run_id: 200 + 270})
    assert (await back(world, 520, SECOND)).balance_minor == 100
    assert await world.problems() == []


async def test_who_returns_shares_the_cases_that_wait_with_everybody(life: World) -> None:
    await life.claim(8_00, notice_on=date(2019, 8, 2))  # in the freeze, and passed by the return
    assert (await cost(life, date(2019, 8, 10))).missed == {2: 300, 3: 300}
    assert (await back(life, 1000, date(2019, 8, 10))).missed_minor == 600
    assert await held_by(life) == [2100, 450, 2100, 2100]
    await life.claim(4_00, notice_on=date(2019, 8, 11))
    run = await life.sealed(date(2019, 8, 19))
    assert run.preview is not None
    assert [each["sharers"] for each in run.preview["rounds"]] == [4, 4]
    assert await held_by(life) == [1950, 300, 1950, 1950], "12.00 less 6.00 that was missed, by four"
    assert await life.problems() == []
