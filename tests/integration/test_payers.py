"""Family payers on real PostgreSQL: who is debited for whom, in which order, and what files may say of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.payers import read_paid
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.ledger.statement import read_statement
from engine.plans import PlanRules, day_number
from engine.roster.change_files import change_roster
from engine.roster.changes import current_columns, fold, shards_with_changes
from engine.roster.columns import ALONE, Columns, membership_on
from engine.roster.imports import import_roster
from engine.roster.plan import Plan, register_plan
from engine.runs.instructions import Instructions, Totals, instructions_of, of_payer, payers_of_seat, totals_of
from engine.runs.run import Run
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS
from tests.integration.prepaid import opened, prepaid
from tests.integration.worlds import DEBIT, JOINED, LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

KEY = b"a key of the tests"
DAY = day_number(DEBIT)


def family(payers: Sequence[int], *, joined: Sequence[int] = (), ended: dict[int, int] | None = None) -> Columns:
    """Seats with these payers' seats; who joined so many days later; who ended on a day."""
    columns = replace(alike(len(payers)), payer=np.array(payers, dtype=np.int32))
    columns.shares_from[: len(joined)] += np.array(joined, dtype=np.int32)
    for seat, day in (ended or {}).items():
        columns.ended_on[seat] = day
    return columns


async def ran(engine: AsyncEngine, *shards: Columns, **rules: Any) -> tuple[World, Run]:
    """A sealed run of one claim over these seats."""
    world = await build(engine, rules_of_preset(**rules), *shards)
    await world.claim(aid_minor=10_000)
    return world, await world.sealed()


async def debits(world: World, run: Run, number: int = 1) -> list[tuple[int, int]]:
    async with world.engine.connect() as connection:
        return pairs(await instructions_of(connection, run, world.shard(number)))


def pairs(found: Instructions) -> list[tuple[int, int]]:
    """Whose account, whose share."""
    return list(zip(found.payer_seat.tolist(), found.seat.tolist(), strict=True))


async def test_the_own_share_is_debited_first_then_the_family_as_they_joined(engine: AsyncEngine) -> None:
    """SCHEMES: xianghubao, jd-hubao."""
    world, run = await ran(engine, family([3, ALONE, 3, ALONE, 3, 1], joined=[5, 9, 1, 20, 5, 0]))
    assert await debits(world, run) == [(1, 1), (1, 5), (3, 3), (3, 2), (3, 0), (3, 4)]
    (charged,) = await world.charged(run)
    async with engine.connect() as connection:
        found = await instructions_of(connection, run, world.shard(1))
        assert found.amount_minor.tolist() == charged[found.seat].tolist()
        assert [str(each.dtype) for each in (found.payer_seat, found.seat, found.amount_minor)] == [
            "int32",
            "int32",
            "int64",
        ]
        assert pairs(await of_payer(connection, run, 3)) == [(3, 3), (3, 2), (3, 0), (3, 4)]
        assert pairs(await of_payer(connection, run, 2)) == []
        assert [await payers_of_seat(connection, world.shard(1), seat) for seat in (0, 3, 5)] == [
            {run.run_id: 3}, {}, {run.run_id: 1},
        ]  # fmt: skip
        each = int(charged[0])
        assert await totals_of(connection, run) == Totals(6, 2, 4, 6 * each, 4 * each)


async def test_a_cap_is_the_seats_own_and_no_other_of_the_family_feels_it(engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), family([ALONE, 0, 0]))
    await world.used(1, [0, 188_00, 0])
    await world.claim(aid_minor=10)
    run = await world.sealed()
    assert [charged.tolist() for charged in await world.charged(run)] == [[4, 0, 4]]
    assert await debits(world, run) == [(0, 0), (0, 2)]


@pytest.mark.parametrize(
    ("ended", "payer_of_zero"),
    [({}, 2), ({2: DAY + 1}, 2), ({2: DAY}, 0), ({2: JOINED + 1}, 0)],
)
async def test_when_a_payer_left_the_family_pay_for_themselves(
    engine: AsyncEngine, ended: dict[int, int], payer_of_zero: int
) -> None:
    world, run = await ran(engine, family([2, ALONE, ALONE], ended=ended))
    assert (payer_of_zero, 0) in await debits(world, run)
    async with engine.connect() as connection:
        paid = await payers_of_seat(connection, world.shard(1), 0)
    assert paid == ({run.run_id: 2} if payer_of_zero == 2 else {})


