"""Deliveries: how far each message is on its way to each webhook."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, Select, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import FentanError, NotFound
from engine.store.audit import record
from engine.store.outbox import Event
from engine.store.tables import deliveries, outbox
from engine.webhooks.registered import webhook_of


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    """It is to be tried, for the first time or again."""

    DELIVERED = "delivered"
    """The receiver answered that it has it."""

    FAILED = "failed"
    """It was tried as often as it is; it can be asked for again."""


class NotRetried(FentanError):
    """This delivery is not tried again."""


@dataclass(frozen=True)
class Delivery:
    """One message to one webhook. `due_at`: not tried before, None: as soon as somebody can; `error`: the last one."""

    message_id: int
    webhook_id: int
    event: Event
    subject: str
    happened_at: datetime
    state: DeliveryState
    tries: int
    due_at: datetime | None
    ended_at: datetime | None
    error: str | None


_OUTBOX = (outbox.c.event, outbox.c.subject, outbox.c.recorded_at.label("happened_at"))
_DELIVERIES: Select[Any] = select(deliveries, *_OUTBOX).join(outbox, outbox.c.message_id == deliveries.c.message_id)


def _delivery(row: Row[Any]) -> Delivery:
    values = row._asdict()
    return Delivery(**values | {"event": Event(row.event), "state": DeliveryState(row.state)})


async def list_deliveries(
    connection: AsyncConnection,
    webhook_id: int,
    *,
    state: DeliveryState | None = None,
    after: int | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """The latest messages to a webhook, newest first, those before the message `after`. Raises NotFound."""
    await webhook_of(connection, webhook_id)
    query = _DELIVERIES.where(deliveries.c.webhook_id == webhook_id)
    if state is not None:
        query = query.where(deliveries.c.state == state)
    if after is not None:
        query = query.where(deliveries.c.message_id < after)
    found = await connection.execute(query.order_by(deliveries.c.message_id.desc()).limit(limit))
    return [_delivery(row) for row in found]


async def delivery_of(connection: AsyncConnection, webhook_id: int, message_id: int) -> Delivery:
    """One message to one webhook. Raises NotFound."""
    found = await connection.execute(_DELIVERIES.where(*_these(webhook_id, message_id)))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no message {message_id} to a webhook {webhook_id}")
    return _delivery(row)


async def retry(connection: AsyncConnection, webhook_id: int, message_id: int, *, actor: str) -> Delivery:
    """Try a delivery again now: one that failed as often as a new one. Raises NotFound, NotRetried."""
    delivery = await delivery_of(connection, webhook_id, message_id)
    if delivery.state is DeliveryState.DELIVERED:
        raise NotRetried(f"message {message_id} was delivered; it is not sent again")
    if (await webhook_of(connection, webhook_id)).ended_at is not None:
        raise NotRetried(f"webhook {webhook_id} has ended; it is told of nothing any more")
    again: dict[str, object] = {"due_at": None}
    if delivery.state is DeliveryState.FAILED:
        again |= {"state": DeliveryState.WAITING, "tries": 0, "ended_at": None}
    of_state = deliveries.c.state == delivery.state
    await connection.execute(update(deliveries).where(*_these(webhook_id, message_id), of_state).values(again))
    await record(connection, actor, "retry delivery", f"webhook:{webhook_id}", {"message": message_id})
    return await delivery_of(connection, webhook_id, message_id)


def _these(webhook_id: int, message_id: int) -> tuple[Any, ...]:
    return deliveries.c.webhook_id == webhook_id, deliveries.c.message_id == message_id
