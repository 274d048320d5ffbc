"""The sweep: who leaves by age, after aid, after not returning; who freezes; what is owed back. Twice is once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.collection import Settled, Unpaid, collect, exit_unpaid
from engine.members.deposits import open_deposits
from engine.members.sweep import Swept
from engine.plans import NEVER, PlanRules, day_number
from engine.roster.columns import Columns
from engine.roster.plan import lock_roster
from engine.store.tables import SHARD_SEATS
from tests.integration.prepaid import held_by, known, opened, paying, prepaid, swept
from tests.integration.worlds import DEBIT, JULY, LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

TURNS_60 = date(2050, 5, 5)
"""All of these worlds were born on 1990-05-05."""


def plain(**exits: object) -> PlanRules:
    """xianghubao, without its other rules about members."""
    return rules_of_preset(exits={"at_age": None, "after_aid": None} | exits, ends_on=None, wind_down=None)


async def changes(world: World) -> list[tuple[object, ...]]:
    """What rules made of the roster: seat, kind, from, until, reason."""
    return await world.rows(
        "SELECT seat, kind, from_day, until_day, reason FROM roster_changes WHERE import_id IS NULL ORDER BY seat, 3"
    )


def until(columns: Columns, *ends: int) -> Columns:
    return replace(columns, ended_on=np.array(ends, np.int32))


# Exits.


async def test_who_reaches_the_age_leaves_on_that_birthday(engine: AsyncEngine) -> None:
    birthday = day_number(TURNS_60)
    seats = until(alike(4), NEVER, birthday - 1, birthday, birthday + 1)
    world = await build(engine, plain(at_age=60), seats, alike(1))
    assert await swept(world, TURNS_60 - timedelta(days=1)) == Swept()
    assert await swept(world, TURNS_60) == Swept(aged=3)
    assert await changes(world) == [(seat, "exit", birthday, None, "age") for seat in (0, 3, SHARD_SEATS)]
    assert await swept(world, TURNS_60 + timedelta(days=400)) == Swept()


async def test_who_received_aid_leaves_the_day_after_the_debit(engine: AsyncEngine) -> None:
    world = await build(engine, plain(after_aid=True), alike(5), alike(2))
    await world.claim(notice_on=JULY)
    assert await swept(world, DEBIT) == Swept()
    await world.sealed(DEBIT)
    assert await swept(world, DEBIT) == Swept(), "they leave tomorrow"
    tomorrow = DEBIT + timedelta(days=1)
    assert await swept(world, tomorrow) == Swept(aided=1)
    assert await swept(world, tomorrow) == Swept()
    assert await changes(world) == [(0, "exit", day_number(tomorrow), None, "aid")]
    await world.claim(notice_on=LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    assert [(amounts > 0).tolist() for amounts in await world.charged(run)] == [[False] + [True] * 4, [True] * 2]


async def test_a_run_that_was_voided_gave_no_aid(engine: AsyncEngine) -> None:
    world = await build(engine, plain(after_aid=True), alike(5))
    await world.claim(notice_on=JULY)
    run = await world.sealed(DEBIT)
    await world.voided(run)
    await world.worked(run)
    assert await swept(world, DEBIT + timedelta(days=9)) == Swept()


# Freezes.


async def test_who_is_below_the_floor_freezes_after_the_last_debit(engine: AsyncEngine) -> None:
    world = await paying(engine, [900, 350, 99, 100], [0])
    assert await swept(world, date(2019, 7, 1)) == Swept(frozen=2), "no run yet: from that day on"
    await world.claim(9_00, notice_on=JULY)
    await world.sealed(date(2019, 7, 15))
    assert await held_by(world) == [600, 50, 99, 0]
    assert await swept(world, date(2019, 7, 20)) == Swept(frozen=2)
    assert await swept(world, date(2019, 7, 20)) == await swept(world, date(2019, 7, 21)) == Swept()
    since_july, since_run = day_number(date(2019, 7, 1)), day_number(date(2019, 7, 16))
    assert await changes(world) == [
        (1, "freeze", since_run, NEVER, "floor"),
        (2, "freeze", since_july, NEVER, "floor"),
        (3, "freeze", since_run, NEVER, "floor"),
        (SHARD_SEATS, "freeze", since_july, NEVER, "floor"),
    ]
    assert await world.problems() == []


async def test_a_run_sweeps_by_itself_and_does_not_count_the_frozen(engine: AsyncEngine) -> None:
    world = await paying(engine, [900, 99, 900])
    await world.claim(4_00, notice_on=JULY)
    run = await world.sealed(date(2019, 7, 15))
    assert await held_by(world) == [700, 99, 700]
    assert run.preview is not None
    assert run.preview["sharers"] == 2
    assert await changes(world) == [(1, "freeze", day_number(date(2019, 7, 15)), NEVER, "floor")]


async def test_a_run_of_a_day_to_come_ends_nobody_who_may_still_return(engine: AsyncEngine) -> None:
    notice_on, debit_on = date(2100, 7, 7), date(2100, 7, 15)
    seats = alike(3)
    frozen_from = np.array([0, day_number(date(2100, 6, 10)), 0], np.int32)
    frozen = replace(seats, frozen_from=frozen_from, frozen_to=np.array([0, NEVER, 0], np.int32))
    aid = [{"from_age": 18, "to_age": 150, "amount": "300000"}]
    rules = prepaid(ends_on=None, wind_down=None, claims={"maximum_age_years": 150}, aid=aid)
    world = await build(engine, rules, frozen)
    await opened(world, [900, 50, 900])
    await world.claim(4_00, notice_on=notice_on)
    run = await world.sealed(debit_on)
    assert [amounts.tolist() for amounts in await world.charged(run, Account.MEMBER_DEPOSITS)] == [[200, 0, 200]]
    assert await changes(world) == []
    assert await swept(world, debit_on) == Swept(lapsed=1, refunded=1, refunded_minor=50)


async def test_who_does_not_return_leaves_and_is_owed_the_balance(engine: AsyncEngine) -> None:
    world = await paying(engine, [900, 50])
    frozen = date(2019, 7, 1)
    assert await swept(world, frozen) == Swept(frozen=1)
    assert await swept(world, frozen + timedelta(days=30)) == Swept()
    gone = frozen + timedelta(days=31)
    assert await swept(world, gone) == Swept(lapsed=1, refunded=1, refunded_minor=50)
    assert await swept(world, gone) == Swept()
    assert (await changes(world))[1] == (1, "exit", day_number(gone), None, "not returned")
    assert await held_by(world) == [900, 0]
    assert (await world.accounts())[Account.REFUNDS_PAYABLE] == -50
    assert await world.problems() == []


async def test_where_nobody_swept_for_long_one_sweep_freezes_ends_and_owes_back(engine: AsyncEngine) -> None:
    world = await paying(engine, [900, 150, 150])
    await world.claim(3_00, notice_on=JULY)
    await world.sealed(date(2019, 7, 15))
    assert await held_by(world) == [800, 50, 50]
    late = date(2019, 7, 16) + timedelta(days=31)
    assert await swept(world, late) == Swept(frozen=2, lapsed=2, refunded=2, refunded_minor=100)
    assert await swept(world, late) == Swept()
    frozen = day_number(date(2019, 7, 16))
    assert (await changes(world))[:2] == [
        (1, "freeze", frozen, NEVER, "floor"),
        (1, "exit", frozen + 31, None, "not returned"),
    ]
    assert await world.problems() == []


# Refunds.


async def test_who_left_is_owed_the_balance_once(engine: AsyncEngine) -> None:
    gone = day_number(date(2019, 6, 20))
    world = await known(
        await build(engine, prepaid(), until(alike(4), NEVER, gone, gone + 1, gone), until(alike(1), gone))
    )
    await opened(world, [900, 700, 900, 0], [300])
    assert await swept(world, date(2019, 6, 20)) == Swept(frozen=0, refunded=2, refunded_minor=1000)
    assert await swept(world, date(2019, 6, 20)) == Swept()
    await opened_again(world)
    assert await swept(world, date(2019, 6, 20)) == Swept(refunded=1, refunded_minor=5), "what came in on the same day"
    assert await swept(world, date(2019, 6, 21)) == Swept(refunded=1, refunded_minor=900)
    assert (await held_by(world), await held_by(world, 2)) == ([900, 0, 0, 0], [0])
    assert (await world.accounts())[Account.REFUNDS_PAYABLE] == -1905
    assert await world.problems() == []


async def opened_again(world: World) -> None:
    async with world.engine.begin() as connection:
        amounts = np.array([0, 5], np.int64)
        await open_deposits(connection, world.plan, world.shard(1), amounts, on=date(2019, 6, 20), key="late")


async def test_a_leaver_still_owes_the_cases_whose_gates_they_covered(engine: AsyncEngine) -> None:
    world = await known(await build(engine, prepaid(), until(alike(3), NEVER, NEVER, day_number(JULY) + 1)))
    await opened(world, [900, 900, 900])
    await world.claim(6_00, notice_on=JULY)
    assert await swept(world, date(2019, 7, 10)) == Swept(), "the claim of the notice day is still to be shared"
    await world.sealed(date(2019, 7, 15))
    assert await held_by(world) == [700, 700, 700]
    assert await swept(world, date(2019, 7, 15)) == Swept(refunded=1, refunded_minor=700)
    assert await world.problems() == []


async def test_refunds_and_freezes_wait_while_a_run_holds_the_plan(engine: AsyncEngine) -> None:
    world = await known(await build(engine, prepaid(), until(alike(3), NEVER, NEVER, day_number(JULY) + 3)))
    await opened(world, [900, 900, 900])
    await world.claim(4_00, notice_on=JULY + timedelta(days=5))
    run = await world.planned(date(2019, 7, 20))
    await world.sql("UPDATE share_runs SET state = 'frozen' WHERE run_id = :run", run=run.run_id)
    assert await swept(world, date(2019, 7, 12)) == Swept()
    await world.sql("UPDATE share_runs SET state = 'planned' WHERE run_id = :run", run=run.run_id)
    assert await swept(world, date(2019, 7, 12)) == Swept(refunded=1, refunded_minor=900)


async def test_a_plan_without_such_rules_is_let_be(engine: AsyncEngine) -> None:
    world = await build(engine, plain(), alike(2))
    assert await swept(world, date(2100, 1, 1)) == Swept()


# What was not paid.


async def collected(world: World, run_id: int, *positions: int) -> Settled:
    paid = np.array(positions, np.int32) if positions else None
    async with world.engine.begin() as connection:
        return await collect(connection, run_id, world.shard(1), paid, on=LATE_JULY)


async def unpaid(world: World, run_id: int, *positions: int) -> Unpaid:
    async with world.engine.begin() as connection:
        await lock_roster(connection, world.plan_id)
        return await exit_unpaid(connection, run_id, world.shard(1), np.array(positions, np.int32))


async def test_who_pays_owes_nothing_and_who_does_not_leaves(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(unpaid={"retry_days": 5}, exits=None), alike(4))
    await world.claim(notice_on=JULY, aid_minor=35)
    run = await world.sealed(DEBIT)
    assert (await world.owed(1)).tolist() == [10, 10, 10, 10]
    assert await collected(world, run.run_id, 0, 3) == Settled(2, 20)
    assert await collected(world, run.run_id, 0, 3) == Settled(0, 0)
    assert (await world.owed(1)).tolist() == [0, 10, 10, 0]
    assert await unpaid(world, run.run_id, 0, 1) == Unpaid(1, Settled(1, 10)), "seat 0 has paid"
    assert await unpaid(world, run.run_id, 0, 1) == Unpaid(0, Settled(0, 0))
    leaves_on = day_number(date(2019, 7, 20))
    assert await changes(world) == [(1, "exit", leaves_on, None, "unpaid")]
    assert await collected(world, run.run_id) == Settled(1, 10)
    assert (await world.owed(1)).tolist() == [0, 0, 0, 0]
    accounts = await world.accounts()
    assert (accounts[Account.CUSTODIAN_CASH], accounts[Account.BAD_DEBT]) == (30, 10)
    assert Account.CONTRIBUTIONS_RECEIVABLE not in accounts
    assert await world.tied_out(run)
    assert await world.problems() == []


async def test_a_run_that_was_collected_is_not_voided(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(unpaid={"retry_days": 5}, exits=None), alike(2))
    await world.claim(notice_on=JULY, aid_minor=35)
    run = await world.sealed(DEBIT)
    await collected(world, run.run_id, 0)
    with pytest.raises(InvalidInput, match=f"run:{run.run_id} has a collection already"):
        await world.voided(run)


async def test_debts_of_one_run_are_not_those_of_another(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(exits=None), alike(2))
    await world.claim(notice_on=JULY, aid_minor=10)
    first = await world.sealed(DEBIT)
    await world.claim(notice_on=LATE_JULY, aid_minor=4)
    second = await world.sealed(LATE_DEBIT)
    assert (await world.owed(1)).tolist() == [8, 8]
    assert await collected(world, first.run_id) == Settled(2, 12)
    assert await collected(world, second.run_id) == Settled(2, 4)
    assert (await world.owed(1)).tolist() == [0, 0]
    assert await world.problems() == []


async def test_a_voided_run_leaves_nothing_to_collect(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(exits=None), alike(2))
    await world.claim(notice_on=JULY, aid_minor=20)
    run = await world.sealed(DEBIT)
    await world.voided(run)
    await world.worked(run)
    assert await collected(world, run.run_id) == Settled(0, 0)


async def test_nobody_leaves_a_plan_without_the_rule(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(unpaid=None, exits=None), alike(2))
    await world.claim(notice_on=JULY, aid_minor=20)
    run = await world.sealed(DEBIT)
    with pytest.raises(InvalidInput, match="xianghubao ends nobody for not paying"):
        await unpaid(world, run.run_id, 0)
