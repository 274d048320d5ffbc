"""A custodian's day: what it sent is taken, then the runs of its plans are gone through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.custodian.registered import Custodian
from engine.custodian.routes import NotSet
from engine.custodian.transports import fetch_new, set_aside
from engine.errors import FentanError
from engine.reconcile.collecting import CollectedDay, collect_day
from engine.reconcile.pending import open_overdue
from engine.reconcile.sending import Sent, send_all
from engine.reconcile.taking import Taken, take


@dataclass(frozen=True)
class File:
    """A file that came: its name, what became of its statements, or why it was refused."""

    name: str
    statements: tuple[Taken, ...] = ()
    refused: str = ""

    @property
    def needs_a_person(self) -> bool:
        """Whether it was refused, or a statement of it is parked."""
        return bool(self.refused) or any(each.state == "parked" for each in self.statements)


@dataclass(frozen=True)
class CustodianDay:
    """What a day brought: the files that came, how many lines have waited too long, and the runs gone through."""

    files: tuple[File, ...]
    overdue_lines: int
    collected: CollectedDay


async def play_day(
    engine: AsyncEngine, custodian: Custodian, desk: Desk, *, on: date, now: datetime, actor: str
) -> CustodianDay:
    """Fetch and take what the custodian has ready, then collect; each file and each run by itself.

    What is asked again by it waits to be sent. Killed anywhere and run again it goes on: a file is new until it was
    taken. One that is refused is put aside like the others, and kept. Raises NotTaken when the custodian cannot be
    reached, NotSet where the environment lacks the number of the account.
    """
    files = await take_new(engine, custodian, desk, on=on, actor=actor)
    async with engine.begin() as connection:
        overdue_lines = await open_overdue(connection, custodian, on=on)
    collected = await collect_day(engine, custodian, desk, on=on, now=now, actor=actor)
    return CustodianDay(files, overdue_lines, collected)


async def take_new(engine: AsyncEngine, custodian: Custodian, desk: Desk, *, on: date, actor: str) -> tuple[File, ...]:
    """Fetch what the custodian has ready and take it, each file by itself; the first half of `play_day`."""
    return tuple([await _take(engine, custodian, desk, path, actor, on) for path in await fetch_new(custodian, desk)])


async def _take(engine: AsyncEngine, custodian: Custodian, desk: Desk, path: Path, actor: str, on: date) -> File:
    try:
        statements = await take(
            engine, custodian, path, files=desk.files, actor=actor, on=on, environment=desk.environment
        )
        file = File(path.name, tuple(statements))
    except NotSet:
        raise
    except FentanError as error:
        file = File(path.name, refused=str(error).removeprefix(f"{path.name}: "))
    set_aside(path)
    return file


async def send_waiting(
    engine: AsyncEngine, custodian: Custodian, desk: Desk, *, now: datetime, whole_day: bool = False
) -> Sent:
    """Send what waits and may leave at `now`; `whole_day`: and in each hour after it until the day is over."""
    total, first = Sent(), now.astimezone(UTC)
    for hours in range(24 if whole_day else 1):
        total = (await send_all(engine, custodian, desk, now=first + timedelta(hours=hours))).after(total)
        if total.waiting == total.missed:
            break
    return total
