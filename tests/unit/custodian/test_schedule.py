"""When files may leave: business days, the cut-off, the debit day that can be reached, files an hour, back-off."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.custodian.profile import Profile, load
from engine.custodian.schedule import back_off, cut_off_of, is_open, open_day, reachable_day, room
from engine.errors import InvalidInput
from engine.plans.rules import BusinessDays, Roll

ZONE = ZoneInfo("Asia/Shanghai")
GOLDEN_WEEK = tuple(date(2026, 10, day) for day in range(1, 8))


def bank(business: BusinessDays | None = None, **limits: Any) -> Profile:
    preset = load("generic-csv")
    given = {"cut_off": time(16), "lead_days": 0, "files_per_hour": 10} | limits
    return preset.model_copy(update={"business_days": business, "limits": preset.limits.model_copy(update=given)})


WEEKDAYS = BusinessDays(roll=Roll.FOLLOWING, holidays=GOLDEN_WEEK, worked=(date(2026, 9, 20),))
BACKWARDS = BusinessDays(roll=Roll.PRECEDING, holidays=GOLDEN_WEEK)


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2026, 9, 18), True), (date(2026, 9, 19), False), (date(2026, 9, 20), True), (date(2026, 10, 5), False)],
)
def test_a_business_day_is_no_weekend_and_no_holiday_but_a_worked_one(day: date, expected: bool) -> None:
    assert is_open(bank(WEEKDAYS), day) is expected
    assert is_open(bank(), day)


def test_a_calendar_without_business_days_is_refused() -> None:
    never = BusinessDays(roll=Roll.FOLLOWING, holidays=tuple(date(2026, 1, 1) + timedelta(n) for n in range(400)))
    with pytest.raises(InvalidInput, match="no business day within a year of 2026-01-01"):
        open_day(bank(never), date(2026, 1, 1))


@pytest.mark.parametrize(
    ("debit_on", "lead_days", "expected"),
    [
        (date(2026, 9, 18), 0, date(2026, 9, 18)),
        (date(2026, 9, 18), 1, date(2026, 9, 17)),
        (date(2026, 9, 21), 1, date(2026, 9, 20)),  # a Sunday that is worked
        (date(2026, 10, 8), 1, date(2026, 9, 30)),
        (date(2026, 10, 8), 2, date(2026, 9, 29)),
    ],
)
def test_the_cut_off_is_business_days_before(debit_on: date, lead_days: int, expected: date) -> None:
    found = cut_off_of(bank(WEEKDAYS, lead_days=lead_days), debit_on)
    assert found == datetime.combine(expected, time(16), ZONE)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 9, day, hour, minute, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("wanted", "now", "files", "expected"),
    [
        (date(2026, 9, 18), at(18, 15, 59), 1, date(2026, 9, 18)),
        (date(2026, 9, 18), at(18, 16), 1, date(2026, 9, 20)),  # the 19th is a Saturday, the 20th is worked
        (date(2026, 9, 18), at(18, 15), 10, date(2026, 9, 18)),
        (date(2026, 9, 18), at(18, 15), 11, date(2026, 9, 20)),  # the eleventh leaves an hour later
        (date(2026, 9, 18), at(18, 0), 24 * 10, date(2026, 9, 20)),
        (date(2026, 9, 19), at(1, 0), 1, date(2026, 9, 20)),
        (date(2026, 10, 2), at(1, 0), 1, date(2026, 10, 8)),
        (date(2026, 9, 1), at(18, 15), 1, date(2026, 9, 18)),
    ],
)
def test_the_debit_day_can_be_reached(wanted: date, now: datetime, files: int, expected: date) -> None:
    assert reachable_day(bank(WEEKDAYS), wanted, now=now.astimezone(UTC), files=files) == expected


def test_a_debit_day_goes_back_where_the_custodian_says_so_and_it_can_be_reached() -> None:
    assert reachable_day(bank(BACKWARDS), date(2026, 10, 2), now=at(30, 9), files=1) == date(2026, 9, 30)
    assert reachable_day(bank(BACKWARDS), date(2026, 10, 2), now=at(30, 17), files=1) == date(2026, 10, 8)


def test_files_that_never_get_through_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no debit day within a year can be reached"):
        reachable_day(bank(files_per_hour=1), date(2026, 9, 1), now=at(1, 0), files=24 * 400)


def test_no_hour_sees_more_files_than_the_custodian_takes() -> None:
    now = at(1, 12)
    ago = [now - timedelta(minutes=minutes) for minutes in (10, 30, 59, 60, 90)]
    assert room(bank(files_per_hour=4), ago, now) == 1
    assert room(bank(files_per_hour=3), ago, now) == 0
    assert room(bank(files_per_hour=2), ago, now) == 0
    assert room(bank(files_per_hour=5), [], now) == 5


def test_a_file_that_fails_waits_longer_each_time() -> None:
    minutes = [back_off(tries) // timedelta(minutes=1) for tries in (1, 2, 3, 6, 7, 5000)]
    assert minutes == [1, 2, 4, 32, 60, 60]
