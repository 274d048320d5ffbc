"""What becomes of a debit that did not come in, by its state, its reason and the day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.events import Event
from engine.custodian.instructions import State
from engine.custodian.profile import load
from engine.custodian.reference import ATTEMPT_MAX
from engine.custodian.retries import (
    AskedFile,
    Step,
    decided_in,
    may_come_back,
    may_retry_of,
    overdue,
    retry_day,
    steps,
)
from engine.custodian.standing import fold

PROFILE = load("generic-csv")
SUNDAY = date(2019, 7, 14)
MORNING = datetime(2019, 7, 15, 1, tzinfo=UTC)


def step(state: State, *, retry: bool = True, decided: bool = False, ends: bool = True, over: bool = False) -> Step:
    one = [np.array([each]) for each in (retry, decided)]
    (found,) = steps(np.array([state], np.uint8), *one, ends_unpaid=ends, is_over=over)
    return Step(found)


@pytest.mark.parametrize(
    ("state", "options", "expected"),
    [
        (State.RETURNED, {}, Step.ASK),
        (State.REJECTED, {}, Step.ASK),
        (State.REOPENED, {}, Step.ASK),
        (State.RETURNED, {"retry": False}, Step.WAIT),
        (State.REJECTED, {"retry": False}, Step.WAIT),
        (State.REOPENED, {"retry": False}, Step.NONE),
        (State.RETURNED, {"over": True}, Step.GIVE_UP),
        (State.REJECTED, {"over": True, "retry": False}, Step.GIVE_UP),
        (State.REOPENED, {"over": True}, Step.NONE),
        (State.RETURNED, {"over": True, "decided": True}, Step.ASK),
        (State.RETURNED, {"retry": False, "decided": True}, Step.ASK),
        (State.RETURNED, {"ends": False}, Step.NONE),
        (State.RETURNED, {"ends": False, "decided": True}, Step.ASK),
        *((state, {"over": True, "decided": True}, Step.NONE) for state in (State.SENT, State.DISPUTED, State.BOOKED)),
    ],
)
def test_the_step_of_each_state(state: State, options: dict[str, bool], expected: Step) -> None:
    assert step(state, **options) is expected


@given(st.lists(st.sampled_from(State), max_size=40), st.booleans(), st.booleans())
def test_only_what_came_back_is_touched(states: list[State], ends: bool, over: bool) -> None:
    n = len(states)
    found = steps(np.array(states, np.uint8), np.ones(n, bool), np.zeros(n, bool), ends_unpaid=ends, is_over=over)
    back = np.isin(np.array(states, np.uint8), (State.RETURNED, State.REJECTED, State.REOPENED))
    assert not found[~back].any()
    assert ends or not found.any()


def test_the_reason_says_whether_the_same_may_be_asked_again() -> None:
    reasons = (None, "AM04", "AC04", "MS03", "of no list")
    may = may_retry_of(PROFILE, reasons, np.arange(5).astype(np.uint8))
    assert may.tolist() == [True, True, False, True, True]


def test_what_a_person_decided_is_decided_until_something_else_comes() -> None:
    at = [np.array(each, np.int32) for each in ([0, 1, 2], [1, 2], [2])]
    events = [
        Event(1, State.RETURNED, "statement:1", positions=at[0]),
        Event(1, State.RETURNED, "decision:9", positions=at[1]),
        Event(2, State.RETURNED, "statement:2", positions=at[2]),
    ]
    assert decided_in(events, np.arange(4), 4).tolist() == [False, True, False, False]
    assert decided_in([Event(1, State.RETURNED, "decision:9")], np.array([0, 3]), 4).tolist() == [True, 0, 0, True]


@pytest.mark.parametrize(
    ("sent_on", "debit_on", "days", "late"),
    [
        (SUNDAY, SUNDAY, 3, []),  # Wednesday: three business days
        (SUNDAY, SUNDAY, 4, [1]),
        (SUNDAY - timedelta(days=9), SUNDAY, 3, []),  # sent ahead: its days count from the day it asks for
        (SUNDAY, SUNDAY - timedelta(days=9), 3, []),
        (None, SUNDAY, 40, []),
        (SUNDAY + timedelta(days=60), SUNDAY, 4, []),
    ],
)
def test_what_is_overdue(sent_on: date | None, debit_on: date, days: int, late: list[int]) -> None:
    state = np.array([State.BOOKED, State.SENT, State.DISPUTED, State.SENT], np.uint8)
    attempt, batch = np.array([2, 2, 2, 1], np.uint8), np.array([7, 7, 7, 7], np.int32)
    files = [AskedFile(2, 7, sent_on, debit_on)]
    found = overdue(state, attempt, batch, files, PROFILE, SUNDAY + timedelta(days=days))
    assert found.tolist() == late


ENDS = SUNDAY + timedelta(days=6)


@pytest.mark.parametrize(
    ("on", "attempt", "last", "ends_on", "expected"),
    [
        (1, 1, 0, ENDS, 1),
        (1, 2, 1, ENDS, 2),  # asked for today already: for tomorrow
        (1, 2, 2, ENDS, None),  # asked for tomorrow already
        (5, 4, 3, ENDS, 5),
        (5, 4, 5, ENDS, None),  # for tomorrow, and that is the leaving day
        (9, 4, 3, None, 9),
        (1, ATTEMPT_MAX, 0, ENDS, None),
    ],
)
def test_one_attempt_for_a_day_until_the_leaving_day(
    on: int, attempt: int, last: int, ends_on: date | None, expected: int | None
) -> None:
    days = {name: SUNDAY + timedelta(days=each) for name, each in (("on", on), ("last_debit_on", last))}
    now = MORNING + timedelta(days=on - 1)
    found = retry_day(PROFILE, now=now, last_attempt=attempt, ends_on=ends_on, count=10, **days)
    assert found == (None if expected is None else SUNDAY + timedelta(days=expected))


def test_a_day_that_cannot_be_reached_any_more_is_none() -> None:
    evening = MORNING + timedelta(hours=12)
    monday = SUNDAY + timedelta(days=1)
    found = [
        retry_day(
            PROFILE,
            on=monday,
            now=evening,
            last_attempt=1,
            last_debit_on=SUNDAY,
            ends_on=monday + timedelta(days=days),
            count=10,
        )
        for days in (1, 2)
    ]
    assert found == [None, monday + timedelta(days=1)]


@pytest.mark.parametrize(("days", "fresh"), [(0, [0]), (3, [0]), (4, [])])
def test_what_is_booked_may_come_back_for_some_days(days: int, fresh: list[int]) -> None:
    state = np.array([State.BOOKED, State.SENT, State.RETURNED, State.BOOKED], np.uint8)
    attempt, batch = np.array([2, 2, 2, 1], np.uint8), np.array([7, 7, 7, 7], np.int32)
    files = [AskedFile(2, 7, SUNDAY, SUNDAY)]
    found = may_come_back(state, attempt, batch, files, PROFILE, SUNDAY + timedelta(days=days))
    assert found.tolist() == fresh


def test_a_history_of_more_codes_than_are_told_apart_can_be_read() -> None:
    """A custodian that writes sentences where a code belongs: what is beyond the 255th has none."""
    n = 300
    events = [
        Event(
            1, State.RETURNED, f"statement:{place // 200}", reason=f"no {place}", positions=np.array([place], np.int32)
        )
        for place in range(n)
    ]
    standing = fold(np.ones(n, np.int64), events, {}, settled=False)
    assert standing.where(State.RETURNED).tolist() == list(range(n))
    assert [standing.reasons[place] for place in standing.reason[253:257]] == ["no 253", "no 254", None, None]
