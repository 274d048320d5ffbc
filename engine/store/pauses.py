"""Queues, and which of them a person has paused: what is paused is taken from by nobody, and what is in hand ends.

PostgreSQL holds what is to be done, in the tables of each queue; `queues` has a row only for one that was ever paused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Row, bindparam, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from engine.store.audit import record
from engine.store.tables import queues


class Queue(StrEnum):
    """Where work waits."""

    MEASURE = "measure"
    """Shards of frozen runs."""

    POST = "post"
    """Shards of approved runs."""

    REVERSE = "reverse"
    """Shards of runs that are voided."""

    SEND = "send"
    """Files that wait for a custodian."""

    JOBS = "jobs"
    """Imports, statements, exports that were asked for over HTTP."""

    WEBHOOKS = "webhooks"
    """Messages to those who asked to be told."""


@dataclass(frozen=True)
class Pause:
    """Whether a queue is paused, since when, by whom and why; the three are None while it is worked on."""

    queue: Queue
    paused_at: datetime | None = None
    paused_by: str | None = None
    reason: str | None = None


PAUSED = select(queues.c.queue).where(queues.c.paused_at.is_not(None))
"""The paused queues: six rows at most, read by every statement that takes work."""


def is_open(queue: Queue | ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the queue is worked on, for the WHERE of what takes from it: `.where(is_open(Queue.JOBS))`."""
    return ~exists().where(queues.c.queue == queue, queues.c.paused_at.is_not(None))


_IS_OPEN = select(is_open(bindparam("of_queue")))


async def is_worked_on(connection: AsyncConnection, queue: Queue) -> bool:
    """`is_open`, asked by itself."""
    return bool(await connection.scalar(_IS_OPEN, {"of_queue": queue}))


async def pauses(connection: AsyncConnection) -> dict[Queue, Pause]:
    """Every queue, in its order."""
    paused = await connection.execute(select(queues).where(queues.c.paused_at.is_not(None)))
    return {queue: Pause(queue) for queue in Queue} | {Queue(row.queue): _pause(row) for row in paused}


async def pause(
    connection: AsyncConnection, chosen: Collection[Queue], *, reason: str, actor: str, now: datetime
) -> None:
    """Pause queues. One that is paused already stays as it was: whoever paused it first had a reason too."""
    paused = insert(queues).values(
        [{"queue": queue, "paused_at": now, "paused_by": actor, "reason": reason} for queue in sorted(chosen)]
    )
    await connection.execute(
        paused.on_conflict_do_update(
            index_elements=["queue"],
            set_={name: paused.excluded[name] for name in ("paused_at", "paused_by", "reason")},
            where=queues.c.paused_at.is_(None),
        )
    )
    for queue in sorted(chosen):
        await record(connection, actor, "pause queue", f"queue:{queue}", {"reason": reason})


async def resume(connection: AsyncConnection, chosen: Collection[Queue], *, actor: str) -> None:
    """Let queues be worked on again; one that is not paused stays as it is."""
    await connection.execute(
        update(queues).where(queues.c.queue.in_(sorted(chosen))).values(paused_at=None, paused_by=None, reason=None)
    )
    for queue in sorted(chosen):
        await record(connection, actor, "resume queue", f"queue:{queue}")


def _pause(row: Row[tuple[object, ...]]) -> Pause:
    return Pause(Queue(row.queue), row.paused_at, row.paused_by, row.reason)