async def test_who_is_paid_for_pays_for_nobody(engine: AsyncEngine) -> None:
    world, run = await ran(engine, family([1, 2, ALONE]))
    assert await debits(world, run) == [(0, 0), (2, 2), (2, 1)]
    async with engine.connect() as connection:
        assert await payers_of_seat(connection, world.shard(1), 0) == {}


async def test_what_the_sponsor_paid_is_no_debit(engine: AsyncEngine) -> None:
    waiver = {
        "name": "new ones", "joined_by": "2019-01-01", "gates_from": "2019-07-01", "gates_to": "2019-07-31",
        "reason": "the sponsor pays",
    }  # fmt: skip
    world, run = await ran(engine, family([ALONE, 0, 0], joined=[0, 0, 4]), waivers=[waiver])
    assert await debits(world, run) == [(0, 2)]


async def test_a_family_in_several_shards_is_debited_in_one_order(engine: AsyncEngine) -> None:
    far = SHARD_SEATS + 1
    world, run = await ran(engine, family([far, ALONE], joined=[7]), family([far, ALONE, far], joined=[3, 50, 9]))
    async with engine.connect() as connection:
        found = await of_payer(connection, run, far)
        assert found.seat.tolist() == [far, SHARD_SEATS, 0, SHARD_SEATS + 2]
        assert (await totals_of(connection, run)).payers == 2
        assert await payers_of_seat(connection, world.shard(1), 0) == {run.run_id: far}
    assert await debits(world, run) == [(1, 1), (far, 0)]


async def test_only_a_sealed_run_debits(engine: AsyncEngine) -> None:
    world, run = await ran(engine, family([ALONE, 0]))
    assert await world.voided(run, "someone else")
    with pytest.raises(InvalidInput, match="run:1 is voiding; only a sealed run"):
        await debits(world, await world.run(run.run_id))
    async with engine.connect() as connection:
        assert await payers_of_seat(connection, world.shard(1), 1) == {}


async def test_a_statement_says_who_paid_and_for_whom(engine: AsyncEngine) -> None:
    world, first = await ran(engine, family([ALONE, ALONE, ALONE, 2, 2]))
    await world.change(1, family([ALONE, ALONE, ALONE, ALONE, 2]))
    await world.claim(aid_minor=20_000, notice_on=LATE_JULY)
    second = await world.sealed(LATE_DEBIT)
    async with engine.connect() as connection:
        payer, one = [
            await read_paid(connection, world.plan_id, await read_statement(connection, world.shard(1), seat))
            for seat in (2, 3)
        ]
    assert (payer.by, one.by) == ({}, {first.run_id: "M2"})
    assert [(debit.run_id, debit.member) for debit in payer.for_others] == [
        (first.run_id, "M3"), (first.run_id, "M4"), (second.run_id, "M4"),
    ]  # fmt: skip
    (share,), (later,) = await world.charged(first), await world.charged(second)
    assert [debit.amount for debit in payer.for_others] == [share[3], share[4], later[4]]
    assert one.for_others == []


async def test_who_draws_on_a_balance_is_debited_nothing(engine: AsyncEngine) -> None:
    world = await build(engine, prepaid(), family([ALONE, ALONE]))
    await opened(world, [900, 900])
    await world.claim(aid_minor=600, notice_on=date(2019, 7, 7))
    run = await world.sealed(LATE_DEBIT)
    assert [charged.tolist() for charged in await world.charged(run, Account.MEMBER_DEPOSITS)] == [[300, 300]]
    assert await debits(world, run) == []


Bring = Callable[..., Awaitable[Columns]]


@pytest.fixture
async def plan(engine: AsyncEngine) -> Plan:
    async with engine.begin() as connection:
        return await register_plan(connection, rules_of_preset())


