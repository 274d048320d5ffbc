"""What is wrong with a plan's rules as a whole: each rule may be right by itself and contradict another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from engine.apportion.terms import Rounding
from engine.plans.member_rules import Direction, Funding, RefundAtEnd
from engine.plans.rules import TIERS_MAX, CapYear, Gate, PlanRules, ShareKey, TierBy, Trigger


def wrong_in(rules: PlanRules) -> list[str]:
    """Every contradiction, each beginning with the key to change."""
    return [
        *_life(rules),
        *_tiers(rules),
        *_runs(rules),
        *_funding(rules),
        *_aid(rules),
        *_members(rules),
    ]


def _life(rules: PlanRules) -> Iterator[str]:
    if rules.ends_on is not None and rules.ends_on < rules.starts_on:
        yield "ends_on is before starts_on"
    if rules.claims.maximum_age_years < rules.claims.minimum_age_years:
        yield "claims: maximum_age_years is below minimum_age_years"
    if any(waiver.gates_to < waiver.gates_from for waiver in rules.waivers):
        yield "waivers: gates_to is before gates_from"
    if (end := rules.wind_down) is not None:
        if rules.ends_on is None:
            yield "wind_down: give ends_on too, the last day of the plan"
        elif not rules.starts_on <= end.announced_on <= rules.ends_on:
            yield "wind_down.announced_on: give a day from starts_on to ends_on"
        if end.refund is RefundAtEnd.BALANCES and rules.funding is not Funding.PREPAID:
            yield "wind_down.refund: balances are for funding prepaid; give nothing or shares"


def _tiers(rules: PlanRules) -> Iterator[str]:
    tiers, by_age, key = rules.tiers, rules.tier_by is TierBy.AGE_AT_JOINING, rules.share.key
    if not 1 <= len(tiers) <= TIERS_MAX:
        yield f"tiers: give 1 to {TIERS_MAX}"
    if len({tier.code for tier in tiers}) < len(tiers):
        yield "tiers: two tiers have the same code"
    if key is not ShareKey.WEIGHT and any(tier.weight is not None for tier in tiers):
        yield f"tiers: with share.key {key} a tier has no weight; leave it out"
    if key is ShareKey.WEIGHT and any(tier.weight is None for tier in tiers):
        yield "tiers: give each a weight"
    if key is ShareKey.OWN_CAP and any(tier.per_year is None for tier in tiers):
        yield "tiers: with share.key own_cap give each per_year, which is what it weighs"
    if key is ShareKey.COVER and any(tier.cover is None for tier in tiers):
        yield "tiers: with share.key cover give each cover, which is what it weighs"
    if any(
        (tier.premium is not None, tier.coefficient is not None) != (key is ShareKey.PREMIUM,) * 2 for tier in tiers
    ):
        yield "tiers: give each premium and coefficient with share.key premium, and only then"
    if any((tier.from_age is not None, tier.to_age is not None) != (by_age, by_age) for tier in tiers):
        yield "tiers: give each from_age and to_age with tier_by age_at_joining, and only then"
    elif by_age:
        ages = sorted(age for tier in tiers for age in range(tier.from_age or 0, (tier.to_age or 0) + 1))
        if ages != list(range(rules.claims.minimum_age_years, rules.claims.maximum_age_years + 1)):
            yield "tiers: give each age that claims allows, from minimum to maximum_age_years, one tier"
    if rules.cover_change is not None and by_age:
        yield "cover_change: the age at joining fixes the tier for good; leave it out, or give tier_by choice"


def _runs(rules: PlanRules) -> Iterator[str]:
    share, caps = rules.share, rules.caps
    is_event = share.trigger is Trigger.EVENT
    for name, days in (("notice", rules.notice), ("debit", rules.debit)):
        if days.days_of_month is None and not is_event:
            yield f"{name}.days_of_month: missing; only with share.trigger event it may be any day"
        if days.months is not None and days.days_of_month is None:
            yield f"{name}.months: give days_of_month too"
    if is_event and share.rounding is Rounding.EXACT:
        yield "share.rounding: exact deals out single units over periods; with share.trigger event give up or half_up"
    if is_event and (caps.per_run is not None or caps.per_year or any(tier.per_year for tier in rules.tiers)):
        yield "caps: with share.trigger event per_case and the balance hold a seat; leave per_run and per_year out"
    if share.gate is Gate.KEPT_FROM_LAST_PERIOD and rules.debit.days_of_month is None:
        yield "share.gate: kept_from_last_period needs debit.days_of_month, which make the periods"
    if caps.year is CapYear.MEMBERSHIP and not (caps.per_year or any(tier.per_year for tier in rules.tiers)):
        yield "caps.year: there is no cap per year that it would be about"


def _funding(rules: PlanRules) -> Iterator[str]:
    prepaid = rules.prepaid
    if (rules.funding is Funding.PREPAID) != (prepaid is not None):
        yield "prepaid: give the table with funding prepaid, and only then"
    if prepaid is not None:
        if prepaid.entry < prepaid.floor:
            yield "prepaid.entry is below prepaid.floor: a member would begin frozen"
        if rules.unpaid is not None:
            yield "unpaid: a prepaid plan debits nobody, so no debit fails; leave it out"
        automatic = prepaid.auto_top_up
        if automatic is not None and not 0 < automatic.amount <= automatic.per_month_at_most:
            yield "prepaid.auto_top_up.amount: give more than 0 and at most per_month_at_most"
    is_credit = rules.direction is Direction.CREDIT
    if is_credit != (rules.surplus is not None):
        yield "surplus: give the table with direction credit, and only then"
    if is_credit:
        if prepaid is not None or rules.share.trigger is Trigger.EVENT:
            yield "direction: a credit run gives a period's surplus; funding is mandate and share.trigger calendar"
        if rules.share.rounding is not Rounding.DOWN:
            yield "share.rounding: a credit run gives whole units and keeps the rest; give down"
        if rules.share.fee or rules.caps.per_case is not None or rules.caps.per_run is not None or rules.caps.per_year:
            yield "share: a credit run knows neither fee nor caps; leave them out"
    elif rules.share.rounding is Rounding.DOWN:
        yield "share.rounding: down is for direction credit; give up, half_up or exact"


def _aid(rules: PlanRules) -> Iterator[str]:
    bands = rules.aid
    if not bands and rules.fault_share is None and rules.direction is Direction.DEBIT:
        yield "aid: give at least one band, or the table fault_share"
    if any(band.to_age < band.from_age for band in bands):
        yield "aid: a band ends before it begins"
    for severity in {band.severity for band in bands}:
        alike = sorted((band for band in bands if band.severity == severity), key=lambda band: band.from_age)
        if any(other.from_age <= one.to_age for one, other in pairwise(alike)):
            yield "aid: two bands hold for the same age" + (f" and severity {severity}" if severity else "")
    if bands and any(band.severity is None for band in bands) and any(band.severity for band in bands):
        yield "aid: give every band a severity, or none"
    if any((band.amount is None) == (band.of_cover is None) for band in bands):
        yield "aid: give each band either amount or of_cover"
    if any(band.of_cover is not None for band in bands) and any(tier.cover is None for tier in rules.tiers):
        yield "aid: of_cover needs the cover of every tier"
    if any(band.of_cover is not None and band.of_cover > 1 for band in bands):
        yield "aid.of_cover: give at most 1, the whole cover"
    steps = rules.aid_tenure
    if steps and (steps[0].from_years != 0 or any(a.from_years >= b.from_years for a, b in pairwise(steps))):
        yield "aid_tenure: begin with from_years 0, then rise"
    if any(not 0 < step.rate <= 1 for step in steps):
        yield "aid_tenure.rate: give more than 0 and at most 1"
    if rules.aid_stages is not None and not 0 < rules.aid_stages.first <= 1:
        yield "aid_stages.first: give more than 0 and at most 1"
    if rules.fault_share is not None and bands:
        yield "fault_share: the award decides the aid; leave the aid bands out"


def _members(rules: PlanRules) -> Iterator[str]:
    names = [levy.name for levy in rules.levies]
    if len(set(names)) < len(names):
        yield "levies: two levies have the same name"
    if any((levy.from_age is None) != (levy.to_age is None) for levy in rules.levies):
        yield "levies: give from_age and to_age together, or neither"
