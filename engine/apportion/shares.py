"""What the cases ask of each class and tier: in proportion to the weights, or poured where there is room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import attrgetter

from engine.apportion.errors import TooManyDraws
from engine.apportion.histogram import Histogram
from engine.apportion.seats import UNLIMITED, spans
from engine.apportion.terms import Terms

DRAWS_MAX = 4_096
"""Draws of a redistributing run; every capped case is one."""

DENOMINATOR_BITS_MAX = 12_000
"""Python writes integers up to about 14,000 bits as text, and a solution is kept as text."""

Kind = tuple[int, int]
"""(class, tier): what decides a seat's share before its allowance."""


@dataclass(frozen=True)
class Row:
    """Seats of one kind with one allowance (minor units; None: no limit)."""

    class_: int
    tier: int
    allowance: int | None
    seats: int


@dataclass(frozen=True)
class Load:
    """One case's part of the pool: `burden` = B and `cap` per head in minor units, `gate` an index."""

    gate: int
    burden: int
    cap: int | None


@dataclass(frozen=True)
class Shares:
    """S by kind; the kinds a per-case cap bound; the kinds with nothing left; by case its own shortfall and W > 0."""

    of: dict[Kind, Fraction]
    case_capped: set[Kind]
    spent: set[Kind]
    shortfalls: list[Fraction]
    shared: list[bool]


def rows_of(histogram: Histogram, clip: int | None) -> list[Row]:
    """The rows of a histogram without their sides; a clipped allowance counts as none."""
    limit = UNLIMITED if clip is None else min(clip, UNLIMITED)
    counts: dict[tuple[int, int, int], int] = defaultdict(int)
    columns = (histogram.classes, histogram.tiers, histogram.allowances, histogram.seats)
    for class_, tier, allowance, seats in zip(*(column.tolist() for column in columns), strict=True):
        counts[class_, tier, allowance] += seats
    return [Row(class_, tier, None if a >= limit else a, n) for (class_, tier, a), n in counts.items()]


class Crowd:
    """How many seats of each tier cover each gate, and what they weigh together."""

    def __init__(self, rows: Sequence[Row], gates: int, terms: Terms) -> None:
        change: dict[int, list[int]] = defaultdict(lambda: [0] * (gates + 1))
        for row in rows:
            for start, stop in spans(row.class_):
                change[row.tier][start] += row.seats
                change[row.tier][stop] -= row.seats
        self.seats: dict[int, list[int]] = {}
        """By tier that weighs something: seats by gate."""
        self.weight = [0] * gates
        for tier, steps in sorted(change.items()):
            if not terms.weights[tier]:
                continue
            total, counts = 0, []
            for step in steps[:-1]:
                total += step
                counts.append(total)
            self.seats[tier] = counts
            for gate, count in enumerate(counts):
                self.weight[gate] += count * terms.weights[tier]

    def most(self, load: Load, terms: Terms) -> int:
        """The most the sharers of `load` can pay under its cap, in minor units."""
        if load.cap is None:
            return load.burden if self.weight[load.gate] else 0
        return sum(counts[load.gate] * (terms.cap_of(load.cap, tier) or 0) for tier, counts in self.seats.items())


def proportional(rows: Sequence[Row], gates: int, loads: Sequence[Load], terms: Terms) -> Shares:
    """S = Σ min(B·w/W, q) over the cases whose gate a kind covers, of `gates` gates."""
    crowd = Crowd(rows, gates, terms)
    shortfalls = []
    # Over W of its gate every share is an integer; one fraction per gate and tier is made at the end.
    parts: dict[int, list[int]] = {tier: [0] * gates for tier in crowd.seats}
    bound: dict[int, list[bool]] = {tier: [False] * gates for tier in crowd.seats}
    for load in loads:
        weight, placed = crowd.weight[load.gate], 0
        for tier, counts in crowd.seats.items():
            part, cap = load.burden * terms.weights[tier], terms.cap_of(load.cap, tier)
            if cap is not None and cap * weight < part:
                part = cap * weight
                bound[tier][load.gate] = True
            parts[tier][load.gate] += part
            placed += counts[load.gate] * part
        shortfalls.append(Fraction(load.burden * weight - placed, weight) if weight else Fraction(load.burden))
    before = {tier: _prefixes(parts[tier], crowd.weight) for tier in parts}
    shares = Shares({}, set(), set(), shortfalls, [crowd.weight[load.gate] > 0 for load in loads])
    for class_, tier in {(row.class_, row.tier) for row in rows}:
        share = Fraction(0)
        if tier in before:
            share = sum((before[tier][stop] - before[tier][start] for start, stop in spans(class_)), share)
            if any(any(bound[tier][start:stop]) for start, stop in spans(class_)):
                shares.case_capped.add((class_, tier))
        shares.of[class_, tier] = share
    return shares


