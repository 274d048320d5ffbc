"""A plan's year: notices, debits and gates, with and without business days."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta
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
from engine.plans.calendar import debit_days
from engine.resources import config_dir


def preset(code: str = "xianghubao", **tables: dict[str, Any]) -> PlanRules:
    """A preset with keys of its tables put in or changed, in the words of a plan file."""
    text = tomllib.loads((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"))
    return from_json(json.dumps(text | {name: text[name] | keys for name, keys in tables.items()}, default=str), code)


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
        ("xianghubao", 2022, ["2022-01-07", "2022-01-21"]),
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
