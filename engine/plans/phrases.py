"""The phrases that rules in words share: amounts, rates, days of the month, and who bears what caps keep away."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from engine.apportion.terms import OverCap, Rounding
from engine.money import MINOR_DIGITS, decimal_text, grouped
from engine.plans.answers import terms
from engine.plans.rules import BusinessDays, Debit, Notice, PlanRules

_UNITS = {"CNY": "yuan", "EUR": "euro"}

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def unit(rules: PlanRules) -> str:
    """The currency in words: `yuan`."""
    return _UNITS.get(rules.currency, rules.currency)


def amount(rules: PlanRules, minor: int) -> str:
    """An amount in minor units: `300,000.00 yuan`."""
    return f"{grouped(minor)} {unit(rules)}"


def percent(rate: Fraction) -> str:
    """`8 %`, or the fraction where no short decimal says it."""
    text = decimal_text(rate * 100 * 10**MINOR_DIGITS).rstrip("0").rstrip(".")
    return f"{text} %" if Fraction(text) == rate * 100 else str(rate)


def counted_days(count: int) -> str:
    """`1 day`, `90 days`."""
    return f"{count:,} day{'' if count == 1 else 's'}"


def listed(words: Sequence[object]) -> str:
    """`7, 21 and 30`."""
    *most, last = map(str, words)
    return f"{', '.join(most)} and {last}" if most else last


def month_days(days: Notice | Debit) -> str:
    """`on days 7 and 21 of the month`, `on day 15 of January and July`, or `on any day`."""
    if days.days_of_month is None:
        return "on any day"
    months = "the month" if days.months is None else listed([_MONTHS[month - 1] for month in days.months])
    return f"on {'days' if len(days.days_of_month) > 1 else 'day'} {listed(days.days_of_month)} of {months}"


def business(days: BusinessDays | None) -> str:
    """Where a debit goes that falls on no business day; empty where it stays."""
    if days is None:
        return ""
    holidays, worked = (", ".join(map(str, each)) for each in (days.holidays, days.worked))
    kept = f"; holidays are {holidays}" if holidays else ""
    open_ = f"; worked are {worked}" if worked else ""
    return f", or on the {days.roll} business day{kept}{open_}"


def ages(from_age: int, to_age: int | None) -> str:
    """`the age of 30 to 34`."""
    return f"the age of {from_age} to {to_age}"


def rest(rules: PlanRules) -> str:
    """Who bears what a cap keeps from a member."""
    share = rules.share
    bearers = {OverCap.SPONSOR: f"{share.sponsor} pays the rest", OverCap.REDUCE_AID: "the aid is cut by the rest"}
    said = bearers.get(share.over_cap) or (
        f"the others share the rest within their own caps, and where nobody can, {bearers[share.fallback]}"
    )
    first = terms(rules).surplus_first and share.rounding in (Rounding.UP, Rounding.HALF_UP)
    return f"{said}, after what rounding collected too much" if first else said
