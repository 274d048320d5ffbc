"""Rules in words: what a finance person reads, and that no rule goes without a word."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from engine.plans import PlanRules, digest, from_json, parse, to_json
from engine.plans.explanation import Difference, differences, explain
from engine.resources import config_dir


def preset(code: str) -> PlanRules:
    return parse((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"), code)


def changed(code: str, table: str, **values: Any) -> PlanRules:
    """The preset with keys of one table put in or changed, in the words of a plan file."""
    tables = tomllib.loads((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"))
    tables[table] = tables[table] | values
    return from_json(json.dumps(tables, default=str), code)


@pytest.mark.parametrize(
    ("code", "topic", "sentence"),
    [
        ("xianghubao-2018", "plan", "相互保 (xianghubao-2018), in yuan"),
        ("xianghubao-2018", "life", "from 2018-10-16 until 2018-11-27, by the days of Asia/Shanghai"),
        ("xianghubao-2018", "cap per case", "each member pays at most 0.10 yuan per case; the insurer pays the rest"),
        ("xianghubao-2018", "cap per year", "none"),
        ("xianghubao-2018", "shared by", "all members alike"),
        ("jd-hubao", "shared by", "each in proportion to the member's own cap per year"),
        ("jd-hubao", "who shares", "who is covered at 00:00 of the day members are debited"),
        (
            "jd-hubao",
            "cap per year",
            "each member pays at most the tier's own cap per calendar year; the insurer pays the rest",
        ),
        ("xianghubao-2018", "fee", "10 % of the aid, on top of it"),
        ("xianghubao-2018", "notice", "claims are published on days 7 and 21 of the month, for 3 days"),
        ("xianghubao-2018", "aid from 0 to 39", "300,000.00 yuan"),
        (
            "xianghubao",
            "cap per year",
            "each member pays at most 188.00 yuan per calendar year from 2019 on; the platform pays the rest",
        ),
    ],
)
def test_a_rule_in_words(code: str, topic: str, sentence: str) -> None:
    assert explain(preset(code))[topic] == sentence


@pytest.mark.parametrize(
    ("table", "values", "topic", "sentence"),
    [
        ("share", {"over_cap": "reduce_aid"}, "cap per case", "the aid is cut by the rest"),
        ("share", {"over_cap": "redistribute"}, "cap per case", "where nobody can, the platform pays the rest"),
        ("share", {"fee": "1/3"}, "fee", "1/3 of the aid"),
        ("share", {"fee": "0"}, "fee", "none"),
        ("share", {"fee": "0.0825"}, "fee", "8.25 % of the aid"),
        ("caps", {"per_run": "5"}, "cap per run", "at most 5.00 yuan per run"),
        ("caps", {"basis": "weight", "unit": 1000}, "cap per case", "0.10 yuan per case for every 1,000 of weight"),
        ("debit", {"days_of_month": [28]}, "debit", "on day 28 of the month"),
    ],
)
def test_a_changed_rule_in_words(table: str, values: dict[str, Any], topic: str, sentence: str) -> None:
    assert sentence in explain(changed("xianghubao", table, **values))[topic]


def test_a_difference_names_the_topic_and_both_sides() -> None:
    found = differences(preset("xianghubao-2018"), preset("xianghubao"))
    assert [difference.topic for difference in found] == [
        "plan", "life", "fee", "cap per case", "cap per year", "waiver 1",
    ]  # fmt: skip
    assert found[2] == Difference("fee", "10 % of the aid, on top of it", "8 % of the aid, on top of it")
    assert found[-1].old is None
    assert differences(preset("xianghubao"), preset("xianghubao")) == []


OTHERS = {
    "2018-11-27": "2018-12-01",
    "2022-01-28": "2022-02-28",
    "2018-12-31": "2018-12-30",
    "2019-01-21": "2019-01-22",
    "CNY": "EUR",
    "Asia/Shanghai": "Asia/Tokyo",
    "notice_day": "settlement_day",
    "xianghubao": "other",
    "up": "exact",
    "sponsor": "reduce_aid",
    "hold": "sponsor",
    "2/25": "1/10",
    "head": "weight",
    "0.10": "0.20",
    "188.00": "200.00",
    "300000.00": "400000.00",
    "100000.00": "200000.00",
}
"""Another value for each text of the preset that may not be just any text."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield path, value
    else:
        for key, part in parts:
            yield from leaves(part, (*path, key))


GROWING = {"weight", "from_age", "from_year", "length_days", "waiting_days", "minimum_age_years"}
"""Numbers that may be one more; the others may be one less."""

WITHOUT_EFFECT = {("share", "fallback"), ("share", "surplus_first"), ("caps", "unit")}
"""Rules that say something only beside another value of another rule."""

WITH_OTHERS = {("share", "key"), ("tier_by",), ("tiers", 0, "from_age"), ("tiers", 0, "to_age")}
"""Rules that change together with others: see the test of tiers."""

LEAVES = [
    (path, value)
    for path, value in leaves(json.loads(to_json(preset("xianghubao"))))
    if path not in WITHOUT_EFFECT | WITH_OTHERS
]


@pytest.mark.parametrize(("path", "value"), [pytest.param(*leaf, id=".".join(map(str, leaf[0]))) for leaf in LEAVES])
def test_no_rule_goes_without_a_word(path: tuple[Any, ...], value: Any) -> None:
    tables = json.loads(to_json(preset("xianghubao")))
    *way, last = path
    part = tables
    for key in way:
        part = part[key]
    part[last] = another(path, value)
    rules = from_json(json.dumps(tables), "changed")
    assert digest(rules) != digest(preset("xianghubao"))
    assert len(differences(preset("xianghubao"), rules)) >= 1


def test_a_change_of_tiers_is_named() -> None:
    tables = json.loads(to_json(preset("jd-hubao")))
    tables["tiers"][0]["to_age"], tables["tiers"][1]["from_age"] = 2, 3
    moved = differences(preset("jd-hubao"), from_json(json.dumps(tables), "moved"))
    assert [(difference.topic, difference.new) for difference in moved] == [
        ("tier 0", "0-1: joined at the age of 0 to 2, pays at most 234.00 yuan per calendar year"),
        ("tier 1", "2-4: joined at the age of 3 to 4, pays at most 156.00 yuan per calendar year"),
    ]
    tables["tier_by"], tables["share"]["key"] = "choice", "weight"
    tables["tiers"] = [{"code": "basic", "weight": 1}, {"code": "double", "weight": 2}]
    chosen = {
        difference.topic: difference.new
        for difference in differences(preset("jd-hubao"), from_json(json.dumps(tables), "x"))
    }
    assert chosen["tier by"] == "what was chosen at joining, as the roster says"
    assert chosen["shared by"] == "each in proportion to the weight of the tier"
    assert chosen["tier 1"] == "double: weighs 2"
    assert chosen["cap per year"] == "none"
    assert chosen["tier 12"] is None


def another(path: tuple[Any, ...], value: Any) -> Any:
    if path[-1] == "business_days":
        return {"roll": "following"}
    if value is None:
        return 2030 if path[-1] == "until_year" else "9.99"
    if isinstance(value, int):
        return value + 1 if path[-1] in GROWING else value - 1 or 2
    return OTHERS.get(value, f"another {value}")
