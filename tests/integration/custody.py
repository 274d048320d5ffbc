"""Small worlds of a custodian for the tests: instructions asked for by hand, and statements written as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.events import LETTERS, Event, append
from engine.custodian.instructions import State
from engine.custodian.profile import BookingMode, Profile, load
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian, assign, custodian_of, register
from engine.custodian.standing import read_standing, sent_batches
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.plans import PlanRules
from engine.reconcile.taking import Taken, take
from tests.integration.bank_statement import TODAY, Line, statement
from tests.integration.books import charge
from tests.integration.worlds import World, alike, build, rules_of_preset

RUN = 7
SENT_ON = date(2019, 7, 14)
ACCOUNT = "6222000011"


def debit(seat: int, attempt: int = 1, *, kind: Kind = Kind.DEBIT, run: int = RUN) -> str:
    return str(Reference(kind, run, attempt, seat))


@dataclass(frozen=True)
class Custody:
    """A plan whose money a custodian holds, a folder for its files, and the run that is asked for."""

    world: World
    custodian: Custodian
    folder: Path
    run: int = RUN

    @property
    def engine(self) -> AsyncEngine:
        return self.world.engine

    async def owing(self, *amounts: Sequence[int]) -> None:
        """What a run charged on each shard."""
        async with self.engine.begin() as connection:
            for number, owed in enumerate(amounts, 1):
                await post(connection, charge(self.world.shard(number), owed, run_id=self.run))

    async def state_of_run(self, state: str) -> None:
        """Let the run be in a state."""
        await self.world.sql(
            "INSERT INTO share_runs (run_id, plan_id, rules_version, debit_on, state, planned_by)"
            " OVERRIDING SYSTEM VALUE VALUES (:run, :plan, 1, '2019-07-14', :state, 'anna')"
            " ON CONFLICT (run_id) DO UPDATE SET state = excluded.state",
            run=self.run, plan=self.world.plan_id, state=state,
        )  # fmt: skip

    async def asked(
        self,
        positions: Mapping[int, Sequence[int]],
        amounts: Mapping[int, Sequence[int]] | None = None,
        *,
        kind: Kind = Kind.DEBIT,
        attempt: int = 1,
        number: int = 1,
        sent_on: date | None = SENT_ON,
    ) -> str:
        """One file that asks for instructions by shard number and position; its reference."""
        reference = str(Reference(Kind.BATCH, self.run, attempt, number))
        key = {"run": self.run, "kind": LETTERS[kind], "attempt": attempt}
        await self.world.sql(
            "INSERT INTO attempts (run_id, kind, attempt, plan_id, custodian_id, debit_on, created_at, made_by)"
            " VALUES (:run, :kind, :attempt, :plan, :custodian, '2019-07-14', now(), 'anna') ON CONFLICT DO NOTHING",
            **key, plan=self.world.plan_id, custodian=self.custodian.custodian_id,
        )  # fmt: skip
        await self.world.sql(
            "INSERT INTO debit_batches (run_id, kind, attempt, number, reference, file, sha256, bytes, count,"
            " amount_minor, sent_at, sent_on) VALUES (:run, :kind, :attempt, :number, :reference, 'f.csv', '', 1, 1, 1,"
            " CAST(:sent AS date), :sent)",
            **key, number=number, reference=reference, sent=sent_on,
        )  # fmt: skip
        batch_id = await self.world.value("SELECT max(batch_id) FROM debit_batches")
        async with self.engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            for shard, there in positions.items():
                event = Event(
                    attempt, State.ASSESSED, f"batch:{number}", batch_id, positions=np.array(there, np.int32),
                    amounts=None if amounts is None else np.array(amounts[shard], np.int64),
                )  # fmt: skip
                await append(connection, self.run, kind, [(self.world.shard(shard), event)])
        return reference

    async def sends(self, sent_on: date = SENT_ON) -> None:
        """Whatever waits leaves."""
        await self.world.sql(
            "UPDATE debit_batches SET sent_at = CAST(:on AS date), sent_on = :on WHERE sent_at IS NULL", on=sent_on
        )

    async def owes(self, code: Account, shard: int, amounts: Sequence[int]) -> None:
        """Let the books owe money out by position, against what is in transit, as sending it posts it twice over."""
        owed, transit = (account_id(self.world.plan_id, each) for each in (code, Account.PAYOUTS_IN_TRANSIT))
        segment = Segment.of(owed, np.array(amounts, np.int64))
        lines = {owed: segment.total, transit: -segment.total}
        async with self.engine.begin() as connection:
            await post(connection, Journal(self.world.shard(shard), f"sent:{code}", "sent", SENT_ON, lines, (segment,)))

    async def takes(self, content: str, name: str = "statement.csv", *, on: date = TODAY, **how: Any) -> list[Taken]:
        """Import a statement."""
        path = self.folder / name
        path.write_text(content, "utf-8")
        how = {"environment": {"CUSTODIAN_GENERIC_ACCOUNT": ACCOUNT}} | how
        return await take(self.engine, self.custodian, path, files=self.folder, actor="fay", on=on, **how)

    async def takes_lines(self, *lines: Line, opening: int = 0) -> Taken:
        """Import a statement of these lines, which must be taken."""
        (taken,) = await self.takes(statement(lines, opening))
        assert taken.state == "taken", taken.problems
        return taken

    async def states(self, shard: int = 1, kind: Kind = Kind.DEBIT) -> list[str]:
        """Where each position stands."""
        async with self.engine.connect() as connection:
            files = await sent_batches(connection, self.run, kind)
            found = await read_standing(connection, self.world.shard(shard), self.run, kind, batches=files)
        return [State(state).name.lower() for state in found.state.tolist()]

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query that names this `:custodian` and this `:plan`."""
        values = {"custodian": self.custodian.custodian_id, "plan": self.world.plan_id}
        return await self.world.rows(query, **{name: value for name, value in values.items() if f":{name}" in query})

    async def breaks(self) -> list[tuple[Any, ...]]:
        """What is open: code, amount, what of it is on suspense."""
        return await self.rows(
            "SELECT code, amount_minor, suspense_minor FROM breaks WHERE state = 'open'"
            " AND custodian_id = :custodian ORDER BY break_id"
        )

    async def lines(self) -> list[tuple[Any, ...]]:
        """The lines that did not match by themselves: outcome, code, amount."""
        return await self.rows(
            "SELECT outcome, code, amount_minor FROM statement_lines JOIN statements USING (statement_id)"
            " WHERE custodian_id = :custodian ORDER BY statement_id, ordinal"
        )

    async def books(self) -> list[tuple[Any, ...]]:
        """Every account's balance by day, and every seat's: what must be the same whichever way it came about."""
        lines = await self.rows(
            "SELECT account_id % 10000, effective_on, sum(amount)::bigint FROM journal_lines"
            " WHERE account_id / 1000000 = :plan GROUP BY 1, 2 HAVING sum(amount) <> 0 ORDER BY 1, 2"
        )
        shards = len(await self.world.shards())
        return [*lines, *[tuple((await self.world.owed(number + 1)).tolist()) for number in range(shards)]]


async def custody(
    engine: AsyncEngine,
    folder: Path,
    *seats: int,
    rules: PlanRules | None = None,
    booking: BookingMode = BookingMode.PER_DEBIT,
    run: int = RUN,
    **changed: Any,
) -> Custody:
    """A plan with shards of so many seats, whose money the custodian of the preset generic-csv holds.

    Of another `run` they are another plan and another custodian.
    """
    suffix = "" if run == RUN else f"-{run}"
    rules = rules or rules_of_preset()
    rules = rules.model_copy(update={"code": rules.code + suffix})
    world = await build(engine, rules, *(alike(n) for n in seats or (4,)))
    profile: Profile = load("generic-csv")
    profile = profile.model_copy(update={"code": profile.code + suffix, "booking": booking, **changed})
    async with engine.begin() as connection:
        await register(connection, profile, actor="anna")
        await assign(connection, profile.code, world.plan_id, actor="anna")
        found = await custodian_of(connection, profile.code)
    return Custody(world, found, folder, run)
