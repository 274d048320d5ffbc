"""Instructing and sending killed with -9 in the middle: run again, every seat is asked once, each file left once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.debit_files.manifest import all_in
from engine.custodian.desk import Desk
from engine.custodian.instructions import State
from engine.runs.run import Run
from tests.integration.held import desk_in, instructed, profile_of, sealed, standing
from tests.integration.worlds import World, alike, until

pytestmark = pytest.mark.integration

SEATS, ITEMS = (30_000, 20_001), 200


def begin(database_url: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`fentan custodian` in a process of its own."""
    settings = {"FENTAN_DATABASE_URL": database_url, "FENTAN_DATA_DIR": str(folder), "FENTAN_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "engine.cli.main", "custodian", *arguments]
    return subprocess.Popen(command, env=os.environ | settings, cwd=folder, stdout=subprocess.PIPE, text=True)


async def killed(database_url: str, folder: Path, seen: str, *arguments: str) -> None:
    """Begin a command, and kill it once a file like this is seen in the custodian's folder."""
    process = begin(database_url, folder, *arguments)

    async def is_there() -> bool:
        return process.poll() is not None or any((folder / "custodian").glob(f"generic-csv/{seen}"))

    await until(is_there, seen)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


async def check(world: World, run: Run, desk: Desk, state: State) -> None:
    """Every seat is asked for once, in a file that is on record as it lies there."""
    kept = {each.reference: (each.count, each.sha256) for each in all_in(desk.folder("generic-csv", "debits"))}
    stored = await world.rows("SELECT reference, count, encode(sha256, 'hex') FROM debit_batches")
    assert {reference: tuple(rest) for reference, *rest in stored} == kept
    assert sum(count for count, _ in kept.values()) == sum(SEATS)
    assert await world.value("SELECT count(*) FROM attempts") == 1
    for number in (1, 2):
        assert ((await standing(world, run, number)).state == state).all()
    asked = await world.value("SELECT sum(coalesce(cardinality(positions), 0)) FROM instruction_events")
    assert asked == sum(SEATS)


@pytest.mark.parametrize("seen", ["debits/*.part", "debits/*.manifest.json"])
async def test_killed_while_it_writes(engine: AsyncEngine, database_url: str, tmp_path: Path, seen: str) -> None:
    profile = profile_of(limits={"max_items_per_file": ITEMS})
    world, run, _ = await sealed(engine, *(alike(seats) for seats in SEATS), profile=profile)
    desk = desk_in(tmp_path / "custodian")
    await killed(database_url, tmp_path, seen, "instruct", str(run.run_id), "--as", "anna", "--on", "2019-07-13")
    assert await world.value("SELECT count(*) FROM debit_batches") == 0
    await instructed(world, run, desk)
    await check(world, run, desk, State.ASSESSED)


async def test_killed_while_it_sends(engine: AsyncEngine, database_url: str, tmp_path: Path) -> None:
    profile = profile_of(limits={"max_items_per_file": ITEMS, "files_per_hour": 3_600})
    world, run, custodian = await sealed(engine, *(alike(seats) for seats in SEATS), profile=profile)
    desk = desk_in(tmp_path / "custodian")
    await instructed(world, run, desk)
    command = ("send", "generic-csv", "--on", "2019-07-13")
    await killed(database_url, tmp_path, "out/*.csv", *command)
    sent_before = await world.value("SELECT count(*) FROM debit_batches WHERE sent_at IS NOT NULL")
    out, _ = begin(database_url, tmp_path, *command).communicate()
    left = -(-sum(SEATS) // ITEMS) - sent_before
    assert f"{left} files sent to generic-csv" in out
    await check(world, run, desk, State.SENT)
    assert len(list(desk.folder(custodian.code, "out").glob("*.csv"))) == -(-sum(SEATS) // ITEMS)
    assert not list(desk.folder(custodian.code, "out").glob("*.part"))
