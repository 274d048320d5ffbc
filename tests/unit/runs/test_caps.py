"""The caps of a run, each by itself: membership years against the calendar told plainly, what is left, which stands."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.apportion import UNLIMITED, Histogram
from engine.ledger.balances import Used
from engine.ledger.journals import Segment
from engine.plans import NEVER, day_number
from engine.runs.caps import (
    YEAR_DAYS,
    anniversaries,
    cap_years,
    least_of,
    left_of,
    pack_histograms,
    standing_caps,
    unpack_histograms,
    used_in_membership_year,
)
from tests.integration.worlds import rules_of_preset

DAYS = st.dates(date(1999, 12, 1), date(2021, 4, 1))
LEAP_DAYS = st.sampled_from(
    [date(2016, 2, 29), date(2020, 2, 29), date(2019, 3, 1), date(2020, 3, 1), date(2019, 2, 28)]
)
JOINING = DAYS | LEAP_DAYS


def birthday(joined: date, year: int) -> date:
    """The anniversary of a year, in plain Python."""
    try:
        return joined.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def began(joined: date, on: date) -> date:
    """When the membership year that holds on a day began."""
    this = birthday(joined, on.year)
    return this if this <= on else birthday(joined, on.year - 1)


def numbers(days: list[date]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array([day_number(day) for day in days], dtype=np.int32)


@given(st.lists(JOINING, max_size=20), JOINING)
def test_anniversaries_are_those_of_the_calendar(joined: list[date], on: date) -> None:
    assert anniversaries(numbers(joined), on).tolist() == [day_number(began(day, on)) for day in joined]


@given(JOINING, JOINING)
def test_anniversaries_of_many_who_joined_on_few_days_are_looked_up(first: date, on: date) -> None:
    joined = [first + timedelta(days=number * 7 % 60) for number in range(60)]
    assert anniversaries(numbers(joined), on).tolist() == [day_number(began(day, on)) for day in joined]


@pytest.mark.parametrize(
    ("joined", "on", "began_on"),
    [
        ("2018-11-13", "2019-11-12", "2018-11-13"),
        ("2018-11-13", "2019-11-13", "2019-11-13"),
        ("2016-02-29", "2019-02-28", "2018-03-01"),
        ("2016-02-29", "2019-03-01", "2019-03-01"),
        ("2016-02-29", "2020-02-28", "2019-03-01"),
        ("2016-02-29", "2020-02-29", "2020-02-29"),
        ("2019-12-31", "2020-01-01", "2019-12-31"),
    ],
)
def test_a_membership_year_begins_on_its_anniversary(joined: str, on: str, began_on: str) -> None:
    found = anniversaries(numbers([date.fromisoformat(joined)]), date.fromisoformat(on))
    assert found.tolist() == [day_number(date.fromisoformat(began_on))]
    assert found.dtype == np.int32


def test_a_seat_that_begins_never_has_no_part_in_any_year() -> None:
    assert anniversaries(np.array([NEVER], dtype=np.int32), date(2019, 7, 14)).dtype == np.int32


@given(data=st.data(), joined=st.lists(JOINING, min_size=1, max_size=8), on=JOINING)
def test_usage_is_counted_from_each_seats_own_anniversary(data: st.DataObject, joined: list[date], on: date) -> None:
    amounts = st.lists(st.integers(-500, 500), min_size=len(joined), max_size=len(joined))
    offsets = st.integers(-YEAR_DAYS, YEAR_DAYS) | st.sampled_from([-366, -365, -364, -1, 0, 1, 364, 365, 366])
    charged = data.draw(st.lists(st.tuples(offsets, amounts, st.booleans()), max_size=6))
    used = []
    for offset, row, is_sparse in charged:
        dense = np.array(row, dtype=np.int64)
        segment = Segment.of(1, dense) if is_sparse else Segment(1, dense)
        used.append(Used(day_number(on) + offset, segment))
    expected = [
        sum(row[seat] for offset, row, _ in charged if began(day, on + timedelta(days=offset)) == began(day, on))
        for seat, day in enumerate(joined)
    ]
    days = numbers(joined)
    assert used_in_membership_year(days, anniversaries(days, on), on, used).tolist() == expected


@given(JOINING, JOINING)
def test_no_two_days_of_a_membership_year_are_further_apart_than_is_read(joined: date, on: date) -> None:
    first = began(joined, on)
    assert (birthday(joined, first.year + 1) - first).days - 1 <= YEAR_DAYS - 1


@pytest.mark.parametrize(
    ("caps", "tiers", "used", "left"),
    [
        pytest.param([100], [0, 0], [0, 0], 100, id="nothing used: one amount for all"),
        pytest.param([100], [0, 0, 0], [0, 30, 130], [100, 70, 0], id="what is left, never below nothing"),
        pytest.param(
            [100], [0, 0], [-30, 0], [100, 100], id="given back beyond what was charged: no more than the cap"
        ),
        pytest.param([None], [0], [5], UNLIMITED, id="no cap at all"),
        pytest.param([100, 200], [1, 0], [50, 50], [150, 50], id="by tier"),
        pytest.param([100, None], [1, 0], [10**15, 0], [UNLIMITED, 100], id="a tier without a cap, whatever it used"),
        pytest.param([0], [0], [0], 0, id="a cap of nothing"),
    ],
)
def test_what_a_yearly_cap_leaves(
    caps: list[int | None], tiers: list[int], used: list[int], left: int | list[int]
) -> None:
    found = left_of(caps, np.array(tiers, dtype=np.int16), np.array(used, dtype=np.int64))
    assert (found if isinstance(found, int) else found.tolist()) == left


@pytest.mark.parametrize(
    ("caps", "least"),
    [
        ([], None),
        ([7], 7),
        ([7, 5], 5),
        ([np.array([1, 9])], [1, 9]),
        ([5, np.array([1, 9])], [1, 5]),
        ([np.array([1, 9]), np.array([3, 2]), 2], [1, 2]),
    ],
)
def test_an_allowance_is_the_least_of_all_caps(caps: list[Any], least: Any) -> None:
    found = least_of(caps)
    assert (found.tolist() if isinstance(found, np.ndarray) else found) == least


YEARLY = [{"amount": "1", "from_year": 2019, "until_year": 2019}]
PREPAID = {"entry": "9", "floor": "1", "return_days": 30}


@pytest.mark.parametrize(
    ("tables", "debit_on", "standing"),
    [
        pytest.param({"caps": {"per_year": []}}, "2019-07-14", (), id="per case is none of them"),
        pytest.param({"caps": {"per_year": YEARLY}}, "2019-07-14", ("per_year",), id="a year"),
        pytest.param({"caps": {"per_year": YEARLY}}, "2020-07-14", (), id="a year that is over"),
        pytest.param(
            {"caps": {"per_year": YEARLY, "year": "membership"}}, "2020-07-14", ("per_year",), id="a year begun before"
        ),
        pytest.param({"caps": {"per_year": YEARLY, "year": "membership"}}, "2021-07-14", (), id="begun too long ago"),
        pytest.param(
            {
                "caps": {"per_year": YEARLY, "per_run": "1"},
                "funding": "prepaid",
                "prepaid": PREPAID,
                "unpaid": None,
                "family_payers": False,
                "wind_down": {"refund": "balances"},
            },
            "2019-07-14",
            ("per_run", "per_year", "balance"),
            id="all three",
        ),
        pytest.param({"caps": {"per_run": "1"}}, "2021-12-28", (), id="none where members do not share"),
    ],
)
def test_which_caps_stand(tables: dict[str, Any], debit_on: str, standing: tuple[str, ...]) -> None:
    assert standing_caps(rules_of_preset(**tables), date.fromisoformat(debit_on)) == standing


@pytest.mark.parametrize(("year", "years"), [("calendar", (2020,)), ("membership", (2019, 2020))])
def test_whose_years_caps_can_hold(year: str, years: tuple[int, ...]) -> None:
    assert cap_years(rules_of_preset(caps={"year": year}), date(2020, 7, 14)) == years


def test_histograms_are_kept_by_the_name_of_their_cap() -> None:
    one, other = Histogram.alike(7, 30), Histogram.alike(5, None, tier=3)
    found = unpack_histograms(pack_histograms({"per_run": one, "balance": other}))
    assert {name: histogram.to_bytes() for name, histogram in found.items()} == {
        "per_run": one.to_bytes(),
        "balance": other.to_bytes(),
    }
    assert unpack_histograms(b"") == {}
