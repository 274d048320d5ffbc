"""In words: what a member pays in, who pays, when a seat freezes or ends, levies, and how the plan ends."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plans.member_rules import Direction, Funding, Levy, LevyOn, Prepaid, RefundAtEnd
from engine.plans.phrases import ages, amount, counted_days
from engine.plans.rules import PlanRules

_FUNDINGS = {
    Funding.MANDATE: "nothing is paid in beforehand; the member's account is debited for each run",
    Funding.PREPAID: "each run draws on the balance that the member paid in",
}

_LEVIED_FROM = {
    LevyOn.JOINING: "once, from each who joins",
    LevyOn.DORMANT_QUARTER: "from each who was covered through a calendar quarter without any share, having joined",
}

_REFUNDS = {
    RefundAtEnd.NOTHING: "members get nothing back",
    RefundAtEnd.BALANCES: "each member gets their own balance back",
    RefundAtEnd.SHARES: "{sponsor} pays each member all shares back",
}


def members_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topics of a membership: funding, payers, balances, failed debits, exits, changes of cover, levies."""
    if rules.direction is Direction.DEBIT:
        yield "funding", _FUNDINGS[rules.funding]
        yield "who pays", _payers(rules)
    if rules.prepaid is not None:
        yield from _prepaid(rules, rules.prepaid)
    if rules.unpaid is not None:
        yield "failed debit", _unpaid(rules.unpaid.retry_days)
    elif rules.direction is Direction.DEBIT and rules.funding is Funding.MANDATE:
        yield "failed debit", "the share stays owed"
    yield "exit", f"when the member asks{''.join(f', or {reason}' for reason in _exits(rules))}"
    if rules.cover_change is not None:
        later = f"the raised part of a higher one {counted_days(rules.cover_change.raise_waiting_days)} later"
        yield "change of tier", f"another tier weighs from the next debit day on; a lower cover holds at once, {later}"
    for levy in rules.levies:
        yield f"levy {levy.name}", _levy(rules, levy)


def end_in_words(rules: PlanRules) -> Iterator[tuple[str, str]]:
    """The topic of the wind-down."""
    if (end := rules.wind_down) is None:
        return
    sponsor = rules.share.sponsor
    shares = f"from {end.announced_on} on no member shares, {sponsor} pays"
    claims = f"a diagnosis made by {rules.ends_on} may be filed for {counted_days(end.claims_within_days)} after that"
    yield "wind-down", f"{shares}; {claims}; {_REFUNDS[end.refund].format(sponsor=sponsor)}"


def _payers(rules: PlanRules) -> str:
    if not rules.family_payers:
        return "each member for themself"
    return "each member, or one of the family: the own share first, then the family in the order they joined"


def _prepaid(rules: PlanRules, prepaid: Prepaid) -> Iterator[tuple[str, str]]:
    floor = amount(rules, prepaid.floor)
    yield "entry", f"each member begins with {amount(rules, prepaid.entry)} or more"
    yield "floor", f"with less than {floor} a member is frozen: not covered and not counted"
    how = f"by paying every share missed and ending at {floor} or more"
    yield "return", f"within {counted_days(prepaid.return_days)} of the freeze, {how}; who does not return leaves"
    if (automatic := prepaid.auto_top_up) is not None:
        below, each = amount(rules, automatic.below), amount(rules, automatic.amount)
        most = f"at most {amount(rules, automatic.per_month_at_most)} a month"
        yield "auto top-up", f"with less than {below} a member is debited {each}, {most}"


def _unpaid(retry_days: int | None) -> str:
    tried = "until the day before the next debit" if retry_days is None else f"for {counted_days(retry_days)}"
    return f"tried again daily {tried}; then the member leaves"


def _exits(rules: PlanRules) -> Iterator[str]:
    if rules.exits.at_age is not None:
        yield f"on the birthday that completes {rules.exits.at_age} years"
    if rules.exits.after_aid:
        yield "once aid was received"


def _levy(rules: PlanRules, levy: Levy) -> str:
    owed = _LEVIED_FROM[levy.on]
    # The last word of each is for the ages; at any age it goes without.
    whom = (
        owed.removesuffix(", having joined")
        if levy.from_age is None
        else f"{owed} at {ages(levy.from_age, levy.to_age)}"
    )
    return f"{amount(rules, levy.amount)} {whom}; no cap counts it"
