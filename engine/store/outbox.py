"""The outbox: what happened, written in the transaction in which it did, for those who asked to be told.

Nobody waits for who is told: workers deliver what stands here (engine.webhooks).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Text, any_, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store.tables import deliveries, outbox, webhooks


class Event(StrEnum):
    """What webhooks can be told of."""

    RUN_SEALED = "run.sealed"
    """A run's charges stand in the books."""

    RUN_SETTLED = "run.settled"
    """Every debit of a run is paid, or written off."""

    RUN_CLOSED = "run.closed"
    """Nothing of a run is left to be done."""

    BREAK_OPENED = "break.opened"
    """Something a custodian says, or does not say, is not explained."""

    SHARE_REQUESTED = "share.requested"
    """Somebody asks to see a member's shares: who knows how to reach the member hands them the link."""


async def announce(connection: AsyncConnection, event: Event, subject: str, detail: Mapping[str, object]) -> int:
    """Tell every live webhook that wants the event, once the caller's transaction has committed; the message's number.

    `subject`: what it is about, as `run:7`; `detail`: ids and counts, never people.
    """
    values = {"event": event, "subject": subject, "detail": dict(detail)}
    message = insert(outbox).values(values).returning(outbox.c.message_id)
    message_id = int((await connection.execute(message)).scalar_one())
    wanted = select(literal(message_id, BigInteger), webhooks.c.webhook_id)
    wanted = wanted.where(webhooks.c.ended_at.is_(None), literal(event, Text) == any_(webhooks.c.events))
    await connection.execute(insert(deliveries).from_select(["message_id", "webhook_id"], wanted))
    return message_id
