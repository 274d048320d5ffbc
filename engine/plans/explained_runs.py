"""In words: when a plan's runs are, what they share and how, and the most a member is charged."""

from __future__ import annotations

from collections.abc import Iterator

from engine.apportion.terms import CapBasis, Rounding
from engine.plans.answers import weights
from engine.plans.member_rules import Benefit, Direction, Funding
from engine.plans.phrases import ages, amount, business, counted_days, month_days, percent, rest
from engine.plans.rules import CapYear, Gate, NoSharers, PlanRules, ShareKey, Tier, TierBy, Trigger

_TRIGGERS = {
    Trigger.CALENDAR: "the claims of a period together",
    Trigger.EVENT: "each claim by itself, in the order of their notices",
}

_GATES = {
    Gate.NOTICE_DAY: "who is covered at 00:00 of the day a claim's notice begins; who leaves later still owes",
    Gate.SETTLEMENT_DAY: "who is covered at 00:00 of the day members are debited",
    Gate.KEPT_FROM_LAST_PERIOD: "who is covered at 00:00 of the day a claim's notice begins, "
    "and was covered on the debit day before it already",
}

_KEYS = {
    ShareKey.WEIGHT: "each in proportion to the weight of the tier",
    ShareKey.OWN_CAP: "each in proportion to the member's own cap per year",
    ShareKey.COVER: "each in proportion to the cover of the tier",
    ShareKey.PREMIUM: "each in proportion to the premium × the coefficient of the tier",
}

_TIERS_BY = {
    TierBy.CHOICE: "what was chosen at joining, as the roster says",
    TierBy.AGE_AT_JOINING: "the age at joining; it stays when the member grows older",
}

_ROUNDINGS = {
    Rounding.UP: "rounded up to {unit}, once per member and {run}; what is collected too much is carried to the next "
    "{run}",
    Rounding.HALF_UP: "rounded half up to {unit}, once per member and {run}",
    Rounding.DOWN: "rounded down to {unit}, once per member and run; what is left is carried to the next run",
    Rounding.EXACT: "whole units of {unit}; the odd ones that are left go round from run to run, so that all add up",
}

_NO_SHARERS = {
    NoSharers.HOLD: "the run stops and a person decides",
    NoSharers.SPONSOR: "{sponsor} pays all of it",
}

_CAP_YEARS = {CapYear.CALENDAR: "per calendar year", CapYear.MEMBERSHIP: "per year of membership"}


def calendar_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of the calendar."""
    what, charged = "claims are published", "members are debited"
    if rules.direction is Direction.CREDIT:
        what, charged = "a surplus is published", "members get their part of it"
    elif rules.funding is Funding.PREPAID:
        charged = "balances pay"
    yield "notice", f"{what} {month_days(rules.notice)}, for {counted_days(rules.notice.length_days)}"
    yield "debit", f"{charged} {month_days(rules.debit)}{business(rules.debit.business_days)}"


def sharing_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of sharing: what, by whom, in which proportion, with which fee and rounding."""
    share = rules.share
    is_credit = rules.direction is Direction.CREDIT
    yield "shared", _surplus(rules) if is_credit else _TRIGGERS[share.trigger]
    yield "who shares", _GATES[share.gate].replace("debited", "credited") if is_credit else _GATES[share.gate]
    yield "shared by", _key(rules)
    if len(rules.tiers) > 1:
        yield "tier by", _TIERS_BY[rules.tier_by]
    for number, tier in enumerate(rules.tiers):
        yield f"tier {number}", f"{tier.code}: {', '.join(_tier(rules, tier))}"
    yield "fee", f"{percent(share.fee)} of the aid, on top of it" if share.fee else "none"
    run = "case" if share.trigger is Trigger.EVENT else "run"
    yield "rounding", _ROUNDINGS[share.rounding].format(unit=_smallest(rules), run=run)
    yield "nobody shares", _NO_SHARERS[share.no_sharers].format(sponsor=share.sponsor)


def caps_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of caps, a balance among them; a credit run has none."""
    if rules.direction is Direction.CREDIT:
        return
    caps, bearer = rules.caps, rest(rules)
    if caps.per_case is None:
        yield "cap per case", "none"
    else:
        each = "" if caps.basis is CapBasis.HEAD else f" for every {caps.unit:,} of weight"
        yield "cap per case", f"each member pays at most {amount(rules, caps.per_case)} per case{each}; {bearer}"
    if caps.per_run is None:
        yield "cap per run", "none"
    else:
        yield "cap per run", f"each member pays at most {amount(rules, caps.per_run)} per run; {bearer}"
    if not (years := list(_year_caps(rules))):
        yield "cap per year", "none"
    else:
        yield "cap per year", f"each member pays at most {', '.join(years)}; {bearer}"
    if rules.funding is Funding.PREPAID:
        yield "cap by balance", f"each member pays at most what the balance holds; {bearer}"


def _surplus(rules: PlanRules) -> str:
    given = "premiums − claims − costs go back to the members, in money"
    if rules.surplus is None or rules.surplus.benefit is Benefit.MONEY:
        return given
    units = f"{rules.surplus.cover_per_unit:,} of cover for each of money"
    return f"premiums − claims − costs go back to the members, in units of cover: {units}"


def _smallest(rules: PlanRules) -> str:
    in_cover = rules.surplus is not None and rules.surplus.benefit is Benefit.COVER
    return "0.01 of cover" if in_cover else amount(rules, 1)


def _key(rules: PlanRules) -> str:
    is_by_head = rules.share.key is ShareKey.WEIGHT and len(set(weights(rules))) == 1
    return "all members alike" if is_by_head else _KEYS[rules.share.key]


def _tier(rules: PlanRules, tier: Tier) -> Iterator[str]:
    if tier.from_age is not None:
        yield f"joined at {ages(tier.from_age, tier.to_age)}"
    if tier.weight is not None:
        yield f"weighs {tier.weight:,}"
    if tier.cover is not None:
        yield f"is covered for {amount(rules, tier.cover)}"
    if tier.premium is not None:
        yield f"a premium of {amount(rules, tier.premium)}"
    if tier.coefficient is not None:
        yield f"a coefficient of {percent(tier.coefficient)}"
    if tier.per_year is not None:
        yield f"pays at most {amount(rules, tier.per_year)} {_CAP_YEARS[rules.caps.year]}"


def _year_caps(rules: PlanRules) -> Iterator[str]:
    year = _CAP_YEARS[rules.caps.year]
    begun = " that begins" if rules.caps.year is CapYear.MEMBERSHIP else ""
    for cap in rules.caps.per_year:
        years = f"from {cap.from_year} on" if cap.until_year is None else f"from {cap.from_year} to {cap.until_year}"
        yield f"{amount(rules, cap.amount)} {year}{begun} {years}"
    if any(tier.per_year is not None for tier in rules.tiers):
        yield f"the tier's own cap {year}"
