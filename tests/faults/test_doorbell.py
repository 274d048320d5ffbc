"""Redis emptied, killed and away in the middle of posting: it holds nothing that cannot be lost (I8)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from engine.runs.run import Run
from engine.store.embedded import servers
from tests.faults.conftest import Undisturbed
from tests.faults.crew import Crew, at_the_wall, came_out_the_same, wall
from tests.integration.worlds import World, until

pytestmark = pytest.mark.faults

RETRY_SECONDS = 1.0
"""How often a worker asks for a Redis that is away."""

Valkey = Callable[[], AbstractContextManager[str]]


@pytest.fixture
def valkey(tmp_path: Path) -> Valkey:
    """A Valkey of this test alone, started anew by each block on the same socket; its address."""

    @contextmanager
    def running() -> Iterator[str]:
        with servers(tmp_path / "doorbell", postgres=False) as found:
            yield found.redis_url

    return running


def _client(redis_url: str) -> Redis:
    return Redis(unix_socket_path=redis_url.removeprefix("unix://"))


def kill(redis_url: str) -> None:
    with _client(redis_url) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)


async def test_I8_flushall_in_the_middle_of_posting(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed
) -> None:
    crew.hire(2)
    async with wall(world, 7, 8):
        await at_the_wall(world, run, 2)
        with _client(crew.redis_url) as client:
            assert client.dbsize() > 0
            client.flushall()
    await came_out_the_same(world, run, undisturbed.root)


async def test_I8_flushall_all_the_time(world: World, run: Run, crew: Crew, undisturbed: Undisturbed) -> None:
    crew.hire(2)
    flushed = 0
    with _client(crew.redis_url) as client:

        async def sealed() -> bool:
            nonlocal flushed
            flushed += bool(client.flushall())
            return (await world.run(run.run_id)).root is not None

        await until(sealed, "sealed between two flushes", seconds=120)
    assert flushed > 1
    await came_out_the_same(world, run, undisturbed.root)


async def test_I8_kill_9_of_redis_cuts_off_no_shard_in_hand(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed, valkey: Valkey
) -> None:
    with ExitStack() as doorbell:
        crew.redis_url = doorbell.enter_context(valkey())
        crew.hire(2, FENTAN_LEASE_SECONDS="300")
        async with wall(world, 7, 8):
            await at_the_wall(world, run, 2)
            kill(crew.redis_url)

        async def noticed() -> bool:
            return crew.log.read_text("utf-8").count("doorbell lost") >= 2

        async def stored() -> bool:
            return (await world.shard_states(run))[6:8] == ["done", "done"]

        await until(noticed, "both workers hear that the doorbell is gone")
        await until(stored, "both shards in hand are stored")
        with valkey() as again:
            assert again == crew.redis_url
            await came_out_the_same(world, run, undisturbed.root)
            assert await world.value("SELECT max(attempt) FROM run_shards") == 1
            assert [process.poll() for process in crew.processes] == [None, None]
            crew.dismiss()


async def test_I8_a_worker_that_begins_before_redis_waits_for_it(
    world: World, run: Run, crew: Crew, undisturbed: Undisturbed, valkey: Valkey
) -> None:
    with valkey() as crew.redis_url:
        pass
    crew.hire(1)

    async def asked() -> bool:
        return b'"event": "doorbell awaited"' in crew.log.read_bytes()

    await until(asked, "the worker asks for Redis")
    with valkey():
        await came_out_the_same(world, run, undisturbed.root)
        crew.dismiss()
    lines = crew.log.read_text("utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines].count("doorbell awaited") == 1


async def test_an_outage_of_redis_is_two_events(crew: Crew, valkey: Valkey) -> None:
    def events() -> list[str]:
        return [json.loads(line)["event"] for line in crew.log.read_text("utf-8").splitlines()]

    with valkey() as crew.redis_url:
        crew.hire(1, FENTAN_LOG_LEVEL="info")

        async def began() -> bool:
            with _client(crew.redis_url) as client:
                return any(each["name"] == "" and each["cmd"] == "zrangebyscore" for each in client.client_list())

        await until(began, "the worker listens")
    await asyncio.sleep(3 * RETRY_SECONDS)
    with valkey():

        async def back() -> bool:
            return "doorbell back" in events()

        await until(back, "the worker hears that Redis is back")
        crew.dismiss()
    assert [each for each in events() if each.startswith("doorbell")] == ["doorbell lost", "doorbell back"]
