"""Event plans: the histogram plays like the seats, and fast."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from engine.apportion import Case, OverCap, PoolTooLarge, Rounding, Terms, measure
from engine.apportion.histogram import collect
from engine.apportion.rounds import play, play_seats
from engine.apportion.worlds import World, _gates, _seats
from engine.errors import InvalidInput
from tests.unit.apportion.strategies import worlds


@settings(max_examples=150, deadline=None)
@given(worlds(event=True, roundings=("up", "half_up", "down")))
def test_the_histogram_plays_like_the_seats(world: dict[str, Any]) -> None:
    parsed = World.model_validate(world)
    cases, terms = [Case(case.aid, case.gate, case.cap) for case in parsed.cases], parsed.rules.terms()
    seats, gates, floor = _seats(parsed.members or ()), _gates(cases), parsed.least or 0
    histogram = measure(seats, gates, clip=None)
    try:
        by_seat = play_seats(seats, cases, terms, parsed.carry_in, floor=floor)
    except PoolTooLarge:
        assume(False)
    by_row = play(histogram, gates, cases, terms, parsed.carry_in, floor=floor)
    assert by_row.rounds == by_seat.rounds
    assert by_row.carry_out == by_seat.carry_out
    paid = Counter(by_seat.charges[by_seat.charges > 0].tolist())
    rows = zip(by_row.charges.tolist(), histogram.seats.tolist(), strict=True)
    counted: Counter[int] = Counter()
    for amount, count in rows:
        counted[amount] += count if amount else 0
    assert +counted == paid


def prepaid_histogram(rows: int) -> Any:
    rng, zeros = np.random.default_rng(5), np.zeros(rows, dtype=np.int64)
    return collect(zeros, rng.integers(0, 3, rows), rng.integers(100, 9_000, rows), zeros, rng.integers(1, 5_000, rows))


@pytest.mark.parametrize("over_cap", list(OverCap))
def test_three_thousand_events_solve_in_seconds(over_cap: OverCap) -> None:
    """DESIGN: 0.3 s; the bound only catches a change of order, whatever else the machine does."""
    terms = Terms((1, 1, 2), over_cap=over_cap)
    began = time.perf_counter()
    played = play(prepaid_histogram(300), (0,), [Case(2_000_000, 0, 300)] * 3_000, terms, 0, floor=100)
    assert time.perf_counter() - began < 10
    assert len(played.rounds) == 3_000
    assert sum(each.charged for each in played.rounds) > 0


def test_a_frozen_group_is_not_counted_and_its_balance_stays() -> None:
    columns = [np.array(column, dtype=np.int64) for column in ([0, 0], [0, 0], [99, 500], [0, 0], [10, 10])]
    played = play(collect(*columns), (0,), [Case(1_000, 0), Case(1_000, 0)], Terms(), 0, floor=100)
    assert [each.sharers for each in played.rounds] == [10, 10]
    assert [each.shares for each in played.rounds] == [{0: 100}, {0: 100}]
    assert played.charges.tolist() == [0, 200]


def test_exact_rounding_on_a_histogram_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seat by seat"):
        play(prepaid_histogram(3), (0,), [Case(1, 0)], Terms((1, 1, 1), rounding=Rounding.EXACT), 0, floor=0)
