"""When a break becomes worse, by the calendar of its custodian."""

from __future__ import annotations

from datetime import date

import pytest

from engine.custodian.aging import age_of, business_days
from engine.custodian.breaks import Severity, severity
from engine.custodian.worsening import worsening

FRIDAY = date(2019, 7, 12)


def test_what_is_small_gets_worse_with_its_age() -> None:
    assert worsening(50, FRIDAY) == [
        (Severity.LOW, FRIDAY),
        (Severity.MEDIUM, date(2019, 7, 18)),
        (Severity.HIGH, date(2019, 7, 24)),
        (Severity.CRITICAL, date(2019, 8, 26)),
    ]


def test_what_is_large_is_bad_at_once() -> None:
    assert [each.severity for each in worsening(-20_000_00, FRIDAY)] == [Severity.HIGH, Severity.CRITICAL]
    assert worsening(10_000_000_00, FRIDAY) == [(Severity.CRITICAL, FRIDAY)]


@pytest.mark.parametrize("calendar", [{}, {"holidays": (date(2019, 7, 15),), "worked": (date(2019, 7, 20),)}])
def test_it_is_what_each_day_says(calendar: dict[str, tuple[date, ...]]) -> None:
    steps = worsening(50, FRIDAY, **calendar)
    for number in range(60):
        day = date.fromordinal(FRIDAY.toordinal() + number)
        now = [each.severity for each in steps if each.from_on <= day][-1]
        assert now == severity(50, age_of(business_days(FRIDAY, day, **calendar))), day
