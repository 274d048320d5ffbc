"""From which day on a break is how bad: of what its amount does not decide, its age does."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from typing import NamedTuple

from engine.custodian.aging import AGES, until_of
from engine.custodian.breaks import Severity, severity

_DAY = timedelta(days=1)


class Worse(NamedTuple):
    """How bad a break is from a day on, until the next of its kind."""

    severity: Severity
    from_on: date


def worsening(
    amount_minor: int, opened_on: date, *, holidays: Collection[date] = (), worked: Collection[date] = ()
) -> list[Worse]:
    """How bad a break is when it is opened, and each day on which it becomes worse."""
    found = list[Worse]()
    for age in AGES:
        how_bad = severity(amount_minor, age)
        if found and how_bad == found[-1].severity:
            continue
        before = age.first - 1
        from_on = opened_on if before < 0 else until_of(before, opened_on, holidays=holidays, worked=worked) + _DAY
        found.append(Worse(how_bad, from_on))
    return found
