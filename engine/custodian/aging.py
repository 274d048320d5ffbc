"""How old a break or a line in transit is, in business days."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from engine.errors import InvalidInput

_SATURDAY = 5
_DAY = "datetime64[D]"
_ONE_DAY = timedelta(days=1)


class Age(NamedTuple):
    """A band of ages: business days from `first` to `last`, None for no end."""

    first: int
    last: int | None

    def __str__(self) -> str:
        return f"> {self.first - 1}" if self.last is None else f"{self.first}-{self.last}"


AGES = (Age(0, 1), Age(2, 3), Age(4, 7), Age(8, 30), Age(31, None))
"""The bands treasury sorts by, youngest first."""


def business_days(since: date, until: date, *, holidays: Collection[date] = (), worked: Collection[date] = ()) -> int:
    """Business days after `since` up to and with `until`: what is booked today is 0 old.

    Weekdays but `holidays`, and the weekend days that are `worked` (调休). Raises InvalidInput when `until` is earlier.
    """
    if until < since:
        raise InvalidInput(f"an age from {since} to {until} goes backwards; give the later day last")
    first, last = (np.datetime64(day, "D") + 1 for day in (since, until))
    weekdays = int(np.busday_count(first, last, holidays=np.array(sorted(holidays), _DAY)))
    return weekdays + sum(since < day <= until and day.weekday() >= _SATURDAY for day in set(worked))


def since_of(days: int, until: date, *, holidays: Collection[date] = (), worked: Collection[date] = ()) -> date:
    """The earliest day from which there are at most `days` business days to `until`: what is older began before it."""
    since = until
    while business_days(since - _ONE_DAY, until, holidays=holidays, worked=worked) <= days:
        since -= _ONE_DAY
    return since


def until_of(days: int, since: date, *, holidays: Collection[date] = (), worked: Collection[date] = ()) -> date:
    """The latest day to which there are at most `days` business days from `since`."""
    until = since
    while business_days(since, until + _ONE_DAY, holidays=holidays, worked=worked) <= days:
        until += _ONE_DAY
    return until


def is_business_day(day: date, *, holidays: Collection[date] = (), worked: Collection[date] = ()) -> bool:
    """Whether `day` is one of those that `business_days` counts."""
    return day in worked or (day.weekday() < _SATURDAY and day not in holidays)


def age_of(days: int) -> Age:
    """The band of an age in business days. Raises InvalidInput below 0."""
    if days < 0:
        raise InvalidInput(f"an age of {days} days is none")
    return next(age for age in AGES if age.last is None or days <= age.last)
