"""What a plan's rules say about a run, a claim or a member: pure questions, one answer each."""

from __future__ import annotations

from datetime import date

from engine.apportion.terms import Terms
from engine.errors import InvalidInput
from engine.plans.days import day_number
from engine.plans.rules import PlanRules, ShareKey, Waiver


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
    """What each tier weighs; by own cap, its yearly cap in minor units."""
    by_cap = rules.share.key is ShareKey.OWN_CAP
    return tuple((tier.per_year if by_cap else tier.weight) or 0 for tier in rules.tiers)


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


def aid_for(rules: PlanRules, born_on: date, diagnosed_on: date) -> int:
    """The aid in minor units for someone of this age at first diagnosis. Raises InvalidInput where there is none."""
    age_days = day_number(diagnosed_on) - day_number(born_on)
    age_years = completed_years(born_on, diagnosed_on)
    youngest, oldest = rules.claims.minimum_age_days, rules.claims.maximum_age_years
    if age_days < youngest:
        raise InvalidInput(f"{age_days} days old at diagnosis; {rules.code} takes claims from {youngest} days on")
    if age_years < rules.claims.minimum_age_years:
        raise InvalidInput(
            f"{age_years} years old at diagnosis; {rules.code} takes claims from {rules.claims.minimum_age_years} on"
        )
    if age_years > oldest:
        raise InvalidInput(f"{age_years} years old at diagnosis; {rules.code} takes claims to the age of {oldest}")
    for band in rules.aid:
        if band.from_age <= age_years <= band.to_age:
            return band.amount
    raise InvalidInput(f"{age_years} years old at diagnosis; {rules.code} has no aid band for that age")


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
    """The most a seat of a tier pays for debit days of the calendar year `year`, in minor units; None: no cap.

    The least of the plan's cap and the tier's own. A cap by membership year is taken as one by calendar year.
    """
    of_plan = next((cap.amount for cap in rules.caps.per_year if cap.holds_in(year)), None)
    return min((cap for cap in (of_plan, rules.tiers[tier].per_year) if cap is not None), default=None)


def year_caps(rules: PlanRules, year: int) -> tuple[int | None, ...]:
    """`year_cap` of every tier."""
    return tuple(year_cap(rules, year, tier) for tier in range(len(rules.tiers)))


def waiver_for(rules: PlanRules, gate_on: date) -> Waiver | None:
    """The waiver that holds at a gate: who joined by its `joined_by` owes nothing there, the sponsor pays."""
    return next((waiver for waiver in rules.waivers if waiver.gates_from <= gate_on <= waiver.gates_to), None)
