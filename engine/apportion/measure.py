"""Measure: one shard's columns into a histogram."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.apportion.histogram import Histogram
from engine.apportion.seats import UNCOVERED, UNLIMITED, Int64s, Seats, cover
from engine.errors import InvalidInput

_DENSE_MAX = 1 << 20
"""Keys up to here are counted in an array; beyond, sorting them is cheaper than clearing it."""


def measure(
    seats: Seats, gates: tuple[int, ...], *, clip: int | None, pointers: Mapping[int, int] | None = None
) -> Histogram:
    """Count the seats that cover a gate, by class, tier, allowance (at most `clip` minor units) and side.

    `gates`: sorted distinct day numbers. `pointers`: by tier, the seat where the rotation of odd units
    stands (exact rounding only; 0 where absent). Raises InvalidInput on a negative tier or allowance.
    """
    coverage = cover(seats, gates)
    tiers = tier_count(seats)
    ranks, allowances = _allowances(seats, clip)
    keys, bins = coverage.codes, len(coverage.classes)
    if tiers > 1:
        keys *= tiers
        keys += seats.tier
        bins *= tiers
    if ranks is not None:
        keys *= len(allowances)
        keys += ranks
        bins *= len(allowances)
    if pointers is not None:
        keys *= 2
        keys += sides(seats, tiers, pointers)
        bins *= 2
    if bins <= _DENSE_MAX:
        dense = np.bincount(keys, minlength=bins)
        found = np.flatnonzero(dense)
        counts = dense[found]
    else:
        found, counts = np.unique(keys, return_counts=True)
    sides_found = np.zeros(len(found), dtype=np.int64)
    if pointers is not None:
        found, sides_found = np.divmod(found, 2)
    found, rank = np.divmod(found, len(allowances))
    code, tier = np.divmod(found, tiers)
    classes = coverage.classes[code]
    kept = np.flatnonzero(classes != UNCOVERED)
    # Codes with a gap stand after the others, so only the order of classes is left to put right.
    kept = kept[np.argsort(classes[kept], kind="stable")]
    return Histogram(classes[kept], tier[kept], allowances[rank[kept]], sides_found[kept], counts[kept])


def tier_count(seats: Seats) -> int:
    """The highest tier of these seats plus one; raises InvalidInput on a negative one."""
    if not len(seats):
        return 1
    if int(seats.tier.min()) < 0:
        raise InvalidInput(f"shard at seat {seats.first_seat}: a tier is negative; tiers count from 0")
    return int(seats.tier.max()) + 1


def sides(seats: Seats, tiers: int, pointers: Mapping[int, int]) -> NDArray[np.bool_]:
    """Whether each seat stands at or after its tier's pointer: bool[n]."""
    table = np.zeros(tiers, dtype=np.int64)
    for tier, pointer in pointers.items():
        if tier < tiers:
            table[tier] = pointer
    numbers = np.arange(seats.first_seat, seats.first_seat + len(seats))
    return numbers >= table.take(seats.tier)


def _allowances(seats: Seats, clip: int | None) -> tuple[NDArray[np.intp] | None, Int64s]:
    """Each seat's row in the distinct clipped allowances (None when all have the first), and those."""
    most = UNLIMITED if clip is None else clip
    if not isinstance(seats.allowance, np.ndarray):
        uniform = UNLIMITED if seats.allowance is None else seats.allowance
        _refuse_negative(uniform, seats)
        return None, np.array([min(uniform, most)], dtype=np.int64)
    if len(seats):
        _refuse_negative(int(seats.allowance.min()), seats)
    clipped = np.minimum(seats.allowance, most)
    low, high = (int(clipped.min()), int(clipped.max())) if len(seats) else (0, 0)
    if high - low < _DENSE_MAX:
        clipped -= low
        return clipped, low + np.arange(high - low + 1, dtype=np.int64)
    distinct, ranks = np.unique(clipped, return_inverse=True)
    return ranks, distinct


def _refuse_negative(allowance: int, seats: Seats) -> None:
    if allowance < 0:
        raise InvalidInput(f"shard at seat {seats.first_seat}: an allowance is {allowance}; what is used up is 0")
