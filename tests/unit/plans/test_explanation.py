"""Rules in words: what a finance person reads, and that no rule goes without a word."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from engine.plans import PlanRules, digest, from_json, parse, to_json
from engine.plans.explanation import Difference, differences, explain
from engine.resources import config_dir

END_OF_XIANGHUBAO = (
    "from 2021-12-28 on no member shares, the platform pays; a diagnosis made by 2022-01-28 may be filed for 180 days "
    "after that; members get nothing back"
)
RETURN = (
    "within 30 days of the freeze, by paying every share missed and ending at 1.00 yuan or more; "
    "who does not return leaves"
)
BY_BALANCE = (
    "each member pays at most what the balance holds; the aid is cut by the rest, "
    "after what rounding collected too much"
)


def preset(code: str) -> PlanRules:
    return parse((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"), code)


def changed(code: str, table: str, **values: Any) -> PlanRules:
    """The preset with keys of one table put in or changed, in the words of a plan file."""
    tables = tomllib.loads((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"))
    tables[table] = tables.get(table, {}) | values
    return from_json(json.dumps(tables, default=str), code)


def with_tables(code: str, **tables: Any) -> PlanRules:
    """The preset with keys put in or changed, in its tables too; None takes one away."""
    plan = tomllib.loads((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"))
    for name, given in tables.items():
        plan[name] = plan.get(name, {}) | given if isinstance(given, dict) else given
    return from_json(json.dumps(plan, default=str), code)


@pytest.mark.parametrize(
    ("code", "topic", "sentence"),
    [
        ("xianghubao-2018", "plan", "相互保 (xianghubao-2018), in yuan"),
        ("xianghubao-2018", "life", "from 2018-10-16 until 2018-11-27, by the days of Asia/Shanghai"),
        ("xianghubao-2018", "cap per case", "each member pays at most 0.10 yuan per case; the insurer pays the rest"),
        ("xianghubao-2018", "cap per year", "none"),
        ("xianghubao-2018", "shared by", "all members alike"),
        ("xianghubao-2018", "shared", "the claims of a period together"),
        ("xianghubao-2018", "failed debit", "tried again daily for 5 days; then the member leaves"),
        (
            "xianghubao-2018",
            "exit",
            "when the member asks, or on the birthday that completes 60 years, or once aid was received",
        ),
        ("quark", "exit", "when the member asks"),
        ("quark", "waiting time", "1 day after joining before a diagnosis counts"),
        ("quark", "ages", "from 18 years to 65 years"),
        ("jd-hubao", "shared by", "each in proportion to the member's own cap per year"),
        ("jd-hubao", "who shares", "who is covered at 00:00 of the day members are debited"),
        (
            "jd-hubao",
            "cap per year",
            "each member pays at most the tier's own cap per year of membership; the insurer pays the rest",
        ),
        (
            "jd-hubao",
            "levy entry-premium-to-50",
            "9.00 yuan once, from each who joins at the age of 0 to 50; no cap counts it",
        ),
        ("xianghubao-2018", "fee", "10 % of the aid, on top of it"),
        ("xianghubao-2018", "notice", "claims are published on days 7 and 21 of the month, for 3 days"),
        ("xianghubao-2018", "aid from 0 to 39", "300,000.00 yuan"),
        (
            "xianghubao",
            "cap per year",
            "each member pays at most 188.00 yuan per calendar year from 2019 on; the platform pays the rest",
        ),
        (
            "xianghubao",
            "who pays",
            "each member, or one of the family: the own share first, then the family in the order they joined",
        ),
        ("xianghubao", "waiting time", "90 days after joining before a diagnosis counts; 90 days for who joins again"),
        (
            "xianghubao",
            "wind-down",
            END_OF_XIANGHUBAO,
        ),
        ("xianghubao-senior", "aid from 60 to 70, mild", "50,000.00 yuan"),
        ("meituan", "failed debit", "tried again daily until the day before the next debit; then the member leaves"),
        ("meituan", "aid in stages", "20 % at once, the rest as bills come, each in a run of its own"),
        ("meituan", "payout", "once every debit of its run is paid or written off"),
        ("waterdrop", "notice", "claims are published on any day, for 7 days"),
        ("waterdrop", "debit", "balances pay on any day"),
        ("waterdrop", "shared", "each claim by itself, in the order of their notices"),
        ("waterdrop", "floor", "with less than 1.00 yuan a member is frozen: not covered and not counted"),
        (
            "waterdrop",
            "return",
            RETURN,
        ),
        (
            "waterdrop",
            "auto top-up",
            "with less than 3.00 yuan a member is debited 10.00 yuan, at most 50.00 yuan a month",
        ),
        (
            "quark",
            "cap by balance",
            BY_BALANCE,
        ),
        (
            "quark-driving",
            "aid by fault",
            "award × share of the fault − compulsory cover − third-party cover, at most 300,000.00 yuan",
        ),
        ("zhonghui-surplus", "shared", "premiums − claims − costs go back to the members, in money"),
        ("zhonghui-surplus", "debit", "members get their part of it on day 15 of January, April, July and October"),
        ("zhonghui-surplus", "tier 1", "class-2: a premium of 100.00 yuan, a coefficient of 80 %"),
        (
            "qingsong",
            "levy dormant-fee",
            "2.00 yuan from each who was covered through a calendar quarter without any share; no cap counts it",
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
        ("payout", {"when": "sealed"}, "payout", "once its run is sealed, before the debits are collected"),
        ("debit", {"days_of_month": [28]}, "debit", "on day 28 of the month"),
    ],
)
def test_a_changed_rule_in_words(table: str, values: dict[str, Any], topic: str, sentence: str) -> None:
    assert sentence in explain(changed("xianghubao", table, **values))[topic]


def test_a_difference_names_the_topic_and_both_sides() -> None:
    found = differences(preset("xianghubao-2018"), preset("xianghubao"))
    assert [difference.topic for difference in found] == [
        "plan", "life", "fee", "cap per case", "cap per year", "who pays", "waiting time", "waiver 1", "wind-down",
    ]  # fmt: skip
    assert found[2] == Difference("fee", "10 % of the aid, on top of it", "8 % of the aid, on top of it")
    assert found[-1].old is None
    assert differences(preset("xianghubao"), preset("xianghubao")) == []


OTHERS = {
    "2018-11-27": "2018-12-01",
    "2022-01-28": "2022-02-28",
    "2021-12-28": "2021-12-27",
    "2018-12-31": "2018-12-30",
    "2019-01-21": "2019-01-22",
    "CNY": "EUR",
    "Asia/Shanghai": "Asia/Tokyo",
    "notice_day": "settlement_day",
    "up": "exact",
    "sponsor": "reduce_aid",
    "hold": "sponsor",
    "nothing": "shares",
    "joining": "dormant_quarter",
    "carry": "sponsor",
    "money": "cover",
    "settled": "sealed",
    "xianghubao": "other",
    "entry-premium-from-51": "entry-premium",
    "calendar": "membership",
}
"""Another value for each text of a preset that may not be just any text."""

GROWING = {"weight", "from_year", "length_days", "waiting_days", "minimum_age_years", "at_age"}
"""Numbers that may be one more; the others may be one less."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield path, value
    else:
        for key, part in parts:
            yield from leaves(part, (*path, key))


