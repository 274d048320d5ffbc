"""In words: whose claims a plan takes, how much it pays for one and when, and what the sponsor pays by rule."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from engine.plans.aid_rules import AidBand, PayoutWhen, RecoveredTo
from engine.plans.phrases import amount, counted_days, listed, percent
from engine.plans.rules import PlanRules

_PAID_OUT = {
    PayoutWhen.SEALED: "once its run is sealed, before the debits are collected",
    PayoutWhen.SETTLED: "once every debit of its run is paid or written off",
}

_RECOVERED_TO = {
    RecoveredTo.CARRY: "aid that was paid wrongly and comes back lowers the next pool",
    RecoveredTo.SPONSOR: "aid that was paid wrongly and comes back goes to {sponsor}",
}


def claims_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of who may claim."""
    claims = rules.claims
    again = "" if claims.rejoining_days is None else f"; {counted_days(claims.rejoining_days)} for who joins again"
    yield "waiting time", f"{counted_days(claims.waiting_days)} after joining before a diagnosis counts{again}"
    years, days = claims.minimum_age_years, claims.minimum_age_days
    youngest = [*([f"{years} years"] if years else []), *([counted_days(days)] if days or not years else [])]
    yield "ages", f"from {listed(youngest)} to {claims.maximum_age_years} years"


def aid_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of aid: how much, by what, in how many parts, and where it goes when it comes back."""
    for band in rules.aid:
        severity = "" if band.severity is None else f", {band.severity}"
        yield f"aid from {band.from_age} to {band.to_age}{severity}", _aid(rules, band)
    if (fault := rules.fault_share) is not None:
        formula = "award × share of the fault − compulsory cover − third-party cover"
        yield "aid by fault", f"{formula}, at most {amount(rules, fault.at_most)}"
    if rules.aid_tenure:
        steps = [f"{percent(step.rate)} of it from {step.from_years} years on" for step in rules.aid_tenure]
        yield "aid by years of membership", listed(steps)
    if (stages := rules.aid_stages) is not None:
        yield "aid in stages", f"{percent(stages.first)} at once, the rest as bills come, each in a run of its own"
    if rules.aid or rules.fault_share:
        yield "payout", _PAID_OUT[rules.payout.when]
        yield "recovered aid", _RECOVERED_TO[rules.recovered_to].format(sponsor=rules.share.sponsor)


def waivers_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of what members owe nothing for."""
    for number, waiver in enumerate(rules.waivers, start=1):
        held = f"joined by {waiver.joined_by}, gates from {waiver.gates_from} to {waiver.gates_to}"
        yield f"waiver {number}", f"{waiver.name}: {waiver.reason} ({held}); {rules.share.sponsor} pays"


def _aid(rules: PlanRules, band: AidBand) -> str:
    if band.amount is not None:
        return amount(rules, band.amount)
    return f"{percent(band.of_cover or Fraction(0))} of the cover"