def _prefixes(parts: Sequence[int], weights: Sequence[int]) -> list[Fraction]:
    sums = [Fraction(0)]
    for part, weight in zip(parts, weights, strict=True):
        sums.append(_kept_short(sums[-1] + Fraction(part, weight)) if part and weight else sums[-1])
    return sums


def _kept_short(value: Fraction) -> Fraction:
    if value.denominator.bit_length() > DENOMINATOR_BITS_MAX:
        raise TooManyDraws
    return value


def poured(rows: Sequence[Row], gates: int, loads: Sequence[Load], terms: Terms) -> Shares:
    """S by water-filling: draw by draw in (gate, index) order, each case raises min(λ·w, q, room) to its burden.

    After any number of draws a seat has paid min(S of its kind, allowance), so one S per kind is all there is
    to keep. A kind with nothing left keeps S at its largest allowance.
    """
    crowd = Crowd(rows, gates, terms)
    shares = Shares(
        of={(row.class_, row.tier): Fraction(0) for row in rows},
        case_capped=set(),
        spent=set(),
        shortfalls=[Fraction(max(0, load.burden - crowd.most(load, terms))) for load in loads],
        shared=[crowd.weight[load.gate] > 0 for load in loads],
    )
    weighing = [row for row in rows if terms.weights[row.tier]]
    draws = list(_draws(loads))
    if len(draws) > DRAWS_MAX:
        raise TooManyDraws
    for gate, at_gate in groupby(draws, key=attrgetter("gate")):
        sharers = [row for row in weighing if any(start <= gate < stop for start, stop in spans(row.class_))]
        for draw in at_gate:
            _draw(sharers, draw, terms, shares)
    return shares


def _draws(loads: Sequence[Load]) -> Iterator[Load]:
    """The loads in (gate, index) order; uncapped ones that follow each other at a gate are one draw."""
    for (gate, cap), group in groupby(sorted(loads, key=attrgetter("gate")), key=attrgetter("gate", "cap")):
        if cap is None:
            yield Load(gate, sum(load.burden for load in group), None)
        else:
            yield from group


def _draw(sharers: Sequence[Row], draw: Load, terms: Terms, shares: Shares) -> None:
    """Raise S of the sharers' kinds by one draw."""
    caps = {row.tier: terms.cap_of(draw.cap, row.tier) for row in sharers}
    limits: list[tuple[Fraction | None, Row]] = []
    tight: set[Kind] = set()
    for row in sharers:
        share, most = shares.of[row.class_, row.tier], caps[row.tier]
        room = None if row.allowance is None else row.allowance - share
        if room is not None and room <= 0:
            continue
        if most is not None and (room is None or most < room):
            tight.add((row.class_, row.tier))
            room = Fraction(most)
        limits.append((room, row))
    level = _level([(limit, terms.weights[row.tier], row.seats) for limit, row in limits], draw.burden)
    for class_, tier in {(row.class_, row.tier) for _, row in limits}:
        most, kind = caps[tier], (class_, tier)
        step = None if level is None else level * terms.weights[tier]
        if most is not None and (step is None or step > most):
            step = Fraction(most)
            shares.case_capped.update(tight & {kind})
        if step is None:
            shares.of[kind] = Fraction(max(row.allowance or 0 for _, row in limits if (row.class_, row.tier) == kind))
            shares.spent.add(kind)
        else:
            shares.of[kind] = _kept_short(shares.of[kind] + step)


def _level(limits: Sequence[tuple[Fraction | None, int, int]], burden: int) -> Fraction | None:
    """λ with Σ seats·min(λ·weight, limit) = burden over (limit, weight, seats); None when all are at their limit."""
    left, weight = Fraction(burden), sum(weight * seats for _, weight, seats in limits)
    bounded = sorted((limit / each, limit, each, seats) for limit, each, seats in limits if limit is not None)
    for reach, limit, each, seats in bounded:
        if reach * weight >= left:
            break
        left -= seats * limit
        weight -= seats * each
    return left / weight if weight else None
