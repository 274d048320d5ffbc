"""A plan's calendar: on which days notices begin and end, when members are debited, and when a case's gate stands.

Days are days of the plan's time zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from engine.errors import InvalidInput
from engine.plans.rules import BusinessDays, Debit, Gate, Notice, PlanRules, Roll

_DAY = timedelta(days=1)
_SATURDAY = 5
_ROLL_DAYS_MAX = 31
_DEBIT_WITHIN_DAYS = 800
"""Any day of a month comes twice in so many days, wherever business days move it."""


@dataclass(frozen=True)
class Slot:
    """One period: a notice begins, it has ended, its claims are debited. `gate_on`: its 00:00 decides who shares."""

    notice_on: date
    ends_on: date
    debit_on: date
    gate_on: date


def slots(rules: PlanRules, first: date, last: date) -> Iterator[Slot]:
    """The periods whose notice begins from `first` to `last` in the plan's life; the last debit may follow its end."""
    first = max(first, rules.starts_on)
    last = last if rules.ends_on is None else min(last, rules.ends_on)
    for notice_on in _of_month(rules.notice, first, last):
        ends_on = notice_end(rules, notice_on)
        debit_on = next_debit_day(rules, ends_on)
        yield Slot(notice_on, ends_on, debit_on, gate_day(rules, notice_on=notice_on, debit_on=debit_on))


def is_notice_day(rules: PlanRules, on: date) -> bool:
    """Whether a notice may begin on the day."""
    return _is_of(rules.notice, on)


def notice_end(rules: PlanRules, notice_on: date) -> date:
    """The first day after a notice, when claims without an open objection pass."""
    return notice_on + timedelta(days=rules.notice.length_days)


def debit_days(rules: PlanRules, first: date, last: date) -> list[date]:
    """The days from `first` to `last` on which members are debited, moved to business days where the plan has them."""
    business = rules.debit.business_days
    if business is None:
        return list(_of_month(rules.debit, first, last))
    reach = timedelta(days=_ROLL_DAYS_MAX)
    meant = _of_month(rules.debit, first - reach, last + reach)
    return sorted({day for day in (_rolled(each, business) for each in meant) if first <= day <= last})


def is_debit_day(rules: PlanRules, on: date) -> bool:
    """Whether members are debited on the day."""
    return bool(debit_days(rules, on, on))


def next_debit_day(rules: PlanRules, on: date) -> date:
    """The first debit day on or after a day, so the one for a notice that ended on it."""
    return debit_days(rules, on, on + timedelta(days=_DEBIT_WITHIN_DAYS))[0]


def gate_day(rules: PlanRules, *, notice_on: date, debit_on: date) -> date:
    """The day whose 00:00 decides who shares a case (SCHEMES §1, who shares)."""
    return debit_on if rules.share.gate is Gate.SETTLEMENT_DAY else notice_on


def _of_month(days: Notice | Debit, first: date, last: date) -> Iterator[date]:
    """A day of the month that a month lacks is left out of it."""
    for offset in range((last - first).days + 1):
        day = first + offset * _DAY
        if _is_of(days, day):
            yield day


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
