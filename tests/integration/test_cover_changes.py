"""Another tier chosen: what a run weighs before and after its debit day, and by which tier claims go when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.members.deposits import open_deposits
from engine.plans import PlanRules, day_number
from engine.roster.change_files import change_roster
from engine.roster.changes import fold, shards_with_changes
from engine.roster.columns import latest_version, membership_on, read_columns, read_seats
from engine.roster.imports import import_roster
from engine.roster.synth import write_synthetic
from tests.integration.worlds import DEBIT, LATE_DEBIT, LATE_JULY, World, build, rules_of_preset

pytestmark = pytest.mark.integration

KEY = b"a key of the tests"
HEADER = "kind,member_ref,from,until,born_on,tier\n"
WAIT = timedelta(days=180)
ASKED = DEBIT + timedelta(days=1)
LOW, MIDDLE, HIGH = 0, 1, 2

Changed = Callable[..., Awaitable[None]]


def sina(**tables: Any) -> PlanRules:
    """新浪互助 in the days of these worlds: shares in proportion to the cover, of 50,000, 100,000 or 200,000 yuan."""
    tiers = [{"code": f"{cover}w", "cover": f"{cover}0000"} for cover in (5, 10, 20)]
    change = {"raise_waiting_days": WAIT.days}
    given = {"tiers": tiers, "share": {"key": "cover", "fee": "0"}, "caps": None, "exits": None, "cover_change": change}
    return rules_of_preset(**(given | tables))


@pytest.fixture
async def world(engine: AsyncEngine, tmp_path: Path) -> World:
    """M0 to M3, in the middle tier since the first day of 2019; M0 claims."""
    world = await build(engine, sina())
    path = tmp_path / "roster.csv"
    rows = "".join(f"M{number},1990-05-05,2019-01-01,1\n" for number in range(4))
    path.write_text("member_ref,born_on,joined_on,tier\n" + rows, "utf-8")
    async with engine.begin() as connection:
        await import_roster(connection, world.plan, path, tag_key=KEY)
    return world


@pytest.fixture
def changed(world: World, tmp_path: Path) -> Changed:
    """Record the lines as changes, in a transaction of its own."""

    async def bring(*lines: str) -> None:
        path = tmp_path / "changes.csv"
        path.write_text(HEADER + "".join(f"{line}\n" for line in lines), "utf-8")
        async with world.engine.begin() as connection:
            await change_roster(connection, world.plan, path, tag_key=KEY)

    return bring


async def folded(world: World) -> None:
    async with world.engine.begin() as connection:
        for shard_id in await shards_with_changes(connection, world.plan_id):
            await fold(connection, shard_id)


async def goes_by(world: World, ref: str, on: date) -> int:
    async with world.engine.connect() as connection:
        found = await membership_on(connection, world.plan_id, ref, on)
    assert found is not None
    return found.tier


async def test_a_run_before_the_day_weighs_the_old_tier_and_one_after_it_the_new(
    world: World, changed: Changed
) -> None:
    await changed(f"tier,M2,{ASKED},,,{HIGH}", f"tier,M3,{ASKED},,,{LOW}")
    await world.claim(aid_minor=4_000)
    early = await world.sealed(DEBIT)
    await world.claim(aid_minor=4_500, notice_on=LATE_JULY)
    late = await world.sealed(LATE_DEBIT)
    assert [charged.tolist() for charged in await world.charged(early)] == [[1_000] * 4]
    assert [charged.tolist() for charged in await world.charged(late)] == [[1_000, 1_000, 2_000, 500]]
    await world.tied_out(late)
    assert await world.problems() == []


async def test_who_asks_on_a_debit_day_weighs_by_it_that_day(world: World, changed: Changed) -> None:
    await changed(f"tier,M1,{DEBIT},,,{HIGH}")
    await world.claim(aid_minor=5_000)
    assert [charged.tolist() for charged in await world.charged(await world.sealed(DEBIT))] == [
        [1_000, 2_000, 1_000, 1_000]
    ]


@pytest.mark.parametrize("is_folded", [False, True])
async def test_claims_go_by_a_lower_tier_at_once_and_by_a_higher_one_after_the_wait(
    world: World, changed: Changed, *, is_folded: bool
) -> None:
    await changed(f"tier,M1,{ASKED},,,{HIGH}", f"tier,M2,{ASKED},,,{LOW}")
    if is_folded:
        await folded(world)
    day = timedelta(days=1)
    assert [await goes_by(world, "M1", ASKED + later) for later in (-day, 0 * day, WAIT - day, WAIT)] == [
        MIDDLE, MIDDLE, MIDDLE, HIGH,
    ]  # fmt: skip
    assert [await goes_by(world, "M2", ASKED + later) for later in (-day, 0 * day, WAIT)] == [MIDDLE, LOW, LOW]
    assert await goes_by(world, "M3", ASKED + WAIT) == MIDDLE


async def test_a_choice_after_a_choice_folds_the_one_that_took_effect(world: World, changed: Changed) -> None:
    august = date(2019, 8, 1)
    await changed(f"tier,M1,{ASKED},,,{HIGH}")
    await folded(world)
    await changed(f"tier,M1,{august},,,{LOW}", f"tier,M2,{ASKED},,,{LOW}", f"tier,M2,{august},,,{HIGH}")
    await folded(world)
    shard_id = world.shard(1)
    async with world.engine.connect() as connection:
        version = (await latest_version(connection, shard_id)).version
        columns = await read_columns(connection, shard_id, version)
        weighed = {
            day: (await read_seats(connection, shard_id, version, 0, on_day=day_number(day))).tier.tolist()
            for day in (date(2019, 8, 13), date(2019, 8, 14))
        }
    assert columns.next_tier is not None
    assert columns.next_tier_from is not None
    assert columns.tier.tolist() == [MIDDLE, HIGH, LOW, MIDDLE]
    assert columns.next_tier.tolist() == [0, LOW, HIGH, 0]
    assert columns.next_tier_from.tolist() == [0, *[day_number(date(2019, 8, 14))] * 2, 0]
    assert weighed == {
        date(2019, 8, 13): [MIDDLE, HIGH, LOW, MIDDLE], date(2019, 8, 14): [MIDDLE, LOW, HIGH, MIDDLE],
    }  # fmt: skip
    # The first raise of M1 was lowered before it was waited out; M2's low tier counts until the raise was.
    assert [await goes_by(world, "M1", day) for day in (ASKED, august - timedelta(days=1), august)] == [
        MIDDLE, MIDDLE, LOW,
    ]  # fmt: skip
    assert [await goes_by(world, "M2", august + later) for later in (WAIT - timedelta(days=1), WAIT)] == [LOW, HIGH]


async def test_who_joined_by_a_change_has_a_history_too(world: World, changed: Changed) -> None:
    await changed(f"join,M9,2019-06-01,,1990-05-05,{HIGH}", f"tier,M9,{ASKED},,,{LOW}", f"tier,M9,2019-08-01,,,{HIGH}")
    for _ in ("recorded", "folded"):
        assert [await goes_by(world, "M9", on) for on in (date(2019, 7, 1), ASKED, date(2019, 8, 1) + WAIT)] == [
            HIGH, LOW, HIGH,
        ]  # fmt: skip
        await folded(world)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((f"tier,M9,{ASKED},,,2",), "line 2, member_ref: 'M9': is no member"),
        ((f"tier,M1,{ASKED},,,",), "line 2, tier: empty: is missing; say which tier"),
        ((f"tier,M1,{ASKED},,,3",), "line 2, tier: '3': is no tier of xianghubao; they are 0 to 2"),
        ((f"tier,M1,{ASKED},,,1",), "line 2, member_ref: 'M1': is in tier 1 already"),
        (("tier,M1,2018-12-31,,,2",), "line 2, member_ref: 'M1': is not covered on the day it was asked"),
        ((f"tier,M1,{ASKED},,1990-05-05,2",), "line 2, born_on: '1990-05-05': is for joins only"),
        ((f"tier,M1,{ASKED},2019-12-01,,2",), "line 2, until: '2019-12-01': is for freezes only"),
        ((f"exit,M1,{ASKED},,,2",), "line 2, tier: '2': is for joins and choices of another tier only"),
        (
            (f"tier,M1,{ASKED},,,2", "tier,M1,2019-07-27,,,0"),
            "line 3, member_ref: 'M1': chose tier 2, which weighs from 2019-07-28; choose again from then on",
        ),
    ],
)
async def test_choices_that_cannot_be_are_refused(
    world: World, changed: Changed, lines: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await changed(*lines)
    assert await world.value("SELECT count(*) FROM roster_changes") == 0


async def test_a_plan_without_the_rule_knows_no_choice(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await build(engine, sina(cover_change=None))
    path = tmp_path / "changes.csv"
    path.write_text(HEADER + f"tier,M1,{ASKED},,,2\n", "utf-8")
    with pytest.raises(InvalidInput, match="kind: 'tier': is none of join, exit, freeze, payer"):
        async with engine.begin() as connection:
            await change_roster(connection, world.plan, path, tag_key=KEY)


@pytest.mark.parametrize(("rejoining", "claims_from"), [(None, 90), (30, 30), (0, 0)])
async def test_who_joins_again_waits_as_long_as_the_plan_says(
    engine: AsyncEngine, tmp_path: Path, rejoining: int | None, claims_from: int
) -> None:
    world = await build(engine, rules_of_preset(claims={"rejoining_days": rejoining}))
    path = tmp_path / "changes.csv"
    lines = ["join,M1,2019-01-01,,1990-05-05,", "exit,M1,2019-02-01,,,", "join,M1,2019-03-01,,1990-05-05,"]
    path.write_text(HEADER + "\n".join(lines) + "\n", "utf-8")
    async with engine.begin() as connection:
        await change_roster(connection, world.plan, path, tag_key=KEY)
    await folded(world)
    columns = await world.columns(1)
    assert (columns.claims_from - columns.shares_from).tolist() == [90, claims_from]


async def test_first_deposits_come_with_the_roster(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await build(engine, rules_of_preset("waterdrop"))
    for number, deposits in enumerate((("9", "90.00", ""), ("12.34",))):
        path = tmp_path / f"roster{number}.csv"
        rows = "".join(f"M{number}{row},1990-05-05,2019-0{row + 1}-01,{paid}\n" for row, paid in enumerate(deposits))
        path.write_text("member_ref,born_on,joined_on,deposit\n" + rows, "utf-8")
        for _ in ("once", "twice"):
            async with engine.begin() as connection:
                await import_roster(connection, world.plan, path, tag_key=KEY, take_deposits=open_deposits)
    posted = await world.rows("SELECT seat, amount, effective_on FROM ledger_entries ORDER BY effective_on, seat")
    assert posted == [
        (3, -1_234, date(2019, 1, 1)), (0, -900, date(2019, 3, 1)), (1, -9_000, date(2019, 3, 1)),
    ]  # fmt: skip
    assert await world.problems() == []


@pytest.mark.parametrize(
    ("deposit", "said"),
    [
        ("8.99", "line 2, deposit: '8.99': is less than 9.00, with which a member begins"),
        ("-9", "line 2, deposit: '-9': is less than 9.00"),
        (
            "92233720368547758.07",
            "line 2, deposit: '92233720368547758.07': is more than one member pays or gets at once",
        ),
        ("9.001", "line 2, deposit: '9.001': '9.001' has more than 2 decimal places"),
        ("nine", "line 2, deposit: 'nine': 'nine' is not an amount"),
    ],
)
async def test_deposits_that_cannot_be_are_refused(
    engine: AsyncEngine, tmp_path: Path, deposit: str, said: str
) -> None:
    world = await build(engine, rules_of_preset("waterdrop"))
    path = tmp_path / "roster.csv"
    path.write_text(f"member_ref,born_on,joined_on,deposit\nM1,1990-05-05,2019-01-01,{deposit}\n", "utf-8")
    with pytest.raises(InvalidInput, match=said):
        async with engine.begin() as connection:
            await import_roster(connection, world.plan, path, tag_key=KEY, take_deposits=open_deposits)
    assert await world.shards() == []


async def test_deposits_that_nobody_takes_are_not_lost_in_silence(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await build(engine, rules_of_preset("waterdrop"))
    path = tmp_path / "roster.parquet"
    write_synthetic(path, 10, 1, world.rules, joined_from=date(2019, 1, 1), joined_until=date(2019, 6, 1))
    with pytest.raises(InvalidInput, match="nobody who would take them"):
        async with engine.begin() as connection:
            await import_roster(
                connection, world.plan, path, tag_key=KEY, account_key=SecretStr("another key of the tests")
            )
