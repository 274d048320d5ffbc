"""The workers: who lives, what each has in hand, and who is asked to end."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.store.audit import record
from engine.store.tables import workers

LOST_AFTER = timedelta(seconds=30)
"""A worker whose heart has not beaten for so long is not there any more, or cannot say so."""


@dataclass(frozen=True)
class Worker:
    """A worker as its last heartbeat says. `shard_id`: in hand; `memory_mib`: the most it ever held.

    `draining`: it was asked to take nothing more and to end after what is in hand.
    """

    worker: str
    host: str
    pid: int
    version: str
    shard_id: int | None
    memory_mib: int | None
    draining: bool
    started_at: datetime
    beat_at: datetime

    def is_lost(self, now: datetime) -> bool:
        """Whether nothing was heard of it for too long."""
        return now - self.beat_at > LOST_AFTER


_COLUMNS = [workers.c[field.name] for field in fields(Worker)]


def _worker(row: Row[Any]) -> Worker:
    return Worker(**row._asdict())


async def list_workers(connection: AsyncConnection, *, after: str = "", limit: int = 50) -> list[Worker]:
    """Workers that were heard of in the last hour, by name, those after a name."""
    query = select(*_COLUMNS).where(workers.c.worker > after).order_by(workers.c.worker).limit(limit)
    return [_worker(row) for row in await connection.execute(query)]


async def worker_of(connection: AsyncConnection, name: str) -> Worker:
    """The worker of a name. Raises NotFound."""
    row = (await connection.execute(select(*_COLUMNS).where(workers.c.worker == name))).one_or_none()
    if row is None:
        raise NotFound(f"there is no worker {name}; it may have ended (`fentan queue workers` shows those there are)")
    return _worker(row)


async def drain(connection: AsyncConnection, name: str, *, reason: str, actor: str) -> Worker:
    """Ask a worker to end after what is in hand; it learns it with its next heartbeat. Raises NotFound."""
    await worker_of(connection, name)
    await connection.execute(update(workers).where(workers.c.worker == name).values(draining=True))
    await record(connection, actor, "drain worker", f"worker:{name}", {"reason": reason})
    return await worker_of(connection, name)
