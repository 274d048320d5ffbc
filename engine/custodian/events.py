"""The history of instructions: appended to in columns, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.instructions import State
from engine.custodian.reference import INSTRUCTED, Kind
from engine.store.arrays import Row, copy_in, copy_out
from engine.store.tables import attempts, instruction_events

LETTERS = {kind: chr(kind) for kind in INSTRUCTED}
"""How tables name the kinds of instructions."""

CAUSES = {
    Kind.DEBIT: "run",
    Kind.PAYOUT: "run",
    Kind.REFUND: "refund",
    Kind.AUTO_TOP_UP: "auto-top-up",
    Kind.LEVY: "levy",
}
"""How the keys of journals about instructions begin: with what it was that asked for them, then its number."""

NOT_SENT = "NOT_SENT"
"""The reason of debits whose file was withdrawn: never asked, they are under no rule about who does not pay."""

LATELY = timedelta(days=90)
"""For so long what is of no run is looked at: whatever is missing is by then, and has its break."""

_COLUMNS = ("shard_id", "run_id", "kind", "attempt", "state", "source", "batch_id", "reason", "positions", "amounts")
_READ = (
    "SELECT attempt, state, source, batch_id, reason, packed(positions), packed(amounts) FROM instruction_events"
    " WHERE shard_id = $1 AND run_id = $2 AND kind = chr($3) ORDER BY event_id"
)


@dataclass(frozen=True)
class Event:
    """What became of some instructions of one shard.

    `source`: what says so, of which the same state is said once: `batch:3`, `statement:5`, `decision:9`, `rule:unpaid`.
    `batch_id`: of ASSESSED, the file they are asked for in. `reason`: the custodian's code. `positions`: int32 rising,
    places in the shard (of payouts the claims' numbers), None: all that the run charged. `amounts`: int64 minor units
    asked of each, above 0; None: what the run charged; of WRITTEN_OFF what was let go of each; None: what was asked.
    """

    attempt: int
    state: State
    source: str
    batch_id: int | None = None
    reason: str | None = None
    positions: NDArray[np.int32] | None = None
    amounts: NDArray[np.int64] | None = None

    @property
    def frees(self) -> bool:
        """Whether it lets the same be asked again whatever the rule: people decided so, or withdrew its file."""
        return self.source.startswith("decision:") or self.reason == NOT_SENT


async def append(connection: AsyncConnection, run_id: int, kind: Kind, events: Sequence[tuple[int, Event]]) -> None:
    """Write down events, each of a shard by its id, in their order, in the caller's transaction.

    Raises IntegrityError where the same source said the same state before: who may come twice looks first.
    """
    letter = LETTERS[kind]
    rows: list[Row] = []
    for shard_id, each in events:
        said = (each.attempt, int(each.state), each.source, each.batch_id, each.reason, each.positions, each.amounts)
        rows.append((shard_id, run_id, letter, *said))
    if rows:
        await copy_in(connection, instruction_events, list(_COLUMNS), rows)


async def asked_beside_runs(connection: AsyncConnection, custodian_id: int, since: date) -> list[tuple[int, Kind, int]]:
    """(plan, kind, number) of what a custodian was asked for by decisions and calls, to be booked after `since`."""
    made = attempts.c
    kinds = [letter for kind, letter in LETTERS.items() if CAUSES[kind] != "run"]
    asked = select(made.plan_id, made.kind, made.run_id).distinct().order_by(made.run_id, made.kind)
    found = await connection.execute(
        asked.where(made.custodian_id == custodian_id, made.kind.in_(kinds), made.debit_on > since)
    )
    return [(plan_id, Kind(ord(letter)), number) for plan_id, letter, number in found]


async def shards_asked(connection: AsyncConnection, run_id: int, kind: Kind) -> list[int]:
    """The shards that hold instructions of a kind and run, rising."""
    events = instruction_events.c
    of_kind = select(events.shard_id).distinct().where(events.run_id == run_id, events.kind == LETTERS[kind])
    return list(await connection.scalars(of_kind.order_by(events.shard_id)))


async def read_events(connection: AsyncConnection, shard_id: int, run_id: int, kind: Kind) -> list[Event]:
    """Everything that was written down of one shard's instructions, in order."""
    columns = instruction_events.c
    types = [columns[name].type for name in ("attempt", "state", "source", "batch_id", "reason")]
    rows = await copy_out(
        connection, _READ, [shard_id, run_id, int(kind)], [*types, columns.positions.type, columns.amounts.type]
    )
    return [Event(attempt, State(state), *rest) for attempt, state, *rest in rows]
