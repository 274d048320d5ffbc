"""How charges spread: counted one by one while there are few, by ranges after that, and no seat is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.runs.spread import BARS_MAX, Bar, Charged, TierShare, bars_of, tiers_of


def charged(*rows: tuple[int, int, int]) -> Charged:
    """Of (tier, seats, charge)."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Charged(columns[:, 0], columns[:, 1], columns[:, 2])


def test_nobody_pays_anything() -> None:
    assert bars_of(charged()) == []
    assert tiers_of(charged()) == []


def test_a_few_amounts_are_told_apart() -> None:
    found = bars_of(charged((0, 5, 9), (1, 2, 10), (0, 1, 10), (0, 3, 0)))
    assert found == [Bar(0, 0, 3, 0), Bar(9, 9, 5, 45), Bar(10, 10, 3, 30)]


def test_many_amounts_are_counted_by_ranges_of_one_width() -> None:
    found = bars_of(charged(*((0, 1, amount) for amount in range(100, 200))))
    assert len(found) <= BARS_MAX
    assert {bar.high - bar.low + 1 for bar in found} == {5}
    assert (found[0].low, found[-1].high) == (100, 199)
    assert [bar.seats for bar in found] == [5] * 20


def test_a_tier_has_its_least_its_most_and_its_sum() -> None:
    found = tiers_of(charged((1, 2, 30), (0, 5, 9), (0, 1, 4)))
    assert found == [TierShare(0, 6, 4, 9, 49), TierShare(1, 2, 30, 30, 60)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1000), st.integers(0, 10**9)), max_size=60))
def test_no_seat_and_no_unit_is_lost(rows: Sequence[tuple[int, int, int]]) -> None:
    of = charged(*rows)
    seats, total = sum(row[1] for row in rows), sum(row[1] * row[2] for row in rows)
    for found in (bars_of(of), tiers_of(of)):
        assert (sum(each.seats for each in found), sum(each.charged for each in found)) == (seats, total)
    assert all(bar.low * bar.seats <= bar.charged <= bar.high * bar.seats for bar in bars_of(of))
