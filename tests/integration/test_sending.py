"""Sending on real PostgreSQL: as many files as the custodian takes, none too late, each once whatever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.custodian.events import NOT_SENT
from engine.custodian.instructions import State
from engine.custodian.outbox import OutgoingFile, files_of
from engine.custodian.registered import Custodian
from engine.custodian.routes import HttpRoute
from engine.errors import InvalidInput
from engine.reconcile.instructing import ask_again
from engine.reconcile.sending import Sent, send_all, send_due, withdraw
from engine.runs.run import Run
from engine.store.tables import custodians
from tests.integration.held import (
    ACTOR,
    NOW,
    SHANGHAI,
    at,
    debit_files,
    desk_in,
    hold,
    instructed,
    profile_of,
    sealed,
    standing,
)
from tests.integration.worlds import DEBIT, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
POST = HttpRoute(kind="http", url_from="CUSTODIAN_URL", submit="/debits", content_type="text/csv", duplicate="DUPL")


async def asked(engine: AsyncEngine, desk: Desk, seats: int, **profile: Any) -> tuple[World, Run, Custodian]:
    """A run instructed in files of one debit each."""
    limits = {"max_items_per_file": 1} | profile.pop("limits", {})
    world, run, custodian = await sealed(engine, alike(seats), profile=profile_of(limits=limits, **profile))
    await instructed(world, run, desk)
    return world, run, custodian


async def sent_at(world: World, custodian: Custodian, desk: Desk, now: datetime, limit: int | None = None) -> Sent:
    async with world.engine.begin() as connection:
        return await send_due(connection, custodian, desk, now=now, limit=limit)


async def files(world: World, run: Run) -> list[OutgoingFile]:
    async with world.engine.connect() as connection:
        return await files_of(connection, run.run_id)


def out(desk: Desk) -> list[str]:
    return sorted(path.name for path in desk.folder("generic-csv", "out").glob("*.csv"))


async def test_what_waits_is_sent_once_in_the_order_it_was_written(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await asked(engine, desk, 3)
    each = debit_files(desk)[0].amount_minor
    assert await sent_at(world, custodian, desk, NOW, limit=2) == Sent(2, 2, 2 * each, waiting=1)
    assert out(desk) == [known.file for known in debit_files(desk)[:2]]
    later = NOW + timedelta(minutes=1)
    assert await sent_at(world, custodian, desk, later) == Sent(1, 1, each)
    assert await sent_at(world, custodian, desk, later) == Sent()
    stored = await files(world, run)
    assert [(known.state, known.sent_at, known.tries, known.error) for known in stored] == [
        ("sent", NOW, 1, None), ("sent", NOW, 1, None), ("sent", later, 1, None),
    ]  # fmt: skip
    assert await world.rows("SELECT DISTINCT sent_on FROM debit_batches") == [(NOW.date(),)]
    assert (await standing(world, run)).state.tolist() == [State.SENT] * 3
    for known in debit_files(desk):
        copy = desk.folder("generic-csv", "out") / known.file
        assert copy.read_bytes() == (desk.folder("generic-csv", "debits") / known.file).read_bytes()


async def test_the_day_is_the_custodians(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, _, custodian = await asked(engine, desk, 1, time_zone="America/Los_Angeles")
    await sent_at(world, custodian, desk, NOW)  # 9:30 in Shanghai is the evening before there
    assert await world.value("SELECT sent_on FROM debit_batches") == NOW.date() - timedelta(days=1)


@pytest.mark.parametrize("minutes", [7, 25, 60])
async def test_no_hour_sees_more_files_than_the_custodian_takes(
    engine: AsyncEngine, tmp_path: Path, minutes: int
) -> None:
    desk, hourly = desk_in(tmp_path), 4
    world, run, custodian = await asked(engine, desk, 14, limits={"files_per_hour": hourly})
    sent = [await sent_at(world, custodian, desk, NOW + timedelta(minutes=minutes) * step) for step in range(30)]
    moments = [each.sent_at for each in await files(world, run) if each.sent_at]
    assert len(moments) == sum(each.files for each in sent) == 14
    assert max(sum(first <= other < first + HOUR for other in moments) for first in moments) == hourly
    assert moments == sorted(moments)
    assert max(moments) - NOW < 4 * HOUR + timedelta(minutes=minutes)


async def test_a_thousand_to_a_file_and_ten_files_an_hour(engine: AsyncEngine, tmp_path: Path) -> None:
    """BANK: seen at a real bank."""
    desk = desk_in(tmp_path)
    profile = profile_of(limits={"max_items_per_file": 1_000, "files_per_hour": 10, "cut_off": time(16, 30)})
    world, run, custodian = await sealed(engine, alike(12_345), profile=profile, aid_minor=1_000_00)
    # At three in the afternoon the eleventh file leaves at four: all reach the day itself.
    now = datetime.combine(DEBIT, time(15), SHANGHAI)
    asking = await instructed(world, run, desk, on=DEBIT, now=now)
    assert (asking.batches, asking.instructions, asking.debit_on) == (13, 12_345, DEBIT)
    assert [each.count for each in debit_files(desk)] == [1_000] * 12 + [345]
    sent = [await send_all(engine, custodian, desk, now=now + hours * HOUR) for hours in range(3)]
    assert [(each.files, each.waiting) for each in sent] == [(10, 3), (3, 0), (0, 0)]


async def test_more_than_the_day_holds_are_asked_for_the_next(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    profile = profile_of(limits={"max_items_per_file": 1, "files_per_hour": 2, "cut_off": time(16, 30)})
    world, run, _ = await sealed(engine, alike(5), profile=profile)
    asking = await instructed(world, run, desk, on=DEBIT, now=datetime.combine(DEBIT, time(15), SHANGHAI))
    assert asking.debit_on == DEBIT + timedelta(days=1)


async def test_after_the_cut_off_nothing_leaves_and_what_to_do_is_said(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await asked(engine, desk, 3)
    cut_off = datetime.combine(DEBIT, time(18), SHANGHAI)
    assert (await sent_at(world, custodian, desk, cut_off - timedelta(seconds=1), limit=1)).files == 1
    assert await sent_at(world, custodian, desk, cut_off) == Sent(waiting=2, missed=2)
    words = "its debit day cannot be reached any more; `fentan custodian withdraw generic-csv` asks for it anew"
    assert [each.error for each in await files(world, run)] == [None, words, words]
    assert len(out(desk)) == 1

    async with engine.begin() as connection:
        assert await withdraw(connection, custodian, now=cut_off, actor=ACTOR) == 2
        assert await withdraw(connection, custodian, now=cut_off, actor=ACTOR) == 0
    assert [each.state for each in await files(world, run)] == ["sent", "withdrawn", "withdrawn"]
    assert await sent_at(world, custodian, desk, cut_off) == Sent()
    there = await standing(world, run)
    assert there.state.tolist() == [State.SENT, State.REJECTED, State.REJECTED]
    assert [there.reasons[reason] for reason in there.reason] == [None, NOT_SENT, NOT_SENT]

    async with engine.begin() as connection:
        again = await ask_again(
            connection, run.run_id, {world.shard(1): at(1, 2)}, desk, debit_on=DEBIT, now=cut_off, actor=ACTOR
        )
    assert (again.attempt, again.instructions, again.debit_on) == (2, 2, DEBIT + timedelta(days=1))
    assert (await sent_at(world, custodian, desk, cut_off)).files == 2


async def test_a_whole_shard_that_missed_its_cut_off_is_rejected_without_naming_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await sealed(engine, alike(3), alike(2))
    await instructed(world, run, desk)
    async with engine.begin() as connection:
        await withdraw(connection, custodian, now=datetime.combine(DEBIT, time(18), SHANGHAI), actor=ACTOR)
    assert [(await standing(world, run, number)).state.tolist() for number in (1, 2)] == [
        [State.REJECTED] * n for n in (3, 2)
    ]
    assert await world.value("SELECT count(*) FROM instruction_events WHERE positions IS NOT NULL") == 0


@asynccontextmanager
async def bank(*answers: int) -> AsyncIterator[tuple[list[bytes], str]]:
    """A bank that answers with one status after the other (0: with none), then with 200; what it was sent."""
    received: list[bytes] = []
    left = list(answers)

    async def take(request: web.Request) -> web.Response:
        received.append(await request.read())
        status = left.pop(0) if left else 200
        if not status and request.transport is not None:
            request.transport.close()
        return web.Response(status=status or 200)

    app = web.Application()
    app.add_routes([web.post("/debits", take)])
    async with TestServer(app) as server:
        yield received, str(server.make_url("/"))


async def test_one_that_fails_waits_longer_each_time_and_lets_the_others_pass(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    async with bank(503, 200, 500, 200) as (received, url):
        desk = desk_in(tmp_path, CUSTODIAN_URL=url)
        world, run, custodian = await asked(engine, desk, 3, transport=POST)
        minute = timedelta(minutes=1)
        each = debit_files(desk)[0].amount_minor
        moments = (NOW, NOW + minute / 2, NOW + minute, NOW + 2 * minute, NOW + 3 * minute)
        sent = [await sent_at(world, custodian, desk, now, limit=1) for now in moments]
        assert [(each.files, each.failed, each.waiting) for each in sent] == [
            (0, 1, 3),
            (1, 0, 2),
            (0, 1, 2),
            (1, 0, 1),
            (1, 0, 0),
        ]
    stored = await files(world, run)
    assert [(known.tries, known.error) for known in stored] == [(3, None), (1, None), (1, None)]
    assert [known.sent_at - NOW for known in stored if known.sent_at] == [3 * minute, minute / 2, 2 * minute]
    assert each * 3 == sum(known.amount_minor for known in stored)
    assert len(received) == 5


async def test_a_custodian_that_is_away_keeps_no_other_waiting(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path, CUSTODIAN_URL="http://127.0.0.1:9")
    world, run, away = await asked(engine, desk, 2, transport=POST)
    other = await build(engine, rules_of_preset("xianghubao-chronic"), alike(2))
    there = await hold(other, profile_of(code="wechat", debits=profile_of().debits))
    await other.claim(aid_minor=1_000)
    await instructed(other, await other.sealed(), desk)
    assert (await send_all(engine, away, desk, now=NOW)).failed == 1
    error = "the custodian does not answer over HTTP (ClientConnectorError)"
    assert [each.error for each in await files(world, run)] == [error, None]
    sent = await send_all(engine, there, desk, now=NOW)
    assert (sent.files, sent.instructions, sent.waiting) == (1, 2, 0)


async def test_killed_between_putting_and_writing_it_down_the_same_file_is_put_again(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    async with bank(200, 409) as (received, url):
        desk = desk_in(tmp_path, CUSTODIAN_URL=url)
        world, run, custodian = await asked(engine, desk, 1, transport=POST)
        async with engine.connect() as connection:
            await send_due(connection, custodian, desk, now=NOW)  # and never committed
        assert [each.state for each in await files(world, run)] == ["waiting"]
        assert (await sent_at(world, custodian, desk, NOW + HOUR)).files == 1
    assert received == [received[0]] * 2
    assert [(each.state, each.tries) for each in await files(world, run)] == [("sent", 1)]


async def test_what_may_be_with_the_custodian_is_withdrawn_only_by_who_asked_there(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await asked(engine, desk, 2)

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("engine.reconcile.sending._put", killed)
        with pytest.raises(KeyboardInterrupt):
            await send_all(engine, custodian, desk, now=NOW)
    late = datetime.combine(DEBIT, time(18), SHANGHAI)
    assert (await sent_at(world, custodian, desk, late)).missed == 2
    errors = [each.error or "" for each in await files(world, run)]
    assert ["nobody knows whether it arrived" in error for error in errors] == [True, True]
    async with engine.begin() as connection:
        assert await withdraw(connection, custodian, now=late, actor=ACTOR) == 0
        assert await withdraw(connection, custodian, now=late, actor=ACTOR, not_there=True) == 2


@pytest.mark.parametrize("first", ["closes the line", 500, 504])
async def test_what_may_have_arrived_stays_so_whatever_comes_of_sending_it_again(
    engine: AsyncEngine, tmp_path: Path, first: str | int
) -> None:
    async with bank(0 if isinstance(first, str) else first, 403) as (received, url):
        desk = desk_in(tmp_path, CUSTODIAN_URL=url)
        world, run, custodian = await asked(engine, desk, 1, transport=POST)
        assert (await send_all(engine, custodian, desk, now=NOW)).failed == 1
        assert (await send_all(engine, custodian, desk, now=NOW + HOUR)).failed == 1
    away = desk_in(tmp_path, CUSTODIAN_URL="http://127.0.0.1:9")
    assert (await send_all(engine, custodian, away, now=NOW + 2 * HOUR)).failed == 1
    assert len(received) == 2
    (file,) = await files(world, run)
    assert (file.error or "").startswith("its sending began, and nobody knows whether it arrived: the custodian does")
    late = datetime.combine(DEBIT, time(18), SHANGHAI)
    async with engine.begin() as connection:
        assert await withdraw(connection, custodian, now=late, actor=ACTOR) == 0


async def test_what_surely_did_not_arrive_needs_nobody_to_ask(engine: AsyncEngine, tmp_path: Path) -> None:
    async with bank(403) as (_, url):
        desk = desk_in(tmp_path, CUSTODIAN_URL=url)
        world, run, custodian = await asked(engine, desk, 2, transport=POST)
        assert (await send_all(engine, custodian, desk, now=NOW)).failed == 1
    assert [each.error for each in await files(world, run)] == ["the custodian answered with status 403", None]
    late = datetime.combine(DEBIT, time(18), SHANGHAI)
    async with engine.begin() as connection:
        assert await withdraw(connection, custodian, now=late, actor=ACTOR) == 2


async def test_who_finds_another_sending_leaves_noted_what_begins(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await asked(engine, desk, 2)
    async with engine.begin() as another:
        await another.execute(select(custodians.c.custodian_id).with_for_update())
        assert (await send_all(engine, custodian, desk, now=NOW)).files == 0
    noted = ["its sending began, and nobody knows whether it arrived"] * 2
    assert [each.error for each in await files(world, run)] == noted
    assert (await send_all(engine, custodian, desk, now=NOW)).files == 2
    assert [each.error for each in await files(world, run)] == [None, None]


async def test_two_who_send_at_once_send_each_file_once(engine: AsyncEngine, tmp_path: Path) -> None:
    async with bank() as (received, url):
        desk = desk_in(tmp_path, CUSTODIAN_URL=url)
        world, _, custodian = await asked(engine, desk, 6, transport=POST)
        sent = await asyncio.gather(*(sent_at(world, custodian, desk, NOW) for _ in range(4)))
        assert sum(each.files for each in sent) == len(received) == len(set(received)) == 6


async def test_a_file_that_is_not_as_it_was_written_does_not_leave(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await asked(engine, desk, 2)
    first, second = (desk.folder("generic-csv", "debits") / each.file for each in debit_files(desk))
    first.write_bytes(first.read_bytes().replace(b"0.10", b"9.10"))
    second.unlink()
    for _ in range(2):
        assert (await sent_at(world, custodian, desk, NOW)).failed == 1
    said = [each.error or "" for each in await files(world, run)]
    assert "is not as its manifest says" in said[0]
    assert "restore it from a backup" in said[1]
    assert out(desk) == []


async def test_what_the_environment_lacks_changes_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await asked(engine, desk, 1, transport=POST)
    with pytest.raises(InvalidInput, match="set CUSTODIAN_URL in the environment"):
        await sent_at(world, custodian, desk, NOW)
    assert [(each.tries, each.error) for each in await files(world, run)] == [(0, None)]
