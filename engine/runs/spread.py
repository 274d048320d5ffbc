"""How a run's charge spreads over its members: how many seats pay how much, and what each tier pays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.apportion import Outcome, Played
from engine.apportion.seats import Int64s
from engine.money import to_major

BARS_MAX = 24
"""So many amounts are told apart one by one; more are counted by ranges of one width, so many at most."""


class Charged(NamedTuple):
    """Kinds of seats that share a run, int64[kinds] each: their tier, how many they are, what each of them pays.

    `charges`: minor units; under exact rounding without the odd unit that a seat may pay besides.
    """

    tiers: Int64s
    seats: Int64s
    charges: Int64s


class Bar(NamedTuple):
    """`seats` pay from `low` to `high`, in minor units and both included, and `charged` together."""

    low: int
    high: int
    seats: int
    charged: int


class TierShare(NamedTuple):
    """What the seats of a tier pay, in minor units: the least and the most of one seat, and all together."""

    tier: int
    seats: int
    least: int
    most: int
    charged: int


def charged_in(outcome: Outcome) -> Charged:
    """What an outcome charges each kind of seat that shares it."""
    if isinstance(outcome, Played):
        return Charged(outcome.histogram.tiers, outcome.histogram.seats, outcome.charges)
    rows = [(group.tier, group.seats, group.charge) for group in outcome.groups]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Charged(columns[:, 0], columns[:, 1], columns[:, 2])


def bars_of(charged: Charged) -> list[Bar]:
    """Seats by what they pay, the least first; ranges in which nobody is are there with no seat."""
    charges, seats = charged.charges, charged.seats
    if not len(charges):
        return []
    amounts, which = np.unique(charges, return_inverse=True)
    if len(amounts) <= BARS_MAX:
        lows = highs = amounts
    else:
        low, high = int(amounts[0]), int(amounts[-1])
        width = -(-(high - low + 1) // BARS_MAX)
        lows = np.arange(low, high + 1, width, dtype=np.int64)
        highs, which = lows + (width - 1), (charges - low) // width
    counts, sums = np.zeros(len(lows), dtype=np.int64), np.zeros(len(lows), dtype=np.int64)
    np.add.at(counts, which, seats)
    np.add.at(sums, which, seats * charges)
    return [Bar(*row) for row in zip(*(column.tolist() for column in (lows, highs, counts, sums)), strict=True)]


def tiers_of(charged: Charged) -> list[TierShare]:
    """What each tier pays that has a seat in the run, by its number."""
    found = []
    for tier in np.unique(charged.tiers).tolist():
        mine = charged.tiers == tier
        charges, seats = charged.charges[mine], charged.seats[mine]
        least, most = int(charges.min()), int(charges.max())
        found.append(TierShare(tier, int(seats.sum()), least, most, int((seats * charges).sum())))
    return found


def spread_of(outcome: Outcome, codes: list[str]) -> dict[str, Any]:
    """Both as a preview keeps them: amounts as text in major units. `codes`: of the tiers, by their numbers."""
    charged = charged_in(outcome)
    return {
        "spread": [
            {"low": to_major(bar.low), "high": to_major(bar.high), "seats": bar.seats, "charged": to_major(bar.charged)}
            for bar in bars_of(charged)
        ],
        "tiers": [
            {
                "tier": codes[each.tier],
                "seats": each.seats,
                "least": to_major(each.least),
                "most": to_major(each.most),
                "charged": to_major(each.charged),
            }
            for each in tiers_of(charged)
        ],
    }
