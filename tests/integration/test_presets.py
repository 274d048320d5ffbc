"""Every preset from roster to seal, and what only some plans do: own caps, settlement-day gates, tiers by age."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.points import Points, day_after, points_of, told
from engine.cli.story import Story, bring_claims, claimants, demo_story, plan_story_run
from engine.errors import InvalidInput
from engine.ledger.trial_balance import trial_balance
from engine.members.deposits import open_deposits
from engine.money import to_minor
from engine.plans import NEVER, PlanRules, day_number
from engine.roster.change_files import change_roster
from engine.roster.changes import fold
from engine.roster.columns import Columns
from engine.roster.imports import import_roster
from engine.roster.plan import enter_plan, register_plan
from engine.roster.presets import load_plan, preset_codes
from engine.roster.synth import write_synthetic
from engine.runs.run import Run
from engine.runs.states import RunState
from tests.integration.worlds import JOINED, JULY, PLANNER, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

KEY = b"a key of sixteen"
ACCOUNT_KEY = SecretStr("another key of the tests")
MEMBERS = 3_000
JD_DEBIT = date(2019, 7, 10)


class Play(NamedTuple):
    """What `fentan demo` plays, by one worker in this process."""

    world: World
    run: Run
    story: Story
    points: Points


async def played(engine: AsyncEngine, code: str, folder: Path) -> Play:
    rules = load_plan(code)
    story = demo_story(rules, MEMBERS, seed=1)
    roster = folder / "roster.parquet"
    write_synthetic(roster, MEMBERS, 1, rules, joined_from=story.joined_from, joined_until=story.notice_on)
    async with engine.begin() as connection:
        plan = await enter_plan(connection, rules, actor="anna")
    async with engine.begin() as connection:
        await import_roster(connection, plan, roster, tag_key=KEY, take_deposits=open_deposits, account_key=ACCOUNT_KEY)
    async with engine.begin() as connection:
        refs = claimants(roster, story, rules)
        assert await bring_claims(connection, plan, rules, story, refs) == len(story.asked)
    async with engine.begin() as connection:
        run = await plan_story_run(connection, plan, story, actor=PLANNER)
    world = World(engine, plan, rules)
    run = await world.worked(run)
    assert run.state is RunState.PREVIEWED, run.failure
    run = await world.worked(await world.approved(run))
    assert run.state is RunState.SEALED, run.failure
    async with engine.begin() as connection:
        swept = await day_after(connection, run, rules)
    async with engine.connect() as connection:
        points = await points_of(connection, run, rules, await trial_balance(connection, plan.plan_id), swept)
    assert all(told(rules, run, points))
    return Play(world, run, story, points)


@pytest.mark.parametrize("code", preset_codes())
async def test_I5_every_preset_runs_from_roster_to_seal(engine: AsyncEngine, code: str, tmp_path: Path) -> None:
    world, run, story, points = await played(engine, code, tmp_path)
    line = await world.tied_out(run)
    assert line["charged"] > 0
    assert line["charged"] + line["sponsor"] == line["aid"] + line["fee"] + line["carry_out"]
    paid = await world.rows("SELECT sum(aid_minor)::bigint, sum(aid_paid_minor)::bigint FROM run_cases")
    ((asked, aid),) = paid
    assert aid == line["aid"]
    # Only what reduces aid pays less than was asked; what a surplus leaves over is carried.
    assert (aid < asked) == ("aid_asked" in points or story.quarter is not None)
    assert await world.problems() == []


@pytest.mark.parametrize(
    ("code", "aid_minor"),
    [
        pytest.param("xianghubao", 2 * 300_000_00 + 50_000_00, id="age"),
        pytest.param("xianghubao-senior", 100_000_00 + 50_000_00 + 50_000_00, id="severe-mild-severe"),
        pytest.param("meituan", (2 * 300_000_00 + 50_000_00) // 5, id="first-stage"),
    ],
)
async def test_the_demo_asks_what_the_plan_gives(
    engine: AsyncEngine, code: str, aid_minor: int, tmp_path: Path
) -> None:
    world, run, _, points = await played(engine, code, tmp_path)
    assert (await world.tied_out(run))["aid"] == aid_minor
    if code == "meituan":
        assert points["stages"] == {"granted": "650000.00", "shared": "130000.00", "left_to_bill": "520000.00"}
    else:
        payers = points["payers"]
        assert 0 < payers["accounts"] < payers["instructions"]
        assert payers["instructions"] == payers["accounts"] + payers["family_shares"]


@pytest.mark.parametrize("code", ["waterdrop", "quark", "quark-driving", "qingsong"])
async def test_the_demo_of_a_prepaid_plan_binds_some_and_not_all(
    engine: AsyncEngine, code: str, tmp_path: Path
) -> None:
    world, run, story, points = await played(engine, code, tmp_path)
    assert run.preview is not None
    stopped = run.preview["caps_hit"]
    bound = stopped["balance"] if code in ("waterdrop", "qingsong") else stopped["per_case"]
    assert 0 < bound <= run.preview["sharers"]
    assert 0 < points["deposits"]["frozen"] < MEMBERS
    deposits = {name: to_minor(points["deposits"][name]) for name in ("paid_in", "drawn", "owed_back", "left")}
    assert deposits["paid_in"] == deposits["drawn"] + deposits["owed_back"] + deposits["left"]
    assert to_minor(points["aid_asked"]) > (await world.tied_out(run))["aid"]
    if code == "qingsong":
        assert "rounds" not in points
        return
    rounds = points["rounds"]
    assert len(rounds) == len(story.asked) == 8
    assert len({asked.notice_on for asked in story.asked}) == 4
    assert rounds[-1]["sharers"] < rounds[0]["sharers"] / 2
    if code == "quark-driving":
        assert points["aid_steps"][0].startswith("award ")


async def test_the_demo_of_a_credit_plan_gives_by_class(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run, _, points = await played(engine, "zhonghui-surplus", tmp_path)
    surplus = points["surplus"]
    assert (surplus["premiums"], surplus["claims"], surplus["costs"]) == ("75000.00", "52500.00", "15000.00")
    assert surplus["shared"] == "7500.00"
    given = [to_minor(amount) for amount in surplus["given"].values()]
    assert sorted(given, reverse=True) == given
    line = await world.tied_out(run)
    assert line["charged"] == 7500_00
    assert line["aid"] + line["carry_out"] == 7500_00


@pytest.mark.parametrize("members", [1, 3_000, 100_000, 10_000_000])
@pytest.mark.parametrize("code", preset_codes())
def test_a_demo_of_any_size_asks_for_no_more_than_the_plan_gives(code: str, members: int) -> None:
    rules = load_plan(code)
    story = demo_story(rules, members, seed=1)
    most = max((band.amount or 0 for band in rules.aid), default=0)
    assert all(0 < asked.aid_minor <= most for asked in story.asked if asked.aid_minor is not None)
    assert len(story.asked) <= 2_000
    assert bool(story.asked) != (story.quarter is not None)
    assert [asked.notice_on for asked in story.asked] == sorted(asked.notice_on for asked in story.asked)


def jd(*codes: str) -> Columns:
    """Seats of 京东互保 in the tiers of these codes."""
    tiers = [tier.code for tier in load_plan("jd-hubao").tiers]
    return replace(alike(len(codes)), tier=np.array([tiers.index(code) for code in codes], dtype=np.int16))


async def test_the_published_share_of_jd_through_a_whole_run(engine: AsyncEngine) -> None:
    """SCHEMES §3, a thousandth of it: aid of 300 yuan over caps of 5,853,400, and 0.08 for a cap of 1,300."""
    world = await build(engine, load_plan("jd-hubao"), jd(*["46-50"] * 4_501, *["51-55"] * 2))
    await world.claim(aid_minor=300_00, notice_on=JULY)
    run = await world.sealed(JD_DEBIT)
    (charged,) = await world.charged(run)
    assert charged.tolist() == [8] * 4_501 + [6] * 2
    line = await world.tied_out(run)
    assert line == {"charged": 36_020, "sponsor": 0, "carry_in": 0, "aid": 30_000, "fee": 3_000, "carry_out": 3_020}


async def test_the_published_cap_of_xianghubao_2018_through_a_whole_run(engine: AsyncEngine) -> None:
    """SCHEMES §3, a thousandth of it: 50 cases of 300 yuan over 1,000 seats; 16.50 each would be 5.00 by the cap."""
    world = await build(engine, rules_of_preset("xianghubao-2018", ends_on=None), alike(1_000))
    for _ in range(50):
        await world.claim(300_00)
    run = await world.sealed()
    (charged,) = await world.charged(run)
    assert (charged == 5_00).all()
    line = await world.tied_out(run)
    assert line == {
        "charged": 5_000_00, "sponsor": 1_000 * 11_50, "carry_in": 0, "aid": 15_000_00, "fee": 1_500_00, "carry_out": 0,
    }  # fmt: skip
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_case": 1_000}


async def test_each_shares_in_proportion_to_the_own_cap_and_the_insurer_pays_over_it(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset("jd-hubao", caps={"year": None}), jd("46-50", "66-70", "5-15", "31-35"))
    await world.used(1, [0, 0, 13_150, 0])
    await world.claim(aid_minor=100_00, notice_on=JULY)
    run = await world.sealed(JD_DEBIT)
    (charged,) = await world.charged(run)
    caps = [130_000, 192_400, 13_200, 39_000]
    exact = [Fraction(11_000 * cap, sum(caps)) for cap in caps]
    assert exact[2] > 50
    assert charged.tolist() == [ceil(exact[0]), ceil(exact[1]), 50, ceil(exact[3])]
    line = await world.tied_out(run)
    assert line["sponsor"] == ceil(exact[2] - 50)
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_year": 1}


async def test_nobody_pays_more_than_the_own_cap(engine: AsyncEngine) -> None:
    world = await build(engine, load_plan("jd-hubao"), jd("46-50", "66-70", "5-15"))
    await world.claim(aid_minor=10_000_00, notice_on=JULY)
    run = await world.sealed(JD_DEBIT)
    (charged,) = await world.charged(run)
    assert charged.tolist() == [130_000, 192_400, 13_200]
    assert (await world.tied_out(run))["sponsor"] == 1_100_000 - charged.sum()


async def test_a_cap_of_some_tiers_leaves_the_others_without(engine: AsyncEngine) -> None:
    tiers: list[dict[str, Any]] = [{"code": "capped", "weight": 1, "per_year": "1"}, {"code": "free", "weight": 1}]
    days = {"notice": {"days_of_month": [7]}, "debit": {"days_of_month": [10]}}
    rules = rules_of_preset("meituan", tiers=tiers, aid_stages=None, **days)
    world = await build(engine, rules, replace(alike(2), tier=np.array([0, 1], dtype=np.int16)))
    await world.used(1, [30, 10**15])
    await world.claim(aid_minor=10_00, notice_on=JULY)
    run = await world.sealed(JD_DEBIT)
    (charged,) = await world.charged(run)
    assert charged.tolist() == [70, 540]
    assert (await world.tied_out(run))["sponsor"] == 470
    assert run.preview is not None
    assert run.preview["caps_hit"] == {"per_year": 1}


@pytest.mark.parametrize(
    ("gate", "charged"),
    [
        pytest.param("notice_day", [36, 0, 36, 36], id="notice"),
        pytest.param("settlement_day", [36, 36, 0, 36], id="debit"),
    ],
)
async def test_the_gate_decides_who_came_and_who_left_in_time(
    engine: AsyncEngine, gate: str, charged: list[int]
) -> None:
    between = day_number(date(2019, 7, 10))
    seats = alike(4)
    joined, ended = seats.shares_from.copy(), seats.ended_on.copy()
    joined[1], ended[2] = between, between
    world = await build(engine, rules_of_preset(share={"gate": gate}, caps={"per_case": None}),
                        replace(seats, shares_from=joined, ended_on=ended))  # fmt: skip
    await world.claim(aid_minor=100, notice_on=JULY)
    (amounts,) = await world.charged(await world.sealed())
    assert amounts.tolist() == charged


async def test_imports_and_joins_take_the_tier_of_the_age_at_joining(engine: AsyncEngine, tmp_path: Path) -> None:
    rules: PlanRules = load_plan("jd-hubao")
    roster, changes = tmp_path / "roster.csv", tmp_path / "changes.csv"
    roster.write_text("member_ref,born_on,joined_on\nM1,1973-01-02,2019-01-01\nM2,2018-06-01,2019-01-01\n", "utf-8")
    changes.write_text("kind,member_ref,from,born_on\njoin,M3,2019-01-02,1973-01-02\nexit,M2,2019-02-01,\n", "utf-8")
    async with engine.begin() as connection:
        plan = await register_plan(connection, rules)
        await import_roster(connection, plan, roster, tag_key=KEY)
        await change_roster(connection, plan, changes, tag_key=KEY)
        await fold(connection, plan.plan_id * 1_000_000 + 1)
    columns = await World(engine, plan, rules).columns(1)
    # The 46th birthday lies between the two joins.
    assert [rules.tiers[tier].code for tier in columns.tier] == ["41-45", "0-1", "46-50"]
    assert columns.ended_on.tolist() == [NEVER, day_number(date(2019, 2, 1)), NEVER]
    assert columns.shares_from[0] == JOINED
    changes.write_text("kind,member_ref,from,born_on,tier\njoin,M4,2019-01-02,1973-01-02,3\n", "utf-8")
    async with engine.begin() as connection:
        with pytest.raises(InvalidInput, match="line 2, tier: '3': is not the tier of the age on from"):
            await change_roster(connection, plan, changes, tag_key=KEY)
