"""What becomes of a debit that did not come in, by its state, its reason and the day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.events import NOT_SENT, Event
from engine.custodian.instructions import State
from engine.custodian.profile import load
from engine.custodian.reference import ATTEMPT_MAX
from engine.custodian.retries import (
    AskedFile,
    Step,
    freed_in,
    may_come_back,
    may_retry_of,
    overdue,
    retry_day,
    steps,
)
from engine.custodian.standing import DONE, Standing, fold

PROFILE = load("generic-csv")
SUNDAY = date(2019, 7, 14)
MORNING = datetime(2019, 7, 15, 1, tzinfo=UTC)


def standing(*states: State) -> Standing:
    """Debits of 10 in these states."""
    n = len(states)
    asked, place, none = np.full(n, 10), np.ones(n, np.uint8), np.zeros(n, np.int64)
    return Standing(asked, np.array(states, np.uint8), place, asked, place, none, none.astype(np.int32), place)


def step(
    state: State, *, owed: int = 10, retry: bool = True, freed: bool = False, ends: bool = True, over: bool = False
) -> Step:
    one = [np.array([each]) for each in (retry, freed, over)]
    (found,) = steps(standing(state), np.array([owed]), *one, ends_unpaid=ends)
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
        (State.RETURNED, {"over": True, "freed": True}, Step.ASK_ANYWAY),
        (State.RETURNED, {"retry": False, "freed": True}, Step.ASK_ANYWAY),
        (State.RETURNED, {"ends": False}, Step.NONE),
        (State.RETURNED, {"ends": False, "freed": True}, Step.ASK_ANYWAY),
        *((state, {"over": True, "freed": True}, Step.NONE) for state in (State.SENT, State.DISPUTED)),
        # What is owed on top of what is done with was never asked for: whatever the day, the reason and the plan.
        *((state, {"over": True, "retry": False, "ends": False}, Step.ASK_ANYWAY) for state in DONE),
        *((state, {"owed": owed, "freed": True}, Step.NONE) for state in State for owed in (0, -3)),
    ],
)
def test_the_step_of_each_state(state: State, options: dict[str, bool], expected: Step) -> None:
    assert step(state, **options) is expected


@given(st.lists(st.tuples(st.sampled_from(State), st.integers(-2, 2), st.booleans()), max_size=40), st.booleans())
def test_amounts_decide_who_is_asked(seats: list[tuple[State, int, bool]], ends: bool) -> None:
    """Nobody who owes nothing, and nothing that is under way; of all others whoever may be."""
    states, owed, over = [each[0] for each in seats], *(np.array([each[at] for each in seats]) for at in (1, 2))
    n = len(seats)
    found = steps(standing(*states), owed, np.ones(n, bool), np.zeros(n, bool), over.astype(bool), ends_unpaid=ends)
    back = np.isin(np.array(states, np.uint8), (State.RETURNED, State.REJECTED, State.REOPENED))
    never = np.isin(np.array(states, np.uint8), DONE)
    assert not found[(owed <= 0) | ~(back | never)].any()
    assert (found[(owed > 0) & never] == Step.ASK_ANYWAY).all()
    assert ends or not found[back].any()


def test_the_reason_says_whether_the_same_may_be_asked_again() -> None:
    reasons = (None, "AM04", "AC04", "MS03", "of no list")
    may = may_retry_of(PROFILE, reasons, np.arange(5).astype(np.uint8))
    assert may.tolist() == [True, True, False, True, True]


def test_what_a_person_freed_is_free_until_something_else_comes() -> None:
    at = [np.array(each, np.int32) for each in ([0, 1, 2], [1, 2], [2])]
    events = [
        Event(1, State.RETURNED, "statement:1", positions=at[0]),
        Event(1, State.RETURNED, "decision:9", positions=at[1]),
        Event(2, State.RETURNED, "statement:2", positions=at[2]),
    ]
    assert freed_in(events, np.arange(4), 4).tolist() == [False, True, False, False]
    assert freed_in([Event(1, State.RETURNED, "decision:9")], np.array([0, 3]), 4).tolist() == [True, 0, 0, True]
    withdrawn = Event(1, State.REJECTED, "batch:3", reason=NOT_SENT, positions=at[2])
    assert freed_in([withdrawn], np.arange(4), 4).tolist() == [False, False, True, False]


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


@pytest.mark.parametrize(
    ("on", "attempt", "last", "expected"),
    [
        (1, 1, 0, 1),
        (1, 2, 1, 2),  # asked for today already: for tomorrow
        (1, 2, 2, None),  # asked for tomorrow already
        (5, 4, 3, 5),
        (1, ATTEMPT_MAX, 0, None),
    ],
)
def test_one_attempt_for_a_day(on: int, attempt: int, last: int, expected: int | None) -> None:
    days = {name: SUNDAY + timedelta(days=each) for name, each in (("on", on), ("last_debit_on", last))}
    now = MORNING + timedelta(days=on - 1)
    found = retry_day(PROFILE, now=now, last_attempt=attempt, count=10, **days)
    assert found == (None if expected is None else SUNDAY + timedelta(days=expected))


def test_a_day_that_cannot_be_reached_any_more_is_the_next() -> None:
    monday = SUNDAY + timedelta(days=1)
    evening = MORNING + timedelta(hours=12)
    found = retry_day(PROFILE, on=monday, now=evening, last_attempt=1, last_debit_on=SUNDAY, count=10)
    assert found == monday + timedelta(days=1)


@pytest.mark.parametrize(("days", "fresh"), [(0, [0]), (3, [0]), (4, [])])
def test_what_is_booked_may_come_back_for_some_days(days: int, fresh: list[int]) -> None:
    state = np.array([State.BOOKED, State.SENT, State.RETURNED, State.BOOKED], np.uint8)
    attempt, batch = np.array([2, 2, 2, 1], np.uint8), np.array([7, 7, 7, 7], np.int32)
    files = [AskedFile(2, 7, SUNDAY, SUNDAY)]
    found = may_come_back(state, attempt, batch, files, PROFILE, SUNDAY + timedelta(days=days))
    assert found.tolist() == fresh


def test_a_history_of_more_codes_than_fit_a_byte_can_be_read() -> None:
    """A custodian that writes sentences where a code belongs."""
    n = 300
    events = [
        Event(
            1, State.RETURNED, f"statement:{place // 200}", reason=f"no {place}", positions=np.array([place], np.int32)
        )
        for place in range(n)
    ]
    standing = fold(np.ones(n, np.int64), events, {})
    assert standing.where(State.RETURNED).tolist() == list(range(n))
    assert [standing.reasons[place] for place in standing.reason[253:257]] == ["no 253", "no 254", "no 255", "no 256"]
