"""One member as they stand on a day: cover, freeze, balance, debts, and who pays for whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.members.member import Member, member_of
from engine.plans import NEVER, day_number
from tests.integration.prepaid import known, opened, prepaid
from tests.integration.worlds import DEBIT, JOINED, JULY, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

DAY = date(2019, 7, 20)


async def member(world: World, ref: str, on: date = DAY) -> Member:
    async with world.engine.connect() as connection:
        return await member_of(connection, world.plan, world.rules, ref, on=on)


async def test_a_family_in_joining_order(engine: AsyncEngine) -> None:
    """M3 pays for M0, M1, M2 and M5 has left; M4's payer has left; M6 pays for M4's old payer."""
    left = day_number(DAY)
    columns = replace(
        alike(7),
        shares_from=np.array([JOINED + 2, JOINED + 1, JOINED + 3, JOINED, JOINED, JOINED, JOINED], np.int32),
        ended_on=np.array([NEVER, NEVER, NEVER, NEVER, NEVER, left, NEVER], np.int32),
        payer=np.array([3, 3, 3, -1, 5, 3, -1], np.int32),
    )
    world = await known(await build(engine, rules_of_preset(family_payers=True), columns))
    await world.claim(notice_on=JULY)
    await world.sealed(DEBIT)
    assert [each.ref for each in (await member(world, "M3")).pays_for] == ["M1", "M0", "M2"]
    assert [each.ref for each in (await member(world, "M3", date(2019, 7, 19))).pays_for] == ["M5", "M1", "M0", "M2"]
    found = await member(world, "M1")
    assert (found.payer, found.pays_for, found.owed_minor, found.balance_minor) == ((3, "M3"), (), 10, None)
    assert (await member(world, "M4")).payer is None, "their payer left"
    assert (await member(world, "M4", date(2019, 7, 19))).payer is None, "their payer is paid for by another"
    assert not (await member(world, "M5")).in_force


async def test_a_frozen_member_with_a_balance(engine: AsyncEngine) -> None:
    frozen = np.array([0, day_number(DAY), day_number(DAY)], np.int32)
    until = np.array([0, NEVER, day_number(DAY) + 3], np.int32)
    world = await known(await build(engine, prepaid(), replace(alike(3), frozen_from=frozen, frozen_to=until)))
    await opened(world, [900, 50, 0])
    found = [await member(world, f"M{seat}") for seat in range(3)]
    assert [each.balance_minor for each in found] == [900, 50, 0]
    assert [(each.frozen_from, each.frozen_until) for each in found] == [
        (None, None),
        (DAY, None),
        (DAY, date(2019, 7, 23)),
    ]
    assert [each.tier for each in found] == ["member"] * 3
    before = await member(world, "M1", date(2019, 7, 19))
    assert (before.frozen_from, before.spell, before.seat, before.ends_on) == (None, 1, 1, None)


async def test_nobody_is_nobody(engine: AsyncEngine) -> None:
    world = await known(await build(engine, prepaid(), alike(1)))
    with pytest.raises(InvalidInput, match="there is no member M7 of waterdrop; check the reference"):
        await member(world, "M7")
