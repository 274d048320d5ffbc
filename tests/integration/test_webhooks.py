"""Webhooks on real PostgreSQL and a real receiver: signed, tried again until heard, at least once, nobody held up."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.breaks import Code
from engine.custodian.registered import list_custodians
from engine.errors import InvalidInput
from engine.store.embedded import Embedded
from engine.store.outbox import Event, announce
from engine.store.pauses import Queue, pause, resume
from engine.store.tables import deliveries
from engine.webhooks.deliveries import Delivery, DeliveryState, NotRetried, list_deliveries, retry
from engine.webhooks.delivering import (
    ANSWER_SECONDS,
    TRIES_MAX,
    client,
    deliver_next,
    due_webhooks,
    keep_delivering,
    pause_after,
)
from engine.webhooks.registered import end, register
from engine.webhooks.signing import secret_of
from tests.faults.crew import Crew
from tests.integration.money_out import held
from tests.integration.receiver import cut, receiving
from tests.integration.worlds import alike, build, rules_of_preset, until

pytestmark = pytest.mark.integration

KEY = SecretStr("a signing key of the tests")
NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOT = Path(__file__).parents[2]


async def registered(engine: AsyncEngine, url: str, *events: Event) -> int:
    async with engine.begin() as connection:
        found, secret = await register(connection, url, events or tuple(Event), signing_key=KEY, actor="admin")
    assert secret == secret_of(KEY, found.webhook_id)
    return found.webhook_id


async def happened(engine: AsyncEngine, *runs: int, event: Event = Event.RUN_SEALED) -> None:
    async with engine.begin() as connection:
        for run_id in runs:
            await announce(connection, event, f"run:{run_id}", {"run_id": run_id, "plan": "quark"})


async def tried(engine: AsyncEngine, webhook_id: int, at: datetime = NOW) -> bool:
    async with client() as session:
        return await deliver_next(engine, session, KEY, webhook_id, lambda: at)


async def standing(engine: AsyncEngine, webhook_id: int) -> list[Delivery]:
    """Oldest first."""
    async with engine.connect() as connection:
        return (await list_deliveries(connection, webhook_id))[::-1]


def states(found: Sequence[Delivery]) -> list[tuple[str, int]]:
    return [(each.state, each.tries) for each in found]


async def test_only_what_committed_is_told_and_only_to_who_wants_it(engine: AsyncEngine) -> None:
    all_of_it = await registered(engine, "https://a.example/")
    sealed = await registered(engine, "https://b.example/", Event.RUN_SEALED)
    gone = await registered(engine, "https://c.example/")
    async with engine.begin() as connection:
        await end(connection, gone, now=NOW, actor="admin")
    await happened(engine, 1)
    await happened(engine, 1, event=Event.RUN_CLOSED)
    async with engine.connect() as connection:
        await announce(connection, Event.RUN_SETTLED, "run:1", {})
        await connection.rollback()
    assert [each.event for each in await standing(engine, all_of_it)] == ["run.sealed", "run.closed"]
    assert [each.event for each in await standing(engine, sealed)] == ["run.sealed"]
    assert await standing(engine, gone) == []
    async with engine.connect() as connection:
        assert await due_webhooks(connection, now=NOW) == [all_of_it, sealed]


async def test_a_run_tells_of_itself_and_opened_breaks_are_one_message(engine: AsyncEngine) -> None:
    webhook_id = await registered(engine, "https://a.example/")
    world = await held(await build(engine, rules_of_preset(), alike(300)))
    await world.claim()
    run = await world.sealed()
    assert run.root is not None
    codes = [Code.REVERSED, *[Code.DUPLICATE_AT_BANK] * 999]
    async with engine.begin() as connection:
        assert await list_custodians(connection)
        openings = [Opening(code, world.plan_id, 5, 5, date(2019, 7, 16), run_id=run.run_id) for code in codes]
        assert await open_breaks(connection, 1, iter(openings)) == 1_000
        assert await open_breaks(connection, 1, []) == 0
    of_run = {"run_id": run.run_id, "plan": "xianghubao", "kind": "share", "debit_on": "2019-07-14"}
    counts = {"REVERSED": 1, "DUPLICATE_AT_BANK": 999}
    of_breaks = {"custodian": "generic-csv", "statement_id": None, "breaks": counts}
    assert await world.rows("SELECT event, subject, detail FROM outbox ORDER BY message_id") == [
        ("run.sealed", run.name, of_run | {"root": run.root.hex()}),
        ("break.opened", "custodian:generic-csv", of_breaks),
    ]
    assert len(await standing(engine, webhook_id)) == 2


def documented(language: str) -> str:
    """The first block of a language in the page about webhooks."""
    page = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_receiver_of_the_page_knows_what_is_ours(engine: AsyncEngine) -> None:
    known: dict[str, Any] = {}
    exec(documented("python"), known)  # noqa: S102 - what the page tells people to write
    async with receiving() as receiver:
        webhook_id = await registered(engine, receiver.url)
        await happened(engine, 7)
        assert await tried(engine, webhook_id)
    (headers, body), secret = receiver.heard[0], secret_of(KEY, webhook_id)
    sent = {name: headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    assert (sent["webhook-id"], sent["webhook-timestamp"]) == ("msg_1", str(int(NOW.timestamp())))
    now = NOW.timestamp()
    said = known["verified"](sent, body, secret, now)
    assert (said["type"], said["data"]) == ("run.sealed", {"run_id": 7, "plan": "quark"})
    assert datetime.fromisoformat(said["timestamp"]).tzinfo is not None
    assert said["timestamp"].endswith("Z")
    assert headers["Content-Type"] == "application/json"
    for wrong in (
        (sent, body + b" ", secret, now),
        (sent | {"webhook-id": "msg_2"}, body, secret, now),
        (sent | {"webhook-timestamp": str(int(now) + 1)}, body, secret, now),
        (sent | {"webhook-signature": "v1,"}, body, secret, now),
        (sent, body, secret_of(KEY, webhook_id + 1), now),
        (sent, body, secret_of(SecretStr("another signing key"), webhook_id), now),
        (sent, body, secret, now + 301),
    ):
        with pytest.raises(ValueError, match=r"not from Fentan|too old"):
            known["verified"](*wrong)


def test_the_page_shows_what_is_sent() -> None:
    assert sorted(json.loads(documented("json"))) == ["data", "timestamp", "type"]
    page = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
    assert re.findall(r"^\| `([a-z.]+)` \|", page, re.MULTILINE) == list(Event)
    assert f"{TRIES_MAX} times" in page
    assert f"{ANSWER_SECONDS:.0f} seconds" in page


async def test_what_was_not_heard_is_sent_again_with_growing_pauses(engine: AsyncEngine) -> None:
    async with receiving(500, cut, 302) as receiver:
        webhook_id = await registered(engine, receiver.url)
        await happened(engine, 1)
        now = NOW
        for tries, error in enumerate(
            ("answered 500", "could not be reached (ServerDisconnectedError)", "answered 302"), 1
        ):
            assert not await tried(engine, webhook_id, now)
            (delivery,) = await standing(engine, webhook_id)
            assert (delivery.state, delivery.tries, delivery.error) == ("waiting", tries, error)
            assert delivery.due_at == now + pause_after(tries)
            assert not await tried(engine, webhook_id, delivery.due_at - timedelta(seconds=1))
            assert len(receiver.heard) == tries
            now = delivery.due_at
        assert await tried(engine, webhook_id, now)
        (delivery,) = await standing(engine, webhook_id)
        assert (delivery.state, delivery.tries, delivery.error) == ("delivered", 4, None)
        assert (delivery.ended_at, delivery.due_at) == (now, None)
        assert not await tried(engine, webhook_id, now + HOUR)
    assert receiver.ids == ["msg_1"] * 4
    assert len({each.body for each in receiver.heard}) == 1
    assert len({each.headers["webhook-signature"] for each in receiver.heard}) == 4, "each try is signed at its time"


def test_the_pauses() -> None:
    pauses = [int(pause_after(tries).total_seconds()) for tries in range(1, TRIES_MAX)]
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


async def test_after_the_last_try_it_failed_and_a_person_can_ask_again(engine: AsyncEngine) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and nobody listens
        webhook_id = await registered(engine, f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        await happened(engine, 1)
        for number in range(TRIES_MAX):
            assert not await tried(engine, webhook_id, NOW + number * HOUR)
        (delivery,) = await standing(engine, webhook_id)
        assert states([delivery]) == [("failed", TRIES_MAX)]
        assert delivery.error == "could not be reached (ClientConnectorError)"
        assert not await tried(engine, webhook_id, NOW + 24 * HOUR)
        async with engine.begin() as connection:
            again = await retry(connection, webhook_id, 1, actor="olga")
        assert (again.state, again.tries, again.due_at, again.ended_at) == ("waiting", 0, None, None)
        assert not await tried(engine, webhook_id, NOW)
        assert states(await standing(engine, webhook_id)) == [("waiting", 1)]


async def test_what_cannot_be_retried(engine: AsyncEngine) -> None:
    async with receiving(204, 500) as receiver:
        webhook_id = await registered(engine, receiver.url)
        await happened(engine, 1, 2)
        assert await tried(engine, webhook_id)
        assert not await tried(engine, webhook_id)
        async with engine.begin() as connection:
            with pytest.raises(NotRetried, match="was delivered"):
                await retry(connection, webhook_id, 1, actor="olga")
            assert (await retry(connection, webhook_id, 2, actor="olga")).due_at is None
            await end(connection, webhook_id, now=NOW, actor="admin")
            with pytest.raises(NotRetried, match="has ended"):
                await retry(connection, webhook_id, 2, actor="olga")
        assert not await tried(engine, webhook_id)
        *_, last = await standing(engine, webhook_id)
        assert (last.state, last.error) == (DeliveryState.FAILED, "the webhook has ended")
    assert receiver.ids == ["msg_1", "msg_2"]


async def test_who_dies_between_post_and_commit_has_it_sent_again_under_the_same_id(engine: AsyncEngine) -> None:
    async def dies(_: web.Request) -> web.StreamResponse:
        sending.cancel()
        await asyncio.wait([sending])
        return web.Response(status=204)

    async with receiving(dies) as receiver:
        webhook_id = await registered(engine, receiver.url)
        await happened(engine, 1)
        sending = asyncio.create_task(tried(engine, webhook_id))
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert states(await standing(engine, webhook_id)) == [("waiting", 1)]
        assert not await tried(engine, webhook_id, NOW + timedelta(seconds=ANSWER_SECONDS)), "it may be in hand"
        assert await tried(engine, webhook_id, NOW + timedelta(minutes=1))
        assert states(await standing(engine, webhook_id)) == [("delivered", 2)]
    assert receiver.ids == ["msg_1", "msg_1"]


async def test_a_worker_tells_and_one_that_is_killed_in_the_middle_has_it_told_again(
    engine: AsyncEngine, database_url: str, embedded: Embedded, tmp_path: Path
) -> None:
    async def kills(_: web.Request) -> web.StreamResponse:
        crew.kill()
        return web.Response(status=204)

    crew = Crew(database_url, embedded.redis_url, tmp_path / "workers.log")
    try:
        async with receiving(kills) as receiver:
            webhook_id = await registered(engine, receiver.url)
            await happened(engine, 1)
            crew.hire()
            await receiver.hears(1)
            assert states(await standing(engine, webhook_id)) == [("waiting", 1)]
            async with engine.begin() as connection:  # the minute goes by for which it is the first worker's
                await connection.execute(update(deliveries).values(due_at=datetime.now(UTC)))
            crew.hire()
            await receiver.hears(2)

            async def delivered() -> bool:
                return states(await standing(engine, webhook_id)) == [("delivered", 2)]

            await until(delivered, "the delivery noted")
    finally:
        crew.dismiss()
    assert receiver.ids == ["msg_1", "msg_1"]
    assert receiver.heard[0].body == receiver.heard[1].body


async def test_two_workers_never_have_the_same_in_hand(engine: AsyncEngine) -> None:
    async with receiving() as receiver:
        webhook_id = await registered(engine, receiver.url)
        await happened(engine, *range(1, 21))

        async def worker() -> int:
            made = 0
            while await tried(engine, webhook_id):
                made += 1
            return made

        assert sum(await asyncio.gather(*[worker() for _ in range(4)])) == 20
    assert sorted(receiver.ids) == sorted(f"msg_{number}" for number in range(1, 21))
    assert {each.state for each in await standing(engine, webhook_id)} == {"delivered"}


async def test_a_slow_and_a_dead_receiver_hold_nobody_up(engine: AsyncEngine) -> None:
    woken = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await woken.wait()
        return web.Response(status=204)

    async with receiving(slow) as sleeping, receiving(*[cut] * 100) as dead, receiving() as lively:
        slow_id, dead_id, lively_id = [await registered(engine, each.url) for each in (sleeping, dead, lively)]
        await happened(engine, 1, 2, 3)
        stop = asyncio.Event()
        working = asyncio.create_task(keep_delivering(engine, KEY, stop))
        await asyncio.gather(lively.hears(3), sleeping.hears(1), dead.hears(1))
        await happened(engine, 4)
        await lively.hears(4)
        assert len(sleeping.heard) == 1
        assert (await standing(engine, dead_id))[0].state == "waiting"
        woken.set()
        await sleeping.hears(4)
        stop.set()
        await working
        assert {each.state for each in await standing(engine, lively_id)} == {"delivered"}
        assert {each.state for each in await standing(engine, slow_id)} <= {"delivered", "waiting"}


async def test_a_paused_queue_is_taken_from_by_nobody(engine: AsyncEngine) -> None:
    async with receiving() as receiver:
        webhook_id = await registered(engine, receiver.url)
        await happened(engine, 1)
        async with engine.begin() as connection:
            await pause(connection, [Queue.WEBHOOKS], reason="a test", actor="olga", now=NOW)
            assert await due_webhooks(connection, now=NOW) == []
        assert not await tried(engine, webhook_id)
        assert states(await standing(engine, webhook_id)) == [("waiting", 0)]
        async with engine.begin() as connection:
            await resume(connection, [Queue.WEBHOOKS], actor="olga")
        assert await tried(engine, webhook_id)
    assert receiver.ids == ["msg_1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/told", "http://10.0.0.1/", "http://127.0.0.1.example/", "http://localhost.example/",
        "ftp://receiver.example/", "https://anna:secret@receiver.example/", "https://receiver.example/#part",
        "https://", "https:///told", "https://receiver.example:0/", "https://receiver.example:65536/",
        "https://receiver.example/a b", "https://receiver.example/\n", "file:///etc/passwd", "receiver.example",
        "https://receiver.example/" + "a" * 500,
    ],
)  # fmt: skip
async def test_addresses_that_nothing_is_sent_to(engine: AsyncEngine, url: str) -> None:
    async with engine.begin() as connection:
        with pytest.raises(InvalidInput, match="address") as refused:
            await register(connection, url, list(Event), signing_key=KEY, actor="admin")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["https://receiver.example", "https://receiver.example:8443/a/b?c=d", "http://localhost:9000/", "http://[::1]/a"],
)
async def test_addresses_that_are_told(engine: AsyncEngine, url: str) -> None:
    assert await registered(engine, url) == 1


async def test_what_is_sent_to_nobody_is_said_where_it_failed(engine: AsyncEngine) -> None:
    webhook_id = await registered(engine, "https://..-/")
    await happened(engine, 1)
    assert not await tried(engine, webhook_id)
    (delivery,) = await standing(engine, webhook_id)
    assert (delivery.error or "").startswith("could not be reached (")
