"""Calls: what a plan asks of members by itself on a day, beside the shares of runs: auto top-ups, and levies they owe.

A plan makes one call of a kind a day. Its number stands in the references where others have that of a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.events import NOT_SENT, Event
from engine.custodian.instructions import State
from engine.custodian.reference import RUN_MAX, Kind
from engine.errors import InvalidInput
from engine.plans.days import date_of, day_number
from engine.store.arrays import copy_out
from engine.store.tables import instruction_events

CALLS = {Kind.AUTO_TOP_UP: "auto top-ups", Kind.LEVY: "levies"}
"""The kinds of calls, and what they ask for."""

FIRST_DAY = date(1970, 1, 1)
"""No call was made before."""

_FIRST = 36**5
"""Runs and decisions are numbered below."""

_DAYS = 36**3
_BACK = (State.REJECTED, State.RETURNED, State.REOPENED)
_UNDER_WAY = (State.ASSESSED, State.SENT, State.DISPUTED)


def call_number(plan_id: int, on: date) -> int:
    """The number of a plan's calls on a day: `1`, two digits of base 36 for the plan, three for the day.

    Raises InvalidInput for a plan above 45,359 or a day after 2097.
    """
    number, day = _FIRST + plan_id * _DAYS + day_number(on), day_number(on)
    if not 0 <= day < _DAYS or number > RUN_MAX:
        raise InvalidInput(f"plan {plan_id} on {on}: no reference has room for its calls")
    return number


def called_on(number: int) -> date | None:
    """The day of a plan's calls of this number; None for that of a run or a decision."""
    return None if number < _FIRST else date_of((number - _FIRST) % _DAYS)


@dataclass(frozen=True)
class Called:
    """The last call of one kind to each seat of a shard, by position, and what became of it.

    `state` uint8[n] of State, ASSESSED whether or not its file left; `on` int32[n], the day number of the call;
    `first_on` int32[n], that of the first for the same money: all between came back; `asked_minor` int64[n], asked
    since `month_from`, whatever became of it unless it was never sent; `reason` int32[n], the place in `reasons` of the
    code it came back with; `freed` bool[n], a person lets it be asked again (`Event.frees`).
    """

    state: NDArray[np.uint8]
    on: NDArray[np.int32]
    first_on: NDArray[np.int32]
    asked_minor: NDArray[np.int64]
    reason: NDArray[np.int32]
    freed: NDArray[np.bool_]
    reasons: tuple[str | None, ...] = (None,)

    @property
    def under_way(self) -> NDArray[np.bool_]:
        """bool[n]: neither paid nor back yet."""
        return np.isin(self.state, _UNDER_WAY)

    @property
    def is_back(self) -> NDArray[np.bool_]:
        """bool[n]: refused, or came back."""
        return np.isin(self.state, _BACK)


def fold_calls(events: Iterable[tuple[int, Event]], seats: int, *, month_from: date) -> Called:
    """What the history of a shard's calls of one kind comes to. `events`: with the numbers of their calls, in order."""
    state = np.zeros(seats, np.uint8)
    on, first_on, reason = (np.zeros(seats, np.int32) for _ in range(3))
    asked, last = np.zeros(seats, np.int64), np.zeros(seats, np.int64)
    freed = np.zeros(seats, np.bool_)
    reasons: dict[str | None, int] = {None: 0}
    month = day_number(month_from)
    for number, event in events:
        day, at = number % _DAYS, event.positions
        assert at is not None, "calls name their seats"
        if event.state is State.ASSESSED:
            assert event.amounts is not None, "and amounts"
            came_back = np.isin(state[at], _BACK)
            first_on[at] = np.where(came_back, first_on[at], day)
            on[at], last[at] = day, event.amounts
            asked[at] += event.amounts if day >= month else 0
        at = at[on[at] == day]  # what is said of an earlier call changes nothing about a later one
        if event.reason == NOT_SENT and day >= month:
            asked[at] -= last[at]
        state[at], freed[at] = event.state, event.frees
        reason[at] = reasons.setdefault(event.reason, len(reasons))
    return Called(state, on, first_on, asked, reason, freed, tuple(reasons))


_READ = (
    "SELECT run_id, attempt, state, source, batch_id, reason, packed(positions), packed(amounts)"
    " FROM instruction_events WHERE shard_id = $1 AND kind = chr($2) AND run_id >= $3 ORDER BY event_id"
)


async def read_calls(
    connection: AsyncConnection, shard_id: int, seats: int, kind: Kind, *, since: int, month_from: date
) -> Called:
    """The calls of a kind to a shard's seats, from the one of number `since` on."""
    columns = instruction_events.c
    names = ("run_id", "attempt", "state", "source", "batch_id", "reason", "positions", "amounts")
    rows = await copy_out(connection, _READ, [shard_id, int(kind), since], [columns[name].type for name in names])
    events = ((number, Event(attempt, State(state), *rest)) for number, attempt, state, *rest in rows)
    return fold_calls(events, seats, month_from=month_from)


async def asked_again(
    connection: AsyncConnection, shard_id: int, seats: int, kind: Kind, number: int
) -> NDArray[np.bool_]:
    """bool[n]: of which seats of a shard the call of this number came back, and a later one asked for the same."""
    since = await read_calls(connection, shard_id, seats, kind, since=number, month_from=FIRST_DAY)
    day = number % _DAYS
    again: NDArray[np.bool_] = (since.first_on <= day) & (day < since.on)
    return again
