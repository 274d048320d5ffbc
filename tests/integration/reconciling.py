"""A sealed run whose debits a custodian was asked for, and the statements it answers with, taken as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.profile import Profile
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian, custodian_of
from engine.money import to_major
from engine.reconcile.funnel import Funnel, funnel_of
from engine.reconcile.proof import Proof, proof_of
from engine.reconcile.taking import Taken, take
from engine.roster.columns import Columns
from engine.runs.run import Run
from tests.integration.held import ACTOR, desk_in, instructed, sealed
from tests.integration.worlds import DEBIT, World, alike

BOOKED = DEBIT + timedelta(days=1)
"""A Monday."""

TODAY = date(2019, 7, 20)
HEAD = "booked_on,value_on,amount,reference,batch_reference,bank_reference,kind,reason,original,charges,count"


@dataclass(frozen=True)
class Line:
    """A line of a statement, in minor units."""

    amount: int
    reference: str = ""
    kind: str = "debit"
    on: date = BOOKED
    reason: str = ""
    original: int | None = None
    charges: int = 0

    def row(self) -> str:
        original = "" if self.original is None else to_major(self.original)
        said = (self.on, self.on, to_major(self.amount), self.reference, "", "", self.kind, self.reason)
        return ",".join(map(str, (*said, original, to_major(self.charges), 1)))


def statement(lines: Sequence[Line], opening: int = 0, off: int = 0) -> str:
    """A statement as generic-csv lays it out; it ties unless it is `off`."""
    moved = [line.amount for line in lines]
    totals = {
        "entries": str(len(lines)),
        "credits": to_major(sum(amount for amount in moved if amount > 0)),
        "debits": to_major(-sum(amount for amount in moved if amount < 0)),
        "closing": to_major(opening + sum(moved) + off),
    }
    rows = [f"#opening,{to_major(opening)}", HEAD, *(line.row() for line in lines)]
    return "\n".join([*rows, *(f"#{name},{total}" for name, total in totals.items()), ""])


@dataclass(frozen=True)
class Asked:
    """The world of a run, its custodian, and the folder of what the two write to each other."""

    world: World
    run: Run
    custodian: Custodian
    folder: Path

    def reference(self, seat: int, attempt: int = 1, kind: Kind = Kind.DEBIT) -> str:
        return str(Reference(kind, self.run.run_id, attempt, seat))

    async def asks(self) -> None:
        """The run's debits are written and sent."""
        await instructed(self.world, self.run, desk_in(self.folder))
        await self.world.sql("UPDATE debit_batches SET sent_at = now(), sent_on = :on WHERE sent_at IS NULL", on=DEBIT)

    async def takes(self, *lines: Line, opening: int = 0, off: int = 0, state: str = "taken", **how: Any) -> Taken:
        """A statement is imported, and is then in this state."""
        path = self.folder / "statement.csv"
        path.write_text(statement(lines, opening, off), "utf-8")
        given: dict[str, Any] = {"files": self.folder, "actor": ACTOR, "on": TODAY} | how
        (taken,) = await take(self.world.engine, self.custodian, path, **given)
        assert taken.state == state, taken.problems
        return taken

    async def funnel(self) -> Funnel:
        async with self.world.engine.connect() as connection:
            return await funnel_of(connection, self.run.run_id)

    async def proof(self, on: date = BOOKED) -> Proof:
        async with self.world.engine.connect() as connection:
            return await proof_of(connection, await custodian_of(connection, self.custodian.code), on)


async def asked(
    engine: AsyncEngine,
    folder: Path,
    *shards: Columns,
    profile: Profile | None = None,
    is_asked: bool = True,
    **rules: Any,
) -> Asked:
    """Each of the seats (four, unless given) owes its share of one claim, and is asked for it."""
    world, run, custodian = await sealed(engine, *(shards or (alike(4),)), profile=profile, aid_minor=100_00, **rules)
    found = Asked(world, run, custodian, folder)
    if is_asked:
        await found.asks()
    return found
