"""Where the instructions of a shard stand: what its history comes to, an element per position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.events import LETTERS, Event, read_events
from engine.custodian.instructions import NO_BATCH, State
from engine.custodian.reference import ATTEMPT_MAX, Kind
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Segment
from engine.store.arrays import copy_out
from engine.store.tables import PLAN_STRIDE, debit_batches, posting_segments, shards, share_runs


class SentBatch(NamedTuple):
    """A file of instructions: the number in its reference, and the day it left, None while it waits."""

    number: int
    sent_on: date | None


REASONS_MAX = 1 << 16
"""Places of a uint16; a custodian whose codes are free text must not make a run unreadable."""


def holding(places: NDArray[Any], most: int) -> NDArray[Any]:
    """The same uint8[n] places or, where `most` is none of those, as uint16[n]."""
    return places.astype(np.uint16) if most > np.iinfo(places.dtype).max else places


DONE = (State.NONE, State.BOOKED, State.SETTLED, State.WRITTEN_OFF)
"""What asks for nothing any more: whatever is owed on top of it was never asked for."""

_IS_DONE = np.isin(np.arange(len(State)), DONE)

SETTLED_THROUGH = {"settled": 1, "closed": ATTEMPT_MAX}
"""By the run's state: with the run settles what its first attempt asked for, with its end all that is booked."""


@dataclass(frozen=True)
class Standing:
    """The instructions of one kind of a run in one shard, by position (of payouts: by the claim's number).

    `charged` int64[n], minor units the run charged (0 but for debits); `state` uint8[n] of State, SENT once the file
    left; `attempt` uint8[n], the last one made; `amount_minor` int64[n], what it asked for; `since` uint8[n], the first
    attempt at it: what is owed on top of what is done with is asked for as something new, with days of its own;
    `written_off_minor` int64[n], all that was let go and not recovered; `batch` int32[n], the last file's number or
    NO_BATCH; `reason` uint8[n] (uint16 beyond 255), the place in `reasons` of the code it came back with, 0 for those
    beyond 65,535 different ones.
    """

    charged: NDArray[np.int64]
    state: NDArray[np.uint8]
    attempt: NDArray[np.uint8]
    amount_minor: NDArray[np.int64]
    since: NDArray[np.uint8]
    written_off_minor: NDArray[np.int64]
    batch: NDArray[np.int32]
    reason: NDArray[Any]
    reasons: tuple[str | None, ...] = (None,)

    def __len__(self) -> int:
        return len(self.state)

    def where(self, *states: State) -> NDArray[np.int32]:
        """int32[k] rising: the positions in one of these states."""
        return np.flatnonzero(np.isin(self.state, states)).astype(np.int32)

    def compact(self, positions: NDArray[np.int32]) -> NDArray[np.int32] | None:
        """How an event names these rising positions: None where they are all that the run charged."""
        whole = len(positions) and np.array_equal(positions, np.flatnonzero(self.charged))
        return None if whole else positions.astype(np.int32)


def fold(
    charged: NDArray[np.int64], events: Iterable[Event], batches: Mapping[int, SentBatch], *, settled_through: int = 0
) -> Standing:
    """What a history comes to. `batches`: the files by id.

    `settled_through`: what is booked and was first asked for by an attempt up to this one is settled.
    """
    n = len(charged)
    state, attempt, since = (np.zeros(n, np.uint8) for _ in range(3))
    reason: NDArray[Any] = np.zeros(n, np.uint8)
    amount, written_off = np.zeros(n, np.int64), np.zeros(n, np.int64)
    batch = np.full(n, NO_BATCH, np.int32)
    places: dict[str | None, int] = {None: 0}
    everybody = np.flatnonzero(charged)
    for event in events:
        at = everybody if event.positions is None else event.positions
        file = None if event.batch_id is None else batches[event.batch_id]
        if file is not None:
            batch[at] = file.number
            amount[at] = charged[at] if event.amounts is None else event.amounts
            since[at] = np.where(_IS_DONE[state[at]], event.attempt, since[at])
        elif event.state is State.WRITTEN_OFF:
            written_off[at] += amount[at] if event.amounts is None else event.amounts
        elif event.state is State.BOOKED:
            recovered = np.where(state[at] == State.WRITTEN_OFF, amount[at], 0)
            written_off[at] = np.maximum(written_off[at] - recovered, 0)
        state[at] = State.SENT if file is not None and file.sent_on is not None else event.state
        attempt[at] = event.attempt
        if len(places) < REASONS_MAX:
            places.setdefault(event.reason, len(places))
        place = places.get(event.reason, 0)
        reason = holding(reason, place)
        reason[at] = place
    if settled_through:
        state[(state == State.BOOKED) & (since <= settled_through)] = State.SETTLED
    return Standing(charged, state, attempt, amount, since, written_off, batch, reason, tuple(places))


_STATE = select(share_runs.c.state).where(share_runs.c.run_id == bindparam("of_run"))
_SHARD = select(shards.c.seats, _STATE.scalar_subquery().label("state")).where(
    shards.c.shard_id == bindparam("at_shard")
)
_CHARGED = (
    "SELECT packed(segment.positions), packed(segment.amounts)"
    " FROM posting_segments AS segment JOIN journals USING (shard_id, seq)"
    " WHERE segment.shard_id = $1 AND segment.account_id = $2 AND journals.idempotency_key = 'run:' || $3 || ':charge'"
)


async def read_standing(
    connection: AsyncConnection, shard_id: int, run_id: int, kind: Kind, *, batches: Mapping[int, SentBatch]
) -> Standing:
    """Where a shard's instructions of one kind stand. `batches`: `sent_batches` of the run, read once for all shards.

    Of payouts the shard is the plan's own, number 0, and n is one more than the last claim's number.
    """
    events = await read_events(connection, shard_id, run_id, kind)
    if kind is Kind.PAYOUT:
        last = max((int(e.positions[-1]) for e in events if e.positions is not None), default=-1)
        return fold(np.zeros(1 + last, np.int64), events, batches)
    seats, state = (await connection.execute(_SHARD, {"at_shard": shard_id, "of_run": run_id})).one_or_none() or (0, "")
    if kind is not Kind.DEBIT:
        return fold(np.zeros(seats, np.int64), events, batches)
    charged = await charged_by(connection, shard_id, run_id, seats)
    return fold(charged, events, batches, settled_through=SETTLED_THROUGH.get(state or "", 0))


async def charged_by(connection: AsyncConnection, shard_id: int, run_id: int, seats: int) -> NDArray[np.int64]:
    """int64[seats]: minor units that members of the shard owed when the run was sealed."""
    receivable = account_id(shard_id // PLAN_STRIDE, Account.CONTRIBUTIONS_RECEIVABLE)
    of_segment = posting_segments.c
    rows = await copy_out(
        connection, _CHARGED, [shard_id, receivable, run_id], [of_segment.positions.type, of_segment.amounts.type]
    )
    return Segment(receivable, rows[0][1], rows[0][0]).dense(seats) if rows else np.zeros(seats, np.int64)


async def sent_batches(connection: AsyncConnection, run_id: int, kind: Kind) -> dict[int, SentBatch]:
    """The files of one kind of a run, by id."""
    found = await connection.execute(
        select(debit_batches.c.batch_id, debit_batches.c.number, debit_batches.c.sent_on).where(
            debit_batches.c.run_id == run_id, debit_batches.c.kind == LETTERS[kind]
        )
    )
    return {batch_id: SentBatch(number, sent_on) for batch_id, number, sent_on in found}
