"""Which days statements speak of, by their days and by the balances that one closes and the next opens with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

_DAY = timedelta(days=1)


class Covered(NamedTuple):
    """A taken statement that books: its days, and the balances it opens and closes with, where it says them."""

    from_on: date
    to_on: date
    opening_minor: int | None
    closing_minor: int | None


def uncovered(taken: Sequence[Covered], through: date) -> Iterator[date]:
    """The days up to `through` that no statement speaks of, from the first one's.

    Between a statement and one that opens with what it closed with nothing happened: those days are spoken of. `taken`
    is in the order of its days.
    """
    day = taken[0].from_on
    closing: int | None = None
    for each in taken:
        chained = closing is not None and each.opening_minor == closing
        while day < each.from_on and day <= through and not chained:
            yield day
            day += _DAY
        if day <= each.to_on:
            day = each.to_on + _DAY
        closing = each.closing_minor
    while day <= through:
        yield day
        day += _DAY
