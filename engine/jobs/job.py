"""Jobs as rows: what is asked for, whether it is done, what it came to; and the file it may be about."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.flushed import flush
from engine.errors import InvalidInput, NotFound
from engine.store.tables import jobs


class Kind(StrEnum):
    """What can be asked for."""

    ROSTER = "roster"
    """Members come in from a file."""

    CHANGES = "changes"
    """What happens to members, from a file."""

    ACCOUNTS = "accounts"
    """Members' accounts, from a file."""

    TOP_UPS = "top-ups"
    """What members paid in, from a file."""

    STATEMENT = "statement"
    """A custodian's statements, from a file."""

    DAY = "day"
    """A custodian's day: what it sent is taken, who does not pay is asked again, what waits is sent."""

    INSTRUCT = "instruct"
    """The debits of a sealed run are written."""

    SEND = "send"
    """The files that wait for a custodian are sent."""

    EXPORT = "export"
    """A reconciliation is written into files."""


class State(StrEnum):
    """How far a job is. While `queued` it may be in a worker's hand, since `started_at`."""

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """One job. `subject`: what it is about, as in the audit log; jobs of one subject are done one after the other.

    `detail`: all that doing it needs; ids and names of files. `tries`: how often somebody began it.
    """

    job_id: int
    kind: Kind
    subject: str
    detail: Mapping[str, Any]
    state: State
    asked_by: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    tries: int
    outcome: Mapping[str, Any] | None
    error: str | None


COLUMNS = [jobs.c[field.name] for field in fields(Job)]


def job_from(row: Row[Any]) -> Job:
    """The job of a row of COLUMNS."""
    return Job(**row._asdict() | {"kind": Kind(row.kind), "state": State(row.state)})


async def ask(connection: AsyncConnection, kind: Kind, subject: str, detail: Mapping[str, Any], *, actor: str) -> Job:
    """Ask for work; a worker does it once the transaction has committed."""
    values = {"kind": kind.value, "subject": subject, "detail": dict(detail), "asked_by": actor}
    return job_from((await connection.execute(insert(jobs).values(values).returning(*COLUMNS))).one())


async def job_of(connection: AsyncConnection, job_id: int) -> Job:
    """The job of a number. Raises NotFound."""
    row = (await connection.execute(select(*COLUMNS).where(jobs.c.job_id == job_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return job_from(row)


async def list_jobs(
    connection: AsyncConnection,
    *,
    kind: Kind | None = None,
    state: State | None = None,
    subject: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Job]:
    """Jobs, the latest first, those asked before a number."""
    query = select(*COLUMNS).order_by(jobs.c.job_id.desc()).limit(limit)
    query = query if subject is None else query.where(jobs.c.subject == subject)
    for column, wanted in ((jobs.c.kind, kind), (jobs.c.state, state)):
        query = query if wanted is None else query.where(column == wanted.value)
    query = query if before is None else query.where(jobs.c.job_id < before)
    return [job_from(row) for row in await connection.execute(query)]


async def retry(connection: AsyncConnection, job_id: int) -> Job:
    """Let a failed job be tried again. Raises NotFound, InvalidInput for one that did not fail."""
    again = update(jobs).where(jobs.c.job_id == job_id, jobs.c.state == State.FAILED.value)
    again = again.values(state=State.QUEUED.value, started_at=None, ended_at=None, tries=0, outcome=null(), error=None)
    row = (await connection.execute(again.returning(*COLUMNS))).one_or_none()
    if row is None:
        raise InvalidInput(f"job {job_id} is {(await job_of(connection, job_id)).state}; only what failed is retried")
    return job_from(row)


def folder_of(data_dir: Path, job_id: int) -> Path:
    """Where the file of a job lies until it is done: its owner's alone."""
    return data_dir / "jobs" / str(job_id)


async def keep_file(data_dir: Path, job_id: int, file: Path, name: str) -> None:
    """Move a file to its job, under a name, for good before the job is committed."""
    await asyncio.to_thread(_keep, folder_of(data_dir, job_id), file, name)


def _keep(folder: Path, file: Path, name: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    flush(file)
    file.replace(folder / name)
    for each in (folder, folder.parent):
        flush(each)


async def drop_file(data_dir: Path, job_id: int) -> None:
    """Let go of the file of a job that is done; of one that never had any nothing."""
    await asyncio.to_thread(shutil.rmtree, folder_of(data_dir, job_id), ignore_errors=True)


LEFT_AFTER = timedelta(days=1)
"""What nobody owns after so long was left by a process that was killed."""

KEPT = timedelta(days=30)
"""For so long a file whose job failed may be tried again; it names people and accounts, and is not kept for ever."""


async def drop_leftovers(engine: AsyncEngine, data_dir: Path, *, now: datetime) -> int:
    """Let go of files that killed processes left, and of those whose job failed long ago.

    The first are uploads nobody finished, and files of jobs that are done, or never were.

    How many were let go of.
    """
    since = (now - LEFT_AFTER).timestamp()
    uploads, folders = await asyncio.to_thread(_older, data_dir, since)
    if folders:
        async with engine.connect() as connection:
            is_kept = or_(jobs.c.state == State.QUEUED.value, jobs.c.ended_at > now - KEPT)
            waits = select(jobs.c.job_id).where(jobs.c.state != State.DONE.value, is_kept)
            owned = set(await connection.scalars(waits.where(jobs.c.job_id.in_(folders))))
        folders = [job_id for job_id in folders if job_id not in owned]
    for job_id in folders:
        await drop_file(data_dir, job_id)
    for path in uploads:
        path.unlink(missing_ok=True)
    return len(uploads) + len(folders)


def _older(data_dir: Path, since: float) -> tuple[list[Path], list[int]]:
    """Uploads, and the numbers of jobs with a folder, that were last touched before a moment."""

    def in_folder(name: str) -> list[Path]:
        try:
            return [path for path in (data_dir / name).iterdir() if path.stat().st_mtime < since]
        except FileNotFoundError:  # gone meanwhile, with whoever owned it
            return []

    return in_folder("uploads"), [int(path.name) for path in in_folder("jobs") if path.name.isdecimal()]
