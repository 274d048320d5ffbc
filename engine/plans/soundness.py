"""What is wrong with a plan's rules as a whole: each rule may be right by itself and contradict another.

Every message begins with the key to change and says what it may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from engine.apportion.terms import CapBasis, OverCap, Rounding
from engine.plans.aid_rules import PayoutWhen
from engine.plans.member_rules import Benefit, Direction, Funding, RefundAtEnd
from engine.plans.rules import TIERS_MAX, CapYear, Debit, Gate, NoSharers, Notice, PlanRules, ShareKey, TierBy, Trigger

_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def wrong_in(rules: PlanRules) -> list[str]:
    """Every contradiction, each beginning with the key to change."""
    return [
        *_life(rules),
        *_days(rules),
        *_tiers(rules),
        *_runs(rules),
        *_prepaid(rules),
        *_credit(rules),
        *_aid(rules),
        *_members(rules),
        *_end(rules),
    ]


def _life(rules: PlanRules) -> Iterator[str]:
    if rules.ends_on is not None and rules.ends_on < rules.starts_on:
        yield "ends_on: give starts_on or a later day"
    claims, waivers = rules.claims, sorted(rules.waivers, key=lambda waiver: waiver.gates_from)
    if claims.maximum_age_years < claims.minimum_age_years:
        yield "claims.maximum_age_years: give minimum_age_years or more"
    if any(waiver.gates_to < waiver.gates_from for waiver in waivers):
        yield "waivers.gates_to: give gates_from or a later day"
    elif any(other.gates_from <= one.gates_to for one, other in pairwise(waivers)):
        yield "waivers: two hold at the same gate; let the one begin after the gates_to of the other"


def _days(rules: PlanRules) -> Iterator[str]:
    for name, days in (("notice", rules.notice), ("debit", rules.debit)):
        if days.days_of_month is None and rules.share.trigger is not Trigger.EVENT:
            yield f"{name}.days_of_month: missing; only with share.trigger event it may be any day"
        if days.months is not None and days.days_of_month is None:
            yield f"{name}.months: give {name}.days_of_month too, or leave it out"
        if not _comes(days):
            yield f"{name}.days_of_month: none comes in these months; give a day that one of {name}.months has"
    if rules.share.gate is Gate.KEPT_FROM_LAST_PERIOD and rules.debit.days_of_month is None:
        yield "share.gate: kept_from_last_period needs debit.days_of_month, which make the periods; or give notice_day"
    if rules.share.gate is Gate.KEPT_FROM_LAST_PERIOD and rules.waivers:
        yield "waivers: with share.gate kept_from_last_period a run does not tell who joined by a day; leave them out"


def _comes(days: Notice | Debit) -> bool:
    if days.days_of_month is None or days.months is None:
        return True
    return any(days.days_of_month[0] <= _MONTH_DAYS[month - 1] for month in days.months)


def _tiers(rules: PlanRules) -> Iterator[str]:
    tiers, key = rules.tiers, rules.share.key
    if not 1 <= len(tiers) <= TIERS_MAX:
        yield f"tiers: give 1 to {TIERS_MAX}"
    if len({tier.code for tier in tiers}) < len(tiers):
        yield "tiers.code: two tiers have the same; give each its own"
    if key is not ShareKey.WEIGHT and any(tier.weight is not None for tier in tiers):
        yield f"tiers.weight: with share.key {key} a tier has none; leave it out"
    if key is ShareKey.WEIGHT and any(tier.weight is None for tier in tiers):
        yield "tiers.weight: give each tier one, 0 or more"
    if key is ShareKey.OWN_CAP and any(tier.per_year is None for tier in tiers):
        yield "tiers.per_year: with share.key own_cap give it for each tier; it is what the tier weighs"
    if key is ShareKey.COVER and any(tier.cover is None for tier in tiers):
        yield "tiers.cover: with share.key cover give it for each tier; it is what the tier weighs"
    for name in ("premium", "coefficient"):
        if any((getattr(tier, name) is not None) is not (key is ShareKey.PREMIUM) for tier in tiers):
            yield f"tiers.{name}: give it for each tier with share.key premium, and only then"
    weighing = {"weight": "weight", "own_cap": "per_year", "cover": "cover"}.get(key)
    if weighing and tiers and all(getattr(tier, weighing) == 0 for tier in tiers):
        yield f"tiers.{weighing}: nobody would share; give one tier more than 0"
    if key is ShareKey.PREMIUM and tiers and all(0 in (tier.premium, tier.coefficient) for tier in tiers):
        yield "tiers.premium: nobody would share; give one tier a premium and a coefficient above 0"
    yield from _tier_ages(rules)


def _tier_ages(rules: PlanRules) -> Iterator[str]:
    tiers, by_age = rules.tiers, rules.tier_by is TierBy.AGE_AT_JOINING
    if any((tier.from_age is not None, tier.to_age is not None) != (by_age, by_age) for tier in tiers):
        yield "tiers: give each from_age and to_age with tier_by age_at_joining, and only then"
    elif by_age:
        ages = sorted(age for tier in tiers for age in range(tier.from_age or 0, (tier.to_age or 0) + 1))
        if ages != list(range(rules.claims.minimum_age_years, rules.claims.maximum_age_years + 1)):
            yield "tiers: give each age that claims allows, from minimum to maximum_age_years, one tier"
    if rules.cover_change is not None and by_age:
        yield "cover_change: the age at joining fixes the tier for good; leave it out, or give tier_by choice"
    elif rules.cover_change is not None and len(tiers) == 1:
        yield "cover_change: there is one tier, so none to change to; leave it out, or give more tiers"


def _runs(rules: PlanRules) -> Iterator[str]:
    share, caps = rules.share, rules.caps
    is_event = share.trigger is Trigger.EVENT
    has_year_cap = bool(caps.per_year) or any(tier.per_year is not None for tier in rules.tiers)
    if is_event and share.rounding is Rounding.EXACT:
        yield "share.rounding: exact deals out single units over periods; with share.trigger event give up or half_up"
    if is_event and (caps.per_run is not None or has_year_cap):
        yield "caps: with share.trigger event per_case and the balance hold a seat; leave per_run and per_year out"
    if caps.year is CapYear.MEMBERSHIP and not has_year_cap:
        yield "caps.year: there is no cap per year that it would be about; leave it out, or give caps.per_year"
    if caps.unit != 1 and caps.basis is CapBasis.HEAD:
        yield "caps.unit: counts with caps.basis weight; leave it out, or give that basis"
    bearer = share.fallback if share.over_cap is OverCap.REDISTRIBUTE else share.over_cap
    if share.no_sharers is NoSharers.SPONSOR and bearer is not OverCap.SPONSOR:
        yield f"share.no_sharers: where the rest is for {bearer} nobody pays in place of all; give hold"
    if share.rounding is Rounding.DOWN and rules.direction is Direction.DEBIT:
        yield "share.rounding: down is for direction credit; give up, half_up or exact"


def _prepaid(rules: PlanRules) -> Iterator[str]:
    prepaid = rules.prepaid
    if (rules.funding is Funding.PREPAID) != (prepaid is not None):
        yield "prepaid: give the table with funding prepaid, and only then"
    if prepaid is None:
        return
    if prepaid.entry < prepaid.floor:
        yield "prepaid.entry: a member would begin frozen; give prepaid.floor or more"
    if rules.unpaid is not None:
        yield "unpaid: a prepaid plan debits nobody, so no debit fails; leave it out"
    if rules.family_payers:
        yield "family_payers: a prepaid plan draws on each member's own balance; leave it out"
    automatic = prepaid.auto_top_up
    if automatic is not None and not 0 < automatic.amount <= automatic.per_month_at_most:
        yield "prepaid.auto_top_up.amount: give more than 0 and at most per_month_at_most"
    if automatic is not None and automatic.below < prepaid.floor:
        yield "prepaid.auto_top_up.below: a member would be frozen before; give prepaid.floor or more"


def _credit(rules: PlanRules) -> Iterator[str]:
    share, caps = rules.share, rules.caps
    if (rules.direction is Direction.CREDIT) != (rules.surplus is not None):
        yield "surplus: give the table with direction credit, and only then"
    if rules.surplus and rules.surplus.benefit is Benefit.MONEY and rules.surplus.cover_per_unit != 1:
        yield "surplus.cover_per_unit: counts with surplus.benefit cover; leave it out, or give that benefit"
    if rules.direction is Direction.DEBIT:
        return
    if rules.funding is Funding.PREPAID:
        yield "funding: a credit run draws on no balance; give mandate"
    if share.trigger is Trigger.EVENT:
        yield "share.trigger: a credit run gives a period's surplus; give calendar"
    if share.rounding is not Rounding.DOWN:
        yield "share.rounding: a credit run gives whole units and keeps the rest; give down"
    if share.fee:
        yield 'share.fee: a credit run knows none, costs come off before; give "0"'
    if caps.per_case is not None or caps.per_run is not None or caps.per_year:
        yield "caps: a credit run knows none; leave per_case, per_run and per_year out"
    if any(tier.per_year is not None for tier in rules.tiers):
        yield "tiers.per_year: a credit run knows no caps; leave it out, and give another share.key than own_cap"
    if rules.aid or rules.fault_share or rules.aid_tenure or rules.aid_stages:
        yield "aid: a credit run shares no claims; leave aid, aid_tenure, aid_stages and fault_share out"
    if rules.payout.when is not PayoutWhen.SETTLED:
        yield "payout.when: a credit run pays no aid; leave it out"
    for name in ("unpaid", "waivers", "family_payers"):
        if getattr(rules, name):
            yield f"{name}: a credit run debits nobody; leave it out"


def _aid(rules: PlanRules) -> Iterator[str]:
    bands = rules.aid
    if not bands and rules.fault_share is None and rules.direction is Direction.DEBIT:
        yield "aid: give at least one band, or the table fault_share"
    if bands and rules.fault_share is not None:
        yield "fault_share: the award decides the aid; leave the aid bands out, or this table"
    if any(band.to_age < band.from_age for band in bands):
        yield "aid.to_age: give from_age or more"
    for severity in sorted({band.severity or "" for band in bands}):
        alike = sorted((band for band in bands if (band.severity or "") == severity), key=lambda band: band.from_age)
        if any(other.from_age <= one.to_age for one, other in pairwise(alike)):
            which = f" and severity {severity}" if severity else ""
            yield f"aid: two bands hold for the same age{which}; let the one begin after the to_age of the other"
    if any(band.severity is None for band in bands) and any(band.severity for band in bands):
        yield "aid.severity: give it for every band, or for none"
    if any((band.amount is None) == (band.of_cover is None) for band in bands):
        yield "aid: give each band either amount or of_cover"
    if any(band.amount == 0 for band in bands):
        yield "aid.amount: give more than 0"
    if any(band.of_cover is not None for band in bands) and any(tier.cover is None for tier in rules.tiers):
        yield "aid.of_cover: needs the cover of every tier; give tiers.cover, or amount"
    if any(band.of_cover is not None and not 0 < band.of_cover <= 1 for band in bands):
        yield "aid.of_cover: give more than 0 and at most 1, the whole cover"
    steps = rules.aid_tenure
    if steps and (steps[0].from_years != 0 or any(a.from_years >= b.from_years for a, b in pairwise(steps))):
        yield "aid_tenure.from_years: begin with 0, then rise"
    if any(not 0 < step.rate <= 1 for step in steps):
        yield "aid_tenure.rate: give more than 0 and at most 1"
    if rules.aid_stages is not None and not 0 < rules.aid_stages.first <= 1:
        yield "aid_stages.first: give more than 0 and at most 1"
    if rules.fault_share is not None and rules.fault_share.at_most == 0:
        yield "fault_share.at_most: give more than 0"


def _members(rules: PlanRules) -> Iterator[str]:
    levies, at_age = rules.levies, rules.exits.at_age
    if at_age is not None and at_age <= rules.claims.minimum_age_years:
        yield "exits.at_age: nobody could stay; give more than claims.minimum_age_years"
    if len({levy.name for levy in levies}) < len(levies):
        yield "levies.name: two levies have the same; give each its own"
    if any((levy.from_age is None) != (levy.to_age is None) for levy in levies):
        yield "levies: give from_age and to_age together, or neither"
    if any((levy.to_age or 0) < (levy.from_age or 0) for levy in levies if levy.to_age is not None):
        yield "levies.to_age: give from_age or more"
    if any(levy.amount == 0 for levy in levies):
        yield "levies.amount: give more than 0"


def _end(rules: PlanRules) -> Iterator[str]:
    if (end := rules.wind_down) is None:
        return
    if rules.ends_on is None:
        yield "wind_down: give ends_on too, the last day of the plan"
    elif not rules.starts_on <= end.announced_on <= rules.ends_on:
        yield "wind_down.announced_on: give a day from starts_on to ends_on"
    if end.refund is RefundAtEnd.NOTHING and rules.funding is Funding.PREPAID:
        yield "wind_down.refund: members paid balances in; give balances or shares"
    if end.refund is RefundAtEnd.BALANCES and rules.funding is not Funding.PREPAID:
        yield "wind_down.refund: balances are for funding prepaid; give nothing or shares"
    if end.refund is RefundAtEnd.SHARES and rules.direction is Direction.CREDIT:
        yield "wind_down.refund: a credit run takes no shares; give nothing"
