"""Which tier a claim goes by once another was chosen: against the least of the wait before it, day by day."""

from __future__ import annotations

import json
import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.plans import PlanRules, date_of, day_number, from_json
from engine.resources import config_dir
from engine.roster.cover import claims_from, tier_on, weighs_from

WAIT = 180
LOW, MIDDLE, HIGH = 0, 1, 2


def sina(**tables: object) -> PlanRules:
    """A plan of chosen cover, as 新浪互助: debits on the 14th and 28th, a raise waits 180 days."""
    preset = tomllib.loads((config_dir() / "plans" / "xianghubao.toml").read_text("utf-8"))
    tiers = [{"code": str(cover), "cover": f"{cover}0000"} for cover in (5, 10, 20)]
    preset |= {"tiers": tiers, "cover_change": {"raise_waiting_days": WAIT}} | tables
    preset["share"]["key"] = "cover"
    return from_json(json.dumps({k: v for k, v in preset.items() if v is not None}, default=str), "sina")


RULES = sina()


@pytest.mark.parametrize(
    ("before", "chosen", "expected"), [(LOW, HIGH, 1_000 + WAIT), (HIGH, LOW, 1_000), (MIDDLE, HIGH, 1_000 + WAIT)]
)
def test_a_lower_tier_holds_at_once_and_a_higher_one_after_the_wait(before: int, chosen: int, expected: int) -> None:
    assert claims_from(RULES, before, chosen, 1_000) == expected


def test_tiers_of_one_weight_are_told_apart_by_their_cover() -> None:
    tiers = [{"code": str(cover), "weight": 1, "cover": f"{cover}0000"} for cover in (5, 20)]
    preset = json.loads(RULES.model_dump_json())
    alike = from_json(json.dumps(preset | {"tiers": tiers, "share": preset["share"] | {"key": "weight"}}), "alike")
    assert claims_from(alike, 0, 1, 1_000) == 1_000 + WAIT
    assert claims_from(alike, 1, 0, 1_000) == 1_000


def test_where_the_tier_of_joining_stays_there_is_no_choice() -> None:
    with pytest.raises(InvalidInput, match="no cover_change"):
        claims_from(sina(cover_change=None), LOW, HIGH, 1_000)


@pytest.mark.parametrize(("asked", "expected"), [("2019-07-14", "2019-07-14"), ("2019-07-15", "2019-07-28")])
def test_another_tier_weighs_from_the_next_debit_day(asked: str, expected: str) -> None:
    assert date_of(weighs_from(RULES, day_number(date.fromisoformat(asked)))) == date.fromisoformat(expected)


@given(
    st.integers(LOW, HIGH),
    st.lists(st.tuples(st.integers(LOW, HIGH), st.integers(1, 250)), max_size=6),
    st.integers(0, 1_800),
)
def test_a_claim_goes_by_the_least_of_the_wait_before_it(joined: int, choices: list[tuple[int, int]], day: int) -> None:
    asked_on, recorded, now, on = [(-(10**6), joined)], [], joined, 0
    for tier, later in choices:
        on += later
        recorded.append((tier, claims_from(RULES, now, tier, on)))
        asked_on.append((on, tier))
        now = tier

    def chosen_on(then: int) -> int:
        return [tier for asked, tier in asked_on if asked <= then][-1]

    assert tier_on(RULES, joined, recorded, day) == min(chosen_on(then) for then in range(day - WAIT, day + 1))
