"""Server-sent events of a run: followed to the seal; nobody who is slow, gone or many is felt by anybody."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, ClientTimeout
from sqlalchemy import event

from engine.runs.run import Run
from engine.store.embedded import Embedded
from tests.integration.worlds import World, alike, build, rules_of_preset, until
from tests.serving import Caller, Served, serving, settings_in

pytestmark = pytest.mark.integration


TOO_MUCH = "no" * 4_000_000
"""More than the sockets between two ends hold."""


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    identity: str
    data: dict[str, Any]


@pytest.fixture
async def world(served: Served) -> World:
    """Four shards and a claim that waits for its run."""
    world = await build(served.service.engine, rules_of_preset(), *(alike(50) for _ in range(4)))
    await world.claim()
    return world


def event_of(text: str) -> Event:
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    return Event(fields["event"], fields["id"], json.loads(fields["data"]))


async def events(caller: Caller, run: Run, wait_seconds: int, **headers: str) -> AsyncGenerator[Event]:
    """Each event of a run until the stream ends; what only keeps it open is left out."""
    path = f"{caller.url}/v1/runs/{run.run_id}/events?wait_seconds={wait_seconds}"
    headers |= {"Authorization": f"Bearer {caller.token}"}
    async with caller.session.get(path, headers=headers, timeout=ClientTimeout(total=60)) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        assert "Content-Encoding" not in answer.headers
        rest = ""
        async for chunk in answer.content.iter_any():
            *whole, rest = (rest + chunk.decode()).split("\n\n")
            for text in whole:
                if not text.startswith(":"):
                    yield event_of(text)
        assert rest == ""


async def heard(caller: Caller, run: Run, wait_seconds: int, **headers: str) -> list[Event]:
    return [each async for each in events(caller, run, wait_seconds, **headers)]


@asynccontextmanager
async def deaf(served: Served, run: Run) -> AsyncIterator[socket.socket]:
    """Somebody who asks for events and never reads."""
    host, port = served.url.removeprefix("http://").split(":")
    reader = socket.create_connection((host, int(port)))
    ask = f"GET /v1/runs/{run.run_id}/events?wait_seconds=300 HTTP/1.1\r\nHost: {host}\r\n"
    reader.sendall(f"{ask}Authorization: Bearer {served.viewer.token}\r\n\r\n".encode())
    try:
        yield reader
    finally:
        reader.close()


def listeners(served: Served, run: Run) -> int:
    followed = served.service.followed.get(run.run_id)
    return 0 if followed is None else followed.listeners


async def until_listening(served: Served, run: Run, count: int) -> None:
    async def are_there() -> bool:
        return listeners(served, run) == count

    await until(are_there, f"{count} listeners")


async def until_told(served: Served, run: Run) -> None:
    """That nothing failed."""

    async def is_told() -> bool:
        return served.service.followed[run.run_id].newest.failure is None

    await until(is_told, "news of the run")


async def test_a_run_is_followed_to_its_preview_and_then_to_its_seal(served: Served, world: World) -> None:
    run = await world.planned()
    following = asyncio.create_task(heard(served.viewer, run, 30))
    await until_listening(served, run, 1)
    await world.worked(run)
    told = await following
    assert told[0].name == "state"
    assert told[0].data["state"] == "planned"
    assert told[-1].name == "end"
    assert told[-1].data == {"reason": "rests", "state": "previewed", "run_id": run.run_id}

    await world.approved(run)
    following = asyncio.create_task(heard(served.viewer, run, 30))
    await until_listening(served, run, 1)
    await world.worked(run)
    told = await following
    states = [each.data["state"] for each in told if each.name == "state"]
    assert (states[0], states[-1]) == ("approved", "sealed")
    shown = (await served.viewer.get(f"/v1/runs/{run.run_id}/progress")).said
    last = [each for each in told if each.name == "progress"][-1]
    assert (last.data["seats_done"], last.data["shards_done"]) == (shown["seats"], shown["shards"]) == (200, 4)
    done = [each.data["seats_done"] for each in told if each.data.get("state") == "posting"]
    assert done == sorted(done)
    assert served.service.followed == {}


async def test_each_step_of_a_posting_run_is_told_once(served: Served, world: World) -> None:
    run = await world.posting(1)
    stream = events(served.viewer, run, 30)
    assert [(await anext(stream)).name for _ in range(2)] == ["state", "progress"]
    for number in (2, 3):
        await world.set_shards(run, "done", [number])
        news = await anext(stream)
        assert (news.name, news.identity, news.data["shards_done"]) == ("progress", f"posting-{number * 50}", number)
    await world.sql("UPDATE share_runs SET paused = true")
    news = await anext(stream)
    assert (news.name, news.data["is_paused"]) == ("state", True)
    await stream.aclose()


async def test_who_waits_for_news_in_vain_is_told_so_and_may_come_back(served: Served, world: World) -> None:
    run = await world.planned()
    began = monotonic()
    told = await heard(served.viewer, run, 1)
    assert 1 <= monotonic() - began < 10
    assert [each.name for each in told] == ["state", "progress", "end"]
    assert told[-1].data["reason"] == "quiet"
    again = await heard(served.viewer, run, 0, **{"Last-Event-ID": told[-1].identity})
    assert [each.name for each in again] == ["state", "progress", "end"]
    assert again[0].data == told[0].data


async def test_a_run_that_rests_is_told_at_once(served: Served, world: World) -> None:
    run = await world.previewed()
    told = await heard(served.viewer, run, 300)
    assert [each.name for each in told] == ["state", "progress", "end"]
    assert told[-1].data["reason"] == "rests"


async def test_many_listeners_ask_the_database_as_one(served: Served, world: World) -> None:
    run = await world.planned()
    asked: list[str] = []

    def count(*arguments: Any) -> None:
        if "FROM run_shards" in arguments[2]:
            asked.append(arguments[2])

    following = [asyncio.create_task(heard(served.viewer, run, 2)) for _ in range(40)]
    await until_listening(served, run, 40)
    assert len(served.service.followed) == 1
    event.listen(served.service.engine.sync_engine, "before_cursor_execute", count)
    began = monotonic()
    told = await asyncio.gather(*following)
    looks = (monotonic() - began) / 0.25 + 2
    assert {each[-1].data["reason"] for each in told} == {"quiet"}
    assert 2 <= len(asked) <= 2 * looks  # two queries a look, whoever listens
    asked.clear()
    await asyncio.sleep(0.6)
    assert asked == []  # nobody listens


async def test_who_never_reads_holds_nobody_up_and_is_let_go(
    served: Served, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.api.answering.WRITE_SECONDS", 1.0)
    run = await world.planned()
    await world.sql("UPDATE share_runs SET failure = :text", text=TOO_MUCH)
    async with deaf(served, run) as reader:
        await until_listening(served, run, 1)
        await world.sql("UPDATE share_runs SET failure = NULL")
        await until_told(served, run)
        following = asyncio.create_task(heard(served.viewer, run, 30))
        await until_listening(served, run, 2)
        await until_listening(served, run, 1)  # the one who reads
        await world.worked(run)
        told = await following
        assert told[-1].data == {"reason": "rests", "state": "previewed", "run_id": run.run_id}
        got = 0
        while piece := reader.recv(1 << 20):
            got += len(piece)
        assert got < len(TOO_MUCH)


async def test_who_reads_nothing_of_little_is_done_with_when_the_run_rests(served: Served, world: World) -> None:
    run = await world.planned()
    async with deaf(served, run):
        following = asyncio.create_task(heard(served.viewer, run, 30))
        await until_listening(served, run, 2)
        await world.worked(run)
        assert (await following)[-1].data["reason"] == "rests"
        await until_listening(served, run, 0)


async def test_who_went_away_is_no_listener_any_more(
    served: Served, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.api.progress.KEEP_ALIVE_SECONDS", 0.1)
    run = await world.planned()
    async with deaf(served, run):
        await until_listening(served, run, 1)
    await until_listening(served, run, 0)


async def test_streams_end_when_the_process_does(database_url: str, embedded: Embedded, tmp_path: Path) -> None:
    async with ClientSession() as session, AsyncExitStack() as stack:
        async with serving(database_url, embedded.redis_url, settings_in(tmp_path / "data")) as served:
            world = await build(served.service.engine, rules_of_preset(), alike(5))
            await world.claim()
            run = await world.planned()
            await stack.enter_async_context(deaf(served, run))
            following = asyncio.create_task(heard(replace(served.viewer, session=session), run, 300))
            await until_listening(served, run, 2)
            began = monotonic()
        assert monotonic() - began < 5
        assert (await following)[-1].data["reason"] == "closing"
        assert served.service.followed == {}


async def test_a_database_that_is_away_for_a_while_is_waited_for(served: Served, world: World) -> None:
    run = await world.planned()
    stream = events(served.viewer, run, 30)
    assert [(await anext(stream)).name for _ in range(2)] == ["state", "progress"]
    await served.service.engine.dispose()
    await world.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database()"
    )
    await world.sql("UPDATE share_runs SET paused = true")
    assert (await anext(stream)).data["is_paused"] is True
    await stream.aclose()
