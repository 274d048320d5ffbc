"""Seats of one shard as columns, and which gates each of them covers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

UNLIMITED = 2**63 - 1
"""The allowance of a seat that has no cap and no balance."""

UNCOVERED = -1
"""The class of a seat that covers no gate."""

GATES_MAX = 30_000
_BITS = 15
_MASK = (1 << _BITS) - 1
_GRID_MAX = 1 << 14
_DAYS_MAX = 1 << 20
_FEW_GATES = 16

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Integers = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Seats:
    """The columns of `n` consecutive seats that a run needs.

    `shares_from`, `ended_on`, `frozen_from`, `frozen_to`: int32[n] day numbers; a seat covers gate g iff
    shares_from ≤ g < ended_on and not frozen_from ≤ g < frozen_to (both None: nobody is frozen).
    `tier`: int16[n]. `allowance`: int64[n] minor units, or one int for all, or None for no limit.
    `first_seat`: the plan-wide number of the first.
    """

    shares_from: Int32s
    ended_on: Int32s
    tier: NDArray[np.int16]
    frozen_from: Int32s | None = None
    frozen_to: Int32s | None = None
    allowance: Int64s | int | None = None
    first_seat: int = 0

    def __len__(self) -> int:
        return len(self.shares_from)


@dataclass(frozen=True)
class Coverage:
    """Which gates each seat covers: `codes` intp[n], the caller's own, is a row of `classes` int64 (or UNCOVERED)."""

    codes: NDArray[np.intp]
    classes: Int64s


def class_of(first: int, last: int, gap_first: int = 0, gap_last: int = 0) -> int:
    """The class of seats that cover gates `first` to `last` (indexes) but `gap_first` to `gap_last`.

    A gap lies strictly inside, so (0, 0) is none. Classes sort like these four numbers.
    """
    return (((first << _BITS | last) << _BITS | gap_first) << _BITS) | gap_last


def spans(class_: int) -> tuple[tuple[int, int], ...]:
    """The half-open ranges of gate indexes that a class covers."""
    first, last, gap_first, gap_last = (class_ >> shift & _MASK for shift in (3 * _BITS, 2 * _BITS, _BITS, 0))
    return ((first, gap_first), (gap_last + 1, last + 1)) if gap_first else ((first, last + 1),)


def cover(seats: Seats, gates: tuple[int, ...]) -> Coverage:
    """Sort each seat into the class of gates it covers. `gates`: sorted distinct day numbers."""
    if not gates or len(gates) > GATES_MAX or any(a >= b for a, b in pairwise(gates)):
        raise InvalidInput(f"{len(gates)} gates: give 1 to {GATES_MAX} day numbers, sorted, each once")
    before = _Before(gates)
    first, stop = before(seats.shares_from), before(seats.ended_on)
    gapped = _thaw(seats, before, first, stop)
    side = len(gates) + 1
    first *= side
    first += stop
    codes = first.astype(np.intp, copy=False)
    if side * side <= _GRID_MAX:
        grid = np.arange(side * side, dtype=np.int64)
    else:
        grid, codes = np.unique(codes, return_inverse=True)
    firsts, stops = np.divmod(grid, side)
    classes = np.where(firsts < stops, (firsts << 3 * _BITS) | ((stops - 1) << 2 * _BITS), UNCOVERED)
    if gapped is None:
        return Coverage(codes, classes)
    positions, gap_classes = gapped
    distinct, rows = np.unique(gap_classes, return_inverse=True)
    codes[positions] = len(classes) + rows
    return Coverage(codes, np.concatenate([classes, distinct]))


class _Before:
    """How many gates lie before each day, into a fresh array.

    For few gates comparing in narrow integers is fastest (wide temporaries cost more than the arithmetic); for more
    a table of days beats a search in the gates.
    """

    def __init__(self, gates: tuple[int, ...]) -> None:
        self.low, self.high = gates[0], gates[-1] + 1
        self.gates = np.asarray(gates, dtype=np.int64)
        self.table: NDArray[np.intp] | None = None
        if self.high - self.low < _DAYS_MAX:
            self.table = np.searchsorted(self.gates, np.arange(self.low, self.high + 1)).astype(np.intp)

    def __call__(self, days: Int32s) -> Integers:
        if len(self.gates) <= _FEW_GATES:
            # Codes stay below (gates + 1)², well within int16.
            count = np.zeros(len(days), dtype=np.int16)
            for gate in self.gates.tolist():
                count += days > gate
            return count
        if self.table is None:
            return np.searchsorted(self.gates, days).astype(np.intp)
        # Clipping comes first: a sentinel minus a day wraps in int32.
        index: NDArray[np.intp] = np.clip(days, self.low, self.high, dtype=np.int64)
        index -= self.low
        self.table.take(index, mode="clip", out=index)
        return index


def _thaw(seats: Seats, before: _Before, first: Integers, stop: Integers) -> tuple[NDArray[np.intp], Int64s] | None:
    """Cut frozen gates off `first` and `stop` in place; the positions and classes of seats frozen in between."""
    if seats.frozen_from is None or seats.frozen_to is None:
        return None
    frozen = np.flatnonzero(seats.frozen_from < seats.frozen_to)
    if not len(frozen):
        return None
    low, high = (before(days[frozen]).astype(np.int64) for days in (seats.frozen_from, seats.frozen_to))
    begin, end = first[frozen].astype(np.int64), stop[frozen].astype(np.int64)
    low, high = np.maximum(low, begin), np.minimum(high, end)
    hit = low < high
    inside = hit & (begin < low) & (high < end)
    at_start, at_end = hit & (low == begin), hit & (high == end)
    first[frozen[at_start]] = high[at_start]
    stop[frozen[at_end & ~at_start]] = low[at_end & ~at_start]
    ends = ((begin[inside] << _BITS | (end[inside] - 1)) << 2 * _BITS) | (low[inside] << _BITS) | (high[inside] - 1)
    return (frozen[inside], ends) if inside.any() else None
