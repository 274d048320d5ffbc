"""Idempotency keys over HTTP on real PostgreSQL: what was answered, kept with the effect it had, or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from engine.access.roles import Role
from tests.integration.worlds import World, alike, build, rules_of_preset, until
from tests.serving import Answer, Caller, Served

pytestmark = pytest.mark.integration

NEW = {"plan": "xianghubao", "debit_on": "2019-07-14"}
KEY = {"Idempotency_Key": "the-key-of-this-run"}


@pytest.fixture
async def world(served: Served) -> World:
    """A plan with a claim that waits for its run."""
    world = await build(served.service.engine, rules_of_preset(), alike(3))
    await world.claim()
    return world


async def planned(caller: Caller, new: dict[str, Any] = NEW, **headers: str) -> Answer:
    return await caller.post("/v1/runs", new, **(KEY | headers))


async def counted(world: World) -> dict[str, int]:
    """What a run that is planned leaves behind."""
    tables = {"runs": "share_runs", "keys": "idempotency_keys", "acts": "audit_log WHERE act = 'plan run'"}
    return {name: await world.value(f"SELECT count(*) FROM {table}") for name, table in tables.items()}


NOTHING = {"runs": 0, "keys": 0, "acts": 0}


@asynccontextmanager
async def at_the_last_step(world: World) -> AsyncIterator[int]:
    """Whoever remembers an answer stands before it, all work done, for the length of a block; who holds them there."""
    async with world.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE idempotency_keys IN SHARE MODE"))
        holder = await connection.scalar(text("SELECT pg_backend_pid()"))
        assert holder is not None
        yield holder


async def standing(world: World, holder: int) -> int:
    """The backend that stands there."""
    found: list[int] = []

    async def stands() -> bool:
        query = "SELECT pid FROM pg_stat_activity WHERE :holder = ANY (pg_blocking_pids(pid))"
        found[:] = [pid for (pid,) in await world.rows(query, holder=holder)]
        return bool(found)

    await until(stands, "a request at its last step")
    return found[0]


async def test_asked_again_it_is_done_once_and_answered_alike(served: Served, world: World) -> None:
    first = await planned(served.scheduler)
    assert first.status == 202
    again = await planned(served.scheduler)
    assert (again.status, again.said) == (first.status, first.said)
    assert again.headers["Location"] == first.headers["Location"]
    assert (again.headers["Idempotent-Replayed"], first.headers.get("Idempotent-Replayed")) == ("true", None)
    assert (await counted(world))["runs"] == 1
    assert (await counted(world))["keys"] == 1


async def test_the_key_of_one_request_is_none_of_another(served: Served, world: World) -> None:
    assert (await planned(served.scheduler)).status == 202
    before = await counted(world)
    for new in ({**NEW, "debit_on": "2019-07-28"}, {**NEW, "plan": "quark"}):
        answer = await planned(served.scheduler, new)
        assert (answer.status, answer.said["invariant"]) == (422, "I3")
        assert answer.said["type"].endswith("#problem-other-payload")
    answer = await served.scheduler.post("/v1/runs/1/pause", **KEY)
    assert answer.status == 422
    assert await counted(world) == before


async def test_two_callers_may_choose_the_same_key(served: Served, world: World) -> None:
    other = await served.caller("another", Role.SCHEDULER)
    assert (await planned(served.scheduler)).status == 202
    answer = await planned(other)
    assert answer.status == 409, "the period has its run; it is no replay of who else planned it"
    assert "Idempotent-Replayed" not in answer.headers


async def test_without_a_key_nothing_is_done(served: Served, world: World) -> None:
    answer = await served.scheduler.send("POST", "/v1/runs", json=NEW)
    assert (answer.status, answer.said["type"].rpartition("#")[2]) == (400, "problem-key-missing")
    for key in ("short", "x" * 129, "with space in it", "späterer-schlüssel"):
        assert (await planned(served.scheduler, Idempotency_Key=key)).status == 422
    assert await counted(world) == NOTHING


async def test_what_was_refused_may_be_asked_again_under_its_key(served: Served, world: World) -> None:
    await world.sql("UPDATE claims SET state = 'withdrawn'")
    refused = await planned(served.scheduler)
    assert refused.status == 409
    assert await counted(world) == NOTHING
    await world.sql("UPDATE claims SET state = 'passed'")
    assert (await planned(served.scheduler)).status == 202
    assert (await counted(world))["runs"] == 1


async def test_what_is_in_flight_is_not_done_beside_itself(served: Served, world: World) -> None:
    async with at_the_last_step(world) as holder:
        first = asyncio.create_task(planned(served.scheduler))
        await standing(world, holder)
        second = await planned(served.scheduler)
        assert (second.status, second.headers["Retry-After"]) == (409, "1")
        assert second.said["type"].endswith("#problem-key-in-flight")
    assert (await first).status == 202
    assert (await planned(served.scheduler)).headers["Idempotent-Replayed"] == "true"
    assert (await counted(world))["runs"] == 1


async def test_killed_after_the_work_and_before_the_commit_it_left_nothing(served: Served, world: World) -> None:
    async with at_the_last_step(world) as holder:
        first = asyncio.create_task(planned(served.scheduler))
        backend = await standing(world, holder)
        await world.rows("SELECT pg_terminate_backend(:pid)", pid=backend)
        assert (await first).status == 503
        assert await counted(world) == NOTHING
    assert (await planned(served.scheduler)).status == 202
    assert (await counted(world))["runs"] == 1


async def test_the_caller_who_hung_up_finds_out_what_came_of_it(served: Served, world: World) -> None:
    async with at_the_last_step(world) as holder:
        first = asyncio.create_task(planned(served.scheduler))
        await standing(world, holder)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    async def rests() -> bool:
        return (await planned(served.scheduler)).status == 202

    await until(rests, "an answer")
    assert (await counted(world))["runs"] == 1
    assert await world.value("SELECT debit_on FROM share_runs") == date(2019, 7, 14)
