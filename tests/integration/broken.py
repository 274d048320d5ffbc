"""Worlds with breaks: a run that was asked for and sent, and what a custodian does to it, told by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.break_rows import Opening, Selection, open_breaks
from engine.custodian.breaks import Code
from engine.custodian.events import Event, append
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.custodian.standing import read_standing, sent_batches
from engine.decisions import Decision
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, Segment, post
from engine.reconcile.decided import carry_out, refuse
from engine.reconcile.effects import Target
from engine.reconcile.resolving import propose_resolution
from engine.roster.columns import Columns
from engine.runs.run import Run
from engine.store.tables import SHARD_SEATS
from tests.integration import held
from tests.integration.worlds import APPROVER, PLANNER, World

DAY = date(2019, 7, 16)
"""A Tuesday, two days after the debit."""

ASKED = 100
"""Minor units that each seat is charged."""


@dataclass
class Teller:
    """What a custodian does, posted and written down as taking its statements does it, in the caller's transaction."""

    world: World
    run: Run
    custodian: Custodian
    journals: int = 0

    async def charged(self, connection: AsyncConnection, seat: int) -> int:
        standing = await self._standing(connection, seat)
        return int(standing.charged[seat % SHARD_SEATS])

    async def state(self, connection: AsyncConnection, seat: int) -> State:
        return State(int((await self._standing(connection, seat)).state[seat % SHARD_SEATS]))

    async def _standing(self, connection: AsyncConnection, seat: int):  # type: ignore[no-untyped-def]
        batches = await sent_batches(connection, self.run.run_id, Kind.DEBIT)
        shard_id = self._shard(seat)
        return await read_standing(connection, shard_id, self.run.run_id, Kind.DEBIT, batches=batches)

    def _shard(self, seat: int) -> int:
        return self.world.shard(seat // SHARD_SEATS + 1)

    async def say(
        self,
        connection: AsyncConnection,
        seats: Sequence[int],
        state: State,
        attempt: int = 1,
        reason: str | None = None,
    ) -> None:
        """A statement moves these seats' debits on."""
        self.journals += 1
        for shard_id in sorted({self._shard(seat) for seat in seats}):
            places = np.array([seat % SHARD_SEATS for seat in seats if self._shard(seat) == shard_id], np.int32)
            event = Event(attempt, state, f"statement:{self.journals}", reason=reason, positions=places)
            await append(connection, self.run.run_id, Kind.DEBIT, [(shard_id, event)])

    async def book(
        self, connection: AsyncConnection, seats: Sequence[int], *, back: bool = False, reopens: bool = False
    ) -> None:
        """Debits are booked exactly; `back`: they are returned, `reopens`: after the run settled."""
        for seat in seats:
            amount = await self.charged(connection, seat)
            await self._post(connection, self._shard(seat), amount if back else -amount, seat % SHARD_SEATS)
        done = State.REOPENED if reopens else State.RETURNED if back else State.BOOKED
        await self.say(connection, seats, done)

    async def _post(self, connection: AsyncConnection, shard_id: int, owed: int, place: int) -> None:
        cash, receivable = self._account(Account.CUSTODIAN_CASH), self._account(Account.CONTRIBUTIONS_RECEIVABLE)
        segment = Segment(receivable, np.array([owed]), np.array([place], np.int32))
        self.journals += 1
        key = f"run:{self.run.run_id}:statement:{self.journals}:{DAY}"
        lines = {cash: -owed, receivable: owed}
        await post(connection, Journal(shard_id, key, "settlement", DAY, lines, (segment,)))

    async def suspend(self, connection: AsyncConnection, amount: int) -> None:
        """A line that nobody understands: it is on suspense."""
        cash, suspense = self._account(Account.CUSTODIAN_CASH), self._account(Account.SUSPENSE)
        self.journals += 1
        key = f"statement:{self.journals}:{DAY}"
        lines = {cash: amount, suspense: -amount}
        await post(connection, Journal(plan_shard(self.world.plan_id), key, "settlement", DAY, lines))

    async def breaks(
        self,
        connection: AsyncConnection,
        code: Code,
        seats: Sequence[int | None],
        amount: int,
        *,
        on_suspense: bool = True,
        kind: Kind = Kind.DEBIT,
        attempt: int = 1,
        opened_on: date = DAY,
    ) -> list[int]:
        """A break of this code for each seat, its line on suspense; their numbers."""
        openings = []
        for seat in seats:
            if on_suspense:
                await self.suspend(connection, amount)
            known = {} if seat is None else {"run_id": self.run.run_id, "kind": kind, "attempt": attempt, "seat": seat}
            openings.append(
                Opening(code, self.world.plan_id, amount, amount if on_suspense else 0, opened_on, **known)  # type: ignore[arg-type]
            )
        await connection.exec_driver_sql("SELECT 1")  # begins the transaction that COPY needs
        await open_breaks(connection, self.custodian.custodian_id, openings)
        found = await connection.exec_driver_sql(
            f"SELECT break_id FROM breaks ORDER BY break_id DESC LIMIT {len(seats)}"
        )
        return sorted(row[0] for row in found)

    def _account(self, code: Account) -> int:
        return account_id(self.world.plan_id, code)


async def propose(
    connection: AsyncConnection,
    selection: Selection | Sequence[int],
    action: Action,
    *,
    target: Target | None = None,
    on: date = DAY,
    reason: str = "a test",
) -> Decision:
    chosen = selection if isinstance(selection, Selection) else Selection(ids=tuple(selection))
    return await propose_resolution(connection, chosen, action, reason=reason, target=target, on=on, actor=PLANNER)


async def resolve(
    connection: AsyncConnection,
    selection: Selection | Sequence[int],
    action: Action,
    *,
    target: Target | None = None,
    on: date = DAY,
) -> Decision:
    """Propose it, and have somebody else approve it."""
    decision = await propose(connection, selection, action, target=target, on=on)
    return await carry_out(connection, decision.decision_id, actor=APPROVER)


async def refused(connection: AsyncConnection, decision: Decision) -> Decision:
    return await refuse(connection, decision.decision_id, reason="not so", actor=APPROVER)


async def sent(engine: AsyncEngine, folder: Path, *shards: Columns, aid_minor: int = 10_000) -> Teller:
    """A run whose debits were all asked for and sent."""
    world, run, custodian = await held.sealed(engine, *shards, aid_minor=aid_minor)
    await held.instructed(world, run, held.desk_in(folder))
    await world.sql("UPDATE debit_batches SET sent_at = CAST('2019-07-13' AS date), sent_on = '2019-07-13'")
    return Teller(world, run, custodian)


async def totals(connection: AsyncConnection) -> Mapping[Account, int]:
    """Debit less credit of every account of all plans, by what was posted."""
    rows = await connection.execute(
        text("SELECT account_id % 10000, sum(amount) FROM journal_lines GROUP BY 1 HAVING sum(amount) <> 0")
    )
    return {Account(code): int(total) for code, total in rows}


async def holds(connection: AsyncConnection) -> None:
    """The invariant of breaks: what is on suspense is what unresolved breaks say of it; every break's life is whole."""
    stands = -(await totals(connection)).get(Account.SUSPENSE, 0)
    named = await connection.exec_driver_sql(
        "SELECT coalesce(sum(suspense_minor), 0) FROM breaks WHERE state NOT IN ('resolved', 'written off')"
    )
    assert stands == named.scalar_one()
    assert sum((await totals(connection)).values()) == 0
