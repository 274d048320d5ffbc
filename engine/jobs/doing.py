"""Who does a job: it is claimed by a lock on its row, held until its outcome stands there.

A worker that is killed lets go of the lock, and the job is done again by another: whatever a job does is done once,
in the transaction of the lock or under keys of its own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog
from sqlalchemy import ColumnElement, Select, and_, exists, func, null, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.desk import Desk
from engine.errors import FentanError
from engine.jobs.job import COLUMNS, Job, State, drop_file, job_from
from engine.jobs.kinds import DOES, InHand
from engine.roster.files import RefusedFile
from engine.settings import Settings
from engine.store.pauses import Queue, is_open
from engine.store.tables import jobs

_PASSING = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE that say nothing about what was asked: connections, locks, a server that stops or is full."""

_IN_HAND_BY = timedelta(seconds=10)
"""Whoever counted a try has the row locked by then, or was lost in between."""

log = structlog.get_logger()


async def do_next(engine: AsyncEngine, settings: Settings, desk: Desk, *, now: datetime) -> bool:
    """Do the first job that waits and nobody has in hand; False when there is none.

    What is refused changes nothing, and the row says why. Raises what passes by itself, a lost connection or a lock:
    the job waits again, and is given up after `max_attempts` tries.
    """
    async with engine.begin() as connection:
        job = await _begun(connection, settings.max_attempts)
    if job is None:
        return False
    async with engine.begin() as connection:
        if not await _is_ours(connection, job.job_id):  # somebody was quicker
            return True
        ended = await _done(InHand(engine, connection, settings, desk, job, now))
        await connection.execute(update(jobs).where(jobs.c.job_id == job.job_id).values(**ended))
    if ended["state"] == State.DONE.value:
        await drop_file(settings.data_dir, job.job_id)
    log.info("job ended", job_id=job.job_id, kind=job.kind.value, state=ended["state"])
    return True


async def _begun(connection: AsyncConnection, max_attempts: int) -> Job | None:
    """The job that is tried next, with the try counted; those that were tried too often are given up."""
    given_up = "its worker was lost each time; look into the workers' log, then retry it"
    begun_before = jobs.c.started_at < func.clock_timestamp() - _IN_HAND_BY
    lost = update(jobs).where(jobs.c.job_id.in_(_free(and_(jobs.c.tries >= max_attempts, begun_before))))
    await connection.execute(lost.values(_ended(State.FAILED, error=given_up)))
    next_ = _free(jobs.c.tries < max_attempts).limit(1).scalar_subquery()
    begun = update(jobs).where(jobs.c.job_id == next_)
    begun = begun.values(started_at=func.clock_timestamp(), tries=jobs.c.tries + 1)
    row = (await connection.execute(begun.returning(*COLUMNS))).one_or_none()
    return None if row is None else job_from(row)


def _free(which: ColumnElement[bool]) -> Select[tuple[int]]:
    """Jobs that nobody has in hand and that wait for none about the same; what was tried comes after what was not."""
    earlier = jobs.alias()
    before = exists().where(
        earlier.c.subject == jobs.c.subject,
        earlier.c.state == State.QUEUED.value,
        earlier.c.job_id < jobs.c.job_id,
    )
    before = before.correlate(jobs)
    free = select(jobs.c.job_id).where(jobs.c.state == State.QUEUED.value, which, ~before, is_open(Queue.JOBS))
    free = free.order_by(jobs.c.started_at.nulls_first(), jobs.c.job_id)
    return free.with_for_update(skip_locked=True, of=jobs).correlate(None)


async def _is_ours(connection: AsyncConnection, job_id: int) -> bool:
    """Whether the row is locked for us, until the transaction ends."""
    ours = select(jobs.c.job_id).where(jobs.c.job_id == job_id, jobs.c.state == State.QUEUED.value)
    return await connection.scalar(ours.with_for_update(skip_locked=True)) is not None


async def _done(hand: InHand) -> dict[str, Any]:
    """What the row says once it is done; what was refused has left nothing in the transaction."""
    try:
        async with hand.connection.begin_nested():
            return _ended(State.DONE, outcome=await DOES[hand.job.kind](hand))
    except RefusedFile as error:
        return _ended(State.FAILED, error=error.discreet)
    except FentanError as error:
        return _ended(State.FAILED, error=str(error))
    except OverflowError:
        return _ended(State.FAILED, error="what is asked leads to a day that no calendar has; correct the dates given")
    except Exception as error:
        if _passes(error):
            raise
        log.exception("job failed", job_id=hand.job.job_id)
        said = f"this is a fault of ours ({type(error).__name__}); the workers' log has it under this job's number"
        return _ended(State.FAILED, error=said)


def _ended(state: State, *, outcome: Any = None, error: str | None = None) -> dict[str, Any]:
    came_to = null() if outcome is None else outcome
    return {"state": state.value, "outcome": came_to, "error": error, "ended_at": func.clock_timestamp()}


def _passes(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or sqlstate[:2] in _PASSING
    return isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError | ConnectionError)
