"""Solving: what is asked, who bears what is left, and how far it goes."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from engine.apportion import (
    UNLIMITED,
    CapBasis,
    Case,
    ClipTooSmall,
    Histogram,
    OverCap,
    Rounding,
    Solution,
    Terms,
    TooManyDraws,
    advance,
    merge,
    solve,
)
from engine.apportion.histogram import collect
from engine.apportion.seats import class_of
from engine.errors import InvalidInput

GATE = (0,)


def seats(*groups: tuple[int, int, int]) -> Histogram:
    """A histogram of (tier, allowance, seats) that cover the only gate."""
    tiers, allowances, counts = (np.array(column, dtype=np.int64) for column in zip(*groups, strict=True))
    return collect(np.zeros_like(tiers), tiers, allowances, np.zeros_like(tiers), counts)


@pytest.mark.parametrize(
    ("over_cap", "surplus_first", "expected"),
    [
        (OverCap.SPONSOR, None, False),
        (OverCap.REDISTRIBUTE, None, True),
        (OverCap.REDUCE_AID, None, True),
        (OverCap.SPONSOR, True, True),
        (OverCap.REDUCE_AID, False, False),
    ],
)
def test_the_surplus_covers_the_excess_first_unless_the_sponsor_does(
    over_cap: OverCap, surplus_first: bool | None, expected: bool
) -> None:
    assert Terms(over_cap=over_cap, surplus_first=surplus_first).surplus_first is expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": ()},
        {"weights": (1, -1)},
        {"fee": Fraction(-1, 2)},
        {"cap_unit": 0},
        {"fallback": OverCap.REDISTRIBUTE},
    ],
)
def test_terms_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Terms(**wrong)  # type: ignore[arg-type]


def test_terms_come_back_from_json() -> None:
    for rounding, over_cap, basis in product(Rounding, OverCap, CapBasis):
        terms = Terms((1, 7), Fraction(2, 25), rounding, over_cap, OverCap.REDUCE_AID, basis, 3, surplus_first=True)
        assert Terms.from_json(terms.to_json()) == terms


def test_a_solution_comes_back_from_json_and_its_digest_moves_with_it() -> None:
    cases, terms = [Case(100, 0, 30), Case(31, 0)], Terms(rounding=Rounding.EXACT, fee=Fraction(1, 10))
    solution = solve(seats((0, UNLIMITED, 3), (0, 5, 2)), GATE, cases, terms, 1, seed=b"s")
    assert solution.odd
    back = Solution.from_json(solution.to_json())
    assert (back, back.to_json(), back.digest()) == (solution, solution.to_json(), solution.digest())
    assert solve(seats((0, UNLIMITED, 3), (0, 5, 2)), GATE, cases, terms, 5).digest() != solution.digest()


def test_groups_say_which_cap_bound() -> None:
    cases, terms = [Case(1_000, 0, 20), Case(400, 0)], Terms((1, 2), cap_basis=CapBasis.WEIGHT)
    solution = solve(seats((0, UNLIMITED, 10), (0, 29, 10), (1, UNLIMITED, 10)), GATE, cases, terms, 0)
    said = [(g.tier, g.allowance, g.charge, g.open, g.case_capped, g.allowance_capped) for g in solution.groups]
    assert said == [
        (0, 29, 29, False, True, True),
        (0, None, 30, True, True, False),
        (1, None, 60, True, True, False),
    ]
    assert solution.sponsor == 1_400 - 290 - 300 - 600
    assert solution.sharers == 30


def test_cases_that_nobody_shares_are_named() -> None:
    histogram = collect(*(np.array([value]) for value in (class_of(1, 1), 0, UNLIMITED, 0, 5)))
    solution = solve(histogram, (0, 1, 2), [Case(10, 2), Case(10, 1), Case(10, 0)], Terms(), 0)
    assert solution.no_sharers == (0, 2)
    assert solution.sponsor == 20


def test_too_small_a_clip_is_an_answer() -> None:
    histogram = seats((0, 7, 3))
    with pytest.raises(ClipTooSmall) as answer:
        solve(histogram, GATE, [Case(100, 0)], Terms(), 0, clip=7)
    assert answer.value.needed == 34
    assert solve(seats((0, 34, 3)), GATE, [Case(100, 0)], Terms(), 0, clip=34).sponsor == 0
    assert solve(histogram, GATE, [Case(100, 0)], Terms(), 0).sponsor == 79


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (((0,), [Case(1, 5)], Terms((1, 1)), 0), r"cases at gates \[5\] that were not measured"),
        (((0,), [Case(1, 0)], Terms(), 0), "tier 1 has no weight"),
        (((0,), [Case(1, 0)], Terms((1, 1)), -1), "never negative"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: tuple[object, ...], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        solve(seats((1, UNLIMITED, 1)), *arguments)  # type: ignore[arg-type]


def test_a_negative_case_is_refused() -> None:
    for wrong in ((-1, None), (1, -1)):
        with pytest.raises(InvalidInput, match="not negative"):
            Case(wrong[0], 0, wrong[1])


def test_redistribution_has_a_limit_of_capped_draws() -> None:
    terms = Terms(over_cap=OverCap.REDISTRIBUTE)
    with pytest.raises(TooManyDraws, match="fewer cases or gates"):
        solve(seats((0, UNLIMITED, 3)), GATE, [Case(10, 0, 1)] * 4_097, terms, 0)
    assert solve(seats((0, UNLIMITED, 3)), GATE, [Case(10, 0)] * 4_097, terms, 0).charged == 40_971


def test_fractions_that_grow_beyond_text_are_refused() -> None:
    gates = tuple(range(2_000))
    parts = [(class_of(gate, gate), 0, UNLIMITED, 0, 10**9 + 7 * gate) for gate in gates]
    parts += [(class_of(0, 1_999), 0, UNLIMITED, 0, 1)]
    histogram = collect(*(np.array(column, dtype=np.int64) for column in zip(*parts, strict=True)))
    with pytest.raises(TooManyDraws):
        solve(histogram, gates, [Case(100, gate) for gate in gates], Terms(), 0)


@pytest.mark.parametrize("over_cap", list(OverCap))
def test_the_largest_published_run_solves(over_cap: OverCap) -> None:
    """SCHEMES: 86.4 M sharers and 3,121 cases in one run of April 2021, each capped at 0.10 a head."""
    terms = Terms(over_cap=over_cap)
    solution = solve(seats((0, UNLIMITED, 86_400_000)), GATE, [Case(15_657_000, 0, 10)] * 3_121, terms, 0)
    (group,) = solution.groups
    assert group.charge == 566
    assert solution.carry_out == 566 * 86_400_000 - 3_121 * 15_657_000


def test_odd_units_over_many_runs_differ_by_one_between_seats() -> None:
    """DESIGN: over 72 runs the luckiest and the unluckiest seat differ by one unit."""
    from engine.apportion import Seats, charge, measure, offsets

    days = np.zeros(11, dtype=np.int32), np.full(11, 9, dtype=np.int32)
    shard, pointers, total = Seats(*days, np.zeros(11, dtype=np.int16)), dict[int, int](), np.zeros(11, dtype=np.int64)
    shuffle = random.Random(7)
    for run in range(72):
        histogram = measure(shard, GATE, clip=None, pointers=pointers)
        aid = shuffle.randrange(1_000)
        solution = solve(histogram, GATE, [Case(aid, 0)], Terms(rounding=Rounding.EXACT), 0, seed=bytes([run]))
        (offset,) = offsets([histogram], solution)
        charged = charge(shard, solution, GATE, pointers=pointers, offset=offset)
        assert int(charged.amounts.sum()) == aid
        total += charged.amounts
        pointers |= advance({}, [charged.pointer], pointers)
    assert int(total.max() - total.min()) <= 1


@pytest.mark.parametrize(
    ("reached", "moves", "pointers", "expected"),
    [
        ({}, [{0: 5}, {0: 7}], {}, {0: 7}),
        ({}, [{0: 7}, {0: 5}], {0: 6}, {0: 5}),
        ({}, [{0: 6}, {0: 7}], {0: 6}, {0: 6}),
        ({0: 9}, [{1: 2}], {0: 3}, {0: 9, 1: 2}),
        ({}, [], {0: 3}, {}),
    ],
)
def test_the_pointer_goes_to_the_last_receiver_in_cyclic_order(
    reached: dict[int, int], moves: list[dict[int, int]], pointers: dict[int, int], expected: dict[int, int]
) -> None:
    assert advance(reached, moves, pointers) == expected
    assert advance(reached, moves[::-1], pointers) == expected


def test_sides_do_not_change_a_solution() -> None:
    whole = seats((0, 40, 6), (0, UNLIMITED, 4))
    side = np.ones(2, dtype=np.int64)
    ahead = collect(whole.classes, whole.tiers, whole.allowances, side, np.array([2, 1]))
    behind = collect(whole.classes, whole.tiers, whole.allowances, side - 1, np.array([4, 3]))
    terms = Terms(rounding=Rounding.EXACT)
    solved = [solve(h, GATE, [Case(333, 0)], terms, 0) for h in (whole, merge([ahead, behind]))]
    assert solved[0] == solved[1]
