"""Files made for custodians, as they stand: sent, waiting, withdrawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.events import LETTERS
from engine.custodian.registered import Custodian
from engine.store.tables import attempts, custodians, debit_batches


@dataclass(frozen=True)
class OutgoingFile:
    """One file. `kind`: D, R, P, A or L; `sha256` in hex; `error`: why it did not leave yet, None: nothing is wrong.

    `time_zone`: the custodian's.
    """

    batch_id: int
    kind: str
    attempt: int
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
    def state(self) -> str:
        """Sent, withdrawn, or waiting."""
        return "sent" if self.sent_at else "withdrawn" if self.withdrawn_at else "waiting"


_COLUMNS = tuple(debit_batches.c[name] for name in OutgoingFile.__dataclass_fields__ if name in debit_batches.c)


_DEBITS = debit_batches.c.kind.in_([letter for kind, letter in LETTERS.items() if kind.is_debit])


async def files_waiting(connection: AsyncConnection, custodian: Custodian, *, now: datetime) -> int:
    """How many files wait and will be sent to a custodian: not those of debits whose day is over."""
    today = now.astimezone(ZoneInfo(custodian.profile.time_zone)).date()
    waiting = select(func.count()).select_from(debit_batches.join(attempts))
    waiting = waiting.where(debit_batches.c.sent_at.is_(None), debit_batches.c.withdrawn_at.is_(None))
    waiting = waiting.where(~_DEBITS | (attempts.c.debit_on >= today))
    return int(await connection.scalar(waiting.where(attempts.c.custodian_id == custodian.custodian_id)) or 0)


async def files_of(connection: AsyncConnection, run_id: int, kinds: str = "DPAL") -> list[OutgoingFile]:
    """The files of a run or call, in the order they were written. `kinds`: R counts by decisions, not by runs."""
    found = await connection.execute(
        select(*_COLUMNS, attempts.c.debit_on, custodians.c.profile["time_zone"].astext.label("time_zone"))
        .select_from(debit_batches.join(attempts).join(custodians))
        .where(debit_batches.c.run_id == run_id, debit_batches.c.kind.in_(tuple(kinds)))
        .order_by(debit_batches.c.batch_id)
    )
    return [OutgoingFile(**row._asdict() | {"sha256": row.sha256.hex()}) for row in found]
