"""The way out: files that wait are sent, as many in an hour as the custodian takes, and no debit too late.

A file is put before the row that says so is committed: killed in between, it is put again under the same name, which
changes nothing at the custodian. Debits that missed their cut-off never leave: their file is withdrawn, so that they
are asked for anew. What is paid out has no cut-off: the custodian carries it out on the next day it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import ColumnElement, Row, Select, and_, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian import schedule
from engine.custodian.debit_files import manifest
from engine.custodian.desk import Desk
from engine.custodian.events import LETTERS, NOT_SENT
from engine.custodian.instructions import State
from engine.custodian.registered import Custodian, custodian_by_id
from engine.custodian.transports import NotTaken, Transport, Unsure, transport_of
from engine.errors import InvalidInput
from engine.store.audit import record
from engine.store.pauses import Queue, is_open, is_worked_on
from engine.store.tables import attempts, custodians, debit_batches, instruction_events

_FILES_AT_ONCE = 20
"""Sent in one transaction: a crash has no more of them put again."""

log = structlog.get_logger()

_FILES, _EVENTS = debit_batches.c, instruction_events.c
WAITS = and_(_FILES.sent_at.is_(None), _FILES.withdrawn_at.is_(None))
_DEBITS = _FILES.kind.in_([letter for kind, letter in LETTERS.items() if kind.is_debit])
BEGUN = "its sending began, and nobody knows whether it arrived"
"""The error of a file whose sending began and has not ended."""

_MISSED = "its debit day cannot be reached any more"
_ASK = f"{BEGUN}; ask the custodian"
_MAY_BE_THERE = func.coalesce(_FILES.error, "").startswith(BEGUN)
IS_TOO_LATE = or_(_FILES.error.startswith(_MISSED), _FILES.error.startswith(_ASK))
"""Whether a file missed its cut-off, as was said of it: it is never tried again."""


@dataclass(frozen=True)
class Sent:
    """What one sending came to: files and instructions that left, and minor units; files that failed.

    `waiting`: files that still wait; `missed`: of them, those that can no longer reach their debit day. `is_paused`:
    nothing was tried, for somebody paused the queue.
    """

    files: int = 0
    instructions: int = 0
    amount_minor: int = 0
    failed: int = 0
    waiting: int = 0
    missed: int = 0
    is_paused: bool = False

    def after(self, before: Sent) -> Sent:
        """Both sendings, and what waits after the later."""
        return replace(
            self,
            files=before.files + self.files,
            instructions=before.instructions + self.instructions,
            amount_minor=before.amount_minor + self.amount_minor,
            failed=before.failed + self.failed,
        )


async def send_due(
    connection: AsyncConnection,
    custodian: Custodian,
    desk: Desk,
    *,
    now: datetime,
    limit: int | None = None,
    begun: Collection[int] = (),
) -> Sent:
    """Send what waits and may leave now, in the order it was written: `limit` files at most, None for all.

    One that fails ends it; that file waits, longer each time, and lets the others pass. Nothing is sent while another
    sends to the same custodian. `begun`: files of which it is noted that their sending begins; of others that have this
    note nobody knows whether they arrived before. Raises InvalidInput where the environment lacks what the custodian's
    transport needs.
    """
    is_ours = await _is_ours(connection, custodian)
    missed = await _missed_days(connection, custodian, now)
    if is_ours:
        await _say_missed(connection, custodian, missed)
    sent = Sent()
    if is_ours and (due := await _due(connection, custodian, missed, now=now, limit=limit)):
        row = due[0]
        try:
            async with transport_of(custodian.profile, desk) as transport:
                for row in due:
                    await _put(connection, custodian, desk, transport, row, now)
                    instructions = sent.instructions + row.instructions
                    sent = Sent(sent.files + 1, instructions, sent.amount_minor + row.amount_minor)
        except (NotTaken, OSError) as error:
            await _note_failed(connection, row, error, now, is_new=row.batch_id in begun)
            sent = replace(sent, failed=1)
    waiting, late = await _waiting(connection, custodian, missed)
    return replace(sent, waiting=waiting, missed=late)


async def send_all(engine: AsyncEngine, custodian: Custodian, desk: Desk, *, now: datetime) -> Sent:
    """`send_due` until nothing more may leave now, a few files to a transaction; what it came to in all."""
    total = Sent()
    while True:
        sent = await _send_few(engine, custodian, desk, now=now)
        total = sent.after(total)
        if not sent.files or sent.failed:
            return total


async def _send_few(engine: AsyncEngine, custodian: Custodian, desk: Desk, *, now: datetime) -> Sent:
    """`send_due` of a few files; who is killed while they leave has left behind which ones."""
    async with engine.begin() as connection:
        if not await is_worked_on(connection, Queue.SEND):
            waiting, late = await _waiting(connection, custodian, await _missed_days(connection, custodian, now))
            return Sent(waiting=waiting, missed=late, is_paused=True)
        begun = await _note_begun(connection, custodian, now=now)
    async with engine.begin() as connection:
        is_ours = await _is_ours(connection, custodian)
        sent = await send_due(connection, custodian, desk, now=now, limit=_FILES_AT_ONCE, begun=begun)
        if is_ours:  # else another may be sending them
            not_reached = update(debit_batches).where(_FILES.batch_id.in_(begun), WAITS, _FILES.error == BEGUN)
            await connection.execute(not_reached.values(error=None))
    return sent


async def _is_ours(connection: AsyncConnection, custodian: Custodian) -> bool:
    """Whether nobody else sends to the custodian, until the transaction ends."""
    turn = select(custodians.c.custodian_id).where(custodians.c.custodian_id == custodian.custodian_id)
    return await connection.scalar(turn.with_for_update(key_share=True, skip_locked=True)) is not None


async def _note_begun(connection: AsyncConnection, custodian: Custodian, *, now: datetime) -> list[int]:
    """Write down which files are about to leave; those of which that was not known before.

    What began and did not end may be with the custodian: only a person who asked there may `withdraw` it.
    """
    missed = await _missed_days(connection, custodian, now)
    due = [row.batch_id for row in await _due(connection, custodian, missed, now=now, limit=_FILES_AT_ONCE)]
    begun = update(debit_batches).where(_FILES.batch_id.in_(due), WAITS, ~_MAY_BE_THERE).values(error=BEGUN)
    return list(await connection.scalars(begun.returning(_FILES.batch_id)))


async def due_custodians(connection: AsyncConnection, *, now: datetime) -> list[int]:
    """The custodians for whom files wait that may be tried now; none while the queue is paused."""
    due = or_(_FILES.due_at.is_(None), _FILES.due_at <= now)
    waiting = select(attempts.c.custodian_id).distinct().select_from(debit_batches.join(attempts))
    waiting = waiting.where(WAITS, due, is_open(Queue.SEND))
    return list(await connection.scalars(waiting.order_by(attempts.c.custodian_id)))


async def send_some(engine: AsyncEngine, custodian_id: int, desk: Desk, *, now: datetime) -> bool:
    """`send_due` of a few files, in a transaction; whether more may leave now."""
    async with engine.connect() as connection:
        custodian = await custodian_by_id(connection, custodian_id)
    sent = await _send_few(engine, custodian, desk, now=now)
    return sent.files == _FILES_AT_ONCE and not sent.failed


async def withdraw(
    connection: AsyncConnection,
    custodian: Custodian,
    *,
    now: datetime,
    actor: str,
    not_there: bool = False,
    reason: str | None = None,
) -> int:
    """Withdraw the files whose debits missed their cut-off, so that these are asked for anew; how many files.

    `not_there`: also those whose sending began and did not end, for somebody asked, and the custodian has none of them.
    """
    turn = select(custodians.c.custodian_id).where(custodians.c.custodian_id == custodian.custodian_id)
    await connection.execute(turn.with_for_update(key_share=True))
    missed = await _missed_days(connection, custodian, now)
    late = _files(custodian, _FILES.batch_id).where(WAITS, _late(missed))
    if not not_there:
        late = late.where(~_MAY_BE_THERE)
    gone = list(
        await connection.scalars(
            update(debit_batches).where(_FILES.batch_id.in_(late)).values(withdrawn_at=now).returning(_FILES.batch_id)
        )
    )
    names = ("shard_id", "run_id", "kind", "attempt", "state", "source", "reason", "positions")
    asked = select(
        _EVENTS.shard_id,
        _EVENTS.run_id,
        _EVENTS.kind,
        _EVENTS.attempt,
        literal(int(State.REJECTED)),
        _EVENTS.source,
        literal(NOT_SENT),
        _EVENTS.positions,
    ).where(_EVENTS.batch_id.in_(gone), _EVENTS.state == int(State.ASSESSED))
    if gone:
        await connection.execute(insert(instruction_events).from_select(names, asked))
        subject, number = f"custodian:{custodian.code}", {"files": len(gone)}
        await record(connection, actor, "withdraw files", subject, number, reason=reason)
    return len(gone)


def _files(custodian: Custodian, *what: Any) -> Select[Any]:
    """`what` of a custodian's files."""
    found = select(*what).select_from(debit_batches.join(attempts))
    return found.where(attempts.c.custodian_id == custodian.custodian_id)


