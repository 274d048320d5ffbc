"""The roster on real PostgreSQL: imports, changes, versions, and how nothing changes when a file is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import InvalidInput
from engine.plans import NEVER, PlanRules, day_number, parse
from engine.resources import config_dir
from engine.roster.change_files import change_roster
from engine.roster.changes import fold, shards_with_changes
from engine.roster.columns import Columns, latest_version, membership_on, read_columns, read_seats, read_tags
from engine.roster.imports import Imported, import_roster
from engine.roster.members import find_seats
from engine.roster.plan import Plan, plan_of, register_plan, rules_of
from engine.roster.synth import write_synthetic
from engine.store.tables import (
    PLAN_STRIDE,
    SHARD_SEATS,
    imports,
    member_columns,
    members,
    plan_rules,
    roster,
    roster_changes,
    shards,
)
from tests.integration.worlds import alike, build, rules_of_preset

pytestmark = pytest.mark.integration

KEY = b"a key of the tests"
ACCOUNT_KEY = SecretStr("another key of the tests")
JAN, FEB, MAR = (day_number(date(2019, month, 1)) for month in (1, 2, 3))
HEADER = "member_ref,born_on,joined_on,ended_on\n"
CHANGES = "kind,member_ref,from,until,born_on\n"

Bring = Callable[..., Awaitable[Imported]]


@pytest.fixture(scope="module")
def rules() -> PlanRules:
    return parse((config_dir() / "plans" / "xianghubao.toml").read_text("utf-8"), "xianghubao.toml")


@pytest.fixture
async def plan(engine: AsyncEngine, rules: PlanRules) -> Plan:
    async with engine.begin() as connection:
        return await register_plan(connection, rules)


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


@pytest.fixture
def enrolled(engine: AsyncEngine, plan: Plan, tmp_path: Path) -> Bring:
    """Import the lines, in a transaction of its own."""

    async def bring(*lines: str) -> Imported:
        path = tmp_path / "roster.csv"
        path.write_text(HEADER + "".join(f"{line}\n" for line in lines), "utf-8")
        async with engine.begin() as connection:
            return await import_roster(connection, plan, path, tag_key=KEY, account_key=ACCOUNT_KEY)

    return bring


@pytest.fixture
def changed(engine: AsyncEngine, plan: Plan, tmp_path: Path) -> Bring:
    """Record the lines as changes, in a transaction of its own."""

    async def bring(*lines: str) -> Imported:
        path = tmp_path / "changes.csv"
        path.write_text(CHANGES + "".join(f"{line}\n" for line in lines), "utf-8")
        async with engine.begin() as connection:
            return await change_roster(connection, plan, path, tag_key=KEY)

    return bring


@pytest.fixture
def folded(engine: AsyncEngine, plan: Plan) -> Callable[[], Awaitable[dict[int, int]]]:
    """Fold what can be folded: shard → version."""

    async def fold_all() -> dict[int, int]:
        async with engine.begin() as connection:
            return {
                shard: await fold(connection, shard) for shard in await shards_with_changes(connection, plan.plan_id)
            }

    return fold_all


async def counts(engine: AsyncEngine) -> dict[str, int]:
    """Rows of every table that a roster is made of."""
    async with engine.connect() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (shards, members, member_columns, roster, roster_changes, imports)
        }


def days(columns: Columns) -> list[tuple[int, int, int]]:
    return [*zip(*map(np.ndarray.tolist, (columns.shares_from, columns.claims_from, columns.ended_on)), strict=True)]


async def test_an_import_gives_seats_columns_and_tags(enrolled: Bring, connection: AsyncConnection, plan: Plan) -> None:
    first = plan.plan_id * PLAN_STRIDE + 1
    lines = ("M2,1990-05-05,2019-01-01,", "M1,1980-05-05,2019-02-01,2019-03-01", "成员3,2018-05-05,2019-02-01,")
    assert await enrolled(*lines) == Imported(3, repeated=False)
    assert await find_seats(connection, plan.plan_id, "M1") == [(first, 1)]
    assert await find_seats(connection, plan.plan_id, "成员3") == [(first, 2)]
    assert await find_seats(connection, plan.plan_id, "M3") == []
    columns = await read_columns(connection, first, 1)
    assert days(columns) == [(JAN, JAN + 90, NEVER), (FEB, FEB + 90, MAR), (FEB, FEB + 90, NEVER)]
    assert columns.tier.tolist() == [0, 0, 0]
    tags = [blake2b(ref.encode(), key=KEY, digest_size=16).digest() for ref in ("M2", "M1", "成员3")]
    assert await read_tags(connection, first, 3) == b"".join(tags)
    assert await read_tags(connection, first, 1) == tags[0]
    row = (await connection.execute(select(member_columns.c.member_refs, member_columns.c.born_on))).one()
    assert row.member_refs.split("\n") == ["M2", "M1", "成员3"]
    assert int.from_bytes(row.born_on[:4], "little") == day_number(date(1990, 5, 5))


async def test_what_a_run_reads_is_what_was_imported(enrolled: Bring, connection: AsyncConnection, plan: Plan) -> None:
    await enrolled("M1,1990-05-05,2019-01-01,", "M2,1990-05-05,2019-02-01,2019-03-01")
    seats = await read_seats(connection, plan.plan_id * PLAN_STRIDE + 1, 1, 0, on_day=MAR)
    assert (seats.shares_from.tolist(), seats.ended_on.tolist()) == ([JAN, FEB], [NEVER, MAR])
    assert (seats.frozen_from, seats.frozen_to, seats.allowance, seats.first_seat) == (None, None, None, 0)
    with pytest.raises(InvalidInput, match="no version 2"):
        await read_seats(connection, plan.plan_id * PLAN_STRIDE + 1, 2, 0, on_day=MAR)
    with pytest.raises(InvalidInput, match="no 3 member tags"):
        await read_tags(connection, plan.plan_id * PLAN_STRIDE + 1, 3)


async def test_the_same_file_twice_changes_nothing(enrolled: Bring, changed: Bring, engine: AsyncEngine) -> None:
    await enrolled("M1,1990-05-05,2019-01-01,")
    await changed("exit,M1,2019-03-01,,")
    before = await counts(engine)
    assert await enrolled("M1,1990-05-05,2019-01-01,") == Imported(1, repeated=True)
    assert await changed("exit,M1,2019-03-01,,") == Imported(1, repeated=True)
    assert await counts(engine) == before


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "holds no members"),
        (("M8,1990-05-05,2019-01-01,", "M9,x,2019-01-01,"), "line 3, born_on: 'x'"),
        (("M8,1990-05-05,2019-01-01,", "M8,1990-05-05,2019-01-01,"), "line 2, member_ref: 'M8': is a member already"),
        (("M8,1990-05-05,2019-01-01,", "M1,1990-05-05,2019-01-01,"), "line 3, member_ref: 'M1': is a member already"),
        (("M8,1990-05-05,2019-01-01,", "M9,1990-05-05,2030-01-01,"), "line 3, joined_on: '2030-01-01'"),
        (("M8,1990-05-05",), "line 2, the line"),
    ],
)
async def test_a_refused_roster_changes_nothing(
    enrolled: Bring, engine: AsyncEngine, lines: tuple[str, ...], said: str
) -> None:
    await enrolled("M1,1990-05-05,2019-01-01,")
    before = await counts(engine)
    with pytest.raises(InvalidInput, match=said):
        await enrolled(*lines)
    assert await counts(engine) == before


async def test_every_problem_is_told_at_once_wherever_it_lies(
    engine: AsyncEngine, plan: Plan, rules: PlanRules, tmp_path: Path
) -> None:
    path, count = tmp_path / "roster.csv", SHARD_SEATS + 1_000
    write_synthetic(path, count, 1, rules, joined_from=date(2018, 12, 1), joined_until=date(2019, 1, 1))
    lines = path.read_text("utf-8").splitlines()
    lines[1] = lines[1].replace('"M', '"M ')
    lines[-1] = "M1,never,2019-01-01,,0,,"
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(InvalidInput) as refused:
        async with engine.begin() as connection:
            await import_roster(connection, plan, path, tag_key=KEY, account_key=ACCOUNT_KEY)
    assert "line 2, member_ref" in str(refused.value)
    assert f"line {count + 1}, born_on: 'never'" in str(refused.value)
    assert sum((await counts(engine)).values()) == 1, "only the plan's shard 0"


async def test_a_member_twice_in_a_file_of_many_shards_is_named(
    engine: AsyncEngine, plan: Plan, rules: PlanRules, tmp_path: Path
) -> None:
    path = tmp_path / "roster.csv"
    write_synthetic(path, 3 * SHARD_SEATS, 1, rules, joined_from=date(2018, 12, 1), joined_until=date(2019, 1, 1))
    lines = path.read_text("utf-8").splitlines()
    lines[9] = lines[4]
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(InvalidInput, match=r"line 5, member_ref: .*\n.*line 10, member_ref: .* or stands here twice"):
        async with engine.begin() as connection:
            await import_roster(connection, plan, path, tag_key=KEY, account_key=ACCOUNT_KEY)
    assert sum((await counts(engine)).values()) == 1, "only the plan's shard 0"


async def test_a_second_import_fills_the_last_shard_first(
    engine: AsyncEngine, plan: Plan, rules: PlanRules, tmp_path: Path, connection: AsyncConnection
) -> None:
    told: list[int] = []
    made = []
    for seed, count in ((1, 70_000), (2, 62_000)):
        path = tmp_path / f"{seed}.parquet"
        write_synthetic(path, count, seed, rules, joined_from=date(2018, 12, 1), joined_until=date(2019, 1, 1))
        async with engine.begin() as importing:
            await import_roster(importing, plan, path, tag_key=KEY, account_key=ACCOUNT_KEY, progress=told.append)
        made.append(count)
    assert told == [SHARD_SEATS, 70_000 - SHARD_SEATS, 2 * SHARD_SEATS - 70_000, 132_000 - 2 * SHARD_SEATS]
    found = await connection.execute(select(shards).where(shards.c.number > 0).order_by(shards.c.number))
    sizes = [(row.number, row.first_seat, row.seats) for row in found]
    assert sizes == [(1, 0, SHARD_SEATS), (2, SHARD_SEATS, SHARD_SEATS), (3, 2 * SHARD_SEATS, 928)]
    shard_ids = [plan.plan_id * PLAN_STRIDE + number for number in (1, 2, 3)]
    versions = [(await latest_version(connection, shard_id)).version for shard_id in shard_ids]
    assert versions == [1, 2, 1]
    for shard_id, version, (_, first_seat, seats) in zip(shard_ids, versions, sizes, strict=True):
        assert len(await read_columns(connection, shard_id, version)) == seats
        row = (await connection.execute(select(member_columns).where(member_columns.c.shard_id == shard_id))).one()
        refs = row.member_refs.split("\n")
        assert (len(refs), len(row.born_on), len(row.tags)) == (seats, seats * 4, seats * 16)
        for position in (0, seats // 2, seats - 1):
            assert await find_seats(connection, plan.plan_id, refs[position]) == [(shard_id, first_seat + position)]
    old, new = [await read_columns(connection, shard_ids[1], version) for version in (1, 2)]
    assert days(new)[: len(old)] == days(old)


async def test_changes_fold_into_one_new_version_and_leave_the_old(
    enrolled: Bring, changed: Bring, folded: Callable[[], Awaitable[dict[int, int]]], engine: AsyncEngine, plan: Plan,
    connection: AsyncConnection,
) -> None:  # fmt: skip
    shard_id = plan.plan_id * PLAN_STRIDE + 1
    await enrolled("M1,1990-05-05,2019-01-01,", "M2,1990-05-05,2019-01-01,")
    assert await folded() == {}
    await changed(
        "join,M3,2019-02-01,,1990-05-05",
        "exit,M1,2019-03-01,,",
        "freeze,M2,2019-02-01,,",
        "freeze,M2,2019-02-01,2019-03-01,",
    )
    assert await folded() == {shard_id: 2}
    assert await folded() == {}
    async with engine.begin() as again:
        assert await fold(again, shard_id) == 2
    old, new = [await read_columns(connection, shard_id, version) for version in (1, 2)]
    assert days(old) == [(JAN, JAN + 90, NEVER)] * 2
    assert old.frozen_from is None
    assert days(new) == [(JAN, JAN + 90, MAR), (JAN, JAN + 90, NEVER), (FEB, FEB + 90, NEVER)]
    assert new.frozen_from is not None
    assert new.frozen_to is not None
    assert (new.frozen_from.tolist(), new.frozen_to.tolist()) == ([0, FEB, 0], [0, MAR, 0])
    seats = await read_seats(connection, shard_id, 2, 0, on_day=MAR)
    assert seats.frozen_to is not None
    assert seats.frozen_to.tolist() == [0, MAR, 0]


async def test_who_comes_back_takes_a_new_seat(
    enrolled: Bring, changed: Bring, folded: Callable[[], Awaitable[dict[int, int]]], plan: Plan,
    connection: AsyncConnection,
) -> None:  # fmt: skip
    shard_id = plan.plan_id * PLAN_STRIDE + 1
    await enrolled("M1,1990-05-05,2019-01-01,2019-02-01")
    await changed("join,M1,2019-03-01,,1990-05-05")
    assert await find_seats(connection, plan.plan_id, "M1") == [(shard_id, 0), (shard_id, 1)]
    assert await read_tags(connection, shard_id, 2) == blake2b(b"M1", key=KEY, digest_size=16).digest() * 2
    await folded()
    assert days(await read_columns(connection, shard_id, 2)) == [(JAN, JAN + 90, FEB), (MAR, MAR + 90, NEVER)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "holds no changes"),
        (("leave,M1,2019-03-01,,",), "line 2, kind: 'leave': is none of join, exit, freeze"),
        (("exit,M9,2019-03-01,,",), "line 2, member_ref: 'M9': is no member"),
        (("exit,M1,2019-01-01,,",), "line 2, member_ref: 'M1': joined on 2019-01-01"),
        (("exit,M1,,,",), "line 2, from: empty: is missing"),
        (("exit,M1,2019-03-01,2019-04-01,",), "line 2, until: '2019-04-01': is for freezes only"),
        (("exit,M1,2019-03-01,,1990-05-05",), "line 2, born_on: '1990-05-05': is for joins only"),
        (("freeze,M1,2019-03-01,2019-03-01,",), "line 2, until: '2019-03-01': is not after from"),
        (("join,M8,2019-03-01,,",), "line 2, born_on: empty: is missing"),
        (("join,M1,2019-03-01,,1990-05-05",), "line 2, member_ref: 'M1': is a member"),
        (("join,M8,2019-03-01,,1990-05-05", "join,M8,2019-04-01,,1990-05-05"), "line 3, member_ref: 'M8'"),
        (("join,M8,2019-03-01,,1990-05-05", "exit,M8,2019-03-01,,"), "line 3, member_ref: 'M8': joined on"),
        (("join,M8,2022-03-01,,1990-05-05",), "line 2, from: '2022-03-01': is after xianghubao ended"),
    ],
)
async def test_refused_changes_change_nothing(
    enrolled: Bring, changed: Bring, engine: AsyncEngine, lines: tuple[str, ...], said: str
) -> None:
    await enrolled("M1,1990-05-05,2019-01-01,")
    before = await counts(engine)
    with pytest.raises(InvalidInput, match=said):
        await changed(*lines)
    assert await counts(engine) == before


async def test_joins_can_begin_a_plan_and_a_shard(
    changed: Bring, enrolled: Bring, folded: Callable[[], Awaitable[dict[int, int]]], plan: Plan,
    connection: AsyncConnection,
) -> None:  # fmt: skip
    shard_id = plan.plan_id * PLAN_STRIDE + 1
    await changed("join,M1,2019-01-01,,1990-05-05", "exit,M1,2019-02-01,,")
    await changed("join,M1,2019-03-01,,1990-05-05")
    # An import begins after the seats that joins have taken, folded or not.
    await enrolled("M2,1990-05-05,2019-01-01,")
    assert await folded() == {}
    columns = await read_columns(connection, shard_id, 1)
    assert days(columns) == [(JAN, JAN + 90, FEB), (MAR, MAR + 90, NEVER), (JAN, JAN + 90, NEVER)]
    assert await find_seats(connection, plan.plan_id, "M2") == [(shard_id, 2)]


async def test_a_membership_counts_changes_not_yet_folded(
    enrolled: Bring, changed: Bring, folded: Callable[[], Awaitable[dict[int, int]]], plan: Plan,
    connection: AsyncConnection,
) -> None:  # fmt: skip
    await enrolled("M1,1990-05-05,2019-01-01,")

    async def said(ref: str, on: date) -> Any:
        async with connection.begin():
            found = await membership_on(connection, plan.plan_id, ref, on)
        return found and (found.seat, found.born_on, found.shares_from, found.claims_from, found.ended_on)

    birth = date(1990, 5, 5)
    assert await said("M1", date(2019, 1, 1)) == (0, birth, JAN, JAN + 90, NEVER)
    assert await said("M9", date(2019, 1, 1)) is None
    await changed("exit,M1,2019-02-01,,", "join,M1,2019-03-01,,1990-05-06")
    for _ in ("recorded", "folded"):
        assert await said("M1", date(2018, 1, 1)) == (0, birth, JAN, JAN + 90, FEB)
        assert await said("M1", date(2019, 2, 28)) == (0, birth, JAN, JAN + 90, FEB)
        assert await said("M1", date(2019, 3, 1)) == (1, date(1990, 5, 6), MAR, MAR + 90, NEVER)
        await folded()


async def test_changes_and_versions_stay_as_they_are(
    enrolled: Bring, changed: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,1990-05-05,2019-01-01,")
    await changed("exit,M1,2019-03-01,,")
    with pytest.raises(DBAPIError, match="I4"):
        await connection.execute(text("UPDATE roster_changes SET from_day = 0"))


async def test_a_plan_gets_a_new_version_only_for_new_rules(engine: AsyncEngine, rules: PlanRules) -> None:
    other = rules.model_copy(update={"name": "相互宝 2"})
    async with engine.begin() as connection:
        first = await register_plan(connection, rules)
        assert await register_plan(connection, rules) == first
        assert (await register_plan(connection, other)).version == 2
        assert await plan_of(connection, rules.code) == Plan(first.plan_id, rules.code, 2)
        assert await rules_of(connection, first.plan_id, 1) == rules
        assert await rules_of(connection, first.plan_id, 2) == other
        with pytest.raises(InvalidInput, match="no plan 'nobody'; the plans here are xianghubao"):
            await plan_of(connection, "nobody")
        with pytest.raises(InvalidInput, match="no version 3"):
            await rules_of(connection, first.plan_id, 3)
        with pytest.raises(InvalidInput, match="keeps its books in CNY, not EUR"):
            await register_plan(connection, rules.model_copy(update={"currency": "EUR"}))
        assert await connection.scalar(select(func.count()).select_from(plan_rules)) == 2
        zero = (await connection.execute(select(shards))).one()
        assert (zero.shard_id, zero.number, zero.seats) == (first.plan_id * PLAN_STRIDE, 0, 0)


async def test_with_members_a_plan_keeps_its_tiers_and_where_shares_are_posted(engine: AsyncEngine) -> None:
    def rules(*codes: str, **keys: object) -> PlanRules:
        return rules_of_preset("xianghubao", tiers=[{"code": code, "weight": 1} for code in codes], **keys)

    prepaid = {
        "funding": "prepaid",
        "family_payers": False,
        "unpaid": None,
        "prepaid": {"entry": "9", "floor": "1", "return_days": 30},
        "wind_down": {"refund": "balances"},
    }
    async with engine.begin() as connection:
        await register_plan(connection, rules("one"))
        await register_plan(connection, rules("a", "b", **prepaid))  # nobody has a tier yet
        await register_plan(connection, rules("a", "b"))
    world = await build(engine, rules("a", "b"), alike(2))
    async with engine.begin() as connection:
        longer = await register_plan(connection, rules("a", "b", "c"))
        for wrong, why in (
            (rules("a", "b"), "tiers: xianghubao has members in a, b, c, known by their order; keep these first"),
            (rules("b", "a", "c"), "tiers: xianghubao has members in a, b, c"),
            (
                rules("a", "b", "c", **prepaid),
                "funding: xianghubao has members and keeps mandate; register another",
            ),
        ):
            with pytest.raises(InvalidInput, match=why):
                await register_plan(connection, wrong)
        assert await plan_of(connection, "xianghubao") == longer
    await world.sql("UPDATE plans SET ended_on = '2022-09-01'")
    async with engine.begin() as connection:
        assert await register_plan(connection, rules("a", "b", "c")) == longer, "the same again is no news"
        with pytest.raises(InvalidInput, match="ended on 2022-09-01, and its books are closed"):
            await register_plan(connection, rules("a", "b", "c", "d"))


async def test_an_ended_plan_enrols_nobody(enrolled: Bring, connection: AsyncConnection, engine: AsyncEngine) -> None:
    async with engine.begin() as other:
        await other.execute(text("UPDATE plans SET ended_on = '2022-09-01'"))
    with pytest.raises(InvalidInput, match="ended on 2022-09-01, and its books are closed"):
        await enrolled("M1,1990-05-05,2019-01-01,")


async def test_plans_do_not_share_members(engine: AsyncEngine, rules: PlanRules, tmp_path: Path) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(HEADER + "M1,1990-05-05,2019-01-01,\n", "utf-8")
    async with engine.begin() as connection:
        for code in ("xianghubao", "other"):
            plan = await register_plan(connection, rules.model_copy(update={"code": code}))
            assert await import_roster(connection, plan, path, tag_key=KEY, account_key=ACCOUNT_KEY) == Imported(
                1, repeated=False
            )
            assert await find_seats(connection, plan.plan_id, "M1") == [(plan.plan_id * PLAN_STRIDE + 1, 0)]
