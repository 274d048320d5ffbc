"""Credit runs: every unit of a surplus is given or carried on, each seat's part rounded down."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.apportion import Case, Histogram, Rounding, Terms, charge, give
from engine.apportion.histogram import collect
from engine.apportion.seats import Seats, class_of


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**4),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), min_size=1, max_size=4),
)
def test_a_surplus_is_given_by_weight_and_the_rest_carried_on(
    surplus: int, carry_in: int, tiers: list[tuple[int, int]]
) -> None:
    weights, counts = zip(*tiers, strict=True)
    rows = [(class_of(0, 0), tier, 2**63 - 1, 0, count) for tier, count in enumerate(counts) if count]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    terms = Terms(weights, rounding=Rounding.DOWN)
    outcome = give(collect(*columns), Case(surplus, 7), terms, carry_in)
    whole = sum(weight * count for weight, count in tiers)
    parts = [int(Fraction((surplus + carry_in) * weight, whole)) if whole else 0 for weight in weights]
    assert outcome.charged == sum(part * count for part, count in zip(parts, counts, strict=True))
    assert outcome.aids == (outcome.charged,)
    assert surplus + outcome.carry_in == outcome.charged + outcome.carry_out
    assert (outcome.sponsor, outcome.carry_in, bool(outcome.no_sharers)) == (0, carry_in, whole == 0)
    tier = np.repeat(np.arange(len(tiers), dtype=np.int16), counts)
    days = np.zeros(len(tier), dtype=np.int32)
    seats = Seats(days, days + 9, tier)
    assert charge(seats, outcome, (7,)).amounts.tolist() == [parts[each] for each in tier]


def test_nothing_is_left_of_a_surplus_that_divides() -> None:
    outcome = give(Histogram.alike(4, None), Case(100, 0), Terms(rounding=Rounding.DOWN), 20)
    assert (outcome.charged, outcome.carry_out, outcome.share) == (120, 0, 30)