def _late(missed: Collection[date]) -> ColumnElement[bool]:
    """Whether a file that waits holds debits of one of these days."""
    return and_(_DEBITS, attempts.c.debit_on.in_(missed))


async def _missed_days(connection: AsyncConnection, custodian: Custodian, now: datetime) -> list[date]:
    """The debit days of files that wait which can no longer be reached."""
    days = await connection.scalars(_files(custodian, attempts.c.debit_on).distinct().where(WAITS, _DEBITS))
    return [day for day in days if schedule.cut_off_of(custodian.profile, day) <= now]


async def _say_missed(connection: AsyncConnection, custodian: Custodian, missed: Collection[date]) -> None:
    words = f"{_MISSED}; `fentan custodian withdraw {custodian.code}` asks for it anew"
    unsure = f"{_ASK}: `fentan custodian withdraw {custodian.code} --not-there` if it has no trace"
    for which, said in ((_MAY_BE_THERE, unsure), (~_MAY_BE_THERE, words)):
        unsaid = _files(custodian, _FILES.batch_id).where(WAITS, _late(missed), which)
        unsaid = unsaid.where(_FILES.error.is_distinct_from(said))
        done = await connection.execute(update(debit_batches).where(_FILES.batch_id.in_(unsaid)).values(error=said))
        if done.rowcount:
            log.error("files missed their cut-off", custodian_id=custodian.custodian_id, files=done.rowcount)


