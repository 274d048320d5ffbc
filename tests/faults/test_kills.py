"""Workers killed, stopped, cut off and told to go in the middle of posting: the books come out the same."""

from __future__ import annotations

import asyncio
import json
import signal

import asyncpg
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.runs.run import Run
from engine.runs.states import RunState
from engine.store.arrays import copy_in
from engine.store.tables import balances
from tests.faults.conftest import Undisturbed
from tests.faults.crew import LEASE_SECONDS, SEATS, STANDING, Crew, at_the_wall, came_out_the_same, ends, wall
from tests.integration.worlds import World, until

pytestmark = pytest.mark.faults


async def attempts(world: World, number: int) -> int:
    return int(await world.value("SELECT attempt FROM run_shards WHERE shard_id = :shard", shard=world.shard(number)))


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_one_worker_two_and_four_seal_the_same_root(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed, workers: int
) -> None:
    crew.hire(workers, FENTAN_SHARDS_IN_HAND="2")
    await came_out_the_same(world, run, undisturbed.root)


async def test_kill_9_of_one_worker(world: World, run: Run, crew: Crew, undisturbed: Undisturbed) -> None:
    crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
        crew.kill(crew.processes[0])
    await came_out_the_same(world, run, undisturbed.root)
    assert sorted([await attempts(world, 7), await attempts(world, 8)])[1] > 1


async def test_kill_9_of_all_workers(world: World, run: Run, crew: Crew, undisturbed: Undisturbed) -> None:
    crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
        crew.kill()
    assert (await world.run(run.run_id)).state is RunState.POSTING
    crew.hire(2)
    await came_out_the_same(world, run, undisturbed.root)


async def test_kill_9_again_and_again(world: World, run: Run, crew: Crew, undisturbed: Undisturbed) -> None:
    for number in (3, 6, 9):
        crew.hire(1)
        async with wall(world, number):
            await at_the_wall(world, run, 1)
            crew.kill()
    crew.hire(1)
    await came_out_the_same(world, run, undisturbed.root)


async def test_kill_9_while_a_void_reverses(world: World, run: Run, crew: Crew) -> None:
    run = await world.worked(run)
    assert await world.voided(run) is RunState.VOIDING
    crew.hire(1)
    async with wall(world, 7):
        await at_the_wall(world, run, 1)
        crew.kill()
    crew.hire(1)
    run = await ends(world, run, RunState.VOIDED)
    assert await world.accounts() == {}
    assert dict(await world.rows("SELECT kind, count(*) FROM journals GROUP BY kind")) == {
        "charge": len(SEATS), "seal": 1, "void": len(SEATS) + 1,
    }  # fmt: skip
    assert await world.problems() == []


async def test_a_worker_that_was_thought_dead_comes_back(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed
) -> None:
    """SIGSTOP and SIGCONT: it goes on where it stood, with a lease that another has taken over since."""
    stopped, _ = crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
        stopped.send_signal(signal.SIGSTOP)
    await ends(world, run)
    stopped.send_signal(signal.SIGCONT)

    async def beats() -> bool:
        fresh = "SELECT count(*) FROM workers WHERE pid = :pid AND beat_at > clock_timestamp() - interval '1 second'"
        return bool(await world.value(fresh, pid=stopped.pid))

    await until(beats, "the worker that came back beats")
    assert stopped.poll() is None
    await came_out_the_same(world, run, undisturbed.root)


async def test_its_connections_are_cut(world: World, run: Run, crew: Crew, undisturbed: Undisturbed) -> None:
    crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)

        async def cut() -> bool:
            # Both or none: one may have given up a moment ago, and come back.
            both = f"WITH standing AS ({STANDING}) SELECT pg_terminate_backend(pid) FROM standing"
            return len(await world.rows(f"{both} WHERE (SELECT count(*) FROM standing) = 2")) == 2

        await until(cut, "both workers cut off")
    await came_out_the_same(world, run, undisturbed.root)
    assert [process.poll() for process in crew.processes] == [None, None]


async def test_the_database_turns_everyone_away_for_a_while(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed, embedded_engine: AsyncEngine
) -> None:
    crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
    await world.engine.dispose()
    name = world.engine.url.database
    async with embedded_engine.connect() as outside:
        await outside.execution_options(isolation_level="AUTOCOMMIT")
        await outside.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        terminate = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name")
        await outside.execute(terminate, {"name": name})

        async def they_noticed() -> bool:
            return crew.log.read_text("utf-8").count("failed") >= 4

        await until(they_noticed, "sweeps and heartbeats fail")
        await outside.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    await came_out_the_same(world, run, undisturbed.root)
    assert [process.poll() for process in crew.processes] == [None, None]


async def test_a_copy_that_loses_its_connection_ends(world: World, engine: AsyncEngine) -> None:
    """asyncpg would wait for ever for its buffer to be read, and the worker with it."""
    amounts = np.zeros(2**20, dtype=np.int64)
    pids = asyncio.Queue[int]()

    async def copy() -> None:
        async with engine.begin() as connection:
            pids.put_nowait(int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0))
            row = (world.shard(1), 1, 1, amounts)
            await copy_in(connection, balances, ["shard_id", "account_id", "as_of_seq", "amounts"], [row])

    async with engine.begin() as other:
        await other.execute(text("LOCK TABLE balances IN ACCESS EXCLUSIVE MODE"))
        copying = asyncio.create_task(copy())
        pid = await pids.get()

        async def waits() -> bool:
            return bool(await world.value("SELECT count(*) FROM pg_locks WHERE pid = :pid AND NOT granted", pid=pid))

        await until(waits, "the COPY waits")
        await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        ended, _ = await asyncio.wait([copying], timeout=5)
        copying.cancel()
    assert ended
    with pytest.raises((asyncpg.PostgresConnectionError, DBAPIError)):
        await copying


async def test_sigterm_lets_the_shard_in_hand_finish(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed
) -> None:
    [worker] = crew.hire(1, FENTAN_LEASE_SECONDS="30")
    async with wall(world, 7):
        await at_the_wall(world, run, 1)
        worker.terminate()
        assert worker.poll() is None
    assert await asyncio.to_thread(worker.wait, 30) == 0
    states = await world.shard_states(run)
    assert (states[6], await attempts(world, 7)) == ("done", 1)
    assert "working" not in states
    assert await world.rows("SELECT worker FROM workers") == []
    crew.hire(1)
    await came_out_the_same(world, run, undisturbed.root)


async def test_the_heartbeat_says_who_works_on_what(world: World, run: Run, crew: Crew) -> None:
    [worker] = crew.hire(1, FENTAN_LEASE_SECONDS="30")
    async with wall(world, 7):
        await at_the_wall(world, run, 1)

        async def told() -> bool:
            rows = await world.rows("SELECT pid, shard_id, memory_mib > 0 FROM workers")
            return rows == [(worker.pid, world.shard(7), True)]

        await until(told, "a heartbeat with the shard in hand")
    await ends(world, run)


async def test_what_workers_log_names_no_member_and_is_json(world: World, run: Run, crew: Crew) -> None:
    crew.hire(1, FENTAN_LOG_LEVEL="info", FENTAN_LOG_FORMAT="json")
    await ends(world, run)
    crew.dismiss()
    lines = [json.loads(line) for line in crew.log.read_text("utf-8").splitlines() if line.startswith("{")]
    assert {"worker started", "run moved", "worker stopped"} <= {line["event"] for line in lines}
    assert not any(f"M{seat}" in json.dumps(line) for line in lines for seat in (0, 1, 65_536))


assert LEASE_SECONDS < 5, "tests wait for leases to expire"
