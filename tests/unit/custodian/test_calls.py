"""Calls: their numbers, what their history comes to, and whom a plan's rule lets be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest

from engine.custodian.calls import Called, call_number, called_on, fold_calls
from engine.custodian.events import NOT_SENT, Event
from engine.custodian.instructions import State
from engine.custodian.reference import RUN_MAX, Kind, Reference
from engine.errors import InvalidInput
from engine.plans import day_number
from engine.reconcile.calling import levies_due, top_ups_due
from tests.integration.worlds import rules_of_preset

JUNE = date(2019, 6, 1)
BACK = State.RETURNED


def june(day: int) -> date:
    return date(2019, 6, day)


def event(on: date, state: State, *positions: int, reason: str | None = None, source: str = "statement:1") -> Any:
    """What is said of 10.00 asked of each by the call of a day."""
    at = np.array(positions, np.int32)
    asked = {"batch_id": 1, "amounts": np.full(len(at), 10_00, np.int64)} if state is State.ASSESSED else {}
    return call_number(1, on), Event(1, state, source, reason=reason, positions=at, **asked)  # type: ignore[arg-type]


def folded(*events: Any, seats: int = 1) -> Called:
    return fold_calls(events, seats, month_from=JUNE)


def test_a_number_is_of_one_plan_and_day_and_above_all_runs() -> None:
    numbers = [call_number(plan, on) for plan in (1, 2, 45_359) for on in (date(1970, 1, 1), JUNE, date(2097, 9, 26))]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 36**5
    assert numbers[-1] == RUN_MAX
    assert [called_on(number) for number in numbers[:3]] == [date(1970, 1, 1), JUNE, date(2097, 9, 26)]
    assert called_on(36**5 - 1) is None
    assert str(Reference(Kind.AUTO_TOP_UP, call_number(12, JUNE), 1, 0))[:7] == "A10CDXC"
    for plan, on in ((45_360, JUNE), (1, date(2097, 9, 27)), (1, date(1969, 12, 31))):
        with pytest.raises(InvalidInput, match="no reference has room for its calls"):
            call_number(plan, on)


HISTORIES = [
    ([], State.NONE, 0, 0),
    ([(2, State.ASSESSED)], State.ASSESSED, 2, 10_00),
    ([(2, State.ASSESSED), (2, State.BOOKED)], State.BOOKED, 2, 10_00),
    ([(2, State.ASSESSED), (2, BACK), (3, State.ASSESSED)], State.ASSESSED, 2, 20_00),
    ([(2, State.ASSESSED), (2, State.BOOKED), (5, State.ASSESSED)], State.ASSESSED, 5, 20_00),
    # A late return of an earlier call says nothing of a later one.
    ([(2, State.ASSESSED), (2, State.BOOKED), (5, State.ASSESSED), (2, BACK)], State.ASSESSED, 5, 20_00),
    ([(2, State.ASSESSED), (2, State.BOOKED), (2, BACK), (5, State.ASSESSED)], State.ASSESSED, 2, 20_00),
]


@pytest.mark.parametrize(("said", "state", "first_on", "asked"), HISTORIES)
def test_what_a_history_comes_to(said: Sequence[tuple[int, State]], state: State, first_on: int, asked: int) -> None:
    found = folded(*(event(june(day), what, 0) for day, what in said))
    assert (found.state.tolist(), found.asked_minor.tolist()) == ([state], [asked])
    assert found.first_on.tolist() == [day_number(june(first_on)) if first_on else 0]


def test_only_this_month_counts_and_nothing_that_was_never_sent() -> None:
    may, sent, kept = date(2019, 5, 31), june(1), june(2)
    found = folded(
        event(may, State.ASSESSED, 0, 1),
        event(may, BACK, 0, 1, reason="AM04"),
        event(sent, State.ASSESSED, 0, 1),
        event(sent, State.REJECTED, 0, reason=NOT_SENT),
        event(kept, State.ASSESSED, 0),
        seats=3,
    )
    assert found.asked_minor.tolist() == [10_00, 10_00, 0]
    assert [found.reasons[place] for place in found.reason] == [None, None, None]
    assert found.under_way.tolist() == [True, True, False]


def test_who_is_freed_is_whom_people_let_be_asked_again() -> None:
    found = folded(
        event(june(1), State.ASSESSED, 0, 1, 2),
        event(june(1), BACK, 0, reason="AC04"),
        event(june(1), BACK, 1, source="decision:9"),
        event(june(1), State.REJECTED, 2, reason=NOT_SENT, source="batch:1"),
        seats=3,
    )
    assert found.freed.tolist() == [False, True, True]


def back(on: date, first: date, *, state: State = BACK, freed: bool = False) -> Called:
    one = np.ones(1, np.int32)
    days = {"on": one * day_number(on), "first_on": one * day_number(first)}
    asked = {"asked_minor": np.zeros(1, np.int64), "reason": one * 0, "freed": np.array([freed])}
    return Called(np.array([state], np.uint8), **days, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("called", "may_retry", "is_due"),
    [
        (back(june(3), june(3)), True, True),
        (back(june(3), june(3)), False, False),
        (back(date(2019, 5, 31), JUNE), False, True),
        (back(june(3), june(3), state=State.NONE), True, True),
        (back(june(3), june(3), state=State.BOOKED), False, True),
        *((back(june(3), june(3), state=state), True, False) for state in (State.ASSESSED, State.DISPUTED)),
    ],
)
def test_whose_auto_top_up_is_due(called: Called, may_retry: bool, is_due: bool) -> None:
    assert top_ups_due(called, np.array([may_retry]), june(10)).tolist() == [is_due]


@pytest.mark.parametrize(
    ("unpaid", "called", "may_retry", "is_due"),
    [
        ({"retry_days": 7}, back(june(9), june(3)), True, True),
        ({"retry_days": 7}, back(june(9), june(2)), True, False),
        ({"retry_days": 7}, back(june(9), june(3)), False, False),
        ({"retry_days": 7}, back(june(9), june(2), freed=True), True, True),
        ({"retry_days": 7}, back(june(9), june(2), state=State.BOOKED), False, True),
        ({"retry_days": 7}, back(june(9), june(3), state=State.ASSESSED), True, False),
        (None, back(june(9), june(9)), True, False),
        (None, back(june(9), june(9), state=State.REJECTED, freed=True), True, True),
        (None, back(june(9), june(9), state=State.NONE), True, True),
        ({}, back(june(9), june(9)), True, True),  # until the day before the next debit, the 14th
        ({}, back(june(9), date(2019, 5, 20)), True, False),
    ],
)
def test_whose_levy_is_due(unpaid: dict[str, Any] | None, called: Called, may_retry: bool, is_due: bool) -> None:
    rules = rules_of_preset(unpaid=unpaid)
    assert levies_due(rules, called, np.array([may_retry]), june(10)).tolist() == [is_due]
