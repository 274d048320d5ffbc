"""A plan's calendar: on which days notices begin and end, when members are debited, and when a case's gate stands.

Days are days of the plan's time zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import takewhile

from engine.errors import InvalidInput
from engine.plans.rules import BusinessDays, Debit, Gate, Notice, PlanRules, Roll

_DAY = timedelta(days=1)
_SATURDAY = 5
_ROLL_DAYS_MAX = 31
_REACH = timedelta(days=_ROLL_DAYS_MAX)
_MONTHS_BETWEEN_MAX = 12 * 8
"""Two 29ths of February lie eight years apart at most; no day of a month lets wait longer."""


@dataclass(frozen=True)
class Slot:
    """One period: a notice begins, it has ended, its claims are debited. `gate_on`: its 00:00 decides who shares."""

    notice_on: date
    ends_on: date
    debit_on: date
    gate_on: date


def slots(rules: PlanRules, first: date, last: date) -> Iterator[Slot]:
    """The periods whose notice begins from `first` to `last` in the plan's life; the last debit may follow its end.

    A plan that winds down goes on past its end, for the claims it still takes. Where notices begin on any day
    (`begins_on_any_day`), each claim is a period of its own.
    """
    first, end = max(first, rules.starts_on), last_notice_day(rules)
    last = last if end is None else min(last, end)
    for notice_on in takewhile(lambda day: day <= last, _of_months(rules.notice, first)):
        ends_on = notice_end(rules, notice_on)
        debit_on = next_debit_day(rules, ends_on)
        yield Slot(notice_on, ends_on, debit_on, gate_day(rules, notice_on=notice_on, debit_on=debit_on))


def begins_on_any_day(rules: PlanRules) -> bool:
    """Whether a notice may begin on any day, as event plans have it."""
    return rules.notice.days_of_month is None


def debits_on_any_day(rules: PlanRules) -> bool:
    """Whether members may be debited on any day, as event plans have it; then there are no slots to miss."""
    return rules.debit.days_of_month is None


def claims_until(rules: PlanRules) -> date | None:
    """The last day on which a claim may be filed; None: no end is in sight."""
    if rules.ends_on is None or rules.wind_down is None:
        return rules.ends_on
    return rules.ends_on + timedelta(days=rules.wind_down.claims_within_days)


def last_notice_day(rules: PlanRules) -> date | None:
    """The last day on which a notice begins; None: no end is in sight.

    That of the plan's end; where it winds down, the first one that a claim filed on the last day can have.
    """
    until = claims_until(rules)
    return until if until is None or rules.wind_down is None else next(_of_months(rules.notice, until))


def is_notice_day(rules: PlanRules, on: date) -> bool:
    """Whether a notice may begin on the day."""
    return _is_of(rules.notice, on)


def notice_end(rules: PlanRules, notice_on: date) -> date:
    """The first day after a notice, when claims without an open objection pass."""
    return notice_on + timedelta(days=rules.notice.length_days)


def debit_days(rules: PlanRules, first: date, last: date) -> list[date]:
    """The days from `first` to `last` on which members are debited, moved to business days where the plan has them."""
    return list(takewhile(lambda day: day <= last, _debit_days(rules, first)))


def is_debit_day(rules: PlanRules, on: date) -> bool:
    """Whether members are debited on the day."""
    return next_debit_day(rules, on) == on


def next_debit_day(rules: PlanRules, on: date) -> date:
    """The first debit day on or after a day, so the one for a notice that ended on it."""
    return next(_debit_days(rules, on))


def period_before(rules: PlanRules, on: date) -> date:
    """The last debit day before a day. Raises InvalidInput when there is none."""
    first = on
    for _ in range(_MONTHS_BETWEEN_MAX):
        first -= _REACH
        if days := debit_days(rules, first, on - _DAY):
            return days[-1]
    raise InvalidInput(f"there is no debit day before {on}; correct debit.days_of_month and debit.months")


def gate_day(rules: PlanRules, *, notice_on: date, debit_on: date) -> date:
    """The day whose 00:00 decides who shares a case (SCHEMES §1, who shares)."""
    return debit_on if rules.share.gate is Gate.SETTLEMENT_DAY else notice_on


def _debit_days(rules: PlanRules, first: date) -> Iterator[date]:
    """From `first` on, rising, each once; only as many are made as are asked for."""
    business = rules.debit.business_days
    if business is None:
        yield from _of_months(rules.debit, first)
        return
    latest = first - _DAY
    for meant in _of_months(rules.debit, first - _REACH):
        day = _rolled(meant, business)
        if day > latest:
            yield day
            latest = day


def _of_months(days: Notice | Debit, first: date) -> Iterator[date]:
    """From `first` on. A day of the month that a month lacks is left out of it; without days of the month any day.

    Raises InvalidInput when none comes for longer than any calendar lets wait.
    """
    year, month, without = first.year, first.month, 0
    while without <= _MONTHS_BETWEEN_MAX:
        without += 1
        if days.months is None or month in days.months:
            for number in days.days_of_month or range(1, 32):
                day = _date(year, month, number)
                if day is not None and day >= first:
                    yield day
                    without = 0
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    raise InvalidInput(f"no day of the month {days.days_of_month} comes after {first}; correct days_of_month or months")


def _date(year: int, month: int, number: int) -> date | None:
    try:
        return date(year, month, number)
    except ValueError:
        return None


def _is_of(days: Notice | Debit, day: date) -> bool:
    in_month = days.months is None or day.month in days.months
    return in_month and (days.days_of_month is None or day.day in days.days_of_month)


def _rolled(day: date, business: BusinessDays) -> date:
    step = _DAY if business.roll is Roll.FOLLOWING else -_DAY
    for distance in range(_ROLL_DAYS_MAX + 1):
        rolled = day + distance * step
        if rolled in business.worked or (rolled.weekday() < _SATURDAY and rolled not in business.holidays):
            return rolled
    raise InvalidInput(f"no business day within {_ROLL_DAYS_MAX} days of {day}; correct debit.business_days.holidays")
