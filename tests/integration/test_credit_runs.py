"""Credit runs: a quarter's surplus given by weight, in money or in cover (SCHEMES: zhonghui-surplus)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import COVER, CURRENCY, Account, account_id, unit_of
from engine.ledger.balances import read_balance
from engine.ledger.proof import prove, verify_proof
from engine.ledger.statement import read_statement
from engine.ledger.trial_balance import difference, trial_balance
from engine.plans import PlanRules
from engine.roster.columns import Columns
from engine.runs.credit import plan_credit_run
from engine.runs.run import Run
from engine.runs.states import RunState
from engine.store.tables import SHARD_SEATS
from tests.integration.worlds import PLANNER, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

JULY, OCTOBER = date(2019, 7, 15), date(2019, 10, 15)


def surplus(**tables: Any) -> PlanRules:
    return rules_of_preset("zhonghui-surplus", **tables)


def cover(per_unit: int = 20) -> PlanRules:
    return surplus(surplus={"benefit": "cover", "cover_per_unit": per_unit})


def classes(*tiers: int) -> Columns:
    """Seats of these occupation classes: coefficients 1, 0.8, 0.6 and 0.4."""
    return replace(alike(len(tiers)), tier=np.array(tiers, dtype=np.int16))


async def planned(world: World, premiums: int, claims: int, costs: int, on: date = JULY) -> Run:
    async with world.engine.begin() as connection:
        return await plan_credit_run(
            connection,
            world.plan,
            on,
            premiums_minor=premiums,
            claims_minor=claims,
            costs_minor=costs,
            actor=PLANNER,
        )


async def previewed(world: World, premiums: int, claims: int, costs: int, on: date = JULY) -> Run:
    run = await world.worked(await planned(world, premiums, claims, costs, on))
    assert run.state is RunState.PREVIEWED, run.failure
    return run


async def sealed(world: World, premiums: int, claims: int = 0, costs: int = 0, on: date = JULY) -> Run:
    run = await world.worked(await world.approved(await previewed(world, premiums, claims, costs, on)))
    assert run.state is RunState.SEALED, run.failure
    return run


async def given(world: World, account: Account = Account.REFUNDS_PAYABLE, unit: int = CURRENCY) -> list[list[int]]:
    """What each seat of each shard was given so far."""
    of_account = account_id(world.plan_id, account, unit)
    async with world.engine.connect() as connection:
        found = [
            await read_balance(connection, shard_id, of_account, through_seq=2**40, seats=seats)
            for shard_id, seats in await world.shards()
        ]
    return [(-balance.amounts).tolist() for balance in found]


async def books(world: World) -> dict[tuple[Account, int], int]:
    """Debit less credit of every account that does not stand at zero, by its unit."""
    async with world.engine.connect() as connection:
        lines = await trial_balance(connection, world.plan_id)
    assert difference(lines) == 0
    return {
        (line.account, unit_of(line.account_id)): line.debit - line.credit
        for line in lines
        if line.debit != line.credit
    }


async def test_a_quarters_surplus_goes_back_by_coefficient_and_the_books_say_where_it_came_from(
    engine: AsyncEngine,
) -> None:
    world = await build(engine, surplus(), classes(0, 1, 2, 3), classes(0, 0))
    run = await sealed(world, premiums=1_000_00, claims=600_00, costs=150_01)
    # 249.99 over weights 1, 0.8, 0.6, 0.4, 1, 1, which are 4.8: 52.081…, and so on, rounded down.
    assert await given(world) == [[5208, 4166, 3124, 2083], [5208, 5208]]
    line = await world.tied_out(run)
    assert line == {"charged": 24_999, "sponsor": 0, "carry_in": 0, "aid": 24_997, "fee": 0, "carry_out": 2}
    assert await books(world) == {
        (Account.CUSTODIAN_CASH, CURRENCY): 24_999,
        (Account.REFUNDS_PAYABLE, CURRENCY): -24_997,
        (Account.CARRY, CURRENCY): -2,
    }
    journals = "SELECT kind, amounts FROM journals WHERE shard_id = :shard ORDER BY seq"
    assert await world.rows(journals, shard=world.shard(0)) == [
        ("premiums", [100_000, -100_000]),
        ("claims", [-60_000, 60_000]),
        ("costs", [-15_001, 15_001]),
        ("seal", [24_999, -24_997, -2]),
    ]
    assert await world.problems() == []


async def test_a_preview_says_what_the_surplus_comes_from_and_who_gets_what(engine: AsyncEngine) -> None:
    world = await build(engine, surplus(), classes(0, 3, 3))
    run = await previewed(world, 500_00, 300_00, 20_00)
    assert run.preview is not None
    shown = {name: run.preview[name] for name in ("charged", "aid", "carry_out", "share", "sharers", "surplus")}
    assert shown == {
        "charged": "180.00",
        "aid": "180.00",
        "carry_out": "0.00",
        "share": "100.00",
        "sharers": 3,
        "surplus": {"premiums": "500.00", "claims": "300.00", "costs": "20.00"},
    }
    assert [(each["tier"], each["charge"]) for each in run.preview["classes"]] == [
        ("class-1", "100.00"),
        ("class-4", "40.00"),
    ]


async def test_what_rounding_down_left_is_given_the_next_quarter(engine: AsyncEngine) -> None:
    world = await build(engine, surplus(), classes(0, 0, 0))
    first = await sealed(world, premiums=101)
    second = await sealed(world, premiums=100, on=OCTOBER)
    assert ((await world.tied_out(first))["carry_out"], second.carry_in) == (2, 2)
    assert await world.tied_out(second) == {
        "charged": 100,
        "sponsor": 0,
        "carry_in": 2,
        "aid": 102,
        "fee": 0,
        "carry_out": 0,
    }
    assert await given(world) == [[33 + 34] * 3]
    assert await world.problems() == []


async def test_a_surplus_buys_cover_kept_in_its_own_unit_and_so_is_what_is_left(engine: AsyncEngine) -> None:
    world = await build(engine, cover(20), classes(0, 1, 3), classes(0))
    first = await sealed(world, premiums=50_00, claims=10_00, costs=1)
    # 39.99 buys 799.80 of cover over weights 1, 0.8, 0.4, 1, which are 3.2.
    assert await given(world, Account.MEMBER_COVER, COVER) == [[24_993, 19_995, 9_997], [24_993]]
    line = await world.tied_out(first)
    assert line == {"charged": 79_980, "sponsor": 0, "carry_in": 0, "aid": 79_978, "fee": 0, "carry_out": 2}
    assert await books(world) == {
        (Account.CUSTODIAN_CASH, CURRENCY): 3_999,
        (Account.SURPLUS_RESERVE, CURRENCY): -3_999,
        (Account.SURPLUS_RESERVE, COVER): 79_980,
        (Account.MEMBER_COVER, COVER): -79_978,
        (Account.CARRY, COVER): -2,
    }
    second = await sealed(world, premiums=16, on=OCTOBER)
    assert (second.carry_in, (await world.tied_out(second))["aid"]) == (2, 320)
    assert await world.problems() == []


@pytest.mark.parametrize("rules", [surplus(), cover()], ids=["money", "cover"])
async def test_a_void_takes_back_what_was_given_and_where_it_came_from(engine: AsyncEngine, rules: PlanRules) -> None:
    world = await build(engine, rules, classes(0, 1), classes(2))
    first = await sealed(world, premiums=90_01, claims=3_00, costs=2_00)
    assert await world.voided(first) is RunState.VOIDING
    first = await world.worked(first)
    assert first.state is RunState.VOIDED
    assert await books(world) == {}
    again = await sealed(world, premiums=90_01, claims=3_00, costs=2_00)
    assert again.preview is not None
    assert first.preview == again.preview
    assert await world.problems() == []


async def test_a_members_part_is_proved_and_stands_in_the_statement(engine: AsyncEngine) -> None:
    world = await build(engine, cover(), classes(0, 1), classes(2, 3))
    run = await sealed(world, premiums=90_01)
    seat = SHARD_SEATS + 1
    async with engine.connect() as connection:
        proof = await prove(connection, run.run_id, world.shard(2), seat)
        statement = await read_statement(connection, world.shard(2), seat)
    assert verify_proof(proof)
    assert proof.amount == statement.cover == (await given(world, Account.MEMBER_COVER, COVER))[1][1] > 0


async def test_nobody_there_holds_the_run(engine: AsyncEngine) -> None:
    world = await build(engine, surplus(), replace(alike(1), ended_on=alike(1).shares_from + 1))
    run = await world.worked(await planned(world, 100, 0, 0))
    assert (run.state, run.failure) == (
        RunState.FAILED,
        "Nobody has a part in the surplus, and the plan's rule no_sharers is hold.",
    )


@pytest.mark.parametrize(
    ("amounts", "on", "message"),
    [
        ((100, 60, 40), JULY, "premiums of 1.00 less claims of 0.60 and costs of 0.40 leave 0.00: there is no surplus"),
        ((100, 200, 0), JULY, "leave -1.00: there is no surplus to give"),
        ((100, -1, 0), JULY, "--claims -0.01: give an amount that is not negative"),
        ((2**62, 0, 0), JULY, "buys more cover than the ledger can hold"),
        ((100, 0, 0), date(2019, 7, 16), "2019-07-16 is no debit day of zhonghui-surplus"),
    ],
)
async def test_what_cannot_be_given_is_refused_in_words(
    engine: AsyncEngine, amounts: tuple[int, int, int], on: date, message: str
) -> None:
    world = await build(engine, cover(), classes(0))
    with pytest.raises(InvalidInput, match=message):
        await planned(world, *amounts, on)
    assert await world.value("SELECT count(*) FROM share_runs") == 0


async def test_a_plan_that_debits_gives_no_surplus_and_one_that_gives_it_debits_nobody(engine: AsyncEngine) -> None:
    debits = await build(engine, rules_of_preset(), alike(1))
    with pytest.raises(InvalidInput, match="xianghubao debits its members; only plans with direction credit"):
        await planned(debits, 100, 0, 0)
    gives = await build(engine, surplus(), alike(1))
    with pytest.raises(InvalidInput, match="say what it comes from with --premiums, --claims and --costs"):
        await gives.planned(JULY)


async def test_a_period_is_given_once(engine: AsyncEngine) -> None:
    world = await build(engine, surplus(), classes(0))
    await sealed(world, premiums=100)
    with pytest.raises(InvalidInput, match="has a run for 2019-07-15 already"):
        await planned(world, 100, 0, 0)