async def enrol(engine: AsyncEngine, plan: Plan, path: Path) -> None:
    async with engine.begin() as connection:
        await import_roster(connection, plan, path, tag_key=KEY)


async def now(engine: AsyncEngine, plan: Plan, number: int = 1) -> Columns:
    """Every change in it, folded or not."""
    async with engine.connect() as connection:
        return (await current_columns(connection, plan.plan_id * PLAN_STRIDE + number))[2]


def roster(folder: Path, *lines: str, name: str = "roster.csv") -> Path:
    """Lines of reference, joining day in January 2019, payer and end."""
    rows = ["member_ref,born_on,joined_on,payer_ref,ended_on"]
    for line in lines:
        ref, day, payer, ended = (*line.split(","), "", "")[:4]
        rows.append(f"{ref},1990-05-05,2019-01-{day},{payer},{ended}")
    path = folder / name
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


async def test_a_roster_names_payers_before_and_after_and_already_there(
    engine: AsyncEngine, plan: Plan, tmp_path: Path
) -> None:
    await enrol(engine, plan, roster(tmp_path, "M1,01", "M2,02"))
    assert (await now(engine, plan)).payer is None
    await enrol(engine, plan, roster(tmp_path, "M3,03,M4", "M4,04", "M5,05,M4", "M6,06,M1"))
    payer = (await now(engine, plan)).payer
    assert payer is not None
    assert payer.tolist() == [ALONE, ALONE, 3, ALONE, 3, 0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("M3,03,M3",), "line 2, payer_ref: 'M3': is the member; leave it empty"),
        (("M3,03,M9",), "line 2, payer_ref: 'M9': is no member of the plan, and stands nowhere in the file"),
        (("M3,03,M4", "M4,04,M5", "M5,05"), "line 2, payer_ref: 'M4': is paid for by another"),
        (("M3,03,M2",), "line 2, payer_ref: 'M2': is paid for by another"),
        (("M3,03,M4", "M4,01,,2019-01-03"), "line 2, payer_ref: 'M4': has left by the day the member joined"),
        (("M3,05,M0",), "line 2, payer_ref: 'M0': has left by the day"),
        (("M3,03,M 4",), "line 2, payer_ref: 'M 4': must be 1 to 64 letters"),
    ],
)
async def test_payers_that_cannot_be_are_refused_and_nothing_changes(
    engine: AsyncEngine, plan: Plan, tmp_path: Path, lines: tuple[str, ...], said: str
) -> None:
    await enrol(engine, plan, roster(tmp_path, "M0,01,,2019-01-05", "M1,01", "M2,02,M1"))
    with pytest.raises(InvalidInput, match=said):
        await enrol(engine, plan, roster(tmp_path, *lines))
    assert len(await now(engine, plan)) == 3


async def test_only_plans_with_family_payers_take_the_column(engine: AsyncEngine, tmp_path: Path) -> None:
    async with engine.begin() as connection:
        plan = await register_plan(connection, rules_of_preset(family_payers=False))
    with pytest.raises(InvalidInput, match="the header has the unknown 'payer_ref'"):
        await enrol(engine, plan, roster(tmp_path, "M1,01"))


async def test_payers_in_other_shards_are_found_wherever_they_stand(
    engine: AsyncEngine, plan: Plan, tmp_path: Path
) -> None:
    count, far = SHARD_SEATS + 10, SHARD_SEATS + 4
    refs = [f"M{seat:06}" for seat in range(count)]
    days = pa.array([date(2019, 1, 1)] * count)

    async def imported(name: str, named: dict[int, int]) -> None:
        payers = [refs[named[seat]] if seat in named else None for seat in range(count)]
        table = pa.table({"member_ref": refs, "born_on": days, "joined_on": days, "payer_ref": payers})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
        await enrol(engine, plan, tmp_path / f"{name}.parquet")

    with pytest.raises(InvalidInput, match=r"row 3, payer_ref: 'M065540': is paid for by another"):
        await imported("chained", {2: far, far: 1})
    await imported("whole", {2: far, 5: far, SHARD_SEATS + 1: 0, SHARD_SEATS + 2: far})
    first, second = [await now(engine, plan, number) for number in (1, 2)]
    assert first.payer is not None
    assert second.payer is not None
    assert [first.payer[seat] for seat in (0, 2, 5)] == [ALONE, far, far]
    assert second.payer.tolist() == [ALONE, 0, far, *[ALONE] * 7]
    async with engine.begin() as connection:
        shard_id = plan.plan_id * PLAN_STRIDE + 1
        assert await shards_with_changes(connection, plan.plan_id) == [shard_id]
        assert await fold(connection, shard_id) == 2


