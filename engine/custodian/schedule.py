"""When files may leave for a custodian: its business days, its cut-off, how many it takes in an hour."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from engine.custodian.aging import is_business_day
from engine.custodian.profile import Profile
from engine.errors import InvalidInput
from engine.plans.rules import Roll

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_DAYS_MOST = 366
_BACK_OFF_MOST = timedelta(hours=1)


def is_open(profile: Profile, day: date) -> bool:
    """Whether the custodian works on the day; one whose profile has no business days works on any."""
    business = profile.business_days
    return business is None or is_business_day(day, holidays=business.holidays, worked=business.worked)


def calendar_of(profile: Profile) -> dict[str, tuple[date, ...]]:
    """The `holidays`, and the weekend days `worked`, by which its business days are counted; none where it has none."""
    business = profile.business_days
    return {} if business is None else {"holidays": business.holidays, "worked": business.worked}


def open_day(profile: Profile, day: date, step_days: int = 1) -> date:
    """The first day on which the custodian works, from `day` on forwards, or backwards with -1.

    Raises InvalidInput when none comes within a year.
    """
    for distance in range(_DAYS_MOST):
        found = day + distance * step_days * _DAY
        if is_open(profile, found):
            return found
    raise InvalidInput(f"{profile.code} has no business day within a year of {day}; correct business_days.holidays")


def cut_off_of(profile: Profile, debit_on: date) -> datetime:
    """The moment from which on a file no longer reaches a debit day: on a business day `lead_days` before it."""
    day = open_day(profile, debit_on, -1)
    for _ in range(profile.limits.lead_days):
        day = open_day(profile, day - _DAY, -1)
    return datetime.combine(day, profile.limits.cut_off, ZoneInfo(profile.time_zone))


def reachable_day(profile: Profile, wanted: date, *, now: datetime, files: int) -> date:
    """The debit day of files that are written now: `wanted` moved to a business day, or the next that they reach.

    `files`: how many leave, with those that wait before them; at `files_per_hour` the last leaves hours later. Raises
    InvalidInput when none comes within a year.
    """
    last_leaves = now.astimezone(UTC) + max(files - 1, 0) // profile.limits.files_per_hour * _HOUR
    business = profile.business_days
    day = open_day(profile, wanted, -1 if business is not None and business.roll is Roll.PRECEDING else 1)
    for _ in range(_DAYS_MOST):
        if last_leaves < cut_off_of(profile, day):
            return day
        day = open_day(profile, day + _DAY)
    raise InvalidInput(f"{profile.code}: no debit day within a year can be reached; correct limits or business_days")


def room(profile: Profile, sent_at: Collection[datetime], now: datetime) -> int:
    """How many files may leave now, so that no hour ever sees more than `files_per_hour`."""
    within = sum(1 for moment in sent_at if now - moment < _HOUR)
    return max(profile.limits.files_per_hour - within, 0)


def back_off(tries: int) -> timedelta:
    """How long a file waits that failed to leave so often: a minute, then twice as long each time, an hour at most."""
    return min(timedelta(minutes=2 ** min(tries - 1, 10)), _BACK_OFF_MOST)
