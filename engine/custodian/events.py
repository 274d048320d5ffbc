"""The history of instructions: appended to in columns, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.store.arrays import Row, copy_in, copy_out
from engine.store.tables import instruction_events

LETTERS = {Kind.DEBIT: "D", Kind.REFUND: "R", Kind.PAYOUT: "P"}
"""How tables name the kinds of instructions."""

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
    asked of each, above 0; None: what the run charged.
    """

    attempt: int
    state: State
    source: str
    batch_id: int | None = None
    reason: str | None = None
    positions: NDArray[np.int32] | None = None
    amounts: NDArray[np.int64] | None = None


async def append(connection: AsyncConnection, shard_id: int, run_id: int, kind: Kind, events: Sequence[Event]) -> None:
    """Write down events of one shard in their order, in the caller's transaction.

    Raises IntegrityError where the same source said the same state before: who may come twice looks first.
    """
    letter = LETTERS[kind]
    rows: list[Row] = []
    for each in events:
        said = (each.attempt, int(each.state), each.source, each.batch_id, each.reason, each.positions, each.amounts)
        rows.append((shard_id, run_id, letter, *said))
    if rows:
        await copy_in(connection, instruction_events, list(_COLUMNS), rows)


async def read_events(connection: AsyncConnection, shard_id: int, run_id: int, kind: Kind) -> list[Event]:
    """Everything that was written down of one shard's instructions, in order."""
    columns = instruction_events.c
    types = [columns[name].type for name in ("attempt", "state", "source", "batch_id", "reason")]
    rows = await copy_out(
        connection, _READ, [shard_id, run_id, int(kind)], [*types, columns.positions.type, columns.amounts.type]
    )
    return [Event(attempt, State(state), *rest) for attempt, state, *rest in rows]
