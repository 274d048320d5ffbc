"""Plans per event: each case is a round of its own, on the balances the round before left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.apportion.charge import advance, charge, offsets
from engine.apportion.errors import ClipTooSmall, PoolTooLarge
from engine.apportion.histogram import Histogram, collect
from engine.apportion.measure import measure
from engine.apportion.seats import UNLIMITED, Int64s, Seats, spans
from engine.apportion.solution import Solution
from engine.apportion.solve import solve
from engine.apportion.terms import Case, Rounding, Terms
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX

_CLIP_START = 64


@dataclass(frozen=True)
class Round:
    """One case's round: its index among the cases, who shared it and what came of it, in minor units.

    `shares`: by tier, what a seat pays whose balance suffices (under `exact` without odd units).
    """

    case: int
    sharers: int
    shares: dict[int, int]
    charged: int
    sponsor: int
    carry_in: int
    carry_out: int
    aid: int
    fee: int


@dataclass(frozen=True)
class Played:
    """A run of rounds, in the order played. `charges`: int64 by row or seat, over all rounds."""

    rounds: tuple[Round, ...]
    charges: Int64s
    carry_out: int
    pointer: dict[int, int]

    @property
    def sponsor(self) -> int:
        """What the sponsor pays over all rounds."""
        return sum(each.sponsor for each in self.rounds)

    def by_case(self, name: str) -> list[int]:
        """`aid` or `fee` of each case, in the order the cases were given."""
        return [getattr(each, name) for each in sorted(self.rounds, key=lambda each: each.case)]


def play(
    histogram: Histogram, gates: tuple[int, ...], cases: Sequence[Case], terms: Terms, carry_in: int, *, floor: int
) -> Played:
    """Play the rounds on a histogram whose allowances are balances, not clipped; charges by histogram row.

    A row below `floor` (minor units) is frozen and not counted. Seats of one row are charged alike in every
    round, so exact rounding, which tells them apart, is refused: see `play_seats`.
    """
    if terms.rounding is Rounding.EXACT:
        raise InvalidInput("rounding exact deals odd units to single seats; play them seat by seat")
    reach = {gate: _covering(histogram.classes, number) for number, gate in enumerate(gates)}
    clip = _CLIP_START

    def ask(case: Case, balances: Int64s, carry: int) -> tuple[Solution, Int64s]:
        nonlocal clip
        live = np.flatnonzero(reach[case.gate] & (balances >= floor))
        tiers, room = histogram.tiers[live], balances[live]
        # Balances above the clip are alike, which leaves a round a handful of groups.
        zeros = np.zeros(len(live), dtype=np.int64)
        while True:
            current = collect(zeros, tiers, np.minimum(room, clip), zeros, histogram.seats[live])
            try:
                solution = solve(current, (case.gate,), [case], terms, carry, clip=clip)
                break
            except ClipTooSmall as error:
                clip = min(2 * error.needed, UNLIMITED)
        table = np.zeros(len(terms.weights), dtype=np.int64)
        _, solved, charges = solution.charge_table
        table[solved] = charges
        amounts = np.zeros(len(balances), dtype=np.int64)
        amounts[live] = np.minimum(table[tiers], room)
        return solution, amounts

    return _play(cases, histogram.allowances, carry_in, ask)


def _covering(classes: Int64s, number: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([any(a <= number < b for a, b in spans(class_)) for class_ in classes.tolist()], dtype=bool)


def play_seats(
    seats: Seats,
    cases: Sequence[Case],
    terms: Terms,
    carry_in: int,
    *,
    floor: int,
    seed: bytes = b"",
    pointers: Mapping[int, int] | None = None,
) -> Played:
    """Play the rounds seat by seat, any rounding: for small plans, and what `play` is proved against."""
    pointer = dict(pointers or {})

    def ask(case: Case, balances: Int64s, carry: int) -> tuple[Solution, Int64s]:
        ended_on = np.where(balances >= floor, seats.ended_on, np.int32(case.gate))
        live, gates = replace(seats, ended_on=ended_on, allowance=balances), (case.gate,)
        histogram = measure(live, gates, clip=None, pointers=pointer)
        solution = solve(histogram, gates, [case], terms, carry, seed=seed)
        (offset,) = offsets([histogram], solution)
        charged = charge(live, solution, gates, pointers=pointer, offset=offset)
        pointer.update(advance({}, [charged.pointer], pointer))
        return solution, charged.amounts

    balances = seats.allowance
    if not isinstance(balances, np.ndarray):
        balances = np.full(len(seats), UNLIMITED if balances is None else balances, dtype=np.int64)
    return replace(_play(cases, balances, carry_in, ask), pointer=pointer)


def _play(
    cases: Sequence[Case],
    balances: Int64s,
    carry: int,
    ask: Callable[[Case, Int64s, int], tuple[Solution, Int64s]],
) -> Played:
    rounds, charges = [], np.zeros(len(balances), dtype=np.int64)
    for number in sorted(range(len(cases)), key=lambda number: (cases[number].gate, number)):
        solution, amounts = ask(cases[number], balances, carry)
        if len(amounts) and int(charges.max()) + int(amounts.max()) > BIGINT_MAX:
            raise PoolTooLarge
        charges += amounts
        # The sentinel is not a balance: it does not go down.
        balances = np.where(balances == UNLIMITED, balances, balances - amounts)
        rounds.append(
            Round(
                case=number,
                sharers=solution.sharers,
                shares={group.tier: solution.rounding.of(group.share) for group in solution.groups},
                charged=solution.charged,
                sponsor=solution.sponsor,
                carry_in=carry,
                carry_out=solution.carry_out,
                aid=solution.aids[0],
                fee=solution.fees[0],
            )
        )
        carry = solution.carry_out
    return Played(tuple(rounds), charges, carry, {})
