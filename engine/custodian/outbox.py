"""Files made for custodians, as they stand: sent, waiting, withdrawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.events import CAUSES, LETTERS
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.errors import NotFound
from engine.store.tables import attempts, custodians, debit_batches


class FileKind(StrEnum):
    """What the instructions of a file are."""

    DEBIT = "debit"
    REFUND = "refund"
    PAYOUT = "payout"
    AUTO_TOP_UP = "auto-top-up"
    LEVY = "levy"

    @property
    def kind(self) -> Kind:
        """As references have it."""
        return Kind[self.name]


class FileState(StrEnum):
    """Whether a file left."""

    WAITING = "waiting"
    SENT = "sent"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class OutgoingFile:
    """One file. `kind`: D, R, P, A or L; `sha256` in hex; `error`: why it did not leave yet, None: nothing is wrong.

    `run_id`: of refunds the decision's number, of calls the call's. `time_zone`: the custodian's.
    """

    batch_id: int
    custodian: str
    run_id: int
    kind: str
    attempt: int
    number: int
    debit_on: date
    file: str
    reference: str
    sha256: str
    bytes: int
    count: int
    amount_minor: int
    tries: int
    error: str | None
    sent_at: datetime | None
    withdrawn_at: datetime | None
    time_zone: str

    @property
    def state(self) -> FileState:
        """Sent, withdrawn, or waiting."""
        if self.sent_at:
            return FileState.SENT
        return FileState.WITHDRAWN if self.withdrawn_at else FileState.WAITING

    @property
    def of(self) -> FileKind:
        """What its instructions are."""
        return FileKind[Kind(ord(self.kind)).name]

    @property
    def subject(self) -> str:
        """What asks: `run:7`, `refund:3`."""
        return f"{CAUSES[self.of.kind]}:{self.run_id}"


_COLUMNS = tuple(debit_batches.c[name] for name in OutgoingFile.__dataclass_fields__ if name in debit_batches.c)


_DEBITS = debit_batches.c.kind.in_([letter for kind, letter in LETTERS.items() if kind.is_debit])


async def files_waiting(connection: AsyncConnection, custodian: Custodian, *, now: datetime) -> int:
    """How many files wait and will be sent to a custodian: not those of debits whose day is over."""
    today = now.astimezone(ZoneInfo(custodian.profile.time_zone)).date()
    waiting = select(func.count()).select_from(debit_batches.join(attempts))
    waiting = waiting.where(debit_batches.c.sent_at.is_(None), debit_batches.c.withdrawn_at.is_(None))
    waiting = waiting.where(~_DEBITS | (attempts.c.debit_on >= today))
    return int(await connection.scalar(waiting.where(attempts.c.custodian_id == custodian.custodian_id)) or 0)


_FILES = (
    select(
        *_COLUMNS,
        attempts.c.debit_on,
        custodians.c.code.label("custodian"),
        custodians.c.profile["time_zone"].astext.label("time_zone"),
    )
    .select_from(debit_batches.join(attempts).join(custodians))
    .order_by(debit_batches.c.batch_id)
)


def _file(row: Row[*tuple[Any, ...]]) -> OutgoingFile:
    return OutgoingFile(**row._asdict() | {"sha256": row.sha256.hex()})


async def files_of(connection: AsyncConnection, run_id: int, kinds: str = "DPAL") -> list[OutgoingFile]:
    """The files of a run or call, in the order they were written. `kinds`: R counts by decisions, not by runs."""
    of_run = _FILES.where(debit_batches.c.run_id == run_id, debit_batches.c.kind.in_(tuple(kinds)))
    return [_file(row) for row in await connection.execute(of_run)]


async def file_of(connection: AsyncConnection, batch_id: int) -> OutgoingFile:
    """The file of a number. Raises NotFound."""
    row = (await connection.execute(_FILES.where(debit_batches.c.batch_id == batch_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no batch {batch_id}")
    return _file(row)


_IN_STATE = {
    FileState.SENT: debit_batches.c.sent_at.is_not(None),
    FileState.WITHDRAWN: debit_batches.c.withdrawn_at.is_not(None),
    FileState.WAITING: debit_batches.c.sent_at.is_(None) & debit_batches.c.withdrawn_at.is_(None),
}


async def list_files(
    connection: AsyncConnection,
    custodian: Custodian,
    *,
    run_id: int | None = None,
    kind: FileKind | None = None,
    state: FileState | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[OutgoingFile]:
    """The files made for a custodian, the latest first, those before a number."""
    file = debit_batches.c
    chosen = _FILES.where(attempts.c.custodian_id == custodian.custodian_id)
    if run_id is not None:
        chosen = chosen.where(file.run_id == run_id)
    if kind is not None:
        chosen = chosen.where(file.kind == LETTERS[kind.kind])
    if state is not None:
        chosen = chosen.where(_IN_STATE[state])
    if before is not None:
        chosen = chosen.where(file.batch_id < before)
    latest_first = chosen.order_by(None).order_by(file.batch_id.desc()).limit(limit)
    return [_file(row) for row in await connection.execute(latest_first)]
