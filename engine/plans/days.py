"""Dates as day numbers: what rosters, gates and cases count in."""

from __future__ import annotations

from datetime import date

from engine.errors import InvalidInput

NEVER = 2**31 - 1
"""The day number of an end that is not in sight."""

_EPOCH = date(1970, 1, 1).toordinal()


def day_number(on: date) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar; negative before."""
    return on.toordinal() - _EPOCH


def date_of(number: int) -> date:
    """The date of a day number. Raises InvalidInput beyond the years 1 to 9999, so for NEVER."""
    try:
        return date.fromordinal(number + _EPOCH)
    except (ValueError, OverflowError):
        raise InvalidInput(f"day {number} is no date; days count from 1970-01-01") from None