async def _due(
    connection: AsyncConnection, custodian: Custodian, missed: Collection[date], *, now: datetime, limit: int | None
) -> list[Row[Any]]:
    """The files that may leave now, in their order."""
    lately = await connection.scalars(
        _files(custodian, _FILES.sent_at).where(_FILES.sent_at > now - timedelta(hours=1))
    )
    room = schedule.room(custodian.profile, list(lately), now)
    what = (
        _FILES.batch_id,
        _FILES.reference,
        _FILES.file,
        _FILES.sha256,
        _FILES.tries,
        _FILES.amount_minor,
        _FILES.error,
    )
    found = await connection.execute(
        _files(custodian, *what, _FILES.count.label("instructions"))
        .where(WAITS, ~_late(missed), or_(_FILES.due_at.is_(None), _FILES.due_at <= now))
        .order_by(_FILES.batch_id)
        .limit(room if limit is None else min(limit, room))
    )
    return list(found)


async def _put(
    connection: AsyncConnection, custodian: Custodian, desk: Desk, transport: Transport, row: Row[Any], now: datetime
) -> None:
    folder = desk.folder(custodian.code, "debits")
    await asyncio.to_thread(_check, folder, row)
    await transport.put(folder / row.file)
    sent_on = now.astimezone(ZoneInfo(custodian.profile.time_zone)).date()
    await connection.execute(
        update(debit_batches)
        .where(_FILES.batch_id == row.batch_id)
        .values(tries=_FILES.tries + 1, error=None, due_at=None, sent_at=now, sent_on=sent_on)
    )
    log.info("file sent", custodian_id=custodian.custodian_id, batch_id=row.batch_id, instructions=row.instructions)


def _check(folder: Path, row: Row[Any]) -> None:
    """Raises NotTaken unless the file is the one that was written."""
    try:
        known = manifest.read(folder / (row.reference + manifest.SUFFIX))
        known.check(folder)
    except InvalidInput as error:
        raise NotTaken(f"{error}; restore it from a backup") from None
    if known.sha256 != row.sha256.hex():
        raise NotTaken(f"{row.file}: is another than the one on record; restore it from a backup")


async def _note_failed(
    connection: AsyncConnection, row: Row[Any], error: Exception, now: datetime, *, is_new: bool
) -> None:
    """Why a file did not leave; where it may be there, by this sending or one before, it stays so until it is said."""
    said = str(error) if isinstance(error, NotTaken) else type(error).__name__
    if isinstance(error, Unsure | TimeoutError) or (not is_new and (row.error or "").startswith(BEGUN)):
        said = f"{BEGUN}: {said}"
    due_at = now + schedule.back_off(row.tries + 1)
    await connection.execute(
        update(debit_batches)
        .where(_FILES.batch_id == row.batch_id)
        .values(tries=_FILES.tries + 1, error=said, due_at=due_at)
    )
    log.warning("file not sent", batch_id=row.batch_id, tries=row.tries + 1, error=said)


async def _waiting(connection: AsyncConnection, custodian: Custodian, missed: Collection[date]) -> tuple[int, int]:
    counted = _files(custodian, func.count(), func.count().filter(_late(missed))).where(WAITS)
    waiting, late = (await connection.execute(counted)).one()
    return int(waiting), int(late)
