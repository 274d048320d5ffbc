"""A plan's year: notices, debits and gates, with and without business days."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta
from time import process_time
from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.plans import (
    PlanRules,
    Slot,
    from_json,
    gate_day,
    is_debit_day,
    is_notice_day,
    next_debit_day,
    notice_end,
    slots,
)
from engine.plans.answers import members_share
from engine.plans.calendar import begins_on_any_day, claims_until, debit_days, debits_on_any_day, period_before
from engine.resources import config_dir


def preset(code: str = "xianghubao", **tables: dict[str, Any]) -> PlanRules:
    """A preset with keys of its tables put in or changed, in the words of a plan file; None takes a key away."""
    text = tomllib.loads((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"))
    for name, keys in tables.items():
        text[name] = {key: value for key, value in (text.get(name, {}) | keys).items() if value is not None}
    return from_json(json.dumps(text, default=str), code)


def year(rules: PlanRules, number: int) -> list[Slot]:
    return list(slots(rules, date(number, 1, 1), date(number, 12, 31)))


def with_business_days(roll: str, **lists: list[str]) -> PlanRules:
    return preset(debit={"business_days": {"roll": roll} | lists})


def test_a_year_of_xianghubao() -> None:
    found = year(preset(), 2019)
    assert len(found) == 24
    assert found[0] == Slot(date(2019, 1, 7), date(2019, 1, 10), date(2019, 1, 14), date(2019, 1, 7))
    assert found[1] == Slot(date(2019, 1, 21), date(2019, 1, 24), date(2019, 1, 28), date(2019, 1, 21))


@pytest.mark.parametrize(
    ("code", "number", "notices"),
    [
        ("xianghubao-2018", 2018, ["2018-10-21", "2018-11-07", "2018-11-21"]),
        ("xianghubao", 2018, ["2018-12-07", "2018-12-21"]),
        ("xianghubao", 2017, []),
        ("xianghubao", 2023, []),
    ],
)
def test_a_slot_outside_the_plans_life_is_not_there(code: str, number: int, notices: list[str]) -> None:
    assert [str(slot.notice_on) for slot in year(preset(code), number)] == notices


def test_a_notice_that_ends_on_a_debit_day_is_debited_on_it() -> None:
    rules = preset(notice={"days_of_month": [25]})
    assert notice_end(rules, date(2019, 3, 25)) == date(2019, 3, 28)
    assert next_debit_day(rules, date(2019, 3, 28)) == date(2019, 3, 28)
    assert next_debit_day(rules, date(2019, 3, 29)) == date(2019, 4, 14)


def test_a_day_that_a_month_lacks_is_left_out_of_it() -> None:
    rules = preset(debit={"days_of_month": [31]})
    assert [day.month for day in debit_days(rules, date(2019, 1, 1), date(2019, 12, 31))] == [1, 3, 5, 7, 8, 10, 12]


@pytest.mark.parametrize(
    ("roll", "lists", "debited"),
    [
        pytest.param("following", {}, ["2019-07-15", "2019-07-29"], id="two Sundays go to Monday"),
        pytest.param("preceding", {}, ["2019-07-12", "2019-07-26"], id="or to the Friday before"),
        pytest.param("following", {"holidays": ["2019-07-15"]}, ["2019-07-16", "2019-07-29"], id="past a holiday"),
        pytest.param("following", {"worked": ["2019-07-14"]}, ["2019-07-14", "2019-07-29"], id="a Sunday worked"),
    ],
)
def test_debits_move_to_business_days(roll: str, lists: dict[str, list[str]], debited: list[str]) -> None:
    rules = with_business_days(roll, **lists)
    found = debit_days(rules, date(2019, 7, 1), date(2019, 7, 31))
    assert [str(day) for day in found] == debited
    assert all(is_debit_day(rules, day) for day in found)
    assert [slot.debit_on for slot in year(rules, 2019) if slot.notice_on.month == 7] == found


@pytest.mark.parametrize(
    ("meant", "holidays", "debited"),
    [
        pytest.param("2019-08-31", [], "2019-09-02", id="a Saturday"),
        pytest.param("2019-12-31", ["2019-12-31"], "2020-01-01", id="the end of the year"),
    ],
)
def test_a_debit_can_move_into_another_month_or_year(meant: str, holidays: list[str], debited: str) -> None:
    rules = preset(debit={"days_of_month": [31], "business_days": {"roll": "following", "holidays": holidays}})
    assert next_debit_day(rules, date.fromisoformat(meant)) == date.fromisoformat(debited)
    assert is_debit_day(rules, date.fromisoformat(debited))
    assert not is_debit_day(rules, date.fromisoformat(meant))


def test_holidays_without_end_are_refused() -> None:
    holidays = [str(date(2019, 1, 1) + timedelta(days=days)) for days in range(60)]
    with pytest.raises(InvalidInput, match="no business day within 31 days of 2019-01-14"):
        next_debit_day(with_business_days("following", holidays=holidays), date(2019, 1, 14))


def test_a_day_is_not_a_holiday_and_worked() -> None:
    with pytest.raises(InvalidInput, match=r"debit\.business_days: a day is a holiday and worked"):
        with_business_days("following", holidays=["2019-07-14"], worked=["2019-07-14"])


@pytest.mark.parametrize(("gate", "on"), [("notice_day", date(2019, 1, 21)), ("settlement_day", date(2019, 1, 28))])
def test_the_gate_stands_where_the_plan_puts_it(gate: str, on: date) -> None:
    rules = preset(share={"gate": gate})
    assert gate_day(rules, notice_on=date(2019, 1, 21), debit_on=date(2019, 1, 28)) == on
    assert year(rules, 2019)[1].gate_on == on


def test_notices_begin_on_the_plans_days_only() -> None:
    assert [day for day in range(1, 32) if is_notice_day(preset(), date(2019, 1, day))] == [7, 21]


def winding_down(**tables: Any) -> PlanRules:
    end = {"announced_on": "2021-12-28", "claims_within_days": 180, "refund": "nothing"}
    return preset(wind_down=end, **tables)


def test_a_plan_that_winds_down_goes_on_for_the_claims_it_still_takes() -> None:
    rules = winding_down()
    assert claims_until(rules) == date(2022, 7, 27)
    notices = [slot.notice_on for slot in year(rules, 2022)]
    assert len(notices) == 15
    assert notices[-1] == date(2022, 8, 7), "the first notice day for a claim filed on the last day"
    assert [slot.debit_on for slot in year(rules, 2022)][-1] == date(2022, 8, 14)


@pytest.mark.parametrize(("on", "is_theirs"), [("2021-12-27", True), ("2021-12-28", False), ("2022-08-14", False)])
def test_from_the_announcement_on_members_do_not_share(on: str, is_theirs: bool) -> None:
    assert members_share(winding_down(), date.fromisoformat(on)) is is_theirs


def test_a_quarterly_plan_has_four_slots_a_year() -> None:
    quarterly = {"months": [1, 4, 7, 10]}
    rules = preset(notice={"days_of_month": [1]} | quarterly, debit={"days_of_month": [15]} | quarterly)
    debits = [slot.debit_on for slot in year(rules, 2020)]
    assert debits == [date(2020, month, 15) for month in (1, 4, 7, 10)]
    assert next_debit_day(rules, date(2020, 10, 16)) == date(2021, 1, 15)
    assert period_before(rules, date(2020, 1, 15)) == date(2019, 10, 15)


def test_where_any_day_will_do_it_is_the_next() -> None:
    rules = event_plan()
    assert begins_on_any_day(rules)
    assert debits_on_any_day(rules)
    assert next_debit_day(rules, date(2019, 2, 28)) == date(2019, 2, 28)
    assert debit_days(rules, date(2019, 2, 27), date(2019, 3, 2)) == [
        date(2019, 2, 27), date(2019, 2, 28), date(2019, 3, 1), date(2019, 3, 2),
    ]  # fmt: skip
    assert is_notice_day(rules, date(2019, 2, 28))


def event_plan() -> PlanRules:
    """Xianghubao, had it shared each claim by itself."""
    any_day = {"days_of_month": None}
    return preset(
        share={"trigger": "event"}, notice=any_day, debit=any_day, caps={"per_case": "3.00", "per_year": None}
    )


@pytest.mark.parametrize(
    ("days", "on", "before"),
    [
        ([14, 28], "2019-07-14", "2019-06-28"),
        ([14, 28], "2019-07-15", "2019-07-14"),
        ([31], "2019-07-01", "2019-05-31"),
    ],
)
def test_the_period_before(days: list[int], on: str, before: str) -> None:
    assert period_before(preset(debit={"days_of_month": days}), date.fromisoformat(on)) == date.fromisoformat(before)


@pytest.mark.parametrize("roll", ["following", "preceding"])
def test_every_day_knows_its_next_debit_and_the_one_before(roll: str) -> None:
    """Against a plain list of the year's debits."""
    rules = with_business_days(roll, holidays=["2019-10-01", "2019-10-14", "2019-10-15"], worked=["2019-09-28"])
    debits = debit_days(rules, date(2018, 12, 1), date(2020, 2, 28))
    assert debits == sorted(set(debits))
    for offset in range(365):
        day = date(2019, 1, 1) + timedelta(days=offset)
        assert next_debit_day(rules, day) == next(each for each in debits if each >= day)
        assert period_before(rules, day) == [each for each in debits if each < day][-1]
        assert is_debit_day(rules, day) is (day in debits)


def test_a_leap_day_is_waited_for_and_a_day_that_never_comes_is_named() -> None:
    february = preset(debit={"days_of_month": [29], "months": [2]})
    assert next_debit_day(february, date(2096, 3, 1)) == date(2104, 2, 29), "1900 and 2100 are no leap years"
    assert period_before(february, date(2104, 2, 29)) == date(2096, 2, 29)
    never = february.model_copy(update={"debit": february.debit.model_copy(update={"days_of_month": (30,)})})
    with pytest.raises(InvalidInput, match=r"no day of the month \(30,\) comes after 2019-01-01"):
        next_debit_day(never, date(2019, 1, 1))


def test_a_calendar_asks_for_a_few_days_only() -> None:
    """A year of slots with business days takes milliseconds, not a walk through years for each."""
    rules = with_business_days("following")
    began = process_time()
    for _ in range(20):
        year(rules, 2019)
    assert process_time() - began < 1
