"""Forecasts: what the next run then charges when nothing changes in between, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from engine.errors import InvalidInput
from engine.plans import day_number
from engine.runs.forecast import ClaimCounts, Forecast, forecast
from engine.runs.run import Run
from tests.integration.prepaid import paying
from tests.integration.worlds import (
    DEBIT,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    Claimant,
    World,
    alike,
    build,
    motley,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

SAME = ("sharers", "aid", "fee", "carry_in", "carry_out", "charged", "sponsor", "share")


async def forecast_of(world: World, on: date = JULY) -> Forecast:
    async with world.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        return await forecast(connection, world.plan, world.rules, on=on)


async def under_notice(world: World, aid_minor: int, notice_on: date = JULY) -> int:
    """A claim whose notice has begun and not ended."""
    on = notice_on - timedelta(days=1)
    number = await world.value("SELECT count(*) FROM claims")
    async with world.engine.begin() as connection:
        claim = await claims.file(
            connection, world.plan_id, world.rules, Claimant(world.shard(1), seat=number),
            diagnosed_on=on, on=on, actor="intake", aid_minor=aid_minor,
        )  # fmt: skip
        await claims.publish(connection, claim.claim_id, world.rules, on=notice_on, actor="intake")
    return claim.claim_id


async def pass_due(world: World, on: date) -> None:
    async with world.engine.begin() as connection:
        await claims.pass_due(connection, world.plan_id, on=on, actor="clock")


def assert_same(estimate: Forecast, run: Run) -> None:
    """The run's preview says what the forecast said."""
    assert run.preview is not None
    shown = {name: run.preview[name] for name in SAME}
    assert estimate.as_json() | shown == estimate.as_json()
    assert estimate.debit_on == run.debit_on


PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "equal": ("xianghubao", {}),
    "year_caps": ("xianghubao", {"caps": {"per_case": None, "per_year": [{"amount": "0.40", "from_year": 2019}]}}),
    "redistribute": ("xianghubao", {"share": {"over_cap": "redistribute", "fallback": "sponsor"}}),
    "exact": ("xianghubao", {"share": {"rounding": "exact"}}),
}


@pytest.mark.parametrize("name", PLANS)
async def test_a_forecast_is_what_the_run_then_charges(engine: AsyncEngine, name: str) -> None:
    code, tables = PLANS[name]
    world = await build(engine, rules_of_preset(code, **tables), motley(300, 1), motley(200, 2))
    await world.used(1, list(np.arange(300) % 45))
    await world.claim(20_00)
    await under_notice(world, 37_00)
    await under_notice(world, 11_00)
    estimate = await forecast_of(world)
    assert estimate.claims == ClaimCounts(passed=1, under_notice=2, objected=0)
    assert (estimate.debit_on, estimate.gates) == (DEBIT, (JULY,))
    await pass_due(world, DEBIT)
    run = await world.previewed()
    assert_same(estimate, run)
    assert 0 < estimate.share <= estimate.pool
    assert (await world.worked(await world.approved(run))).state == "sealed"
    assert max(int(amounts.max()) for amounts in await world.charged(run)) >= estimate.share


async def test_a_forecast_leaves_nothing_behind(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(20))
    await world.claim(1_00)
    counts = (
        "SELECT (SELECT count(*) FROM share_runs), (SELECT max(version) FROM roster), (SELECT count(*) FROM journals)"
    )
    before = await world.rows(counts)
    assert (await forecast_of(world)).share == 6
    assert await world.rows(counts) == before


async def test_joiners_and_leavers_not_folded_yet_count(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(20))
    await world.claim(1_00)
    assert (await forecast_of(world)).sharers == 20
    await world.exits(7, day_number(JULY))
    estimate = await forecast_of(world)
    assert estimate.sharers == 19
    assert_same(estimate, await world.previewed())


async def test_the_carry_and_a_second_period(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(exits=None), motley(200, 3))
    await world.claim(10_00)
    await world.sealed()
    await world.claim(15_00, LATE_JULY)
    estimate = await forecast_of(world, LATE_JULY)
    assert estimate.carry_in > 0
    assert estimate.pool == estimate.aid + estimate.fee - estimate.carry_in
    assert_same(estimate, await world.previewed(LATE_DEBIT))


async def test_claims_with_an_open_objection_are_told_apart(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(20))
    await under_notice(world, 1_00)
    barred = await under_notice(world, 5_00)
    async with engine.begin() as connection:
        await claims.object_to(connection, barred, reason="known before", on=JULY, actor="bo")
    estimate = await forecast_of(world)
    assert estimate.claims == ClaimCounts(passed=0, under_notice=1, objected=1)
    assert (estimate.aid, estimate.share) == (1_00, 6)
    await pass_due(world, DEBIT)
    assert_same(estimate, await world.previewed())


async def test_a_notice_that_ends_later_belongs_to_the_next_debit_day(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(20))
    await under_notice(world, 1_00, LATE_JULY)
    first, second = await forecast_of(world), await forecast_of(world, DEBIT + timedelta(days=1))
    assert (first.debit_on, first.share, first.claims) == (DEBIT, 0, ClaimCounts(0, 0, 0))
    assert (second.debit_on, second.share, second.claims) == (LATE_DEBIT, 6, ClaimCounts(0, 1, 0))


