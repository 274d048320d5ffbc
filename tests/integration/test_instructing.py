"""Instructions on real PostgreSQL: who is asked for what on whose account, once, in files the custodian takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.instructions import State
from engine.custodian.reference import Kind, Reference
from engine.custodian.tokens import Tokens, write_tokens
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.members.collection import collect
from engine.plans import day_number
from engine.reconcile.instructing import Asking, ask_again, instruct
from engine.roster.columns import ALONE, Columns
from engine.runs.run import Run
from engine.runs.states import NotNow, RunState
from engine.store.tables import SHARD_SEATS
from tests.integration.held import (
    ACTOR,
    KEY,
    NOW,
    ON,
    at,
    debit_files,
    desk_in,
    hold,
    instructed,
    lines,
    profile_of,
    sealed,
    standing,
)
from tests.integration.prepaid import opened, prepaid
from tests.integration.worlds import DEBIT, LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration


def family(payers: Sequence[int]) -> Columns:
    return replace(alike(len(payers)), payer=np.array(payers, np.int32))


def reference(run: Run, seat: int, attempt: int = 1) -> str:
    return str(Reference(Kind.DEBIT, run.run_id, attempt, seat))


async def correct(world: World, run: Run, amounts: dict[int, int]) -> None:
    """What a correction posts: more or less owed by these seats of the first shard."""
    receivable = account_id(world.plan_id, Account.CONTRIBUTIONS_RECEIVABLE)
    sponsor = account_id(world.plan_id, Account.SPONSOR_RECEIVABLE)
    segment = Segment(receivable, np.array(list(amounts.values()), np.int64), at(*amounts))
    lines = {receivable: segment.total, sponsor: -segment.total}
    journal = Journal(world.shard(1), f"{run.name}:correction:1", "correction", DEBIT, lines, (segment,))
    async with world.engine.begin() as connection:
        await post(connection, journal)


async def again(world: World, run: Run, desk: Any, positions: dict[int, Any], **changed: Any) -> Asking:
    given: dict[str, Any] = {"debit_on": DEBIT + timedelta(days=1), "now": NOW, "actor": ACTOR} | changed
    async with world.engine.begin() as connection:
        return await ask_again(connection, run.run_id, positions, desk, **given)


async def test_who_owes_is_asked_once_on_the_debit_day(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run, _ = await sealed(engine, alike(4), alike(3))
    desk, each = desk_in(tmp_path), int((await world.charged(run))[0][0])
    asking = await instructed(world, run, desk)
    assert asking == Asking(run.run_id, Kind.DEBIT, 1, DEBIT, 1, 7, 7 * each)
    assert (await world.run(run.run_id)).state is RunState.COLLECTING
    seats = [0, 1, 2, 3, SHARD_SEATS, SHARD_SEATS + 1, SHARD_SEATS + 2]
    assert lines(desk) == [
        [reference(run, seat), f"M{seat}", f"{each / 100:.2f}", "CNY", "2019-07-14"] for seat in seats
    ]
    # All that the run charged, in one file: a row without arrays for each shard.
    batch = await world.value("SELECT batch_id FROM debit_batches")
    assert await world.rows("SELECT shard_id, state, source, batch_id, positions, amounts FROM instruction_events") == [
        (world.shard(number), 1, f"batch:{batch}", batch, None, None) for number in (1, 2)
    ]
    there = await standing(world, run, 2)
    assert (there.state == State.ASSESSED).all()
    assert there.amount_minor.tolist() == [each] * 3

    before = {path.name: path.read_bytes() for path in desk.folder("generic-csv", "debits").iterdir()}
    assert await instructed(world, run, desk, now=NOW + timedelta(days=3)) == asking
    assert {path.name: path.read_bytes() for path in desk.folder("generic-csv", "debits").iterdir()} == before
    assert await world.value("SELECT count(*) FROM attempts") == 1


async def test_a_family_is_asked_on_its_payers_account_in_any_shard(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run, _ = await sealed(engine, family([2, ALONE, ALONE, SHARD_SEATS]), family([1, ALONE]))
    desk = desk_in(tmp_path)
    await instructed(world, run, desk)
    asked = [(Reference.read(row[0]).seat, row[1]) for row in lines(desk)]
    assert asked == [
        (1, "M1"), (2, "M2"), (0, "M2"), (3, f"M{3}"),
        (SHARD_SEATS, "M1"), (SHARD_SEATS + 1, f"M{SHARD_SEATS + 1}"),
    ]  # fmt: skip


@pytest.mark.parametrize("items", [1, 3, 4, 5])
async def test_files_are_as_full_as_the_custodian_takes_them(engine: AsyncEngine, tmp_path: Path, items: int) -> None:
    profile = profile_of(limits={"max_items_per_file": items})
    world, run, _ = await sealed(engine, family([ALONE, 4, ALONE, 2, ALONE]), alike(4), profile=profile)
    desk = desk_in(tmp_path)
    asking = await instructed(world, run, desk)
    files = debit_files(desk)
    assert [each.count for each in files] == [min(items, 9 - start) for start in range(0, 9, items)]
    assert asking.batches == len(files)
    kept = await world.rows("SELECT number, reference, file, encode(sha256, 'hex'), bytes, count, amount_minor"
                            " FROM debit_batches ORDER BY batch_id")  # fmt: skip
    assert kept == [
        (number, each.reference, each.file, each.sha256, each.bytes, each.count, each.amount_minor)
        for number, each in enumerate(files, 1)
    ]
    in_file = {
        Reference.read(row[0]).seat: 1 + place // items for place, row in enumerate(lines(desk))
    }  # which file names which seat
    for shard, first in ((1, 0), (2, SHARD_SEATS)):
        there = await standing(world, run, shard)
        assert there.batch.tolist() == [in_file[first + position] for position in range(len(there))]
        assert (there.state == State.ASSESSED).all()
        assert (there.amount_minor == there.charged).all()


async def test_what_is_asked_is_what_is_still_owed(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run, _ = await sealed(engine, alike(4), aid_minor=1_000)
    each = int((await world.charged(run))[0][0])
    await correct(world, run, {1: 5, 2: -each})
    desk = desk_in(tmp_path)
    asking = await instructed(world, run, desk)
    assert asking.amount_minor == 3 * each + 5
    assert [Reference.read(row[0]).seat for row in lines(desk)] == [0, 1, 3]
    there = await standing(world, run)
    assert there.amount_minor.tolist() == [each, each + 5, 0, each]
    assert there.state.tolist() == [State.ASSESSED, State.ASSESSED, State.NONE, State.ASSESSED]


@pytest.mark.parametrize("later", [timedelta(0), timedelta(hours=2)])
async def test_killed_before_it_was_on_record_it_is_made_again(
    engine: AsyncEngine, tmp_path: Path, later: timedelta
) -> None:
    profile = profile_of(limits={"max_items_per_file": 2})
    world, run, _ = await sealed(engine, alike(5), profile=profile)
    desk, folder = desk_in(tmp_path), desk_in(tmp_path).folder("generic-csv", "debits")

    class KilledError(Exception):
        pass

    async def killed() -> None:
        async with engine.begin() as connection:
            await instruct(connection, run.run_id, desk, on=ON, now=NOW, actor=ACTOR)
            raise KilledError

    with pytest.raises(KilledError):
        await killed()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 2 * 3
    assert (await world.run(run.run_id)).state is RunState.SEALED
    assert await world.value("SELECT count(*) FROM attempts") == 0
    (folder / (debit_files(desk)[0].file + ".part")).write_bytes(b"half")

    asking = await instructed(world, run, desk, now=NOW + later)
    assert (asking.batches, asking.instructions) == (3, 5)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == (
        {name for name in after if name.endswith(".manifest.json")} if later else set()
    )
    stored = await world.rows("SELECT encode(sha256, 'hex') FROM debit_batches ORDER BY batch_id")
    assert [sha256 for (sha256,) in stored] == [each.sha256 for each in debit_files(desk)]


async def test_two_who_instruct_at_once_ask_once(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run, _ = await sealed(engine, alike(3))
    desk = desk_in(tmp_path)
    first, second = await asyncio.gather(instructed(world, run, desk), instructed(world, run, desk))
    assert first == second
    assert await world.value("SELECT count(*) FROM instruction_events") == 1


async def test_a_draw_on_balances_asks_nobody(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await build(engine, prepaid(), alike(3))
    await opened(world, [10_00] * 3)
    await world.claim(aid_minor=300)
    run = await world.sealed()
    asking = await instructed(world, run, desk_in(tmp_path))
    assert asking == Asking(run.run_id, Kind.DEBIT, 1, DEBIT, 0, 0, 0)
    assert (await world.run(run.run_id)).state is RunState.SETTLED
    assert await instructed(world, run, desk_in(tmp_path)) == asking


async def test_who_still_owes_is_asked_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run, _ = await sealed(engine, alike(4), alike(2))
    desk = desk_in(tmp_path)
    await instructed(world, run, desk)
    each = int((await world.charged(run))[0][0])
    async with engine.begin() as connection:
        await collect(connection, run.run_id, world.shard(1), at(1), on=DEBIT)
    asking = await again(world, run, desk, {world.shard(1): at(0, 1, 3)})
    assert asking == Asking(run.run_id, Kind.DEBIT, 2, DEBIT + timedelta(days=1), 1, 2, 2 * each)
    assert [row[0] for row in lines(desk)[6:]] == [reference(run, seat, 2) for seat in (0, 3)]
    there = await standing(world, run)
    assert there.attempt.tolist() == [2, 1, 1, 2]
    assert (await again(world, run, desk, {world.shard(1): at(1)})).batches == 0
    assert (await again(world, run, desk, {world.shard(2): at(0, 1)})).attempt == 3
    third = await world.rows("SELECT positions, amounts FROM instruction_events WHERE attempt = 3")
    assert third == [(None, None)]  # all that the run charged in that shard


@pytest.mark.parametrize(
    ("now", "debit_on"),
    [
        (datetime(2019, 7, 12, 9, tzinfo=NOW.tzinfo), date(2019, 7, 15)),  # the 14th is a Sunday
        (datetime(2019, 7, 12, 16, 30, tzinfo=NOW.tzinfo), date(2019, 7, 16)),  # after Friday's cut-off
        (datetime(2019, 7, 13, 9, tzinfo=NOW.tzinfo), date(2019, 7, 16)),
        (datetime(2019, 7, 20, 9, tzinfo=NOW.tzinfo), date(2019, 7, 23)),
    ],
)
async def test_the_debit_day_is_a_business_day_that_can_be_reached(
    engine: AsyncEngine, tmp_path: Path, now: datetime, debit_on: date
) -> None:
    profile = profile_of("daikou-bank", limits={"lead_days": 1}, debits=profile_of().debits)
    world, run, _ = await sealed(engine, alike(3), profile=profile)
    desk = desk_in(tmp_path)
    asking = await instructed(world, run, desk, on=now.date(), now=now)
    assert asking.debit_on == debit_on
    assert lines(desk, "daikou-bank")[0][4] == debit_on.isoformat()


async def test_the_account_is_what_the_payers_token_says(engine: AsyncEngine, tmp_path: Path) -> None:
    profile = profile_of(payer_known_by="account")
    world, run, _ = await sealed(engine, family([1, ALONE, SHARD_SEATS]), alike(2), profile=profile)
    desk = desk_in(tmp_path)
    with pytest.raises(InvalidInput, match=r"3 payers have no account.*the first has seat 1;"):
        await instructed(world, run, desk)
    async with engine.begin() as connection:
        for number, accounts in ((1, ["a0", "a1", "a2"]), (2, ["b0", None])):
            await write_tokens(connection, world.shard(number), Tokens(pa.array(accounts)), KEY)
    with pytest.raises(InvalidInput, match=f"1 payers have no account.*seat {SHARD_SEATS + 1}"):
        await instructed(world, run, desk)
    async with engine.begin() as connection:
        await write_tokens(connection, world.shard(2), Tokens(pa.array(["b0", "b1"])), KEY)
    await instructed(world, run, desk)
    asked = [(Reference.read(row[0]).seat, row[1]) for row in lines(desk)]
    assert asked == [(1, "a1"), (0, "a1"), (2, "b0"), (SHARD_SEATS, "b0"), (SHARD_SEATS + 1, "b1")]


async def test_mandates_that_are_sure_to_be_new_are_asked_for_first(engine: AsyncEngine, tmp_path: Path) -> None:
    profile = profile_of("mock-bank", payer_known_by="account")
    world, run, _ = await sealed(
        engine, family([2, ALONE, ALONE, ALONE]), profile=profile, currency="EUR", time_zone="Europe/Amsterdam"
    )
    desk = desk_in(
        tmp_path, CUSTODIAN_MOCK_BANK_IBAN="NL41MOCK0000000001", CUSTODIAN_MOCK_BANK_CREDITOR_ID="NL41ZZZ000000000001"
    )
    signed = [day_number(date(2019, 7, 1))] * 4
    for day, late in ((0, {}), (1, {3: day_number(date(2019, 7, 17))})):
        tokens = Tokens(
            pa.array([f"NL41MOCK{seat:010}" for seat in range(4)]),
            pa.array([f"M-{seat}" for seat in range(4)]),
            np.array([late.get(seat, known) for seat, known in enumerate(signed)], np.int32),
        )
        async with engine.begin() as connection:
            await write_tokens(connection, world.shard(1), tokens, KEY)
        if day:
            await world.claim(notice_on=LATE_JULY)
            run = await world.sealed(LATE_DEBIT)
        now = NOW + timedelta(days=14 * day)
        await instructed(world, run, desk, on=now.date(), now=now)
    folder = desk.folder("mock-bank", "debits")
    said = []
    for each in debit_files(desk, "mock-bank"):
        text = (folder / each.file).read_text("utf-8")
        seats = [Reference.read(part[:16]).seat for part in text.split("<EndToEndId>")[1:]]
        said.append((each.run, each.sequence, f"<SeqTp>{each.sequence}</SeqTp>" in text, seats))
    first, second = sorted({each[0] for each in said})
    assert sorted(said) == [
        (first, "FRST", True, [1, 2, 3]),
        (first, "RCUR", True, [0]),
        (second, "FRST", True, [3]),
        (second, "RCUR", True, [1, 2, 0]),
    ]
    assert (await standing(world, run)).batch.tolist() == [1, 1, 1, 500_001]
    order = "SELECT number FROM debit_batches WHERE run_id = :run ORDER BY batch_id"
    assert await world.rows(order, run=run.run_id) == [(500_001,), (1,)]


async def test_what_cannot_be_asked_says_why(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await build(engine, rules_of_preset(), alike(3))
    await world.claim(aid_minor=300)
    planned = await world.planned()
    with pytest.raises(NotNow, match="is planned; instructions are made for a sealed run"):
        await instructed(world, planned, desk_in(tmp_path))
    run = await world.worked(planned)
    run = await world.worked(await world.approved(run))
    with pytest.raises(InvalidInput, match="no custodian holds the money of xianghubao yet"):
        await instructed(world, run, desk_in(tmp_path))
    await hold(world, profile_of())
    with pytest.raises(NotNow, match="nobody was asked yet; `fentan custodian instruct"):
        await again(world, run, desk_in(tmp_path), {world.shard(1): at(0)})
    await instructed(world, run, desk_in(tmp_path))
    await world.sql(
        "INSERT INTO attempts"
        " SELECT run_id, kind, 35, plan_id, custodian_id, debit_on, created_at, made_by FROM attempts"
    )
    with pytest.raises(InvalidInput, match="was asked for 35 times; write off what is still owed"):
        await again(world, run, desk_in(tmp_path), {world.shard(1): at(0)})
