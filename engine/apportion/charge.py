"""Charge: what each seat of one shard pays, as a pure function of the shard, the solution and the offset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.apportion.errors import OverCharged
from engine.apportion.histogram import Histogram
from engine.apportion.measure import sides, tier_count
from engine.apportion.outcome import Outcome
from engine.apportion.played import Played
from engine.apportion.seats import UNCOVERED, UNLIMITED, Coverage, Int64s, Seats, cover
from engine.apportion.solution import Solution

Offset = Mapping[tuple[int, int, int], int]
"""By (class, tier, side): how many open seats of that class and tier come before this shard's, in cyclic order."""


@dataclass(frozen=True)
class Charges:
    """What one shard's seats pay.

    `amounts`: int64[n] minor units, zero where nothing is owed. `pointer`: by tier, where the rotation of
    odd units stands after this shard's last receiver; only tiers with one. Join shards with `advance`.
    """

    amounts: Int64s
    pointer: dict[int, int]


def charge(
    seats: Seats,
    outcome: Outcome,
    gates: tuple[int, ...],
    *,
    pointers: Mapping[int, int] | None = None,
    offset: Offset | None = None,
) -> Charges:
    """Charge one shard. `gates` and `pointers` as measured; `offset` (see `offsets`) only where there are odd units.

    Raises OverCharged when a seat is covered in a way the outcome never measured.
    """
    if isinstance(outcome, Played):
        amounts, pointer = _over_rounds(seats, outcome, gates), dict[int, int]()
    else:
        amounts, pointer = _at_once(seats, outcome, gates, pointers or {}, offset or {})
    _assert_within(amounts, seats, gates)
    return Charges(amounts, pointer)


def _over_rounds(seats: Seats, played: Played, gates: tuple[int, ...]) -> Int64s:
    coverage, allowances = cover(seats, gates), seats.allowance
    if not isinstance(allowances, np.ndarray):
        allowances = np.full(len(seats), UNLIMITED if allowances is None else allowances, dtype=np.int64)
    amounts = played.charge_of(coverage.classes.take(coverage.codes), seats.tier, allowances)
    _refuse_unmeasured(amounts, seats)
    return amounts


def _at_once(
    seats: Seats, solution: Solution, gates: tuple[int, ...], pointers: Mapping[int, int], offset: Offset
) -> tuple[Int64s, dict[int, int]]:
    coverage = cover(seats, gates)
    tiers = tier_count(seats)
    keys = coverage.codes
    if tiers > 1:
        keys *= tiers
        keys += seats.tier
    # Keys become amounts in place: a fresh wide array costs as much as all the arithmetic.
    amounts = keys.astype(np.int64, copy=False)
    _table(coverage, tiers, solution).take(keys, mode="clip", out=amounts)
    _refuse_unmeasured(amounts, seats)
    if seats.allowance is not None:
        np.minimum(amounts, seats.allowance, out=amounts)
    return amounts, _give_odd_units(amounts, seats, gates, solution, pointers, offset) if solution.odd else {}


def _refuse_unmeasured(amounts: Int64s, seats: Seats) -> None:
    if len(amounts) and int(amounts.min()) < 0:
        raise OverCharged(f"shard at seat {seats.first_seat} holds seats that were not measured; measure it again")


def _table(coverage: Coverage, tiers: int, solution: Solution) -> Int64s:
    """What an uncapped seat pays by code · tiers + tier; −1 where the solution has no such seats."""
    table = np.full((len(coverage.classes), tiers), -1, dtype=np.int64)
    table[coverage.classes == UNCOVERED] = 0
    classes, tier, charges = solution.charge_table
    order = np.argsort(coverage.classes)
    code = order[np.searchsorted(coverage.classes[order], classes).clip(max=len(order) - 1)]
    known = (coverage.classes[code] == classes) & (tier < tiers)
    table[code[known], tier[known]] = charges[known]
    return table.ravel()


def _assert_within(amounts: Int64s, seats: Seats, gates: tuple[int, ...]) -> None:
    """I6, by other means than the charge was made by."""
    outside = seats.shares_from > gates[-1]
    outside |= seats.ended_on <= gates[0]
    if np.logical_and(outside, amounts).any():
        raise OverCharged(f"shard at seat {seats.first_seat}: a seat that covers no gate would be charged")
    if seats.allowance is not None and (amounts > seats.allowance).any():
        raise OverCharged(f"shard at seat {seats.first_seat}: a seat would be charged above its allowance")


def offsets(histograms: Sequence[Histogram], solution: Solution) -> list[Offset]:
    """Each shard's offset, from all shards' histograms in shard order. Empty where there are no odd units."""
    if not solution.odd:
        return [{} for _ in histograms]
    opened = [_open_seats(histogram, solution) for histogram in histograms]
    reached: dict[tuple[int, int, int], int] = {}
    for class_, tier in solution.odd_units:
        reached[class_, tier, 1] = 0
        reached[class_, tier, 0] = sum(counts[class_, tier, 1] for counts in opened)
    result: list[Offset] = []
    for counts in opened:
        result.append(dict(reached))
        for key in reached:
            reached[key] += counts[key]
    return result


def _open_seats(histogram: Histogram, solution: Solution) -> dict[tuple[int, int, int], int]:
    base = {(group.class_, group.tier): solution.rounding.of(group.share) for group in solution.groups}
    counts: dict[tuple[int, int, int], int] = defaultdict(int)
    columns = (histogram.classes, histogram.tiers, histogram.allowances, histogram.sides, histogram.seats)
    for class_, tier, allowance, side, seats in zip(*(column.tolist() for column in columns), strict=True):
        if (class_, tier) in solution.odd_units and allowance > base[class_, tier]:
            counts[class_, tier, side] += seats
    return counts


def _give_odd_units(
    amounts: Int64s,
    seats: Seats,
    gates: tuple[int, ...],
    solution: Solution,
    pointers: Mapping[int, int],
    offset: Offset,
) -> dict[int, int]:
    """Add the shard's odd units in place: the first open seats at or after the pointer, cyclic in seat order."""
    ahead, coverage = sides(seats, tier_count(seats), pointers), cover(seats, gates)
    classes = coverage.classes.take(coverage.codes)
    last: dict[int, int] = {}
    for (class_, tier), units in solution.odd_units.items():
        chosen: NDArray[np.bool_] = (classes == class_) & (seats.tier == tier)
        if seats.allowance is not None:
            chosen &= amounts < seats.allowance
        for side in (1, 0):
            there = np.flatnonzero(chosen & (ahead if side else ~ahead))
            received = there[: max(0, units - offset.get((class_, tier, side), 0))]
            amounts[received] += 1
            if len(received):
                reached = {tier: seats.first_seat + int(received[-1]) + 1}
                last = advance(last, [reached], pointers)
    return last


def advance(
    reached: Mapping[int, int], moves: Iterable[Mapping[int, int]], pointers: Mapping[int, int]
) -> dict[int, int]:
    """The furthest of `reached` and all `moves` by tier, in cyclic order from the old `pointers`."""
    furthest = dict(reached)
    for move in moves:
        for tier, position in move.items():
            start = pointers.get(tier, 0)
            if tier not in furthest or (position <= start, position) > (furthest[tier] <= start, furthest[tier]):
                furthest[tier] = position
    return furthest
