"""Whom a rule ends or freezes, and from which day: pure, a whole shard at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.members.shards import Amounts
from engine.plans import NEVER
from engine.roster.columns import Columns

Days = NDArray[np.int32]

_MONTHS_PER_YEAR, _SHORTEST_YEAR_DAYS = 12, 365


class Due(NamedTuple):
    """Whom a rule touches: int64 positions in the shard, ascending, and int32 day numbers from which it does."""

    positions: NDArray[np.int64]
    from_days: Days

    def __len__(self) -> int:
        return len(self.positions)


def birthdays(born_on: Days, age_years: int) -> Days:
    """int32[n]: the day each completes this age; who was born on 29 February, on 1 March of other years."""
    born = born_on.astype("datetime64[D]")
    month = born.astype("datetime64[M]")
    # The first of the month and the days after it: beyond the end of February that is the first of March.
    reached = (month + _MONTHS_PER_YEAR * age_years).astype("datetime64[D]") + (born - month.astype("datetime64[D]"))
    days: Days = reached.astype(np.int64).astype(np.int32)
    return days


def ages_out(born_on: Days, age_years: int, day: int) -> Days:
    """int32[n]: the birthday on which each reaches the age; NEVER for who does not by `day`."""
    reached = np.full(len(born_on), NEVER, dtype=np.int32)
    # No year is shorter than 365 days: of a whole shard, few are looked at.
    old = np.flatnonzero(born_on <= day - _SHORTEST_YEAR_DAYS * age_years)
    days = birthdays(born_on[old], age_years)
    reached[old] = np.where(days <= day, days, NEVER)
    return reached


def exits(columns: Columns, from_days: Days, day: int) -> Due:
    """Who leaves from a day up to `day` that is in the membership, and sooner than it ends already.

    `from_days`: int32[n], NEVER where nothing is due. Whom it was due for before joining leaves the day after.
    """
    first = np.maximum(from_days, columns.shares_from + 1)
    chosen = np.flatnonzero((from_days <= day) & (first <= day) & (first < columns.ended_on))
    return Due(chosen, first[chosen])


def lapses(columns: Columns, return_days: int) -> Days:
    """int32[n]: the day from which who was frozen without end and did not return is no member; NEVER where none is.

    The last day to return is `return_days` after the first frozen one.
    """
    frozen_from, frozen_to = columns.filled("frozen_from"), columns.filled("frozen_to")
    lapsed: Days = np.where(frozen_to == NEVER, frozen_from + np.int32(return_days + 1), NEVER).astype(np.int32)
    return lapsed


def freezes(columns: Columns, balances: Amounts, floor_minor: int, from_day: int, day: int) -> Due:
    """Who is in force on `day` with a balance below the floor, and neither frozen now nor to be.

    From `from_day`, but not before joining, nor before the end of a freeze that ended.
    """
    frozen_to = columns.filled("frozen_to")
    first = np.maximum(np.maximum(columns.shares_from, frozen_to), np.int32(from_day))
    in_force = (columns.shares_from <= day) & (day < columns.ended_on) & (first < columns.ended_on)
    chosen = np.flatnonzero(in_force & (balances < floor_minor) & (frozen_to <= day))
    return Due(chosen, first[chosen])


def refundable(columns: Columns, balances: Amounts, day: int, open_gates: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool[n]: who left by `day` with money paid in, and covered none of the gates still to be shared.

    `open_gates`: int32 day numbers, sorted. Leaving after the notice day still owes, so the balance waits for it.
    """
    first, stop = (np.searchsorted(open_gates, days) for days in (columns.shares_from, columns.ended_on))
    chosen: NDArray[np.bool_] = (columns.ended_on <= day) & (balances > 0) & (first == stop)
    return chosen
