"""The way out: each message is posted to each webhook until it is heard.

A worker claims a delivery by letting it not be due for a while, posts, and writes down what came of it: no transaction
is open while a receiver thinks, and what a killed worker had in hand is sent again, under the same id. So a message
comes at least once, and in no promised order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from pydantic import SecretStr
from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.store.pauses import Queue, is_open
from engine.store.tables import deliveries, outbox, webhooks
from engine.webhooks.deliveries import DeliveryState
from engine.webhooks.signing import body_of, headers_of, secret_of

TRIES_MAX = 12
ANSWER_SECONDS = 10.0
"""A receiver that has not answered by then has not heard."""

LOOK_SECONDS = 1.0
_CLAIMED_FOR = timedelta(seconds=60)
"""Longer than a try takes: then whoever claimed it is gone."""

_PAUSE_FIRST, _PAUSE_MOST = timedelta(seconds=10), timedelta(hours=1)

Clock = Callable[[], datetime]
log = structlog.get_logger()


def pause_after(tries: int) -> timedelta:
    """How long nobody tries a delivery that failed so often: 10 s, twice as long each time, an hour at most."""
    return min(_PAUSE_FIRST * (1 << (tries - 1)), _PAUSE_MOST)


def client() -> ClientSession:
    """What posts: a connection of its own each time, nothing kept between receivers."""
    return ClientSession(
        connector=TCPConnector(limit=0, force_close=True),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=ANSWER_SECONDS),
        auto_decompress=False,
    )


async def keep_delivering(engine: AsyncEngine, signing_key: SecretStr, stop: asyncio.Event) -> None:
    """Deliver whatever is due, to all webhooks side by side, so that none waits for another's receiver."""
    at_work: dict[int, asyncio.Task[None]] = {}
    async with client() as session:
        while not stop.is_set():
            try:
                async with engine.connect() as connection:
                    due = await due_webhooks(connection, now=_now())
            except Exception as error:  # noqa: BLE001 - a server that starts or stops raises the driver's own
                log.warning("looking for deliveries failed", error=type(error).__name__)
                due = []
            at_work = {webhook_id: task for webhook_id, task in at_work.items() if not task.done()}
            for webhook_id in set(due) - set(at_work):
                at_work[webhook_id] = asyncio.create_task(_deliver(engine, session, signing_key, webhook_id, stop))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        # What is not answered at once is sent again by whoever works next.
        if at_work:
            await asyncio.wait(at_work.values(), timeout=LOOK_SECONDS)
        for task in at_work.values():
            task.cancel()
        await asyncio.gather(*at_work.values(), return_exceptions=True)


async def _deliver(
    engine: AsyncEngine, session: ClientSession, signing_key: SecretStr, webhook_id: int, stop: asyncio.Event
) -> None:
    """All that is due to one webhook; a try that failed is the last of them for now."""
    try:
        while not stop.is_set() and await deliver_next(engine, session, signing_key, webhook_id, _now):
            pass
    except Exception as error:  # noqa: BLE001 - as above; it is due again
        log.warning("delivering failed", webhook_id=webhook_id, error=type(error).__name__)


async def due_webhooks(connection: AsyncConnection, *, now: datetime) -> list[int]:
    """The webhooks to whom something may be sent now."""
    due = select(deliveries.c.webhook_id).distinct().where(*_due(now)).order_by(deliveries.c.webhook_id)
    return list(await connection.scalars(due))


async def deliver_next(
    engine: AsyncEngine, session: ClientSession, signing_key: SecretStr, webhook_id: int, clock: Clock
) -> bool:
    """Try the oldest message that is due to a webhook and that nobody has in hand; whether one was delivered."""
    async with engine.begin() as connection:
        claimed = await _claim(connection, webhook_id, clock())
    if claimed is None:
        return False
    error = "the webhook has ended" if claimed.ended_at else await _post(session, signing_key, claimed, clock())
    async with engine.begin() as connection:
        await _note(connection, claimed, error, clock())
    if error is not None:
        log.warning(
            "message not delivered",
            webhook_id=webhook_id,
            message_id=claimed.message_id,
            tries=claimed.tries,
            error=error,
        )
    return error is None


def _due(now: datetime) -> tuple[Any, ...]:
    is_due = or_(deliveries.c.due_at.is_(None), deliveries.c.due_at <= now)
    return deliveries.c.state == DeliveryState.WAITING, is_due, is_open(Queue.WEBHOOKS)


async def _claim(connection: AsyncConnection, webhook_id: int, now: datetime) -> Row[Any] | None:
    oldest = (
        select(deliveries.c.message_id)
        .where(deliveries.c.webhook_id == webhook_id, *_due(now))
        .order_by(deliveries.c.message_id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("oldest")
    )
    claimed = (
        update(deliveries)
        .where(
            deliveries.c.message_id == oldest.c.message_id,
            deliveries.c.webhook_id == webhook_id,
            outbox.c.message_id == deliveries.c.message_id,
            webhooks.c.webhook_id == deliveries.c.webhook_id,
        )
        .values(tries=deliveries.c.tries + 1, due_at=now + _CLAIMED_FOR)
        .returning(
            *(deliveries.c.message_id, deliveries.c.webhook_id, deliveries.c.tries),
            *(webhooks.c.url, webhooks.c.ended_at, outbox.c.event, outbox.c.detail, outbox.c.recorded_at),
        )
    )
    return (await connection.execute(claimed)).one_or_none()


async def _post(session: ClientSession, signing_key: SecretStr, claimed: Row[Any], at: datetime) -> str | None:
    """Send it once; why it was not heard, None: it was. What a receiver says is not kept: it may say anything."""
    body = body_of(claimed.event, claimed.recorded_at, claimed.detail)
    headers = headers_of(secret_of(signing_key, claimed.webhook_id), claimed.message_id, at, body)
    try:
        async with session.post(claimed.url, data=body, headers=headers, allow_redirects=False) as answer:
            return None if 200 <= answer.status < 300 else f"answered {answer.status}"
    except TimeoutError:
        return f"did not answer within {ANSWER_SECONDS:.0f} seconds"
    except (ClientError, OSError, ValueError) as error:
        return f"could not be reached ({type(error).__name__})"


async def _note(connection: AsyncConnection, claimed: Row[Any], error: str | None, now: datetime) -> None:
    """What came of a try; nothing of one that failed after another had taken it over."""
    this = (
        deliveries.c.message_id == claimed.message_id,
        deliveries.c.webhook_id == claimed.webhook_id,
        deliveries.c.state == DeliveryState.WAITING,
    )
    if error is None:
        heard = {"state": DeliveryState.DELIVERED, "ended_at": now, "due_at": None, "error": None}
        await connection.execute(update(deliveries).where(*this).values(heard))
        return
    unheard: dict[str, object] = {"due_at": now + pause_after(claimed.tries), "error": error}
    if claimed.tries >= TRIES_MAX or claimed.ended_at is not None:
        unheard |= {"state": DeliveryState.FAILED, "ended_at": now, "due_at": None}
    await connection.execute(update(deliveries).where(*this, deliveries.c.tries == claimed.tries).values(unheard))


def _now() -> datetime:
    return datetime.now(UTC)
