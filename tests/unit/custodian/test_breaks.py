"""Breaks: how old, how bad, and how each comes to its end."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.aging import AGES, Age, age_of, business_days, is_business_day, since_of, until_of
from engine.custodian.breaks import (
    CODES,
    MEANING,
    NEXT,
    PLACE,
    BreakRefused,
    Code,
    Event,
    Severity,
    State,
    after,
    possible,
    severity,
)
from engine.errors import InvalidInput

FRIDAY = date(2026, 1, 2)
DAYS = st.dates(date(2020, 1, 1), date(2020, 12, 31))


@pytest.mark.parametrize(
    ("days", "band"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (30, 3), (31, 4), (999, 4)]
)
def test_an_age_falls_in_one_band(days: int, band: int) -> None:
    assert age_of(days) == AGES[band]


def test_bands_read_like_the_report() -> None:
    assert [str(age) for age in AGES] == ["0-1", "2-3", "4-7", "8-30", "> 30"]


@pytest.mark.parametrize(
    ("until", "holidays", "worked", "days"),
    [
        (FRIDAY, (), (), 0),
        (date(2026, 1, 4), (), (), 0),
        (date(2026, 1, 5), (), (), 1),
        (date(2026, 1, 5), (date(2026, 1, 5),), (), 0),
        (date(2026, 1, 5), (), (date(2026, 1, 4),), 2),
        (date(2026, 1, 9), (date(2026, 1, 3),), (date(2026, 1, 2), date(2026, 1, 10)), 5),
        (date(2026, 1, 9), (), (date(2026, 1, 6),), 5),
    ],
)
def test_business_days(until: date, holidays: tuple[date, ...], worked: tuple[date, ...], days: int) -> None:
    assert business_days(FRIDAY, until, holidays=holidays, worked=worked) == days


@given(DAYS, DAYS, st.sets(DAYS, max_size=30), st.sets(DAYS, max_size=30))
def test_business_days_are_those_one_counts(one: date, other: date, holidays: set[date], worked: set[date]) -> None:
    since, until = sorted((one, other))
    worked -= holidays
    days = [since + timedelta(days=number) for number in range(1, (until - since).days + 1)]
    counted = sum(day in worked or (day.weekday() < 5 and day not in holidays) for day in days)
    assert counted == sum(is_business_day(day, holidays=holidays, worked=worked) for day in days)
    assert business_days(since, until, holidays=holidays, worked=worked) == counted


def test_ages_do_not_go_backwards() -> None:
    with pytest.raises(InvalidInput, match="backwards"):
        business_days(FRIDAY, FRIDAY - timedelta(days=1))
    with pytest.raises(InvalidInput, match="-1"):
        age_of(-1)


@pytest.mark.parametrize(
    ("amount_minor", "age", "expected"),
    [
        (3, AGES[0], Severity.LOW),
        (3, AGES[2], Severity.MEDIUM),
        (3, AGES[4], Severity.CRITICAL),
        (-100_00, AGES[0], Severity.MEDIUM),
        (99_99, AGES[1], Severity.LOW),
        (10_000_00, AGES[2], Severity.HIGH),
        (1_000_000_00, AGES[0], Severity.CRITICAL),
        (-(2**63), AGES[0], Severity.CRITICAL),
    ],
)
def test_severity_is_the_worse_of_amount_and_age(amount_minor: int, age: Age, expected: Severity) -> None:
    assert severity(amount_minor, age) is expected


def test_every_code_has_a_place_and_a_meaning() -> None:
    assert [CODES[PLACE[code]] for code in Code] == list(Code)
    assert set(MEANING) == set(Code)


def test_the_life_of_a_break() -> None:
    state = State.OPEN
    for event in (Event.ASSIGN, Event.PROPOSE, Event.REJECT, Event.PROPOSE, Event.APPROVE, Event.WRITE_OFF):
        state = after(state, event)
    assert state is State.WRITTEN_OFF


def test_no_money_moves_but_through_an_approval() -> None:
    ends = {(state, event) for (state, event), end in NEXT.items() if end in (State.RESOLVED, State.WRITTEN_OFF)}
    assert ends == {
        (State.APPROVED, Event.RESOLVE),
        (State.APPROVED, Event.WRITE_OFF),
        (State.OPEN, Event.CLEAR),
        (State.ASSIGNED, Event.CLEAR),
    }
    assert {state for (state, _), end in NEXT.items() if end is State.APPROVED} == {State.PROPOSED}


def test_what_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(BreakRefused, match="open cannot approve; possible now: assign, clear"):
        after(State.OPEN, Event.APPROVE)
    with pytest.raises(BreakRefused, match="it is final"):
        after(State.RESOLVED, Event.ASSIGN)
    assert {state for state in State if not possible(state)} == {State.RESOLVED, State.WRITTEN_OFF}


@given(st.integers(0, 40), DAYS, st.sets(DAYS, max_size=30), st.sets(DAYS, max_size=30))
def test_the_earliest_day_of_an_age_is_the_last_that_is_not_older(
    days: int, until: date, holidays: set[date], worked: set[date]
) -> None:
    calendar = {"holidays": holidays, "worked": worked}
    since = since_of(days, until, **calendar)
    assert business_days(since, until, **calendar) <= days
    assert business_days(since - timedelta(days=1), until, **calendar) > days
    last = until_of(days, since, **calendar)
    assert last >= until
    assert business_days(since, last + timedelta(days=1), **calendar) > days >= business_days(since, last, **calendar)
