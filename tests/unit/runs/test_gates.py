"""Who counts at a gate that asks for two days, against both days looked at one by one; and what a run waits for."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.apportion import Seats
from engine.apportion.seats import cover, spans
from engine.errors import InvalidInput
from engine.plans import PlanRules, date_of, day_number
from engine.plans.calendar import period_before
from engine.runs.allowance import kept_from_last_period
from engine.runs.planning import waits_for
from tests.integration.worlds import rules_of_preset

KEPT = rules_of_preset(
    "meituan", share={"gate": "kept_from_last_period"}, notice={"days_of_month": [1, 16]},
    debit={"days_of_month": [1, 16]}, starts_on="2019-07-01", waivers=None,
)  # fmt: skip
FIRST = day_number(date(2019, 7, 1))

days = st.integers(FIRST - 3, FIRST + 110)
gates = st.lists(st.integers(FIRST, FIRST + 100), min_size=1, max_size=6, unique=True).map(sorted)
seat = st.tuples(days, days | st.just(2**31 - 1), st.just((0, 0)) | st.tuples(days, days | st.just(2**31 - 1)))


def covers(member: tuple[int, int, tuple[int, int]], day: int) -> bool:
    shares_from, ended_on, (frozen_from, frozen_to) = member
    return shares_from <= day < ended_on and not frozen_from <= day < frozen_to


def counted(seats: Seats, at: tuple[int, ...]) -> list[set[int]]:
    """The gates that each seat covers, by number."""
    coverage = cover(seats, at)
    classes = coverage.classes.take(coverage.codes).tolist()
    return [{gate for span in spans(class_) for gate in range(*span)} if class_ >= 0 else set() for class_ in classes]


def columns(members: list[tuple[int, int, tuple[int, int]]], *, is_frozen: bool) -> Seats:
    def column(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.array(values, dtype=np.int32)

    shares_from, ended_on = column([each[0] for each in members]), column([each[1] for each in members])
    tier = np.zeros(len(members), dtype=np.int16)
    if not is_frozen:
        return Seats(shares_from, ended_on, tier)
    frozen_from, frozen_to = column([each[2][0] for each in members]), column([each[2][1] for each in members])
    return Seats(shares_from, ended_on, tier, frozen_from, frozen_to)


@given(st.lists(seat, min_size=1, max_size=12), gates, st.booleans())
def test_a_kept_gate_counts_who_was_covered_on_both_days(
    members: list[tuple[int, int, tuple[int, int]]], at: list[int], is_frozen: bool
) -> None:
    if not is_frozen:
        members = [(shares_from, ended_on, (0, 0)) for shares_from, ended_on, _ in members]
    before = [max(day_number(period_before(KEPT, date_of(gate))), FIRST) for gate in at]
    expected = [
        {number for number, gate in enumerate(at) if covers(member, gate) and covers(member, before[number])}
        for member in members
    ]
    seats = kept_from_last_period(columns(members, is_frozen=is_frozen), KEPT, tuple(at))
    assert counted(seats, tuple(at)) == expected


@pytest.mark.parametrize(
    ("joined", "gate", "shares"),
    [
        ("2019-07-16", "2019-08-01", True),
        ("2019-07-17", "2019-08-01", False),
        ("2019-07-31", "2019-08-01", False),
        ("2019-07-31", "2019-08-16", True),
        ("2019-07-01", "2019-07-16", True),
        ("2019-07-02", "2019-07-16", False),
        ("2019-07-01", "2019-07-01", True),
    ],
)
def test_a_joiner_shares_once_a_debit_day_went_by(joined: str, gate: str, shares: bool) -> None:
    member = (day_number(date.fromisoformat(joined)), 2**31 - 1, (0, 0))
    at = (day_number(date.fromisoformat(gate)),)
    seats = kept_from_last_period(columns([member], is_frozen=False), KEPT, at)
    assert counted(seats, at) == [{0} if shares else set()]


def test_waivers_go_by_joining_days_that_a_kept_gate_does_not_tell() -> None:
    waiver = {
        "name": "all", "joined_by": "2019-01-01", "reason": "a test",
        "gates_from": "2019-07-01", "gates_to": "2019-07-31",
    }  # fmt: skip
    with pytest.raises(InvalidInput, match=r"waivers: with share\.gate kept_from_last_period"):
        rules_of_preset("meituan", share={"gate": "kept_from_last_period"}, waivers=[waiver])


SETTLEMENT, NOTICE = rules_of_preset("jd-hubao"), rules_of_preset()


@pytest.mark.parametrize(
    ("rules", "today", "waits"),
    [
        (SETTLEMENT, "2019-07-09", "2019-07-10, 00:00 in Asia/Shanghai: who is covered then shares"),
        (SETTLEMENT, "2019-07-10", None),
        (SETTLEMENT, "2019-07-11", None),
        (NOTICE, "2019-07-09", None),
    ],
)
def test_a_run_waits_for_its_settlement_day(rules: PlanRules, today: str, waits: str | None) -> None:
    assert waits_for(rules, date(2019, 7, 10), date.fromisoformat(today)) == waits
