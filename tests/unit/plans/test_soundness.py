"""Rules that contradict each other: each is named by its key, with what it may be."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.plans import PlanRules, from_json, parse
from engine.plans.rules import TIERS_MAX
from engine.resources import config_dir


def text_of(code: str) -> str:
    return (config_dir() / "plans" / f"{code}.toml").read_text("utf-8")


def changed(code: str, tables: dict[str, Any]) -> PlanRules:
    """The preset with keys put in or changed, in its tables too; None takes one away."""
    plan: dict[str, Any] = tomllib.loads(text_of(code))
    for name, given in tables.items():
        plan[name] = plan.get(name, {}) | given if isinstance(given, dict) else given
    return from_json(json.dumps(plan, default=str), "plan.toml")


def lines(code: str, tables: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        changed(code, tables)
    return [line.removeprefix("plan.toml: ") for line in str(refused.value).splitlines()]


def tier(**keys: Any) -> dict[str, Any]:
    return {"code": "member"} | keys


def band(from_age: int = 0, to_age: int = 59, **keys: Any) -> dict[str, Any]:
    return {"from_age": from_age, "to_age": to_age} | (keys or {"amount": "100000"})


def waiver(gates_from: str, gates_to: str) -> dict[str, Any]:
    return {"name": "one", "joined_by": "2019-01-01", "reason": "so", "gates_from": gates_from, "gates_to": gates_to}


def levy(**keys: Any) -> dict[str, Any]:
    return {"name": "entry", "on": "joining", "amount": "9"} | keys


WEIGHT = tier(weight=1)
TWO = [waiver("2019-01-01", "2019-02-01"), waiver("2019-02-01", "2019-03-01")]
COVERED = [tier(weight=1, cover="50000")]
EVENT = {"trigger": "event"}

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("xianghubao", {"starts_on": "2023-01-01", "wind_down": None}, "ends_on: give starts_on or a later day"),
    ("meituan", {"claims": {"maximum_age_years": 3, "minimum_age_years": 4}},
     "claims.maximum_age_years: give minimum_age_years or more"),
    ("meituan", {"waivers": [waiver("2019-02-01", "2019-01-01")]}, "waivers.gates_to: give gates_from or a later day"),
    ("meituan", {"waivers": TWO},
     "waivers: two hold at the same gate; let the one begin after the gates_to of the other"),
    ("meituan", {"notice": {"days_of_month": None}},
     "notice.days_of_month: missing; only with share.trigger event it may be any day"),
    ("meituan", {"debit": {"days_of_month": None}},
     "debit.days_of_month: missing; only with share.trigger event it may be any day"),
    ("waterdrop", {"notice": {"months": [1]}}, "notice.months: give notice.days_of_month too, or leave it out"),
    ("waterdrop", {"debit": {"months": [1]}}, "debit.months: give debit.days_of_month too, or leave it out"),
    ("meituan", {"debit": {"days_of_month": [30, 31], "months": [2]}},
     "debit.days_of_month: none comes in these months; give a day that one of debit.months has"),
    ("meituan", {"notice": {"days_of_month": [31], "months": [4, 6]}},
     "notice.days_of_month: none comes in these months; give a day that one of notice.months has"),
    ("waterdrop", {"share": {"gate": "kept_from_last_period"}},
     "share.gate: kept_from_last_period needs debit.days_of_month, which make the periods; or give notice_day"),
    ("meituan", {"tiers": []}, f"tiers: give 1 to {TIERS_MAX}"),
    ("meituan", {"tiers": [WEIGHT, WEIGHT]}, "tiers.code: two tiers have the same; give each its own"),
    ("jd-hubao", {"tier_by": "choice", "tiers": [tier(per_year="1", weight=1)]},
     "tiers.weight: with share.key own_cap a tier has none; leave it out"),
    ("meituan", {"tiers": [WEIGHT, {"code": "other"}]}, "tiers.weight: give each tier one, 0 or more"),
    ("meituan", {"tiers": [tier(weight=0)]}, "tiers.weight: nobody would share; give one tier more than 0"),
    ("jd-hubao", {"tier_by": "choice", "tiers": [tier(per_year="1"), {"code": "other"}]},
     "tiers.per_year: with share.key own_cap give it for each tier; it is what the tier weighs"),
    ("jd-hubao", {"tier_by": "choice", "tiers": [tier(per_year="0")]},
     "tiers.per_year: nobody would share; give one tier more than 0"),
    ("meituan", {"share": {"key": "cover"}, "tiers": [tier()]},
     "tiers.cover: with share.key cover give it for each tier; it is what the tier weighs"),
    ("meituan", {"share": {"key": "cover"}, "tiers": [tier(cover="0")]},
     "tiers.cover: nobody would share; give one tier more than 0"),
    ("meituan", {"tiers": [tier(weight=1, premium="1")]},
     "tiers.premium: give it for each tier with share.key premium, and only then"),
    ("meituan", {"tiers": [tier(weight=1, coefficient="1")]},
     "tiers.coefficient: give it for each tier with share.key premium, and only then"),
    ("zhonghui-surplus", {"tiers": [tier(premium="100")]},
     "tiers.coefficient: give it for each tier with share.key premium, and only then"),
    ("zhonghui-surplus", {"tiers": [tier(premium="0", coefficient="1"), {"code": "b", "premium": "1",
                                                                        "coefficient": "0"}]},
     "tiers.premium: nobody would share; give one tier a premium and a coefficient above 0"),
    ("meituan", {"tiers": [tier(weight=1, from_age=0, to_age=59)]},
     "tiers: give each from_age and to_age with tier_by age_at_joining, and only then"),
    ("meituan", {"tier_by": "age_at_joining", "tiers": [tier(weight=1, from_age=0, to_age=58)]},
     "tiers: give each age that claims allows, from minimum to maximum_age_years, one tier"),
    ("jd-hubao", {"cover_change": {"raise_waiting_days": 180}},
     "cover_change: the age at joining fixes the tier for good; leave it out, or give tier_by choice"),
    ("meituan", {"cover_change": {"raise_waiting_days": 180}},
     "cover_change: there is one tier, so none to change to; leave it out, or give more tiers"),
    ("waterdrop", {"share": {"rounding": "exact"}},
     "share.rounding: exact deals out single units over periods; with share.trigger event give up or half_up"),
    ("waterdrop", {"caps": {"per_run": "1"}},
     "caps: with share.trigger event per_case and the balance hold a seat; leave per_run and per_year out"),
    ("waterdrop", {"caps": {"per_year": [{"amount": "1", "from_year": 2019}]}},
     "caps: with share.trigger event per_case and the balance hold a seat; leave per_run and per_year out"),
    ("waterdrop", {"tiers": [tier(weight=1, per_year="0")]},
     "caps: with share.trigger event per_case and the balance hold a seat; leave per_run and per_year out"),
    ("meituan", {"caps": {"year": "membership"}},
     "caps.year: there is no cap per year that it would be about; leave it out, or give caps.per_year"),
    ("meituan", {"caps": {"unit": 2}},
     "caps.unit: counts with caps.basis weight; leave it out, or give that basis"),
    ("meituan", {"share": {"over_cap": "reduce_aid", "no_sharers": "sponsor"}},
     "share.no_sharers: where the rest is for reduce_aid nobody pays in place of all; give hold"),
    ("meituan", {"share": {"over_cap": "redistribute", "fallback": "reduce_aid", "no_sharers": "sponsor"}},
     "share.no_sharers: where the rest is for reduce_aid nobody pays in place of all; give hold"),
    ("meituan", {"share": {"rounding": "down"}},
     "share.rounding: down is for direction credit; give up, half_up or exact"),
    ("meituan", {"funding": "prepaid", "unpaid": None}, "prepaid: give the table with funding prepaid, and only then"),
    ("meituan", {"prepaid": {"entry": "9", "floor": "1", "return_days": 30}, "unpaid": None},
     "prepaid: give the table with funding prepaid, and only then"),
    ("quark", {"prepaid": {"entry": "2.99"}}, "prepaid.entry: a member would begin frozen; give prepaid.floor or more"),
    ("quark", {"family_payers": True},
     "family_payers: a prepaid plan draws on each member's own balance; leave it out"),
    ("quark", {"unpaid": {}}, "unpaid: a prepaid plan debits nobody, so no debit fails; leave it out"),
    ("quark", {"prepaid": {"auto_top_up": {"below": "3", "amount": "0", "per_month_at_most": "50"}}},
     "prepaid.auto_top_up.amount: give more than 0 and at most per_month_at_most"),
    ("quark", {"prepaid": {"auto_top_up": {"below": "3", "amount": "51", "per_month_at_most": "50"}}},
     "prepaid.auto_top_up.amount: give more than 0 and at most per_month_at_most"),
    ("quark", {"prepaid": {"auto_top_up": {"below": "2.99", "amount": "1", "per_month_at_most": "50"}}},
     "prepaid.auto_top_up.below: a member would be frozen before; give prepaid.floor or more"),
    ("meituan", {"surplus": {"benefit": "money"}}, "surplus: give the table with direction credit, and only then"),
    ("zhonghui-surplus", {"surplus": None}, "surplus: give the table with direction credit, and only then"),
    ("zhonghui-surplus", {"surplus": {"cover_per_unit": 100}},
     "surplus.cover_per_unit: counts with surplus.benefit cover; leave it out, or give that benefit"),
    ("zhonghui-surplus", {"funding": "prepaid", "prepaid": {"entry": "9", "floor": "1", "return_days": 30}},
     "funding: a credit run draws on no balance; give mandate"),
    ("zhonghui-surplus", {"share": EVENT}, "share.trigger: a credit run gives a period's surplus; give calendar"),
    ("zhonghui-surplus", {"share": {"rounding": "up"}},
     "share.rounding: a credit run gives whole units and keeps the rest; give down"),
    ("zhonghui-surplus", {"share": {"fee": "0.08"}},
     'share.fee: a credit run knows none, costs come off before; give "0"'),
    ("zhonghui-surplus", {"caps": {"per_case": "1"}},
     "caps: a credit run knows none; leave per_case, per_run and per_year out"),
    ("zhonghui-surplus", {"caps": {"per_run": "1"}},
     "caps: a credit run knows none; leave per_case, per_run and per_year out"),
    ("zhonghui-surplus", {"tiers": [tier(premium="1", coefficient="1", per_year="1")]},
     "tiers.per_year: a credit run knows no caps; leave it out, and give another share.key than own_cap"),
    ("zhonghui-surplus", {"aid": [band()]},
     "aid: a credit run shares no claims; leave aid, aid_tenure, aid_stages and fault_share out"),
    ("zhonghui-surplus", {"payout": {"when": "sealed"}}, "payout.when: a credit run pays no aid; leave it out"),
    ("zhonghui-surplus", {"aid_stages": {"first": "0.2"}},
     "aid: a credit run shares no claims; leave aid, aid_tenure, aid_stages and fault_share out"),
    ("zhonghui-surplus", {"unpaid": {"retry_days": 5}}, "unpaid: a credit run debits nobody; leave it out"),
    ("zhonghui-surplus", {"waivers": [waiver("2019-01-01", "2019-02-01")]},
     "waivers: a credit run debits nobody; leave it out"),
    ("meituan", {"aid": []}, "aid: give at least one band, or the table fault_share"),
    ("quark-driving", {"aid": [band()]},
     "fault_share: the award decides the aid; leave the aid bands out, or this table"),
    ("meituan", {"aid": [band(40, 39)]}, "aid.to_age: give from_age or more"),
    ("meituan", {"aid": [band(0, 39), band(39, 59)]},
     "aid: two bands hold for the same age; let the one begin after the to_age of the other"),
    ("meituan", {"aid": [band(0, 39, amount="1", severity="mild"), band(39, 59, amount="1", severity="mild")]},
     "aid: two bands hold for the same age and severity mild; let the one begin after the to_age of the other"),
    ("meituan", {"aid": [band(0, 39), band(40, 59, amount="1", severity="mild")]},
     "aid.severity: give it for every band, or for none"),
    ("meituan", {"aid": [band(amount=None)]}, "aid: give each band either amount or of_cover"),
    ("meituan", {"tiers": COVERED, "aid": [band(amount="1", of_cover="1")]},
     "aid: give each band either amount or of_cover"),
    ("meituan", {"aid": [band(amount="0")]}, "aid.amount: give more than 0"),
    ("meituan", {"aid": [band(of_cover="0.5")]},
     "aid.of_cover: needs the cover of every tier; give tiers.cover, or amount"),
    ("meituan", {"tiers": COVERED, "aid": [band(of_cover="1.01")]},
     "aid.of_cover: give more than 0 and at most 1, the whole cover"),
    ("meituan", {"tiers": COVERED, "aid": [band(of_cover="0")]},
     "aid.of_cover: give more than 0 and at most 1, the whole cover"),
    ("meituan", {"aid_tenure": [{"from_years": 1, "rate": "1"}]}, "aid_tenure.from_years: begin with 0, then rise"),
    ("meituan", {"aid_tenure": [{"from_years": 0, "rate": "0.5"}, {"from_years": 0, "rate": "1"}]},
     "aid_tenure.from_years: begin with 0, then rise"),
    ("meituan", {"aid_tenure": [{"from_years": 0, "rate": "0"}]}, "aid_tenure.rate: give more than 0 and at most 1"),
    ("meituan", {"aid_tenure": [{"from_years": 0, "rate": "2"}]}, "aid_tenure.rate: give more than 0 and at most 1"),
    ("meituan", {"aid_stages": {"first": "0"}}, "aid_stages.first: give more than 0 and at most 1"),
    ("meituan", {"aid_stages": {"first": "1.2"}}, "aid_stages.first: give more than 0 and at most 1"),
    ("quark-driving", {"fault_share": {"at_most": "0"}}, "fault_share.at_most: give more than 0"),
    ("xianghubao-senior", {"exits": {"at_age": 60}},
     "exits.at_age: nobody could stay; give more than claims.minimum_age_years"),
    ("meituan", {"levies": [levy(), levy()]}, "levies.name: two levies have the same; give each its own"),
    ("meituan", {"levies": [levy(from_age=3)]}, "levies: give from_age and to_age together, or neither"),
    ("meituan", {"levies": [levy(from_age=3, to_age=2)]}, "levies.to_age: give from_age or more"),
    ("meituan", {"levies": [levy(amount="0")]}, "levies.amount: give more than 0"),
    ("xianghubao", {"ends_on": None}, "wind_down: give ends_on too, the last day of the plan"),
    ("xianghubao", {"wind_down": {"announced_on": "2022-01-29"}},
     "wind_down.announced_on: give a day from starts_on to ends_on"),
    ("xianghubao", {"wind_down": {"announced_on": "2018-11-26"}},
     "wind_down.announced_on: give a day from starts_on to ends_on"),
    ("xianghubao", {"wind_down": {"refund": "balances"}},
     "wind_down.refund: balances are for funding prepaid; give nothing or shares"),
    ("waterdrop", {"wind_down": {"refund": "nothing"}},
     "wind_down.refund: members paid balances in; give balances or shares"),
    ("zhonghui-surplus", {"family_payers": True}, "family_payers: a credit run debits nobody; leave it out"),
    ("zhonghui-surplus", {"ends_on": "2020-01-01", "wind_down": {"announced_on": "2019-12-01", "claims_within_days": 0,
                                                                 "refund": "shares"}},
     "wind_down.refund: a credit run takes no shares; give nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "tables", "said"), WRONG)
def test_a_contradiction_is_named_by_its_key(code: str, tables: dict[str, Any], said: str) -> None:
    assert lines(code, tables) == [said]


@pytest.mark.parametrize(
    ("code", "tables"),
    [
        pytest.param("meituan", {"waivers": [TWO[1], TWO[0] | {"gates_to": "2019-01-31"}]}, id="waivers in a row"),
        pytest.param("meituan", {"debit": {"days_of_month": [29], "months": [2]}}, id="a leap day"),
        pytest.param("meituan", {"tiers": [WEIGHT, {"code": "child", "weight": 0}]}, id="a tier without weight"),
        pytest.param("quark", {"prepaid": {"entry": "3"}}, id="an entry at the floor"),
        pytest.param("quark", {"prepaid": {"auto_top_up": {"below": "3", "amount": "50", "per_month_at_most": "50"}}},
                     id="topped up at the floor"),
        pytest.param("meituan", {"aid": [band(0, 59, amount="1", severity="mild"),
                                         band(0, 59, amount="2", severity="severe")]}, id="severities side by side"),
        pytest.param("meituan", {"tiers": COVERED, "aid": [band(of_cover="1")]}, id="the whole cover"),
        pytest.param("meituan", {"aid_stages": {"first": "1"}}, id="one stage"),
        pytest.param("xianghubao-senior", {"exits": {"at_age": 61}}, id="an exit a year after the youngest"),
        pytest.param("xianghubao", {"wind_down": {"announced_on": "2022-01-28"}}, id="announced on the last day"),
        pytest.param("xianghubao", {"share": {"trigger": "event"}, "caps": {"per_year": []}}, id="event by mandate"),
    ],
)  # fmt: skip
def test_what_comes_close_is_sound(code: str, tables: dict[str, Any]) -> None:
    assert changed(code, tables).code == code


def test_any_step_of_cover_weighs() -> None:
    """SCHEMES: sina, 50,000 to 400,000 yuan in steps of 25,000."""
    steps = [{"code": f"{cover}", "cover": f"{cover}"} for cover in range(50_000, 400_001, 25_000)]
    rules = changed("meituan", {"share": {"key": "cover"}, "tiers": steps, "aid": [band(of_cover="1")],
                                "cover_change": {"raise_waiting_days": 180}})  # fmt: skip
    assert len(rules.tiers) == 15


def test_contradictions_are_named_together() -> None:
    assert lines("meituan", {"caps": {"year": "membership"}, "levies": [levy(amount="0")]}) == [
        "caps.year: there is no cap per year that it would be about; leave it out, or give caps.per_year",
        "levies.amount: give more than 0",
    ]


def test_a_contradiction_is_named_beside_a_wrong_key() -> None:
    text = text_of("xianghubao").replace("[caps]", "ages = 2\n[capz]\nx = 1\n[caps]\nunit = 2", 1)
    with pytest.raises(InvalidInput) as refused:
        parse(text.replace("at_age = 60", 'at_age = "60"'), "plan.toml")
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == [
        "exits.at_age", "exits.ages", "capz", "caps.unit",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("ends_on = 2022-01-28", "ends_on = 2022", ["ends_on"], id="what left out would contradict"),
        pytest.param('fee = "0.08"', "fee = 0.08\nsponser = 1", ["share.fee", "share.sponser"], id="the rest needs it"),
        pytest.param("at_age = 60", "at_age = 0\nat_ages = 1", ["exits.at_ages", "exits.at_age"], id="both in a table"),
        pytest.param("from_year = 2019", "from_year = -1", ["caps.per_year.0.from_year"], id="of a list"),
    ],
)
def test_a_second_look_says_nothing_misleading(old: str, new: str, said: list[str]) -> None:
    text = text_of("xianghubao")
    assert old in text
    with pytest.raises(InvalidInput) as refused:
        parse(text.replace(old, new, 1), "plan.toml")
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == said
