"""What a plan's rules say about a run, a claim or a member: pure questions, one answer each."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from math import lcm

from engine.apportion.terms import Terms
from engine.plans.member_rules import Direction
from engine.plans.rules import PlanRules, ShareKey, Waiver

MEMBERS = "members"
"""Who pays runs, as long as the plan lives."""


def terms(rules: PlanRules) -> Terms:
    """The rules as a run's money terms."""
    share = rules.share
    return Terms(
        weights=weights(rules),
        fee=share.fee,
        rounding=share.rounding,
        over_cap=share.over_cap,
        fallback=share.fallback,
        cap_basis=rules.caps.basis,
        cap_unit=rules.caps.unit,
        surplus_first=share.surplus_first,
    )


def weights(rules: PlanRules) -> tuple[int, ...]:
    """What each tier weighs: its weight, or its yearly cap, cover or premium × coefficient in minor units.

    Where coefficients leave fractions of a unit, all are multiplied by what makes them whole.
    """
    tiers = rules.tiers
    match rules.share.key:
        case ShareKey.WEIGHT:
            exact = [Fraction(tier.weight or 0) for tier in tiers]
        case ShareKey.OWN_CAP:
            exact = [Fraction(tier.per_year or 0) for tier in tiers]
        case ShareKey.COVER:
            exact = [Fraction(tier.cover or 0) for tier in tiers]
        case ShareKey.PREMIUM:
            exact = [(tier.premium or 0) * (tier.coefficient or Fraction(0)) for tier in tiers]
    scale = lcm(*(weight.denominator for weight in exact))
    return tuple(int(weight * scale) for weight in exact)


def tier_at(rules: PlanRules, age_years: int) -> int | None:
    """The tier of who joins at an age in completed years; None where the plan takes nobody of it or does not go by age.

    Tiers count from 0 in the order of the plan file.
    """
    found = (
        number
        for number, tier in enumerate(rules.tiers)
        if tier.from_age is not None and tier.to_age is not None and tier.from_age <= age_years <= tier.to_age
    )
    return next(found, None)


def completed_years(born_on: date, on: date) -> int:
    """Age in completed years; who was born on 29 February completes one on 1 March in other years."""
    return on.year - born_on.year - ((on.month, on.day) < (born_on.month, born_on.day))


def case_cap(rules: PlanRules) -> int | None:
    """The most a head pays for one case, in minor units (under the basis `weight`: for `caps.unit`); None: no cap."""
    return rules.caps.per_case


def run_cap(rules: PlanRules) -> int | None:
    """The most a seat pays in one run, in minor units; None: no cap."""
    return rules.caps.per_run


def year_cap(rules: PlanRules, year: int, tier: int = 0) -> int | None:
    """The most a seat of a tier pays for debit days of the cap year `year`, in minor units; None: no cap.

    The least of the plan's cap and the tier's own. A membership year is of the calendar year that it begins in.
    """
    of_plan = next((cap.amount for cap in rules.caps.per_year if cap.holds_in(year)), None)
    return min((cap for cap in (of_plan, rules.tiers[tier].per_year) if cap is not None), default=None)


def year_caps(rules: PlanRules, year: int) -> tuple[int | None, ...]:
    """`year_cap` of every tier."""
    return tuple(year_cap(rules, year, tier) for tier in range(len(rules.tiers)))


def members_share(rules: PlanRules, debit_on: date) -> bool:
    """Whether members pay a run debited on that day; from the notice of the wind-down on the sponsor does.

    What a credit run gives goes to the members up to the end.
    """
    ends = rules.wind_down is not None and debit_on >= rules.wind_down.announced_on
    return not ends or rules.direction is Direction.CREDIT


def paid_by(rules: PlanRules, debit_on: date) -> str:
    """Who pays a run debited on that day: MEMBERS, or the sponsor by the name the plan has for it."""
    return MEMBERS if members_share(rules, debit_on) else str(rules.share.sponsor)


def floor_minor(rules: PlanRules) -> int:
    """Below this balance a seat is frozen and not counted, in minor units; 0 where nothing is prepaid."""
    return 0 if rules.prepaid is None else rules.prepaid.floor


def waiver_for(rules: PlanRules, gate_on: date) -> Waiver | None:
    """The waiver that holds at a gate: who joined by its `joined_by` owes nothing there, the sponsor pays."""
    return next((waiver for waiver in rules.waivers if waiver.gates_from <= gate_on <= waiver.gates_to), None)