@pytest.fixture
def changed(engine: AsyncEngine, plan: Plan, tmp_path: Path) -> Bring:
    """Members M1 to M4, the last of whom left on 5 January 2019; then these changes, and how the shard stands."""

    async def bring(*lines: str) -> Columns:
        if (await now(engine, plan)).shares_from.size == 0:
            await enrol(engine, plan, roster(tmp_path, "M1,01", "M2,01", "M3,01,M1", "M4,01,,2019-01-05"))
        path = tmp_path / "changes.csv"
        path.write_text("kind,member_ref,from,born_on,payer_ref\n" + "".join(f"{line}\n" for line in lines), "utf-8")
        async with engine.begin() as connection:
            await change_roster(connection, plan, path, tag_key=KEY)
        return await now(engine, plan)

    return bring


async def test_payers_change_and_joins_name_theirs(changed: Bring, engine: AsyncEngine, plan: Plan) -> None:
    columns = await changed(
        "payer,M2,2019-02-01,,M1",
        "payer,M3,2019-02-01,,",
        "join,M5,2019-02-01,1990-05-05,M3",
    )
    assert columns.payer is not None
    assert columns.payer.tolist() == [ALONE, 0, ALONE, ALONE, 2]
    async with engine.connect() as connection:
        found = [await membership_on(connection, plan.plan_id, ref, date(2019, 3, 1)) for ref in ("M1", "M2", "M5")]
    assert [each and each.payer_seat for each in found] == [None, 0, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("payer,M9,2019-02-01,,M1", "member_ref: 'M9': is no member"),
        ("payer,M4,2019-02-01,,M1", "member_ref: 'M4': is not covered"),
        ("payer,M1,2019-02-01,,", "member_ref: 'M1': pays for themself already"),
        ("payer,M2,2019-02-01,,M2", "payer_ref: 'M2': is the member"),
        ("payer,M2,2019-02-01,,M9", "payer_ref: 'M9': is no member"),
        ("payer,M2,2019-02-01,,M4", "payer_ref: 'M4': is not covered on 2019-02-01"),
        ("payer,M2,2019-02-01,,M3", "payer_ref: 'M3': is paid for by another"),
        ("join,M5,2019-02-01,1990-05-05,M3", "payer_ref: 'M3': is paid for by another"),
        ("exit,M2,2019-02-01,,M1", "payer_ref: 'M1': is for joins and changes of payer only"),
        ("payer,M2,2019-02-01,,M 1", "payer_ref: 'M 1': must be 1 to 64 letters"),
    ],
)
async def test_changes_of_payer_that_cannot_be_are_refused(changed: Bring, line: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"line 2, {said}"):
        await changed(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("payer,M2,2019-02-01,,", "kind: 'payer': is none of join, exit, freeze"),
        ("join,M5,2019-02-01,1990-05-05,M1", "payer_ref: 'M1': in xianghubao each pays alone"),
    ],
)
async def test_where_each_pays_alone_nobody_is_named(engine: AsyncEngine, tmp_path: Path, line: str, said: str) -> None:
    rules: PlanRules = rules_of_preset(family_payers=False)
    async with engine.begin() as connection:
        plan = await register_plan(connection, rules)
    path = tmp_path / "changes.csv"
    path.write_text(f"kind,member_ref,from,born_on,payer_ref\n{line}\n", "utf-8")
    with pytest.raises(InvalidInput, match=said):
        async with engine.begin() as connection:
            await change_roster(connection, plan, path, tag_key=KEY)
