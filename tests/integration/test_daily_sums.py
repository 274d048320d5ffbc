"""Sums kept in memory say what the journals say, of any day, while others post."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from random import Random

import pytest
from sqlalchemy import event
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ledger.accounts import Account, account_id
from engine.ledger.daily_sums import DailySums
from engine.ledger.journals import Journal, post
from engine.ledger.trial_balance import difference, trial_balance
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

FIRST = date(2019, 1, 1)
PLAIN = [account for account in Account if not account.is_control]


def journal(world: World, random: Random, key: str) -> Journal:
    """Two or three lines on any shard and day."""
    accounts = random.sample(PLAIN, random.choice((2, 3)))
    amounts = [random.randrange(-(10**12), 10**12) for _ in accounts[1:]]
    lines = {account_id(world.plan_id, code): n for code, n in zip(accounts, [-sum(amounts), *amounts], strict=True)}
    on = FIRST + timedelta(days=random.randrange(5))
    return Journal(world.shard(random.randrange(3)), key, "settlement", on, lines)


@pytest.mark.parametrize("seed", range(3))
async def test_they_are_the_trial_balance_of_any_day(engine: AsyncEngine, seed: int) -> None:
    random, sums = Random(seed), DailySums()
    world = await build(engine, rules_of_preset(), alike(2), alike(2))
    other = await build(engine, rules_of_preset().model_copy(update={"code": "other"}), alike(2))
    for step in range(12):
        async with engine.begin() as connection:
            for number in range(random.randrange(4)):
                await post(connection, journal(world, random, f"{step}:{number}"))
        async with engine.connect() as connection:
            for as_of in (None, *(FIRST + timedelta(days=day) for day in (-1, 0, 2, 4)), date.min, date.max):
                found = await sums.trial_balance(connection, world.plan_id, as_of)
                assert found == await trial_balance(connection, world.plan_id, as_of), (step, as_of)
                assert difference(found) == 0
            assert await sums.trial_balance(connection, other.plan_id) == []


async def test_those_who_ask_at_once_share_one_look_and_miss_nothing(engine: AsyncEngine) -> None:
    random, sums = Random(4), DailySums()
    world = await build(engine, rules_of_preset(), alike(2), alike(2))
    looks: list[str] = []

    def counted(_: object, __: object, statement: str, *___: object) -> None:
        looks.append(statement)

    async def asked(posted: int) -> None:
        async with engine.connect() as connection:
            found = await sums.trial_balance(connection, world.plan_id)
        assert sum(line.debit for line in found) >= posted
        assert difference(found) == 0

    cash, interest = (account_id(world.plan_id, code) for code in (Account.CUSTODIAN_CASH, Account.INTEREST))
    for number in range(1, 6):
        async with engine.begin() as connection:
            lines = {cash: 1, interest: -1}
            shard = world.shard(random.randrange(3))
            await post(connection, Journal(shard, f"{number}", "settlement", FIRST, lines))
        event.listen(engine.sync_engine, "before_cursor_execute", counted)
        await asyncio.gather(*(asked(number) for _ in range(5)))
        event.remove(engine.sync_engine, "before_cursor_execute", counted)
    asked_for_seqs = [each for each in looks if "shards.seq" in each]
    assert 5 <= len(asked_for_seqs) <= 5 * 4, "fewer looks than readers"
    assert sum("unnest" in each for each in looks) == 5, "what was posted is read once"


async def test_a_look_that_fails_answers_nobody(engine: AsyncEngine) -> None:
    random, sums = Random(6), DailySums()
    world = await build(engine, rules_of_preset(), alike(2), alike(2))
    async with engine.connect() as gone:
        await gone.close()
        for key in ("one", "two"):
            async with engine.begin() as connection:
                await post(connection, journal(world, random, key))
            async with engine.connect() as first, engine.connect() as last:
                asked = (sums.trial_balance(each, world.plan_id) for each in (first, gone, last))
                found = await asyncio.gather(*asked, return_exceptions=True)
                assert isinstance(found[1], ResourceClosedError)
                assert found[0] == found[2] == await trial_balance(first, world.plan_id)


async def test_a_database_restored_to_what_it_was_is_read_anew(engine: AsyncEngine) -> None:
    random, sums = Random(5), DailySums()
    world = await build(engine, rules_of_preset(), alike(2), alike(2))
    async with engine.begin() as connection:
        await post(connection, journal(world, random, "one"))
        async with connection.begin_nested() as later:
            for number in range(9):
                await post(connection, journal(world, random, f"{number}"))
            assert await sums.trial_balance(connection, world.plan_id) == await trial_balance(connection, world.plan_id)
            await later.rollback()
        assert await sums.trial_balance(connection, world.plan_id) == await trial_balance(connection, world.plan_id)
