"""Plan files: what the presets say, and everything that is wrong with a file at once."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from engine.apportion import OverCap, Rounding, Terms
from engine.errors import InvalidInput
from engine.plans import (
    NEVER,
    NoSharers,
    PlanRules,
    case_cap,
    completed_years,
    date_of,
    day_number,
    digest,
    from_json,
    parse,
    run_cap,
    terms,
    tier_at,
    to_json,
    waiver_for,
    year_cap,
    year_caps,
)

FOLDER = Path(__file__).parents[3] / "config" / "plans"
CODES = ["xianghubao", "xianghubao-2018"]


def text_of(code: str) -> str:
    return (FOLDER / f"{code}.toml").read_text("utf-8")


def preset(code: str) -> PlanRules:
    return parse(text_of(code), f"{code}.toml")


@pytest.mark.parametrize("code", [path.stem for path in sorted(FOLDER.glob("*.toml"))])
def test_a_preset_is_named_like_its_file_and_comes_back_from_json(code: str) -> None:
    rules = preset(code)
    assert rules.code == code
    assert from_json(to_json(rules), "pinned") == rules


def test_the_page_of_plans_has_a_column_for_every_preset() -> None:
    page = (FOLDER.parents[1] / "docs" / "plans.md").read_text("utf-8")
    (header,) = (line for line in page.splitlines() if line.startswith("| |"))
    assert sorted(header.strip("| ").split(" | ")) == sorted(path.stem for path in FOLDER.glob("*.toml"))


@pytest.mark.parametrize(
    ("code", "fee", "year_caps"),
    [
        ("xianghubao-2018", Fraction(1, 10), {2018: None, 2019: None}),
        ("xianghubao", Fraction(2, 25), {2018: None, 2019: 18_800, 2020: 18_800, 2021: 18_800, 2026: 18_800}),
    ],
)
def test_a_preset_says_what_the_schemes_say(code: str, fee: Fraction, year_caps: dict[int, int | None]) -> None:
    rules = preset(code)
    assert terms(rules) == Terms((1,), fee, Rounding.UP, OverCap.SPONSOR, surplus_first=False)
    assert (case_cap(rules), run_cap(rules), rules.share.no_sharers) == (10, None, NoSharers.HOLD)
    assert {year: year_cap(rules, year) for year in year_caps} == year_caps
    assert (rules.notice.length_days, rules.notice.days_of_month, rules.debit.days_of_month) == (3, (7, 21), (14, 28))
    assert rules.claims.waiting_days == 90


def test_years_are_completed_on_the_birthday() -> None:
    leap = date(1980, 2, 29)
    ages = {date(1981, 2, 28): 0, date(1981, 3, 1): 1, date(1984, 2, 28): 3, date(1984, 2, 29): 4}
    assert {on: completed_years(leap, on) for on in ages} == ages


@pytest.mark.parametrize(
    ("gate_on", "holds"),
    [
        (date(2018, 11, 26), False),
        (date(2018, 11, 27), True),
        (date(2019, 1, 21), True),
        (date(2019, 1, 22), False),
    ],
)
def test_the_first_period_is_waived_for_who_joined_in_2018(gate_on: date, holds: bool) -> None:
    waiver = waiver_for(preset("xianghubao"), gate_on)
    assert (waiver is not None and waiver.joined_by == date(2018, 12, 31)) is holds
    assert waiver_for(preset("xianghubao-2018"), gate_on) is None


def test_the_digest_is_of_what_the_rules_say_not_how() -> None:
    text = text_of("xianghubao")
    same = "# another comment\n" + text.replace('fee = "0.08"', 'fee = "2/25"').replace('"188.00"', '"188"')
    assert same != text
    assert digest(parse(same, "same")) == digest(preset("xianghubao"))
    assert len(digest(preset("xianghubao"))) == 32
    assert digest(parse(text.replace('"0.08"', '"0.09"'), "other")) != digest(preset("xianghubao"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('fee = "0.08"', "fee = 0.08", 'share.fee: write the rate as exact text that is not negative, like "2/25"'),
        ('rounding = "up"', 'rounding = "upp"', "share.rounding: Input should be 'up', 'half_up', 'down' or 'exact'"),
        ('over_cap = "sponsor"', 'over_cap = "x"', "share.over_cap: Input should be 'sponsor', 'redistribute' or 'red"),
        ('gate = "notice_day"', 'gate = "noon"', "share.gate: Input should be 'notice_day'"),
        ('no_sharers = "hold"', 'fallback = "redistribute"', "share: fallback takes what redistribute cannot place"),
        ('per_case = "0.10"', "per_case = 0.10", 'caps.per_case: write the amount as text in major units, like "0.10"'),
        ('per_case = "0.10"', 'per_case = "0.105"', "caps.per_case: '0.105' has more than 2 decimal places"),
        ('per_case = "0.10"', 'per_case = "-1"', "caps.per_case: an amount is not negative here"),
        ('per_case = "0.10"', 'percase = "1"', "caps.percase: unknown key; known here: basis, per_case, per_run, "),
        ("from_year = 2019", "since = 2019", "caps.per_year.0.since: unknown key; known here: amount, from_year, un"),
        ("from_year = 2019", "", "caps.per_year.0.from_year: missing"),
        ("from_year = 2019", "from_year = 2019\nuntil_year = 2018", "caps: per_year: a cap ends before it begins"),
        ("days_of_month = [7, 21]", "days_of_month = [21, 7]", "notice.days_of_month: list the days in order, each"),
        ("days_of_month = [7, 21]", "days_of_month = []", "notice.days_of_month: "),
        ("days_of_month = [7, 21]", "days_of_month = [0]", "notice.days_of_month.0: "),
        ("Asia/Shanghai", "Asia/Atlantis", 'time_zone: name a time zone like "Asia/Shanghai"'),
        ("starts_on = 2018-11-27", "starts_on = 2023-01-01", "ends_on: give starts_on or a later day"),
        ("starts_on = 2018-11-27", "", "starts_on: missing"),
        ("to_age = 39", "to_age = 40", "aid: two bands hold for the same age"),
        ("to_age = 39", "to_age = -1", "aid.0.to_age: "),
        ("gates_to = 2019-01-21", "gates_to = 2018-01-21", "waivers.gates_to: give gates_from or a later day"),
        ("weight = 1", 'weight = 1\n[[tiers]]\ncode = "member"\nweight = 2', "tiers.code: two tiers have the same"),
        ("weight = 1", "weight = -1", "tiers.0.weight: "),
        ('code = "xianghubao"', 'code = "Xiang Hu"', "code: "),
        ('currency = "CNY"', 'currency = "yuan"', "currency: Input should be 'CNY' or 'EUR'"),
        ('currency = "CNY"', 'currency = "JPY"', "currency: Input should be 'CNY' or 'EUR'"),
        ('fee = "0.08"', 'fee = "1e5000"', "share.fee: write the rate as exact text"),
        ('name = "相互宝"', "name = 5", "name: "),
        ("[share]", "[share", "not TOML: "),
        ("length_days = 3", f"length_days = {'9' * 5000}", "not TOML: "),
        ("length_days = 3", f"length_days = {'[' * 5000}{']' * 5000}", "tables or lists lie too deep in each other"),
        ("[share]", f"[{'a.' * 5000}a]", "tables or lists lie too deep in each other"),
        ("length_days = 3", "length_days = 3.0", "notice.length_days: write a whole number"),
        ("[notice]", "[[notice]]", "notice: write a table of keys"),
        ("after_aid = true", "after_aid = 1", "exits.after_aid: write true or false"),
        ("starts_on = 2018-11-27", "starts_on = 2018-11-27T00:00:00", "starts_on: write a day like 2019-01-21"),
        (
            "starts_on = 2018-11-27",
            "starts_on = 0001-01-01",
            "starts_on: Input should be greater than or equal to 1900",
        ),
        ("ends_on = 2022-01-28", "ends_on = 9999-12-31", "ends_on: Input should be less than or equal to 2999-12-31"),
        ('name = "相互宝"', 'name = " "', "name: write some words on one line, without control characters"),
        ('name = "相互宝"', 'name = "a\\u0000b"', "name: write some words on one line, without control characters"),
        ('code = "xianghubao"', f'code = "{"x" * 65}"', "code: String should have at most 64 characters"),
        ("Asia/Shanghai", "Asia", 'time_zone: name a time zone like "Asia/Shanghai"'),
        ("Asia/Shanghai", "x" * 5000, 'time_zone: name a time zone like "Asia/Shanghai"'),
    ],
)
def test_a_wrong_file_is_refused_naming_the_place(old: str, new: str, said: str) -> None:
    text = text_of("xianghubao")
    assert old in text
    with pytest.raises(InvalidInput) as refused:
        parse(text.replace(old, new, 1), "plan.toml")
    assert str(refused.value).startswith("plan.toml: ")
    assert said in str(refused.value)


def test_every_wrong_key_is_reported_at_once() -> None:
    text = text_of("xianghubao").replace('"0.08"', "0.08").replace('"0.10"', "0.10").replace("weight =", "weigth =")
    with pytest.raises(InvalidInput) as refused:
        parse(text, "plan.toml")
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == [
        "share.fee",
        "tiers.0.weigth",
        "caps.per_case",
        "tiers.weight",
    ]


@pytest.mark.parametrize("code", ["jd-hubao", "waterdrop", "zhonghui-surplus"])
def test_one_wrong_value_is_one_wrong_key(code: str) -> None:
    """What else the file says is right, so nothing else is named: neither by what was read, nor by what was not."""
    tables = tomllib.loads(text_of(code))

    def lines() -> list[str]:
        with pytest.raises(InvalidInput) as refused:
            from_json(json.dumps(tables, default=str), "plan.toml")
        return str(refused.value).splitlines()

    def tried(part: Any, key: Any, place: str) -> None:
        kept = part[key]
        for other in kept if isinstance(kept, dict) else range(len(kept)) if isinstance(kept, list) else ():
            tried(kept, other, f"{place}.{other}")
        part[key] = b"\x00" if isinstance(kept, bool) else ""
        for line in lines():
            named = line.removeprefix("plan.toml: ").partition(":")[0]
            assert named == place or (place.startswith(named) and place.rpartition(".")[2].isdigit()), line
        part[key] = kept

    for key in list(tables):
        tried(tables, key, key)


def test_contradictions_are_named_beside_wrong_keys_that_cannot_be_left_out() -> None:
    text = text_of("xianghubao").replace('gate = "notice_day"', 'gate = "noon"').replace("to_age = 39", "to_age = 40")
    with pytest.raises(InvalidInput) as refused:
        parse(text.replace("announced_on = 2021-12-28", "announced_on = 2018-01-01"), "plan.toml")
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == [
        "share.gate",
        "aid",
        "wind_down.announced_on",
    ]


def test_yearly_caps_follow_each_other_and_may_not_overlap() -> None:
    two = 'from_year = 2019\nuntil_year = {}\n[[caps.per_year]]\namount = "200"\nfrom_year = 2021'
    text = text_of("xianghubao")
    rules = parse(text.replace("from_year = 2019", two.format(2020), 1), "plan.toml")
    assert [year_cap(rules, year) for year in (2018, 2019, 2020, 2021, 2022)] == [None, 18_800, 18_800, 20_000, 20_000]
    with pytest.raises(InvalidInput, match="two caps hold in the same year"):
        parse(text.replace("from_year = 2019", two.format(2021), 1), "plan.toml")


def test_an_own_cap_is_what_a_membership_weighs_and_pays_at_most() -> None:
    rules = preset("jd-hubao")
    caps = [234, 156, 132, 182, 260, 390, 650, 710, 1_300, 1_050, 1_586, 1_170, 1_924]
    assert terms(rules).weights == year_caps(rules, 2019) == tuple(100 * cap for cap in caps)
    assert year_cap(rules, 2030, tier=8) == 130_000


@pytest.mark.parametrize(
    ("age", "code"),
    [(0, "0-1"), (1, "0-1"), (2, "2-4"), (45, "41-45"), (46, "46-50"), (70, "66-70"), (71, None)],
)
def test_the_age_at_joining_gives_the_tier(age: int, code: str | None) -> None:
    rules = preset("jd-hubao")
    tier = tier_at(rules, age)
    assert (None if tier is None else rules.tiers[tier].code) == code
    assert tier_at(preset("xianghubao"), age) is None


def test_of_the_plans_cap_and_the_tiers_own_the_lower_holds() -> None:
    tiers = 'per_year = "100"\n[[tiers]]\ncode = "more"\nweight = 2\nper_year = "500"'
    rules = parse(text_of("xianghubao").replace("weight = 1", f"weight = 1\n{tiers}"), "plan.toml")
    assert year_caps(rules, 2019) == (10_000, 18_800)
    assert year_caps(rules, 2018) == (10_000, 50_000)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("to_age = 1\n", "to_age = 2\n", "tiers: give each age that claims allows, from minimum to maximum_age_years,"),
        ("from_age = 2\n", "from_age = 3\n", "tiers: give each age that claims allows"),
        ("maximum_age_years = 70", "maximum_age_years = 71", "tiers: give each age that claims allows"),
        ("maximum_age_years = 70", "maximum_age_years = 70\nminimum_age_years = 71", "maximum_age_years: give min"),
        ("to_age = 1\n", "", "tiers: give each from_age and to_age with tier_by age_at_joining, and only then"),
        ('tier_by = "age_at_joining"', "", "tiers: give each from_age and to_age with tier_by age_at_joining"),
        ('tier_by = "age_at_joining"', 'tier_by = "age"', "tier_by: Input should be 'choice' or 'age_at_joining'"),
        ('per_year = "234"', "weight = 234", "tiers.per_year: with share.key own_cap give it"),
        ('per_year = "234"', 'per_year = "234"\nweight = 234', "tiers.weight: with share.key own_cap a tier has none"),
        ('key = "own_cap"', "", "tiers.weight: give each tier one, 0 or more"),
    ],
)
def test_tiers_that_do_not_fit_are_refused(old: str, new: str, said: str) -> None:
    text = text_of("jd-hubao")
    assert old in text
    with pytest.raises(InvalidInput) as refused:
        parse(text.replace(old, new, 1), "plan.toml")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("on", "number"),
    [(date(1970, 1, 1), 0), (date(2019, 1, 21), 17_917), (date(1969, 12, 31), -1), (date(1, 1, 1), -719_162)],
)
def test_days_count_from_1970(on: date, number: int) -> None:
    assert day_number(on) == number
    assert date_of(number) == on
    assert on == date(1970, 1, 1) + timedelta(days=number)


def test_never_is_no_date() -> None:
    for number in (NEVER, -NEVER, day_number(date.max) + 1):
        with pytest.raises(InvalidInput, match="is no date"):
            date_of(number)
