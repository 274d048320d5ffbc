"""Whom rules end, freeze, refund and charge, by whole columns, against a member at a time."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.apportion import Case, OverCap, Rounding, Terms
from engine.apportion.histogram import Histogram, collect
from engine.apportion.rounds import play
from engine.apportion.seats import UNLIMITED, class_of
from engine.apportion.solve import solve
from engine.errors import InvalidInput
from engine.members.auto_top_ups import debited
from engine.members.collection import leaving_day
from engine.members.due import ages_out, birthdays, exits, freezes, lapses, refundable
from engine.members.holds import HOLDING_STATES
from engine.members.levies import covered_throughout, quarter_before
from engine.members.missed import missed_minor
from engine.plans import NEVER, completed_years, date_of, day_number
from engine.plans.member_rules import AutoTopUp
from engine.roster.columns import Columns
from engine.runs.states import HOLDS_THE_PLAN
from tests.integration.worlds import rules_of_preset

DAYS = st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 12, 31))


def columns(*seats: tuple[int, int, int, int]) -> Columns:
    """Seats of (shares_from, ended_on, frozen_from, frozen_to)."""
    shares_from, ended_on, frozen_from, frozen_to = (np.array(days, np.int32) for days in zip(*seats, strict=True))
    tier = np.zeros(len(seats), np.int16)
    return Columns(shares_from, shares_from, ended_on, tier, frozen_from, frozen_to)


def due(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(*(each.tolist() for each in found), strict=True))


def test_the_states_that_hold_a_plan_are_those_of_a_run() -> None:
    assert set(HOLDING_STATES) == set(HOLDS_THE_PLAN)


@given(st.lists(DAYS, min_size=1), st.integers(0, 110))
def test_a_birthday_is_the_first_day_of_an_age(births: list[date], age: int) -> None:
    reached = birthdays(np.array([day_number(born) for born in births], np.int32), age)
    for born, number in zip(births, reached.tolist(), strict=True):
        day = date_of(number)
        assert completed_years(born, day) == age
        assert age == 0 or completed_years(born, day - timedelta(days=1)) == age - 1


@given(st.lists(DAYS, min_size=1), st.integers(0, 110), DAYS)
def test_who_reaches_an_age_by_a_day(births: list[date], age: int, on: date) -> None:
    born_on = np.array([day_number(born) for born in births], np.int32)
    reached = [day if day <= day_number(on) else NEVER for day in birthdays(born_on, age).tolist()]
    assert ages_out(born_on, age, day_number(on)).tolist() == reached


@pytest.mark.parametrize(
    ("born", "age", "reached"),
    [
        (date(1960, 2, 29), 60, date(2020, 2, 29)),
        (date(1960, 2, 29), 59, date(2019, 3, 1)),
        (date(1960, 3, 1), 59, date(2019, 3, 1)),
        (date(1959, 12, 31), 60, date(2019, 12, 31)),
    ],
)
def test_birthdays(born: date, age: int, reached: date) -> None:
    assert date_of(int(birthdays(np.array([day_number(born)], np.int32), age)[0])) == reached


@pytest.mark.parametrize(
    ("seat", "from_day", "leaves"),
    [
        ((100, NEVER, 0, 0), 200, 200),
        ((100, NEVER, 0, 0), 201, None),  # not due yet
        ((100, NEVER, 0, 0), NEVER, None),  # no rule
        ((100, 150, 0, 0), 180, None),  # an earlier exit stays
        ((100, 190, 0, 0), 180, 180),  # a later one does not
        ((100, 180, 0, 0), 180, None),
        ((100, NEVER, 0, 0), 90, 101),  # it was due before joining
        ((200, NEVER, 0, 0), 90, None),  # the day after joining is not there yet
    ],
)
def test_exits(seat: tuple[int, int, int, int], from_day: int, leaves: int | None) -> None:
    found = exits(columns(seat), np.array([from_day], np.int32), 200)
    assert due(found) == ([] if leaves is None else [(0, leaves)])


def test_who_may_return_for_30_days_leaves_on_the_31st() -> None:
    seats = columns((0, NEVER, 100, NEVER), (0, NEVER, 100, 120), (0, NEVER, 0, 0))
    assert lapses(seats, 30).tolist() == [131, NEVER, NEVER]
    assert due(exits(seats, lapses(seats, 30), 130)) == []
    assert due(exits(seats, lapses(seats, 30), 131)) == [(0, 131)]


@pytest.mark.parametrize(
    ("seat", "balance", "frozen_from"),
    [
        ((100, NEVER, 0, 0), 99, 180),
        ((100, NEVER, 0, 0), 100, None),  # the floor itself suffices
        ((190, NEVER, 0, 0), 0, 190),  # not before it joined
        ((201, NEVER, 0, 0), 0, None),  # joins later
        ((100, 200, 0, 0), 0, None),  # left
        ((100, NEVER, 150, NEVER), 0, None),  # frozen already
        ((100, NEVER, 195, NEVER), 0, None),
        ((100, NEVER, 250, 260), 0, None),  # and is going to be
        ((100, NEVER, 150, 185), 0, 185),  # not over a freeze that ended
        ((100, NEVER, 150, 160), 0, 180),
    ],
)
def test_freezes(seat: tuple[int, int, int, int], balance: int, frozen_from: int | None) -> None:
    found = freezes(columns(seat), np.array([balance]), 100, 180, 200)
    assert due(found) == ([] if frozen_from is None else [(0, frozen_from)])


@given(
    st.tuples(st.integers(0, 50), st.integers(51, 100), st.integers(0, 90), st.integers(0, 90)),
    st.integers(-5, 5),
    st.integers(0, 60),
    st.integers(60, 70),
)
def test_a_freeze_made_is_not_made_again(
    seat: tuple[int, int, int, int], balance: int, from_day: int, day: int
) -> None:
    before = columns(seat)
    for _, frozen_from in due(freezes(before, np.array([balance]), 1, from_day, day)):
        after = columns((seat[0], seat[1], frozen_from, NEVER))
        assert due(freezes(after, np.array([balance]), 1, from_day, day)) == []
        assert due(freezes(after, np.array([balance]), 1, from_day + 3, day + 1)) == []
        assert seat[0] <= frozen_from < seat[1]


@pytest.mark.parametrize(
    ("seat", "balance", "gates", "is_due"),
    [
        ((100, 190, 0, 0), 5, [], True),
        ((100, 190, 0, 0), 0, [], False),
        ((100, 201, 0, 0), 5, [], False),  # leaves tomorrow
        ((100, 190, 0, 0), 5, [189], False),  # still owes the case of this gate
        ((100, 190, 0, 0), 5, [99, 190, 195], True),
        ((100, 190, 0, 0), 5, [99, 100, 195], False),
    ],
)
def test_refunds_wait_for_the_gates_covered(
    seat: tuple[int, int, int, int], balance: int, gates: list[int], is_due: bool
) -> None:
    found = refundable(columns(seat), np.array([balance]), 200, np.array(gates, np.int32))
    assert found.tolist() == [is_due]


@pytest.mark.parametrize(
    ("seat", "balance", "drawn", "is_debited"),
    [
        ((100, NEVER, 0, 0), 299, 0, True),
        ((100, NEVER, 0, 0), 300, 0, False),
        ((100, NEVER, 0, 0), 0, 4000, True),
        ((100, NEVER, 0, 0), 0, 4001, False),  # 50.00 a month
        ((201, NEVER, 0, 0), 0, 0, False),
        ((100, 200, 0, 0), 0, 0, False),
        ((100, NEVER, 150, NEVER), 0, 0, False),
        ((100, NEVER, 150, 200), 0, 0, True),
    ],
)
def test_auto_top_ups(seat: tuple[int, int, int, int], balance: int, drawn: int, is_debited: bool) -> None:
    rule = AutoTopUp.model_validate({"below": "3", "amount": "10", "per_month_at_most": "50"})
    found = debited(rule, columns(seat), np.array([balance]), np.array([drawn]), date_of(200))
    assert found.tolist() == [is_debited]


@pytest.mark.parametrize(
    ("on", "quarter"),
    [
        (date(2020, 1, 1), (date(2019, 10, 1), date(2019, 12, 31))),
        (date(2020, 3, 31), (date(2019, 10, 1), date(2019, 12, 31))),
        (date(2020, 4, 1), (date(2020, 1, 1), date(2020, 3, 31))),
        (date(2020, 12, 31), (date(2020, 7, 1), date(2020, 9, 30))),
    ],
)
def test_the_quarter_before(on: date, quarter: tuple[date, date]) -> None:
    assert quarter_before(on) == quarter


@pytest.mark.parametrize(
    ("seat", "is_covered"),
    [
        ((100, 200, 0, 0), True),
        ((101, 200, 0, 0), False),
        ((100, 199, 0, 0), False),
        ((0, NEVER, 50, 100), True),
        ((0, NEVER, 50, 101), False),
        ((0, NEVER, 199, NEVER), False),
        ((0, NEVER, 200, NEVER), True),
        ((0, NEVER, 150, 150), True),  # a freeze that was taken back
    ],
)
def test_covered_throughout(seat: tuple[int, int, int, int], is_covered: bool) -> None:
    assert covered_throughout(columns(seat), 100, 199).tolist() == [is_covered]


@pytest.mark.parametrize(
    ("preset", "retry_days", "leaves_on"),
    [
        ("xianghubao", 5, date(2019, 7, 20)),  # 2019-07-14, then daily from the 15th to the 19th
        ("jd-hubao", 0, date(2019, 7, 11)),
        ("meituan", None, date(2019, 7, 18)),  # the next debit: tried until the day before
    ],
)
def test_who_does_not_pay_leaves_after_the_last_retry(preset: str, retry_days: int | None, leaves_on: date) -> None:
    rules = rules_of_preset(preset, unpaid={"retry_days": retry_days})
    debit_on = {"xianghubao": date(2019, 7, 14), "jd-hubao": date(2019, 7, 10), "meituan": date(2019, 7, 9)}[preset]
    assert leaving_day(rules, debit_on) == leaves_on


def test_a_plan_may_end_nobody_for_not_paying() -> None:
    with pytest.raises(InvalidInput, match="xianghubao ends nobody for not paying: it has no table unpaid"):
        leaving_day(rules_of_preset(unpaid=None), date(2019, 7, 14))


GATES = (10, 20, 30)
TERMS = Terms(weights=(1, 2), fee=0, rounding=Rounding.UP, over_cap=OverCap.SPONSOR)  # type: ignore[arg-type]
CASES = [Case(120, 10, None), Case(150, 20, None), Case(280, 30, None), Case(30, 20, None)]


def crowd(*kinds: tuple[int, int, int, int]) -> Histogram:
    """Seats of (first gate, last gate, tier, how many) as indexes, without limit."""
    first, last, tiers, seats = (np.array(each, np.int64) for each in zip(*kinds, strict=True))
    classes = np.array([class_of(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)], np.int64)
    unlimited = np.full(len(kinds), UNLIMITED, np.int64)
    return collect(classes, tiers, unlimited, np.zeros(len(kinds), np.int64), seats)


@pytest.mark.parametrize(
    ("missed", "tier", "expected"),
    [
        ([0, 1, 2, 3], 0, 70),  # 120/12 + 180/9 + 280/7
        ([1, 2, 3], 0, 60),  # nobody covered just these: the whole less what was paid at the first gate
        ([2], 0, 40),
        ([1, 3], 0, 20),
        ([0], 1, 20),
        ([], 0, 0),
    ],
)
def test_shares_missed_of_a_period(missed: list[int], tier: int, expected: int) -> None:
    seats = crowd((0, 2, 0, 5), (0, 0, 0, 1), (0, 1, 0, 2), (0, 2, 1, 1), (0, 0, 1, 1))
    solution = solve(seats, GATES, CASES, TERMS, 0)
    gates = [case.gate for case in CASES]
    assert missed_minor(solution, gates, missed, tier) == expected


def test_where_nobody_tells_the_shares_apart_too_little_is_asked_for() -> None:
    solution = solve(crowd((0, 2, 0, 1)), GATES, CASES, TERMS, 0)
    gates = [case.gate for case in CASES]
    assert missed_minor(solution, gates, [0, 1, 2, 3], 0) == 580
    assert missed_minor(solution, gates, [1], 0) == 0
    assert missed_minor(solution, gates, [0, 1, 2, 3], 1) == 0


def test_shares_missed_of_events_are_those_of_their_rounds() -> None:
    played = play(crowd((0, 2, 0, 8), (0, 2, 1, 1)), GATES, CASES, TERMS, 0, floor=0)
    gates = [case.gate for case in CASES]
    assert missed_minor(played, gates, [0], 0) == 12
    assert missed_minor(played, gates, [0], 1) == 24
    assert missed_minor(played, gates, range(4), 0) == 12 + 15 + 28 + 3
