"""What a plan's rules say, in words a finance person reads, and in which of them two plans differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from engine.apportion.terms import CapBasis, OverCap, Rounding
from engine.money import MINOR_DIGITS, decimal_text, grouped
from engine.plans.answers import terms, weights
from engine.plans.rules import BusinessDays, Gate, NoSharers, PlanRules, ShareKey, Tier, TierBy

_UNITS = {"CNY": "yuan", "EUR": "euro"}

_GATES = {
    Gate.NOTICE_DAY: "who is covered at 00:00 of the day a claim's notice begins; who leaves later still owes",
    Gate.SETTLEMENT_DAY: "who is covered at 00:00 of the day members are debited",
}

_TIERS_BY = {
    TierBy.CHOICE: "what was chosen at joining, as the roster says",
    TierBy.AGE_AT_JOINING: "the age at joining; it stays when the member grows older",
}

_ROUNDINGS = {
    Rounding.UP: "rounded up to {unit}, once per member and run; what is collected too much is carried to the next run",
    Rounding.HALF_UP: "rounded half up to {unit}, once per member and run",
    Rounding.DOWN: "rounded down to {unit}, once per member and run",
    Rounding.EXACT: "whole units of {unit}; the odd ones that are left go round from run to run, so that all add up",
}

_NO_SHARERS = {
    NoSharers.HOLD: "the run stops and a person decides",
    NoSharers.SPONSOR: "{sponsor} pays all of it",
}


class Difference(NamedTuple):
    """A rule that two plans do not share: what the old and the new one say; None where it says nothing."""

    topic: str
    old: str | None
    new: str | None


def explain(rules: PlanRules) -> dict[str, str]:
    """Every rule of a plan as a sentence, by its topic, in reading order."""
    return dict(
        [
            ("plan", f"{rules.name} ({rules.code}), in {_UNITS.get(rules.currency, rules.currency)}"),
            (
                "life",
                f"from {rules.starts_on} until {rules.ends_on or 'further notice'}, by the days of {rules.time_zone}",
            ),
            *_calendar(rules),
            *_sharing(rules),
            *_caps(rules),
            *_claims(rules),
        ]
    )


def differences(old: PlanRules, new: PlanRules) -> list[Difference]:
    """Every topic on which two plans say different things, in reading order."""
    before, after = explain(old), explain(new)
    topics = [*after, *(topic for topic in before if topic not in after)]
    return [
        Difference(topic, before.get(topic), after.get(topic))
        for topic in topics
        if before.get(topic) != after.get(topic)
    ]


def _calendar(rules: PlanRules) -> Iterator[tuple[str, str]]:
    yield (
        "notice",
        f"claims are published {_month_days(rules.notice.days_of_month)}, for {rules.notice.length_days} days",
    )
    yield "debit", f"members are debited {_month_days(rules.debit.days_of_month)}{_business(rules.debit.business_days)}"


def _sharing(rules: PlanRules) -> Iterator[tuple[str, str]]:
    share = rules.share
    yield "who shares", _GATES[share.gate]
    yield "shared by", _key(rules)
    if len(rules.tiers) > 1:
        yield "tier by", _TIERS_BY[rules.tier_by]
    for number, tier in enumerate(rules.tiers):
        yield f"tier {number}", f"{tier.code}: {', '.join(_tier(rules, tier))}"
    yield "fee", f"{_percent(share.fee)} of the aid, on top of it" if share.fee else "none"
    yield "rounding", _ROUNDINGS[share.rounding].format(unit=_amount(rules, 1))
    yield "nobody shares", _NO_SHARERS[share.no_sharers].format(sponsor=share.sponsor)


def _key(rules: PlanRules) -> str:
    if rules.share.key is ShareKey.OWN_CAP:
        return "each in proportion to the member's own cap per year"
    return "all members alike" if len(set(weights(rules))) == 1 else "each in proportion to the weight of the tier"


def _tier(rules: PlanRules, tier: Tier) -> Iterator[str]:
    if tier.from_age is not None:
        yield f"joined at the age of {tier.from_age} to {tier.to_age}"
    if tier.weight is not None:
        yield f"weighs {tier.weight:,}"
    if tier.per_year is not None:
        yield f"pays at most {_amount(rules, tier.per_year)} per calendar year"


def _caps(rules: PlanRules) -> Iterator[tuple[str, str]]:
    caps, rest = rules.caps, _rest(rules)
    if caps.per_case is None:
        yield "cap per case", "none"
    else:
        each = "" if caps.basis is CapBasis.HEAD else f" for every {caps.unit:,} of weight"
        yield "cap per case", f"each member pays at most {_amount(rules, caps.per_case)} per case{each}; {rest}"
    if caps.per_run is None:
        yield "cap per run", "none"
    else:
        yield "cap per run", f"each member pays at most {_amount(rules, caps.per_run)} per run; {rest}"
    if not (years := list(_year_caps(rules))):
        yield "cap per year", "none"
    else:
        yield "cap per year", f"each member pays at most {', '.join(years)}; {rest}"


def _year_caps(rules: PlanRules) -> Iterator[str]:
    for cap in rules.caps.per_year:
        years = f"from {cap.from_year} on" if cap.until_year is None else f"from {cap.from_year} to {cap.until_year}"
        yield f"{_amount(rules, cap.amount)} per calendar year {years}"
    if any(tier.per_year is not None for tier in rules.tiers):
        yield "the tier's own cap per calendar year"


def _rest(rules: PlanRules) -> str:
    """Who bears what a cap keeps from a member."""
    share = rules.share
    bearers = {OverCap.SPONSOR: f"{share.sponsor} pays the rest", OverCap.REDUCE_AID: "the aid is cut by the rest"}
    rest = bearers.get(share.over_cap) or (
        f"the others share the rest within their own caps, and where nobody can, {bearers[share.fallback]}"
    )
    first = terms(rules).surplus_first and share.rounding in (Rounding.UP, Rounding.HALF_UP)
    return f"{rest}, after what rounding collected too much" if first else rest


def _claims(rules: PlanRules) -> Iterator[tuple[str, str]]:
    claims = rules.claims
    yield "waiting time", f"{claims.waiting_days} days after joining before a diagnosis counts"
    years = f"{claims.minimum_age_years} years" if claims.minimum_age_years else f"{claims.minimum_age_days} days"
    yield "ages", f"from {years} to {claims.maximum_age_years} years"
    for band in rules.aid:
        yield f"aid from {band.from_age} to {band.to_age}", _amount(rules, band.amount)
    for number, waiver in enumerate(rules.waivers, start=1):
        held = f"joined by {waiver.joined_by}, gates from {waiver.gates_from} to {waiver.gates_to}"
        yield f"waiver {number}", f"{waiver.name}: {waiver.reason} ({held}); {rules.share.sponsor} pays"


def _month_days(days: Sequence[int]) -> str:
    *most, last = map(str, days)
    named = f"days {', '.join(most)} and {last}" if most else f"day {last}"
    return f"on {named} of the month"


def _business(business: BusinessDays | None) -> str:
    if business is None:
        return ""
    holidays, worked = (", ".join(map(str, days)) for days in (business.holidays, business.worked))
    kept = f"; holidays are {holidays}" if holidays else ""
    open_ = f"; worked are {worked}" if worked else ""
    return f", or on the {business.roll} business day{kept}{open_}"


def _amount(rules: PlanRules, minor: int) -> str:
    return f"{grouped(minor)} {_UNITS.get(rules.currency, rules.currency)}"


def _percent(rate: Fraction) -> str:
    """`8 %`, or the fraction where no short decimal says it."""
    text = decimal_text(rate * 100 * 10**MINOR_DIGITS).rstrip("0").rstrip(".")
    return f"{text} %" if Fraction(text) == rate * 100 else str(rate)
