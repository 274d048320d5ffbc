"""A sealed run whose debits a custodian was asked for, and the statements it answers with, taken as they come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.profile import Profile
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian, custodian_of
from engine.reconcile.funnel import Funnel, funnel_of
from engine.reconcile.proof import Proof, proof_of
from engine.reconcile.taking import Taken, take
from engine.roster.columns import Columns
from engine.runs.run import Run
from tests.integration.bank_statement import BOOKED_ON, TODAY, Line, statement
from tests.integration.held import ACTOR, desk_in, instructed, sealed
from tests.integration.worlds import DEBIT, World, alike


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

    async def takes(self, *lines: Line, opening: int = 0, state: str = "taken", **how: Any) -> Taken:
        """A statement is imported, and is then in this state."""
        path = self.folder / "statement.csv"
        path.write_text(statement(lines, opening), "utf-8")
        given: dict[str, Any] = {"files": self.folder, "actor": ACTOR, "on": TODAY} | how
        (taken,) = await take(self.world.engine, self.custodian, path, **given)
        assert taken.state == state, taken.problems
        return taken

    async def funnel(self) -> Funnel:
        async with self.world.engine.connect() as connection:
            return await funnel_of(connection, self.run.run_id)

    async def proof(self, on: date = BOOKED_ON) -> Proof:
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
