"""Levies: entry premiums and dormant fees, once each, of who owes them, and in no cap."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.levies import Levied, levy
from engine.members.sweep import Swept
from engine.plans import NEVER, PlanRules, day_number
from engine.roster.columns import Columns
from tests.integration.prepaid import held_by, opened, swept
from tests.integration.worlds import DEBIT, JULY, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

YOUNG = {"name": "entry-to-28", "on": "joining", "amount": "9", "from_age": 0, "to_age": 28}
OLD = {"name": "entry-from-29", "on": "joining", "amount": "99", "from_age": 29, "to_age": 70}
DORMANT = {"name": "dormant-fee", "on": "dormant_quarter", "amount": "2"}


def mandate(**tables: Any) -> PlanRules:
    """xianghubao with levies; all of these worlds were born on 1990-05-05, so 29 on 2019-05-05."""
    return rules_of_preset(levies=[YOUNG, OLD, DORMANT], exits=None, **tables)


def prepaid() -> PlanRules:
    return rules_of_preset("qingsong", levies=[DORMANT, YOUNG])


def joined(*days: date) -> Columns:
    return replace(alike(len(days)), shares_from=np.array([day_number(day) for day in days], np.int32))


async def charged(world: World, name: str, on: date) -> Levied:
    async with world.engine.begin() as connection:
        return await levy(connection, world.plan, world.rules, name, on=on, actor="finance")


async def test_who_joins_pays_the_entry_premium_of_their_age_once(engine: AsyncEngine) -> None:
    day = date(2019, 5, 4)
    columns = joined(day, date(2019, 5, 5), date(2018, 11, 26), date(2019, 6, 1), date(2018, 11, 27))
    world = await build(engine, mandate(), columns, joined(day))
    assert await charged(world, "entry-to-28", date(2019, 5, 3)) == Levied(1, 900)
    assert await charged(world, "entry-to-28", day) == Levied(2, 1800)
    assert await charged(world, "entry-to-28", day) == Levied(repeated=True)
    assert await charged(world, "entry-to-28", date(2019, 7, 1)) == Levied()
    assert await charged(world, "entry-from-29", date(2019, 5, 5)) == Levied(1, 9900)
    assert await charged(world, "entry-from-29", date(2019, 6, 2)) == Levied(1, 9900)
    assert (await world.owed(1)).tolist() == [900, 9900, 0, 9900, 900], "not who came from the plan before"
    assert await world.accounts() == {
        Account.CONTRIBUTIONS_RECEIVABLE: 22_500,
        Account.ENTRY_PREMIUMS_AND_LEVIES: -22_500,
    }
    assert await world.problems() == []
    audited = await world.value("SELECT count(*) FROM audit_log WHERE act = 'levy'")
    assert audited == 4, "one each time anybody was charged"


async def test_a_levy_counts_in_no_cap(engine: AsyncEngine) -> None:
    caps = {"per_year": [{"amount": "9", "from_year": 2019}], "per_case": "8"}
    world = await build(engine, mandate(caps=caps), joined(date(2019, 5, 1), date(2019, 5, 1)))
    assert await charged(world, "entry-to-28", date(2019, 6, 1)) == Levied(2, 1800)
    await world.claim(12_00, notice_on=JULY)
    run = await world.sealed(DEBIT)
    assert [each.tolist() for each in await world.charged(run)] == [[648, 648]]
    assert (await world.owed(1)).tolist() == [1548, 1548]
    assert await world.problems() == []


async def test_who_shared_nothing_for_a_quarter_pays_the_dormant_fee(engine: AsyncEngine) -> None:
    quarter = date(2019, 7, 1)
    days = [date(2019, 1, 1), date(2019, 7, 8), quarter, date(2019, 7, 2), date(2019, 1, 1), date(2019, 1, 1)]
    columns = joined(*days)
    ended_on = np.array([NEVER, NEVER, NEVER, NEVER, day_number(date(2019, 9, 30)), NEVER], np.int32)
    frozen = np.array([0, 0, 0, 0, 0, day_number(JULY) - 3], np.int32)
    frozen_to = np.where(frozen > 0, NEVER, 0).astype(np.int32)
    columns = replace(columns, ended_on=ended_on, frozen_from=frozen, frozen_to=frozen_to)
    world = await build(engine, mandate(), columns, joined(quarter, quarter))
    assert await charged(world, "dormant-fee", date(2019, 9, 30)) == Levied(3, 600), "of April to June"
    assert await charged(world, "dormant-fee", date(2019, 10, 1)) == Levied(4, 800)
    assert await charged(world, "dormant-fee", date(2019, 12, 31)) == Levied(repeated=True)
    assert (await world.owed(1)).tolist() == [400, 0, 200, 0, 200, 200]
    assert await world.problems() == []


async def test_who_was_charged_in_the_quarter_is_not_dormant_unless_it_was_voided(engine: AsyncEngine) -> None:
    world = await build(engine, mandate(), alike(3))
    await world.exits(2, day_number(JULY))
    await world.claim(notice_on=JULY)
    run = await world.sealed(DEBIT)
    assert await charged(world, "dormant-fee", date(2019, 10, 1)) == Levied()
    other = await build(engine, rules_of_preset("xianghubao-chronic", levies=[DORMANT]), alike(3))
    await other.claim(notice_on=JULY)
    run = await other.sealed(DEBIT)
    await other.voided(run)
    await other.worked(run)
    assert await charged(other, "dormant-fee", date(2019, 10, 1)) == Levied(3, 600)


async def test_a_prepaid_levy_is_drawn_down_to_zero(engine: AsyncEngine) -> None:
    world = await build(engine, prepaid(), alike(4))
    await opened(world, [1000, 199, 0, 200])
    assert await charged(world, "dormant-fee", date(2019, 7, 1)) == Levied(3, 599, short=2, short_minor=201)
    assert await charged(world, "dormant-fee", date(2019, 7, 2)) == Levied(repeated=True)
    assert await held_by(world) == [800, 0, 0, 0]
    assert (await world.accounts())[Account.ENTRY_PREMIUMS_AND_LEVIES] == -599
    assert await world.problems() == []


async def test_who_falls_below_the_floor_by_a_levy_has_the_days_to_return_from_then(engine: AsyncEngine) -> None:
    world = await build(engine, prepaid(), alike(2))
    await opened(world, [1000, 450])
    await world.claim(notice_on=JULY, aid_minor=500)
    await world.sealed(DEBIT)
    assert (await charged(world, "dormant-fee", date(2020, 1, 7))).seats == 2
    assert await swept(world, date(2020, 1, 8)) == Swept(frozen=1)
    frozen_from = await world.value("SELECT from_day FROM roster_changes WHERE kind = 'freeze'")
    assert frozen_from == day_number(date(2020, 1, 8)), "since the day after the levy, not after the run in July"
    assert await swept(world, date(2020, 2, 7)) == Swept(), "the last of thirty days to return"
    assert (await swept(world, date(2020, 2, 8))).lapsed == 1


async def test_a_levy_waits_for_the_run_that_holds_the_plan(engine: AsyncEngine) -> None:
    world = await build(engine, mandate(), alike(3))
    await world.claim(notice_on=JULY)
    run = await world.previewed(DEBIT)
    with pytest.raises(InvalidInput, match=f"run {run.run_id} holds the plan's balances; charge dormant-fee once it"):
        await charged(world, "dormant-fee", DEBIT)


async def test_a_levy_the_plan_has_not_is_refused(engine: AsyncEngine) -> None:
    world = await build(engine, mandate(), alike(1))
    with pytest.raises(InvalidInput, match="no levy 'entry'; its levies are entry-to-28, entry-from-29, dormant-fee"):
        await charged(world, "entry", DEBIT)
    bare = await build(engine, rules_of_preset("xianghubao-chronic"), alike(1))
    with pytest.raises(InvalidInput, match="xianghubao-chronic has no levy 'entry'; its levies are none"):
        await charged(bare, "entry", DEBIT)