async def test_a_period_that_has_its_run_is_over(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(20))
    await world.claim(1_00)
    run = await world.planned()
    await under_notice(world, 2_00, LATE_JULY)
    estimate = await forecast_of(world)
    assert (estimate.debit_on, estimate.aid) == (LATE_DEBIT, 2_00)
    await world.voided(run)
    assert (await forecast_of(world)).debit_on == DEBIT


async def test_no_claims_no_share(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(20))
    estimate = await forecast_of(world)
    assert estimate == Forecast("xianghubao", JULY, DEBIT, ClaimCounts(0, 0, 0), carry_in=0)
    assert estimate.as_json()["share"] == "0.00"


async def test_a_claim_that_nobody_would_share_is_said(engine: AsyncEngine) -> None:
    seats = alike(5)
    world = await build(engine, rules_of_preset(), replace(seats, ended_on=seats.ended_on * 0 + day_number(JULY)))
    await world.claim(1_00)
    estimate = await forecast_of(world)
    assert (estimate.unshared, estimate.share, estimate.sharers) == (1, 0, 0)


async def test_own_caps_share_by_tier(engine: AsyncEngine) -> None:
    rules = rules_of_preset("jd-hubao")
    debit_on = date(2019, 7, 10)
    world = await build(engine, rules, motley(300, 4, tiers=len(rules.tiers)))
    notice_on = next(
        day for day in (debit_on - timedelta(days=back) for back in range(3, 40)) if day.day in _days(world)
    )
    await world.claim(300_00, notice_on)
    estimate = await forecast_of(world, debit_on)
    assert len(estimate.shares) == len(rules.tiers)
    assert estimate.share == max(estimate.shares.values())
    assert_same(estimate, await world.previewed(debit_on))


def _days(world: World) -> tuple[int, ...]:
    return world.rules.notice.days_of_month or tuple(range(1, 32))


@pytest.mark.parametrize("over_cap", ["reduce_aid", "sponsor"])
async def test_balances_are_played_round_by_round(engine: AsyncEngine, over_cap: str) -> None:
    random = np.random.default_rng(5)
    world = await paying(
        engine,
        random.integers(0, 500, 60).tolist(),
        random.integers(0, 500, 40).tolist(),
        share={"over_cap": over_cap},
    )
    await world.claim(80_00)
    await under_notice(world, 50_00)
    await under_notice(world, 40_00, JULY + timedelta(days=2))
    estimate = await forecast_of(world)
    assert (estimate.debit_on, estimate.claims) == (JULY + timedelta(days=9), ClaimCounts(1, 2, 0))
    await pass_due(world, estimate.debit_on)
    run = await world.previewed(estimate.debit_on)
    assert_same(estimate, run)
    assert (await world.worked(await world.approved(run))).state == "sealed"
    assert await world.problems() == []


async def test_a_prepaid_plan_by_calendar(engine: AsyncEngine) -> None:
    days = {"days_of_month": [14, 28]}
    world = await paying(
        engine, [0, 50, 99, 100, 101, 900], share={"trigger": "calendar", "over_cap": "sponsor"},
        notice={"length_days": 3, "days_of_month": [7, 21]}, debit=days,
    )  # fmt: skip
    await under_notice(world, 10_00)
    estimate = await forecast_of(world)
    assert estimate.sharers == 3
    await pass_due(world, DEBIT)
    assert_same(estimate, await world.previewed())


async def test_once_members_share_no_more_the_sponsor_pays_the_estimate(engine: AsyncEngine) -> None:
    world = await build(
        engine,
        rules_of_preset(
            ends_on="2019-12-31",
            wind_down={"announced_on": "2019-07-10", "claims_within_days": 180, "refund": "nothing"},
        ),
        alike(20),
    )
    await world.claim(1_00)
    estimate = await forecast_of(world)
    assert (estimate.share, estimate.sponsor, estimate.charged) == (0, 1_08, 0)
    assert_same(estimate, await world.previewed())


async def test_a_waived_share_is_the_sponsors(engine: AsyncEngine) -> None:
    waiver = {"name": "first", "joined_by": "2019-01-01", "gates_from": "2019-07-01", "gates_to": "2019-07-10"}
    seats = alike(20)
    world = await build(
        engine,
        rules_of_preset(waivers=[waiver | {"reason": "the first period is free"}]),
        replace(seats, shares_from=seats.shares_from + np.arange(20, dtype=np.int32) % 2),
    )
    await world.claim(1_00)
    estimate = await forecast_of(world)
    assert (estimate.charged, estimate.sponsor) == (60, 60)
    assert_same(estimate, await world.previewed())


async def test_a_plan_that_gives_has_no_share_to_forecast(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset("zhonghui-surplus"), alike(5))
    with pytest.raises(InvalidInput, match="gives its members a surplus"):
        await forecast_of(world)
