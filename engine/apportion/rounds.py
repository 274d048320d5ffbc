"""Plans per event: each case is a round of its own, on the balances the round before left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.apportion.charge import Charges, advance, charge, offsets
from engine.apportion.errors import ClipTooSmall, DoesNotAddUp, PoolTooLarge
from engine.apportion.histogram import Histogram, collect
from engine.apportion.measure import measure
from engine.apportion.played import Played, Round
from engine.apportion.seats import UNLIMITED, Int64s, Seats, spans
from engine.apportion.solution import Solution
from engine.apportion.solve import solve
from engine.apportion.terms import Case, Rounding, Terms
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX

_CLIP_START = 64


def play(
    histogram: Histogram,
    gates: tuple[int, ...],
    cases: Sequence[Case],
    terms: Terms,
    carry_in: int,
    *,
    floor: int,
    clip: int | None = None,
) -> Played:
    """Play the rounds on a histogram whose allowances are balances; charges by histogram row.

    A row below `floor` (minor units) is frozen and not counted. Balances may be clipped at `clip` where no seat can
    come below the floor from there (the cases' caps per head and the floor together). Seats of one row are charged
    alike in every round, so exact rounding, which tells them apart, is refused: see `play_seats`.
    Raises PoolTooLarge, TooManyDraws, InvalidInput.
    """
    if terms.rounding is Rounding.EXACT:
        raise InvalidInput("rounding exact deals odd units to single seats; play them seat by seat")
    rows = _Rows(histogram, gates, terms, floor)
    rounds, charges = _play(cases, histogram.allowances, terms, carry_in, rows.ask)
    played = Played(
        rounds=rounds,
        carry_in=carry_in,
        sharers=rows.seats_of(rows.counted),
        case_capped=rows.seats_of(rows.case_capped),
        allowance_capped=rows.seats_of(rows.allowance_capped),
        clip=clip,
        histogram=histogram,
        charges=charges,
    )
    _assert_sound(played)
    return played


class _Rows:
    """The rows of a histogram, and which of them a round counted, a per-case cap stopped, their balance stopped."""

    def __init__(self, histogram: Histogram, gates: tuple[int, ...], terms: Terms, floor: int) -> None:
        self.histogram, self.terms, self.floor = histogram, terms, floor
        self.reach = {gate: _covering(histogram.classes, number) for number, gate in enumerate(gates)}
        weighs = np.array([weight > 0 for weight in terms.weights])
        self.weighs = weighs.take(histogram.tiers, mode="clip")
        self.counted, self.case_capped, self.allowance_capped = np.zeros((3, len(histogram)), dtype=bool)
        self.largest = _CLIP_START

    def seats_of(self, rows: NDArray[np.bool_]) -> int:
        """How many seats the chosen rows have."""
        return int(self.histogram.seats[rows].sum())

    def ask(self, case: Case, balances: Int64s, carry: int) -> tuple[Solution, Int64s]:
        """One round: its solution, and what a seat of each row pays."""
        counts = self.reach[case.gate] & (balances >= self.floor)
        self.counted |= counts & self.weighs
        live = np.flatnonzero(counts)
        tiers, room = self.histogram.tiers[live], balances[live]
        solution = self._solve(case, carry, tiers, room, self.histogram.seats[live])
        share, stopped_below = np.zeros((2, len(self.terms.weights)), dtype=np.int64)
        _, solved, charges = solution.charge_table
        share[solved] = charges
        for group in solution.groups:
            if group.allowance is not None and group.allowance_capped:
                stopped_below[group.tier] = max(int(stopped_below[group.tier]), group.allowance + 1)
        self.allowance_capped[live] |= room < stopped_below[tiers]
        self.case_capped[live] |= np.isin(tiers, [group.tier for group in solution.groups if group.case_capped])
        amounts = np.zeros(len(balances), dtype=np.int64)
        amounts[live] = np.minimum(share[tiers], room)
        return solution, amounts

    def _solve(self, case: Case, carry: int, tiers: Int64s, room: Int64s, seats: Int64s) -> Solution:
        while True:
            current = _clipped(tiers, room, seats, self.largest)
            try:
                return solve(current, (case.gate,), [case], self.terms, carry, clip=self.largest)
            except ClipTooSmall as error:
                self.largest = min(2 * error.needed, UNLIMITED)


def _clipped(tiers: Int64s, room: Int64s, seats: Int64s, largest: int) -> Histogram:
    """The seats by tier and room, all room from `largest` on alike, which leaves a round a handful of groups."""
    low = room < largest
    above = np.zeros(int(tiers.max(initial=0)) + 1, dtype=np.int64)
    np.add.at(above, tiers[~low], seats[~low])
    full = np.flatnonzero(above)
    zeros = np.zeros(int(low.sum()) + len(full), dtype=np.int64)
    return collect(
        zeros,
        np.concatenate([tiers[low], full]),
        np.concatenate([room[low], np.full(len(full), largest, dtype=np.int64)]),
        zeros,
        np.concatenate([seats[low], above[full]]),
    )


def _assert_sound(played: Played) -> None:
    """I5 over the whole run (`solve` asserts it for each round), and that the rows were charged what the rounds say."""
    collected = played.charged + played.sponsor + played.carry_in
    spent = sum(played.aids) + sum(played.fees) + played.carry_out
    rows = int((played.charges * played.histogram.seats).sum())
    if collected != spent or rows != played.charged:
        raise DoesNotAddUp(
            f"charges + sponsor + carry-in = {collected}, aid + fee + carry-out = {spent}; "
            f"the rounds charged {played.charged}, their rows {rows}"
        )


def _covering(classes: Int64s, number: int) -> NDArray[np.bool_]:
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
) -> tuple[tuple[Round, ...], Charges]:
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
    rounds, amounts = _play(cases, balances, terms, carry_in, ask)
    return rounds, Charges(amounts, pointer)


def _play(
    cases: Sequence[Case],
    balances: Int64s,
    terms: Terms,
    carry: int,
    ask: Callable[[Case, Int64s, int], tuple[Solution, Int64s]],
) -> tuple[tuple[Round, ...], Int64s]:
    rounds, charges, charged = [], np.zeros(len(balances), dtype=np.int64), 0
    for number in sorted(range(len(cases)), key=lambda number: (cases[number].gate, number)):
        solution, amounts = ask(cases[number], balances, carry)
        charged += solution.charged
        if charged > BIGINT_MAX:
            raise PoolTooLarge(f"the cases up to number {number + 1} charge more than fits into 63 bits; split the run")
        charges += amounts
        # The sentinel is not a balance: it does not go down.
        balances = np.where(balances == UNLIMITED, balances, balances - amounts)
        rounds.append(
            Round(
                case=number,
                sharers=sum(group.seats for group in solution.groups if terms.weights[group.tier]),
                shares={group.tier: solution.rounding.of(group.share) for group in solution.groups},
                charged=solution.charged,
                sponsor=solution.sponsor,
                carry_in=carry,
                carry_out=solution.carry_out,
                aid=solution.aids[0],
                fee=solution.fees[0],
                cut=solution.cut,
            )
        )
        carry = solution.carry_out
    return tuple(rounds), charges
