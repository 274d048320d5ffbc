"""How much aid a claim is given: a table for every formula, at its boundaries, and the words that lead there."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from engine.errors import InvalidInput
from engine.plans import Accident, Aid, Application, Deduction, PlanRules, aid_of, parse
from engine.plans.aid_rules import AidBand, FaultShare, TenureStep
from engine.plans.rules import Tier

FOLDER = Path(__file__).parents[3] / "config" / "plans"
BORN, JOINED, DIAGNOSED = date(1980, 3, 15), date(2016, 1, 1), date(2018, 12, 31)
ASKED = Application(BORN, JOINED, DIAGNOSED)


def band(**keys: object) -> AidBand:
    return AidBand.model_validate(keys)


YOUNG, OLD = band(from_age=0, to_age=39, amount="300000"), band(from_age=40, to_age=59, amount="100000")


def plan(**changes: object) -> PlanRules:
    """Aid of 300,000 to the age of 39 and 100,000 to 59, with other rules put in."""
    bare = parse((FOLDER / "xianghubao.toml").read_text("utf-8"), "xianghubao.toml")
    return bare.model_copy(update={"aid": (YOUNG, OLD), **changes})


def covers(*amounts: str) -> dict[str, object]:
    tiers = tuple(Tier.model_validate({"code": amount, "weight": 1, "cover": amount}) for amount in amounts)
    return {"tiers": tiers, "aid": (band(from_age=0, to_age=59, of_cover=Fraction(1, 3)),)}


SEVERE = {
    "aid": (
        band(from_age=0, to_age=39, severity="mild", amount="50000"),
        band(from_age=0, to_age=59, severity="severe", amount="100000"),
    )
}
LADDER = {
    "aid_tenure": tuple(
        TenureStep(from_years=years, rate=Fraction(rate, 10)) for years, rate in enumerate((2, 4, 6, 8, 10))
    )
}
DRIVING = {"aid": (), "fault_share": FaultShare.model_validate({"at_most": "300000"})}


@pytest.mark.parametrize(
    ("born_on", "diagnosed_on", "amount", "step"),
    [
        pytest.param(date(2019, 1, 1), date(2019, 1, 31), 300_000_00, "aid from 0 to 39: 300,000.00", id="30 days"),
        pytest.param(BORN, date(2020, 3, 14), 300_000_00, "aid from 0 to 39: 300,000.00", id="the last day of 39"),
        pytest.param(BORN, date(2020, 3, 15), 100_000_00, "aid from 40 to 59: 100,000.00", id="the 40th birthday"),
        pytest.param(BORN, date(2040, 3, 14), 100_000_00, "aid from 40 to 59: 100,000.00", id="the last day of 59"),
        pytest.param(
            date(1980, 2, 29), date(2020, 2, 28), 300_000_00, "aid from 0 to 39: 300,000.00", id="29 February"
        ),
    ],
)
def test_aid_goes_by_age_at_first_diagnosis(born_on: date, diagnosed_on: date, amount: int, step: str) -> None:
    assert aid_of(plan(), Application(born_on, JOINED, diagnosed_on)) == Aid(amount, (step,))


@pytest.mark.parametrize(
    ("born_on", "diagnosed_on", "why"),
    [
        (date(2019, 1, 1), date(2019, 1, 30), "29 days old at diagnosis; xianghubao takes claims from 30 days on"),
        (BORN, date(2040, 3, 15), "60 years old at diagnosis; xianghubao takes claims to the age of 59"),
        (BORN, date(1979, 1, 1), "days old at diagnosis"),
    ],
)
def test_aid_outside_the_ages_is_refused(born_on: date, diagnosed_on: date, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        aid_of(plan(), Application(born_on, JOINED, diagnosed_on))


def test_a_plan_may_begin_at_an_age_and_leave_one_out() -> None:
    bare = plan()
    adult = plan(claims=bare.claims.model_copy(update={"minimum_age_years": 18}), aid=(OLD,))
    with pytest.raises(InvalidInput, match="17 years old at diagnosis; xianghubao takes claims from 18 on"):
        aid_of(adult, Application(date(2001, 1, 1), JOINED, DIAGNOSED))
    with pytest.raises(InvalidInput, match=r"xianghubao has no aid band for that age$"):
        aid_of(adult, ASKED)


@pytest.mark.parametrize(
    ("severity", "born_on", "amount", "step"),
    [
        ("mild", BORN, 50_000_00, "aid from 0 to 39, mild: 50,000.00"),
        ("severe", BORN, 100_000_00, "aid from 0 to 59, severe: 100,000.00"),
        ("severe", date(1970, 1, 1), 100_000_00, "aid from 0 to 59, severe: 100,000.00"),
    ],
)
def test_aid_goes_by_severity(severity: str, born_on: date, amount: int, step: str) -> None:
    asked = replace(ASKED, born_on=born_on, severity=severity)
    assert aid_of(plan(**SEVERE), asked) == Aid(amount, (step,))


@pytest.mark.parametrize(
    ("rules", "asked", "why"),
    [
        (SEVERE, ASKED, "give --severity: xianghubao knows mild and severe$"),
        (SEVERE, replace(ASKED, severity="slight"), "xianghubao knows mild and severe, not slight$"),
        (
            SEVERE,
            replace(ASKED, severity="mild", born_on=date(1970, 1, 1)),
            "48 years old at diagnosis; xianghubao has no aid band for that age and severity mild",
        ),
        ({}, replace(ASKED, severity="mild"), "the same aid for every severity; leave --severity out"),
        ({}, replace(ASKED, accident=Accident(1, Fraction(1))), "gives aid by age, not by an award"),
        (DRIVING, ASKED, "give --award and --fault-share"),
        (DRIVING, replace(ASKED, severity="mild"), "by the fault share, not by severity"),
    ],
)
def test_an_application_fits_the_plan(rules: dict[str, object], asked: Application, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        aid_of(plan(**rules), asked)


@pytest.mark.parametrize(
    ("tier", "amount", "step"),
    [
        (0, 33_333_33, "aid from 0 to 59: 1/3 of the cover chosen, 33,333.33"),
        (1, 100_000_00, "aid from 0 to 59: 1/3 of the cover chosen, 100,000.00"),
    ],
)
def test_aid_may_be_a_part_of_the_cover_rounded_down(tier: int, amount: int, step: str) -> None:
    assert aid_of(plan(**covers("100000", "300000")), replace(ASKED, tier=tier)) == Aid(amount, (step,))


@pytest.mark.parametrize(
    ("member_from", "rate", "amount", "years"),
    [
        pytest.param(date(2018, 1, 1), "20 %", 60_000_00, 0, id="the day before a year"),
        pytest.param(date(2017, 12, 31), "40 %", 120_000_00, 1, id="a year to the day"),
        pytest.param(date(2015, 1, 1), "80 %", 240_000_00, 3, id="the day before four years"),
        pytest.param(date(2014, 12, 31), "100 %", 300_000_00, 4, id="the end of the ladder"),
        pytest.param(date(2003, 12, 31), "100 %", 300_000_00, 15, id="beyond the ladder"),
        pytest.param(DIAGNOSED, "20 %", 60_000_00, 0, id="the first day"),
    ],
)
def test_the_tenure_ladder(member_from: date, rate: str, amount: int, years: int) -> None:
    assert aid_of(plan(**LADDER), replace(ASKED, member_from=member_from)) == Aid(
        amount, ("aid from 0 to 39: 300,000.00", f"tenure {years} years: {rate}, {amount // 100:,}.00")
    )


def test_the_ladder_rounds_down_to_the_fen() -> None:
    third = {"aid_tenure": (TenureStep(from_years=0, rate=Fraction(1, 3)),), "aid": (OLD, YOUNG)}
    cents = {"aid": (band(from_age=0, to_age=59, amount="0.05"),)}
    assert aid_of(plan(**third | cents), ASKED).amount_minor == 1
    cent = {"aid": (band(from_age=0, to_age=59, amount="0.01"),)}
    with pytest.raises(InvalidInput, match=r"no aid to pay: .*0\.01; tenure 2 years: 1/3, 0\.00; that leaves 0\.00"):
        aid_of(plan(**third | cent), ASKED)


@pytest.mark.parametrize(
    ("award", "fault_share", "compulsory", "third_party", "amount"),
    [
        pytest.param(1_000_000_00, "0.7", 122_000_00, 300_000_00, 278_000_00, id="below the limit"),
        pytest.param(1_000_000_00, "1", 700_000_00, 0, 300_000_00, id="at the limit"),
        pytest.param(1_000_000_00, "1", 699_999_99, 0, 300_000_00, id="above the limit"),
        pytest.param(1, "1/2", 0, 0, 1, id="half a fen is one"),
        pytest.param(3, "1/2", 1, 0, 1, id="one and a half are two"),
        pytest.param(1_00, "0.494", 0, 0, 49, id="less than half a fen is none"),
        pytest.param(1_000_00, "1", 999_99, 0, 1, id="a fen is left"),
    ],
)
def test_the_fault_share_formula(award: int, fault_share: str, compulsory: int, third_party: int, amount: int) -> None:
    accident = Accident(award, Fraction(fault_share), compulsory, third_party)
    assert aid_of(plan(**DRIVING), replace(ASKED, accident=accident)).amount_minor == amount


def test_the_fault_share_in_words() -> None:
    accident = Accident(1_000_000_00, Fraction(7, 10), 122_000_00, 0)
    assert aid_of(plan(**DRIVING), replace(ASKED, accident=accident)).steps == (
        "award 1,000,000.00 × fault share 70 %: 700,000.00",
        "compulsory cover pays 122,000.00",
        "third-party cover pays 0.00",
        "at most 300,000.00",
    )


@pytest.mark.parametrize(
    ("accident", "why"),
    [
        (
            Accident(1_000_00, Fraction(1, 2), 300_00, 200_00),
            r"%: 500\.00; compulsory cover pays 300\.00; third-party cover pays 200\.00; that leaves 0\.00$",
        ),
        (Accident(1_00, Fraction(1), 3_00), r"that leaves -2\.00$"),
        (Accident(-1, Fraction(1)), r"award -0\.01: give an amount that is not negative"),
        (Accident(1, Fraction(1), -1), r"compulsory -0\.01"),
        (Accident(1, Fraction(1), 0, -1), r"third-party -0\.01"),
        (Accident(1, Fraction(0)), "--fault-share 0: give more than 0 and at most 1"),
        (Accident(1, Fraction(101, 100)), "--fault-share 101/100: give more than 0 and at most 1"),
    ],
)
def test_a_fault_share_that_leaves_nothing_is_refused(accident: Accident, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        aid_of(plan(**DRIVING), replace(ASKED, accident=accident))


def test_the_steps_follow_each_other() -> None:
    asked = replace(
        ASKED,
        part_minor=100_000_00,
        deductions=(Deduction(20_000_00, "paid by the state"), Deduction(79_999_99, "paid before")),
    )
    assert aid_of(plan(**LADDER), asked) == Aid(
        1,
        (
            "aid from 0 to 39: 300,000.00",
            "tenure 2 years: 60 %, 180,000.00",
            "asked for: 100,000.00",
            "deducted 20,000.00: paid by the state",
            "deducted 79,999.99: paid before",
        ),
    )


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (replace(ASKED, part_minor=300_000_01), r"give more than 0 and at most the plan's 300,000\.00"),
        (replace(ASKED, part_minor=0), r"aid 0\.00: give more than 0"),
        (replace(ASKED, deductions=(Deduction(-1, "x"),)), r"deduction -0\.01: give an amount that is not negative"),
        (
            replace(ASKED, part_minor=1_00, deductions=(Deduction(40, "one"), Deduction(60, "two"))),
            r"no aid to pay: .*; asked for: 1\.00; deducted 0\.40: one; deducted 0\.60: two; that leaves 0\.00$",
        ),
    ],
)
def test_what_leaves_nothing_is_refused_with_the_arithmetic(asked: Application, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        aid_of(plan(), asked)
