"""Workers that are drained, and queues paused, in the middle of posting: what is in hand ends, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.operations.workers import drain, list_workers
from engine.runs.run import Run
from engine.store.pauses import Queue, pause, resume
from tests.faults.conftest import Undisturbed
from tests.faults.crew import SEATS, Crew, at_the_wall, came_out_the_same, wall
from tests.faults.test_up import PATIENCE_SECONDS, until_children
from tests.integration.worlds import World, until

pytestmark = pytest.mark.faults


async def test_a_drained_worker_ends_well_and_the_other_goes_on(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed
) -> None:
    crew.hire(2, FENTAN_LOG_LEVEL="info", FENTAN_LEASE_SECONDS="30")  # hearing of it takes a heartbeat
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
        async with world.engine.begin() as connection:
            first = (await list_workers(connection))[0]
            await drain(connection, first.worker, reason="a test", actor="olga")
        (drained,) = [process for process in crew.processes if process.pid == first.pid]
        (other,) = [process for process in crew.processes if process.pid != first.pid]

        async def is_told() -> bool:
            return b"worker drained" in crew.log.read_bytes()

        await until(is_told, "a worker that knows it is to end")
        assert drained.poll() is None  # it has a shard in hand
    assert await asyncio.to_thread(drained.wait, PATIENCE_SECONDS) == 0
    await came_out_the_same(world, run, undisturbed.root)
    assert other.poll() is None
    assert await world.rows("SELECT DISTINCT attempt, failures FROM run_shards") == [(1, 0)]
    assert await world.rows("SELECT pid FROM workers") == [(other.pid,)]


async def test_a_queue_paused_in_the_middle_of_posting(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed
) -> None:
    crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
        async with world.engine.begin() as connection:
            await pause(connection, [Queue.POST], reason="a test", actor="olga", now=datetime.now(UTC))

    async def nobody_works() -> bool:
        return "working" not in await world.shard_states(run)

    await until(nobody_works, "the end of what was in hand")
    states = await world.shard_states(run)
    later = await world.value("SELECT clock_timestamp() + interval '2 seconds'")

    async def have_swept() -> bool:
        return bool(await world.value("SELECT min(beat_at) > :later FROM workers", later=later))

    await until(have_swept, "several sweeps of both workers")
    assert states == await world.shard_states(run)
    assert 0 < states.count("pending") < len(SEATS)
    async with world.engine.begin() as connection:
        await resume(connection, [Queue.POST], actor="olga")
    await came_out_the_same(world, run, undisturbed.root)


def test_up_goes_on_with_the_rest(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENTAN_")}
    fentan = [sys.executable, "-m", "engine.cli.main"]

    def told(*words: str) -> str:
        done = subprocess.run([*fentan, *words], env=environment, cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode()

    def workers() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(told("queue", "workers", "--json"))
        return found

    command = [*fentan, "up", "--workers", "2", "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as up:
        try:
            assert up.stdout is not None
            assert up.stderr is not None
            up.stdout.readline()  # the API answers
            until_children(tmp_path, 3)
            while len(found := workers()) < 2:
                pass
            told("queue", "drain", found[0]["worker"], "--reason", "a test", "--as", "olga")
            while b"was drained" not in (line := up.stderr.readline()):
                assert line, "up ended"
            assert b"a worker was drained; 1 go on until Ctrl-C" in line
            assert [each["worker"] for each in workers()] == [found[1]["worker"]]
        finally:
            up.send_signal(signal.SIGTERM)
            up.communicate(timeout=PATIENCE_SECONDS)
    assert up.returncode == 0
