"""One-time links on real PostgreSQL: who gets one, who learns nothing, and what an opened one shows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import pytest
from pydantic import SecretStr
from sqlalchemy import event, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import NotFound
from engine.members.share_links import (
    LINK_LASTS,
    LINKS_AN_HOUR,
    VIEW_LASTS,
    LinkSpent,
    Opened,
    link_viewer,
    make_link,
    open_link,
    request_link,
)
from engine.roster.members import REF_BUCKETS
from engine.store.outbox import Event
from engine.store.tables import members
from engine.webhooks.registered import register
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


async def peopled(engine: AsyncEngine) -> World:
    """Members M0 to M3; M1 left and came again, to seat 3. The platform is told of links."""
    world = await build(engine, rules_of_preset(), alike(4))
    seats = [("M0", 0, 1), ("M1", 1, 1), ("M2", 2, 1), ("M1", 3, 2)]
    async with engine.begin() as connection:
        for ref, seat, spell in seats:
            bucket = crc32(ref.encode()) % REF_BUCKETS
            row = {"plan_id": world.plan_id, "shard_id": world.shard(1), "seat": seat, "spell": spell}
            await connection.execute(insert(members).values(**row, ref_bucket=bucket, member_ref=ref))
        key = SecretStr("a signing key of tests")
        for wanted in ({Event.SHARE_REQUESTED}, {Event.RUN_SEALED}):
            await register(connection, "https://platform.example/", wanted, signing_key=key, actor="olga")
    refs = "\n".join(ref for ref, _, _ in seats)
    await world.sql("UPDATE member_columns SET member_refs = :refs", refs=refs)
    return world


async def requested(world: World, ref: str, at: datetime = NOW) -> None:
    async with world.engine.begin() as connection:
        await request_link(connection, world.plan, ref, now=at)


async def details(world: World) -> list[dict[str, Any]]:
    """What the platform is told, oldest first."""
    return [detail for (detail,) in await world.rows("SELECT detail FROM outbox ORDER BY message_id")]


def secret_in(path: str) -> str:
    assert path.startswith("/share/")
    return path.removeprefix("/share/")


async def opened(world: World, secret: str, at: datetime = NOW) -> Opened:
    async with world.engine.begin() as connection:
        return await open_link(connection, secret, now=at)


async def viewed(world: World, viewer: str, at: datetime = NOW) -> tuple[int, list[int]]:
    async with world.engine.connect() as connection:
        return await link_viewer(connection, viewer, now=at)


async def test_a_link_reaches_the_platform_alone_and_opens_once(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    await requested(world, "M1")
    (told,) = await details(world)
    secret = secret_in(told.pop("path"))
    assert told == {"plan": "xianghubao", "seat": 3, "expires_at": "2019-07-16T08:15:00+00:00"}
    assert await world.rows("SELECT event, subject, webhook_id FROM outbox JOIN deliveries USING (message_id)") == [
        ("share.requested", "plan:xianghubao", 1)
    ]
    shown = await opened(world, secret, NOW + LINK_LASTS - SECOND)
    assert (shown.plan_id, shown.seat) == (world.plan_id, 3)
    assert shown.expires_at == NOW + LINK_LASTS - SECOND + VIEW_LASTS
    with pytest.raises(LinkSpent, match="used before, or is too old"):
        await opened(world, secret, NOW + LINK_LASTS - SECOND)
    assert await viewed(world, shown.viewer, shown.expires_at - SECOND) == (world.plan_id, [3, 1])
    with pytest.raises(LinkSpent):
        await viewed(world, shown.viewer, shown.expires_at)


async def test_secrets_are_kept_as_digests_and_blanked_once_used(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    for ref in ("M0", "M2"):
        await requested(world, ref)
    used, other = [secret_in(each["path"]) for each in await details(world)]
    shown = await opened(world, used)
    assert ["path" in each for each in await details(world)] == [False, True]
    tables = ("share_links", "outbox", "audit_log")
    kept = str([await world.rows(f"SELECT t::text FROM {table} t") for table in tables])
    assert [secret in kept for secret in (used, shown.viewer, other)] == [False, False, True]


async def test_what_opens_nothing(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    await requested(world, "M0")
    secret = secret_in((await details(world))[0]["path"])
    for wrong in ("", secret[:-1], "\0", "\ud800", "链接"):
        with pytest.raises(LinkSpent):
            await opened(world, wrong)
        with pytest.raises(LinkSpent):
            await viewed(world, wrong)
    with pytest.raises(LinkSpent):
        await viewed(world, secret)  # it shows nothing before it is opened
    with pytest.raises(LinkSpent):
        await opened(world, secret, NOW + LINK_LASTS)
    shown = await opened(world, secret)
    with pytest.raises(LinkSpent):
        await viewed(world, secret)
    with pytest.raises(LinkSpent):
        await opened(world, shown.viewer)


async def test_of_two_who_open_it_at_once_one_does(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    await requested(world, "M0")
    secret = secret_in((await details(world))[0]["path"])
    found = await asyncio.gather(*[opened(world, secret) for _ in range(4)], return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["LinkSpent", "LinkSpent", "LinkSpent", "Opened"]


async def test_who_asks_does_not_learn_who_is_a_member(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    asked: list[str] = []

    def noted(_c: object, _u: object, statement: str, _p: Sequence[object], _x: object, _many: object) -> None:
        kept_or_not = statement.startswith(("RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"))
        asked.append("end of savepoint" if kept_or_not else statement)

    async def statements_of(ref: str) -> list[str]:
        asked.clear()
        await requested(world, ref)
        return asked.copy()

    event.listen(engine.sync_engine, "before_cursor_execute", noted)
    known = await statements_of("M0")
    assert await statements_of("nobody") == known
    assert await statements_of("成员" * 32) == known
    assert len(await details(world)) == 1
    for _ in range(LINKS_AN_HOUR):
        await requested(world, "M0")
    assert await statements_of("M0") == known, "nor who had as many links as there are"
    assert len(await details(world)) == LINKS_AN_HOUR
    assert await world.rows("SELECT count(*) FROM share_links") == [(LINKS_AN_HOUR,)]
    assert await world.rows("SELECT count(*) FROM deliveries") == [(LINKS_AN_HOUR,)]


async def test_what_is_taken_back_was_written_and_so_waits_for_the_disk_alike(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    async with engine.begin() as connection:
        await request_link(connection, world.plan, "nobody", now=NOW)
        assert await connection.scalar(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL"))
    assert await details(world) == []


async def test_unused_links_of_a_seat_are_few_an_hour(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    await asyncio.gather(*[requested(world, "M0") for _ in range(LINKS_AN_HOUR + 2)])
    told = await details(world)
    assert len(told) == LINKS_AN_HOUR
    await requested(world, "M2")
    assert len(await details(world)) == LINKS_AN_HOUR + 1, "of another seat"
    await opened(world, secret_in(told[0]["path"]))
    await requested(world, "M0")
    assert len(await details(world)) == LINKS_AN_HOUR + 2, "a used one counts no more"
    await requested(world, "M0", NOW + HOUR - SECOND)
    assert len(await details(world)) == LINKS_AN_HOUR + 2
    await requested(world, "M0", NOW + HOUR)
    assert len(await details(world)) == LINKS_AN_HOUR + 3
    assert ["path" in each for each in await details(world)].count(True) == 1, "old ones are blanked"
    assert await world.rows("SELECT count(*) FROM share_links") == [(1,)]


async def test_staff_hand_a_link_over_themselves(engine: AsyncEngine) -> None:
    world = await peopled(engine)
    async with engine.begin() as connection:
        path = await make_link(connection, world.plan, "M2", now=NOW, actor="olga")
        with pytest.raises(NotFound, match="there is no member M9 of xianghubao"):
            await make_link(connection, world.plan, "M9", now=NOW, actor="olga")
    assert (await opened(world, secret_in(path))).seat == 2
    assert await details(world) == []
    acts = await world.rows("SELECT actor, act, subject, detail FROM audit_log WHERE act LIKE '%link'")
    assert acts == [("olga", "make share link", "plan:xianghubao", {"seat": 2})]