def key_of(path: tuple[Any, ...]) -> str:
    """`tiers.weight`, whichever tier it is of."""
    return ".".join(part for part in path if isinstance(part, str))


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a plan file, tables by their parts."""
    for name, field in model.model_fields.items():
        inner = [part for part in _models(field.annotation) if part is not BaseModel]
        yield from (f"{name}.{key}" for part in inner for key in keys_of(part)) if inner else (name,)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


TOGETHER: list[tuple[str, str, dict[str, Any], str]] = [
    ("direction", "zhonghui-surplus", {"direction": "debit", "surplus": None, "share": {"rounding": "up"},
                                       "aid": [{"from_age": 16, "to_age": 65, "amount": "1"}]}, "shared"),
    ("funding", "qingsong", {"funding": "mandate", "prepaid": None}, "funding"),
    ("notice.months", "qingsong", {"notice": {"months": [2, 3]}}, "notice"),
    ("debit.months", "qingsong", {"debit": {"months": [2, 3]}}, "debit"),
    ("debit.business_days.roll", "qingsong", {"debit": {"business_days": {"roll": "following"}}}, "debit"),
    ("debit.business_days.holidays", "qingsong",
     {"debit": {"business_days": {"roll": "following", "holidays": ["2019-10-01"]}}}, "debit"),
    ("debit.business_days.worked", "qingsong",
     {"debit": {"business_days": {"roll": "preceding", "worked": ["2019-09-29"]}}}, "debit"),
    ("share.trigger", "qingsong", {"share": {"trigger": "event"}}, "shared"),
    ("share.key", "qingsong", {"share": {"key": "cover"}, "tiers": [{"code": "member", "cover": "1"}]}, "shared by"),
    ("share.fallback", "qingsong", {"share": {"over_cap": "redistribute", "fallback": "reduce_aid"}},
     "cap by balance"),
    ("share.surplus_first", "waterdrop", {"share": {"surplus_first": False}}, "cap per case"),
    ("tier_by", "jd-hubao", {"tier_by": "choice", "tiers": [{"code": "a", "per_year": "1"},
                                                            {"code": "b", "per_year": "2"}]}, "tier by"),
    ("tiers.from_age", "xianghubao", {"tier_by": "age_at_joining",
                                      "tiers": [{"code": "m", "weight": 1, "from_age": 0, "to_age": 59}]}, "tier 0"),
    ("tiers.to_age", "xianghubao", {"claims": {"maximum_age_years": 58}, "tier_by": "age_at_joining",
                                    "tiers": [{"code": "member", "weight": 1, "from_age": 0, "to_age": 58}]}, "tier 0"),
    ("tiers.cover", "qingsong", {"tiers": [{"code": "member", "weight": 1, "cover": "50000"}]}, "tier 0"),
    ("caps.basis", "xianghubao", {"caps": {"basis": "weight"}}, "cap per case"),
    ("caps.per_run", "xianghubao", {"caps": {"per_run": "5"}}, "cap per run"),
    ("caps.per_year.until_year", "xianghubao",
     {"caps": {"per_year": [{"amount": "188", "from_year": 2019, "until_year": 2020}]}}, "cap per year"),
    ("caps.unit", "xianghubao", {"caps": {"basis": "weight", "unit": 1000}}, "cap per case"),
    ("surplus.cover_per_unit", "zhonghui-surplus", {"surplus": {"benefit": "cover", "cover_per_unit": 2}}, "shared"),
    ("cover_change.raise_waiting_days", "zhonghui-surplus", {"cover_change": {"raise_waiting_days": 180}},
     "change of tier"),
    ("aid.severity", "meituan", {"aid": [{"from_age": 0, "to_age": 39, "amount": "1", "severity": "mild"}]},
     "aid from 0 to 39, mild"),
    ("aid.of_cover", "qingsong", {"tiers": [{"code": "member", "weight": 1, "cover": "50000"}],
                                  "aid": [{"from_age": 0, "to_age": 65, "of_cover": "0.5"}]}, "aid from 0 to 65"),
    ("aid_tenure.from_years", "qingsong", {"aid_tenure": [{"from_years": 0, "rate": "0.2"},
                                                          {"from_years": 4, "rate": "1"}]},
     "aid by years of membership"),
    ("aid_tenure.rate", "qingsong", {"aid_tenure": [{"from_years": 0, "rate": "0.2"}]}, "aid by years of membership"),
    ("aid.from_age", "quark", {"aid": [{"from_age": 19, "to_age": 65, "amount": "100000"}]}, "aid from 19 to 65"),
    ("levies.from_age", "qingsong", {"levies": [{"name": "dormant-fee", "on": "dormant_quarter", "amount": "2",
                                                 "from_age": 3, "to_age": 65}]}, "levy dormant-fee"),
    ("levies.to_age", "jd-hubao", {"levies": [{"name": "entry-premium-to-50", "on": "joining", "amount": "9",
                                               "from_age": 0, "to_age": 49}]}, "levy entry-premium-to-50"),
    ("unpaid.retry_days", "meituan", {"unpaid": None}, "failed debit"),
]  # fmt: skip
"""A key, and a change to it that goes only together with others: the preset, its tables, the topic that must differ."""


def alone() -> Iterator[tuple[str, str, tuple[Any, ...], Any]]:
    """Each key that can be changed by itself, once, in the first preset that gives it: code, path, old value."""
    done = {key for key, *_ in TOGETHER}
    for code in ("xianghubao", "jd-hubao", "waterdrop", "meituan", "quark-driving", "zhonghui-surplus", "qingsong"):
        given = {
            key_of(path): (path, value)
            for path, value in leaves(json.loads(to_json(preset(code))))
            if value is not None
        }
        for key, (path, value) in given.items():
            if key not in done:
                done.add(key)
                yield key, code, path, value


ALONE = list(alone())


@pytest.mark.parametrize(("code", "path", "value"), [pytest.param(*each[1:], id=each[0]) for each in ALONE])
def test_no_rule_goes_without_a_word(code: str, path: tuple[Any, ...], value: Any) -> None:
    tables = json.loads(to_json(preset(code)))
    *way, last = path
    part = tables
    for key in way:
        part = part[key]
    part[last] = another(last, value)
    rules = from_json(json.dumps(tables), "changed")
    assert digest(rules) != digest(preset(code))
    assert len(differences(preset(code), rules)) >= 1


@pytest.mark.parametrize(("code", "tables", "topic"), [pytest.param(*each[1:], id=each[0]) for each in TOGETHER])
def test_nor_one_that_changes_together_with_others(code: str, tables: dict[str, Any], topic: str) -> None:
    rules = with_tables(code, **tables)
    assert topic in {difference.topic for difference in differences(preset(code), rules)}


def test_every_key_is_among_them() -> None:
    assert set(keys_of(PlanRules)) == {key for key, *_ in ALONE} | {key for key, *_ in TOGETHER}


def test_the_page_of_plans_names_every_key() -> None:
    page = (config_dir().parent / "docs" / "plans.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_.]+)`", page))
    parts = {part for each in named for part in each.split(".")}
    assert {part for key in keys_of(PlanRules) for part in key.split(".")} <= parts


def another(key: Any, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 if key in GROWING else value - 1 or 2
    if re.fullmatch(r"[0-9.]+|[0-9]+/[0-9]+", value):
        return "0.5" if key in {"fee", "coefficient", "first"} else str(int(float(value)) + 1)
    return OTHERS.get(value, f"another {value}")


def test_a_change_of_tiers_is_named() -> None:
    tables = json.loads(to_json(preset("jd-hubao")))
    tables["tiers"][0]["to_age"], tables["tiers"][1]["from_age"] = 2, 3
    moved = differences(preset("jd-hubao"), from_json(json.dumps(tables), "moved"))
    assert [(difference.topic, difference.new) for difference in moved] == [
        ("tier 0", "0-1: joined at the age of 0 to 2, pays at most 234.00 yuan per year of membership"),
        ("tier 1", "2-4: joined at the age of 3 to 4, pays at most 156.00 yuan per year of membership"),
    ]
    tables["tier_by"], tables["share"]["key"], tables["caps"]["year"] = "choice", "weight", "calendar"
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
