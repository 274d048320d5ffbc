"""Measuring: which gates a seat covers, and histograms that do not depend on the order of shards."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.apportion import UNLIMITED, Histogram, Seats, measure, merge
from engine.apportion.seats import class_of, cover, spans
from engine.errors import InvalidInput

NEVER = 2**31 - 1
LONG_AGO = -(2**31)


def one(shares_from: int, ended_on: int, frozen: tuple[int, int] = (0, 0), tier: int = 0) -> Seats:
    def column(day: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.array([day], dtype=np.int32)

    days = column(shares_from), column(ended_on)
    return Seats(*days, np.array([tier], dtype=np.int16), column(frozen[0]), column(frozen[1]))


def covered(seats: Seats, gates: tuple[int, ...]) -> list[int]:
    """The gates in the class of the only seat."""
    coverage = cover(seats, gates)
    class_ = int(coverage.classes[coverage.codes[0]])
    return [] if class_ < 0 else [gates[index] for start, stop in spans(class_) for index in range(start, stop)]


FAR = (LONG_AGO + 1, *range(20), NEVER - 1)


@pytest.mark.parametrize(
    ("seat", "gates", "expected"),
    [
        pytest.param(one(10, 99), (10,), [10], id="joined on the gate day owes"),
        pytest.param(one(11, 99), (10,), [], id="joined the day after does not"),
        pytest.param(one(0, 11), (10,), [10], id="left on the gate day still owes"),
        pytest.param(one(0, 10), (10,), [], id="left the day before does not"),
        pytest.param(one(15, 99), (10, 20), [20], id="joined between gates"),
        pytest.param(one(0, 15), (10, 20), [10], id="left between gates"),
        pytest.param(one(20, 10), (10, 20), [], id="ended before it began"),
        pytest.param(one(0, 99, (10, 11)), (10, 20), [20], id="frozen at the first gate"),
        pytest.param(one(0, 99, (20, NEVER)), (10, 20), [10], id="frozen from the last gate on"),
        pytest.param(one(0, 99, (11, 20)), (10, 20), [10, 20], id="frozen between gates"),
        pytest.param(one(0, 99, (15, 25)), (10, 20, 30), [10, 30], id="frozen at the gate between"),
        pytest.param(one(15, 99, (15, 25)), (10, 20, 30), [30], id="frozen as soon as it began"),
        pytest.param(one(0, 99, (LONG_AGO, NEVER)), (10, 20, 30), [], id="frozen all along"),
        pytest.param(one(0, 99, (30, 10)), (10, 20, 30), [10, 20, 30], id="a freeze that ends before it begins"),
        pytest.param(one(LONG_AGO, NEVER), (-5, 0, 5), [-5, 0, 5], id="days before 1970, sentinels"),
        pytest.param(one(LONG_AGO, NEVER), FAR, list(FAR), id="gates too far apart for a table"),
        pytest.param(one(0, NEVER - 1, (0, 1)), FAR, list(range(1, 20)), id="gates too far apart, frozen and ended"),
    ],
)
def test_a_seat_covers(seat: Seats, gates: tuple[int, ...], expected: list[int]) -> None:
    assert covered(seat, gates) == expected


@pytest.mark.parametrize("gates", [200, 2_000, 30_000])
def test_a_seat_covers_among_many_gates(gates: int) -> None:
    days = tuple(range(0, 3 * gates, 3))
    expected = [day for day in days if 7 <= day < 3 * gates - 10 and not 30 <= day < 40]
    assert covered(one(7, 3 * gates - 10, (30, 40)), days) == expected


@pytest.mark.parametrize("gates", [(), (2, 1), (1, 1), tuple(range(30_001))])
def test_gates_that_are_no_sorted_distinct_days_are_refused(gates: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="gates: give 1 to 30000 day numbers"):
        measure(one(0, 9), gates, clip=None)


def test_classes_sort_like_what_they_stand_for() -> None:
    parts = [(first, last, 0, 0) for first in (0, 1, 29_999) for last in (first, 29_999)] + [(0, 29_999, 1, 29_998)]
    assert sorted(class_of(*part) for part in parts) == [class_of(*part) for part in sorted(parts)]


def rows(histogram: Histogram) -> list[tuple[int, ...]]:
    columns = (histogram.classes, histogram.tiers, histogram.allowances, histogram.sides, histogram.seats)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def shard(seed: int, size: int = 500) -> Seats:
    rng = np.random.default_rng(seed)
    return Seats(
        shares_from=rng.integers(0, 30, size, dtype=np.int32),
        ended_on=rng.integers(0, 60, size, dtype=np.int32),
        tier=rng.integers(0, 3, size).astype(np.int16),
        frozen_from=rng.integers(0, 60, size, dtype=np.int32),
        frozen_to=rng.integers(0, 60, size, dtype=np.int32),
        allowance=rng.choice(np.array([0, 5, 1000, 10**12, UNLIMITED]), size),
        first_seat=seed * size,
    )


@settings(max_examples=30)
@given(
    st.integers(0, 9),
    st.lists(st.integers(0, 60), min_size=1, max_size=6, unique=True) | st.just(list(range(5, 45))),
    st.none() | st.sampled_from([0, 7, 10**6]),
    st.none() | st.dictionaries(st.integers(0, 4), st.integers(0, 5000), max_size=3),
)
def test_a_histogram_counts_each_seat_by_hand(
    seed: int, days: list[int], clip: int | None, pointers: dict[int, int] | None
) -> None:
    gates, seats = tuple(sorted(days)), shard(seed, 60)
    assert isinstance(seats.allowance, np.ndarray)
    assert seats.frozen_from is not None
    assert seats.frozen_to is not None
    expected: dict[tuple[tuple[int, ...], int, int, int], int] = {}
    for i in range(len(seats)):
        kept = [
            g
            for g in gates
            if seats.shares_from[i] <= g < seats.ended_on[i] and not seats.frozen_from[i] <= g < seats.frozen_to[i]
        ]
        if kept:
            tier, allowance = int(seats.tier[i]), int(seats.allowance[i])
            side = pointers is not None and seats.first_seat + i >= pointers.get(tier, 0)
            key = (tuple(kept), tier, allowance if clip is None else min(clip, allowance), int(side))
            expected[key] = expected.get(key, 0) + 1
    got = {}
    for class_, *key_rest, count in rows(measure(seats, gates, clip=clip, pointers=pointers)):
        kept = [gates[index] for start, stop in spans(class_) for index in range(start, stop)]
        got[tuple(kept), *key_rest] = count
    assert got == expected


def test_merging_gives_the_same_bytes_in_any_order_and_grouping() -> None:
    parts = [measure(shard(seed), (10, 20, 30), clip=100, pointers={0: 700}) for seed in range(4)]
    whole = merge(parts)
    for order in itertools.permutations(parts):
        assert merge(order).to_bytes() == whole.to_bytes()
    assert merge([merge(parts[:2]), merge(parts[2:]), merge([])]).to_bytes() == whole.to_bytes()
    assert rows(whole) == sorted(rows(whole))


def test_bytes_come_back_as_the_histogram_and_anything_else_is_refused() -> None:
    histogram = measure(shard(random.Random(3).randrange(9)), (10, 20, 30), clip=None)
    assert rows(Histogram.from_bytes(histogram.to_bytes())) == rows(histogram)
    assert len(merge([])) == 0
    for wrong in (b"", b"FH1", histogram.to_bytes()[:-1], b"x" + histogram.to_bytes()[1:]):
        with pytest.raises(InvalidInput, match="not a histogram"):
            Histogram.from_bytes(wrong)


@pytest.mark.parametrize(
    ("allowance", "clip", "kept"),
    [(None, None, UNLIMITED), (None, 50, 50), (18_800, None, 18_800), (18_800, 50, 50), (30, 50, 30)],
)
def test_a_uniform_allowance_is_clipped_like_a_column(allowance: int | None, clip: int | None, kept: int) -> None:
    days = np.zeros(3, dtype=np.int32), np.full(3, 9, dtype=np.int32)
    tier = np.zeros(3, dtype=np.int16)
    column = np.full(3, UNLIMITED if allowance is None else allowance, dtype=np.int64)
    expected = [(class_of(0, 0), 0, kept, 0, 3)]
    assert rows(measure(Seats(*days, tier, allowance=allowance), (5,), clip=clip)) == expected
    assert rows(measure(Seats(*days, tier, allowance=column), (5,), clip=clip)) == expected


def test_a_negative_allowance_or_tier_is_refused() -> None:
    days = np.zeros(2, dtype=np.int32), np.full(2, 9, dtype=np.int32)
    tier = np.zeros(2, dtype=np.int16)
    for allowance in (-1, np.array([3, -1])):
        with pytest.raises(InvalidInput, match="an allowance is -1"):
            measure(Seats(*days, tier, allowance=allowance), (5,), clip=None)
    with pytest.raises(InvalidInput, match="a tier is negative"):
        measure(Seats(*days, tier - np.int16(1)), (5,), clip=None)
