"""`fentan quote`: what would each member pay? Answered from a plan's rules alone, without a database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.answer import print_json
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, decimal_text, grouped, to_major, to_minor
from engine.roster.presets import load_plan

if TYPE_CHECKING:
    from engine.apportion import Case, Group, Solution, Terms
    from engine.plans import PlanRules

CASES_MAX = 100_000

CAPS = ("per_case", "per_run", "per_year", "balance")
"""The names of the caps, in the order they are reported."""


def quote(
    plan: Annotated[str, typer.Option(metavar="CODE", help="A plan of config/plans, or a path to a TOML file.")],
    aid: Annotated[
        list[str],
        typer.Option(
            metavar="AMOUNT[xN]", help="300000, or 300000x50 for fifty; where members get a surplus, that. Repeatable."
        ),
    ],
    members: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=BIGINT_MAX, help="How many members share.")
    ] = None,
    tier: Annotated[
        list[str] | None, typer.Option(metavar="CODE=COUNT", help="How many of a tier, in place of N. Repeatable.")
    ] = None,
    cap_sum: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Where caps are shares: all yearly caps in force together.")
    ] = None,
    own_cap: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="With it: the cap of who asks, one member or N alike.")
    ] = None,
    balance: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Prepaid plans: what every member has; else it suffices.")
    ] = None,
    carry: Annotated[str, typer.Option(metavar="AMOUNT", help="Carry from the run before.")] = "0",
    on: Annotated[
        str | None, typer.Option(metavar="DATE", help="The debit day: its year's cap applies, and a wind-down.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each member would pay for these cases."""
    rules = load_plan(plan)
    pool = Pool(tuple(_cases(aid)), to_minor(carry), _day(on, rules), _balance(balance, rules))
    if cap_sum is not None and own_cap is not None and not tier:
        answer, who = answer_by_cap(rules, members or 1, to_minor(own_cap), to_minor(cap_sum), pool), members or 1
    elif cap_sum is None and own_cap is None and (members is None) == bool(tier):
        counts = _counts(tier, rules) if tier else _alike(members or 0, rules)
        answer, who = answer_to(rules, counts, pool), sum(counts.values())
    else:
        raise InvalidInput("say who shares: --members N, or --tier CODE=COUNT, or --cap-sum AMOUNT --own-cap AMOUNT")
    if as_json:
        print_json(answer)
        return
    typer.echo(f"{rules.name} ({rules.code}), {who:,} member{'s' if who > 1 else ''}")
    for label, text in _table(rules, pool, answer):
        typer.echo(f"{label:<12}{text:>24}")


@dataclass(frozen=True)
class Pool:
    """What is shared: aids (or a surplus), carry-in and everybody's balance, in minor units.

    `on`: the debit day, whose yearly caps hold, with nothing used of them; None: today, and members share even where
    the plan has ended. `balance`: None where nothing is prepaid, or all balances suffice.
    """

    aids: tuple[int, ...]
    carry_in: int
    on: date | None = None
    balance: int | None = None

    @property
    def year(self) -> int:
        """Whose yearly caps hold; without a day the question is about now: a cap without an end applies."""
        return (self.on or datetime.now(UTC)).year


@dataclass
class Part:
    """What each of so many members of a tier pays (or gets) over all cases: whole and exact, in minor units."""

    members: int
    charge: int = 0
    exact: Fraction = Fraction(0)
    capped_by: str | None = None
    caps_hit: set[str] = field(default_factory=set)


def answer_to(rules: PlanRules, counts: Mapping[int, int], pool: Pool) -> dict[str, Any]:
    """The quote for so many members of each tier as JSON keys, money as text in major units.

    `share`, `exact` and `capped_by` (the cap that decides) are those of who pays most; `caps_hit` names every cap that
    binds; with several tiers `tiers` has each. Raises InvalidInput where nobody shares and the plan holds such a run.
    """
    parts = {tier: Part(count) for tier, count in counts.items()}
    solutions: list[Solution] = []
    for aids in _rounds(rules, pool):
        carry_in = solutions[-1].carry_out if solutions else pool.carry_in
        solutions.append(_round(rules, parts, replace(pool, aids=aids, carry_in=carry_in)))
    ordered = sorted(parts.items(), key=lambda part: part[1].charge, reverse=True)
    shares = {rules.tiers[tier].code: {"members": part.members, **_share(part)} for tier, part in ordered}
    capped_by = next((part.capped_by for _, part in ordered if part.capped_by), None)
    most = _share(ordered[0][1])
    answer = {
        "share": most["share"],
        "exact": most["exact"],
        **_totals(solutions),
        "capped_by": capped_by,
        "caps_hit": [name for name in CAPS if any(name in part.caps_hit for part in parts.values())],
    }
    return answer if len(rules.tiers) == 1 else answer | {"tiers": shares}


def _rounds(rules: PlanRules, pool: Pool) -> list[tuple[int, ...]]:
    """The aids that are shared together: those of a period, one of an event plan, all surplus of a quarter."""
    from engine.plans.rules import Trigger

    if rules.surplus is not None:
        return [(sum(pool.aids) * rules.surplus.cover_per_unit,)]
    return [(aid,) for aid in pool.aids] if rules.share.trigger is Trigger.EVENT else [pool.aids]


def _round(rules: PlanRules, parts: Mapping[int, Part], pool: Pool) -> Solution:
    """Share one round, on the balances the rounds before left, and put into the parts what it adds to them."""
    from engine.apportion import Histogram, give, merge, solve
    from engine.plans.answers import floor_minor

    shares, floor = _members_share(rules, pool), floor_minor(rules)
    caps = {tier: _caps(rules, tier, part, pool) for tier, part in parts.items()}
    live = [tier for tier in parts if shares and caps[tier].get("balance", floor) >= floor]
    histogram = merge(
        Histogram.alike(parts[tier].members, min(caps[tier].values(), default=None), tier) for tier in live
    )
    cases, money = _shared_cases(rules, pool), _terms(rules, pool)
    if rules.surplus is None:
        solution = solve(histogram, (0,), cases, money, pool.carry_in)
    else:
        solution = give(histogram, cases[0], money, pool.carry_in)
    if solution.no_sharers and shares and rules.share.no_sharers == "hold":
        why = "the tiers given weigh nothing" if live else f"no balance reaches the floor of {to_major(floor)}"
        raise InvalidInput(f"nobody shares a case of {to_major(pool.aids[0])}: {why}, and the plan holds such a run")
    for group in solution.groups:
        odd = (group.class_, group.tier) in solution.odd_units
        _add(parts[group.tier], group, group.charge + odd, caps[group.tier])
    return solution


def _add(part: Part, group: Group, charge: int, caps: Mapping[str, int]) -> None:
    part.charge += charge
    part.exact += group.taken
    if group.allowance_capped:
        part.capped_by = min(caps, key=lambda name: caps[name])
        part.caps_hit |= {name for name, cap in caps.items() if cap < group.share or cap == group.allowance}
    if group.case_capped:
        part.capped_by = part.capped_by or "per_case"
        part.caps_hit.add("per_case")


def _caps(rules: PlanRules, tier: int, part: Part, pool: Pool) -> dict[str, int]:
    """What a seat of the tier can be charged at most in this round, by the name of each cap that stands."""
    from engine.plans import run_cap, year_cap

    balance = None if pool.balance is None else pool.balance - part.charge
    named = {"per_run": run_cap(rules), "per_year": year_cap(rules, pool.year, tier), "balance": balance}
    return {name: cap for name, cap in named.items() if cap is not None}


def _members_share(rules: PlanRules, pool: Pool) -> bool:
    from engine.plans.answers import members_share

    return pool.on is None or members_share(rules, pool.on)


def _terms(rules: PlanRules, pool: Pool) -> Terms:
    from engine.apportion import OverCap
    from engine.plans import terms

    # Once members share no more the sponsor pays, in a plan that else reduces the aid too.
    return terms(rules) if _members_share(rules, pool) else replace(terms(rules), over_cap=OverCap.SPONSOR)


def _share(part: Part) -> dict[str, Any]:
    return {
        "share": to_major(part.charge),
        "exact": decimal_text(part.exact),
        "capped_by": part.capped_by,
        "caps_hit": [name for name in CAPS if name in part.caps_hit],
    }


def answer_by_cap(rules: PlanRules, members: int, own_cap: int, cap_sum: int, pool: Pool) -> dict[str, Any]:
    """The quote for members of one yearly cap out of all that are in force, in minor units (SCHEMES: jd-hubao).

    `charged` is what these members pay; `carry_out` is null, as it hangs on how the rest is made up; `sponsor` is exact
    where the plan rounds up. Raises InvalidInput where the plan does not share by own cap, or has other caps too.
    """
    from engine.apportion import Histogram, merge, solve
    from engine.plans import ShareKey, case_cap, run_cap, terms

    if rules.share.key is not ShareKey.OWN_CAP:
        raise InvalidInput(f"{rules.code} does not share by own cap; say who shares by --members or --tier")
    if case_cap(rules) is not None or run_cap(rules) is not None or rules.caps.per_year:
        raise InvalidInput(f"{rules.code} has other caps too; say how many are of each tier: --tier CODE=COUNT")
    if not 0 < own_cap * members <= cap_sum:
        raise InvalidInput(f"{members} × --own-cap {to_major(own_cap)} is not above 0 and within --cap-sum")
    rest = cap_sum - own_cap * members
    # All the others as one seat: in proportion to the caps, the caps bind all or none.
    weighed = replace(terms(rules), weights=(own_cap, rest))
    histogram = merge([Histogram.alike(members, own_cap), Histogram.alike(1, rest, tier=1)])
    solution = solve(histogram, (0,), _shared_cases(rules, pool), weighed, pool.carry_in)
    own = next(group for group in solution.groups if group.tier == 0)
    return {
        "share": to_major(own.charge),
        "exact": decimal_text(own.taken),
        **_totals([solution]),
        "charged": to_major(own.charge * members),
        "carry_out": None,
        "capped_by": "per_year" if own.allowance_capped else None,
        "caps_hit": ["per_year"] if own.allowance_capped else [],
    }


def _shared_cases(rules: PlanRules, pool: Pool) -> list[Case]:
    from engine.apportion import Case
    from engine.plans import case_cap

    return [Case(aid, 0, case_cap(rules)) for aid in pool.aids]


def _totals(solutions: Sequence[Solution]) -> dict[str, Any]:
    return {
        "charged": to_major(sum(solution.charged for solution in solutions)),
        "fee": to_major(sum(sum(solution.fees) for solution in solutions)),
        "carry_out": to_major(solutions[-1].carry_out),
        "sponsor": to_major(sum(solution.sponsor for solution in solutions)),
        "aid_paid": to_major(sum(sum(solution.aids) for solution in solutions)),
    }


def _alike(members: int, rules: PlanRules) -> dict[int, int]:
    if len(rules.tiers) > 1:
        raise InvalidInput(
            f"{rules.code} has {len(rules.tiers)} tiers; say how many members are of each: --tier CODE=COUNT"
        )
    return {0: members}


def _counts(texts: list[str], rules: PlanRules) -> dict[int, int]:
    codes = [tier.code for tier in rules.tiers]
    counts: dict[int, int] = {}
    for text in texts:
        code, _, count = text.rpartition("=")
        if code not in codes or not re.fullmatch(r"[1-9][0-9]{0,11}", count):
            raise InvalidInput(f"--tier {text}: write CODE=COUNT; the tiers of {rules.code} are {', '.join(codes)}")
        counts[codes.index(code)] = counts.get(codes.index(code), 0) + int(count)
    return counts


def _cases(texts: list[str]) -> list[int]:
    aids: list[int] = []
    for text in texts:
        match = re.fullmatch(r"(?P<amount>[0-9.]+)(?:x(?P<count>[1-9][0-9]{0,8}))?", text)
        if not match or not (amount := to_minor(match["amount"])):
            raise InvalidInput(f"--aid {text}: write an amount above 0, or amount x count: 300000 or 300000x50")
        count = int(match["count"] or 1)
        if len(aids) + count > CASES_MAX:
            raise InvalidInput(f"--aid {text}: that is more than {CASES_MAX:,} cases; quote fewer at a time")
        aids += [amount] * count
    return aids


def _day(on: str | None, rules: PlanRules) -> date | None:
    try:
        return None if on is None else date.fromisoformat(on)
    except ValueError:
        raise InvalidInput(f"--on {on}: write the day like {rules.starts_on}") from None


def _balance(balance: str | None, rules: PlanRules) -> int | None:
    if balance is None:
        return None
    if rules.prepaid is None:
        raise InvalidInput(f"--balance {balance}: in {rules.code} nothing is prepaid; leave it out")
    if (held := to_minor(balance)) < rules.prepaid.floor:
        floor = to_major(rules.prepaid.floor)
        raise InvalidInput(f"--balance {balance}: give {floor} or more; below that {rules.code} freezes a member")
    return held


def _table(rules: PlanRules, pool: Pool, answer: dict[str, Any]) -> list[tuple[str, str]]:
    if rules.surplus is not None:
        verb, labels = "get", {"charged": "given", "carry_out": "carry out"}
        unit = "of cover" if rules.surplus.benefit == "cover" else rules.currency
    else:
        verb, unit = "pay", rules.currency
        labels = {"charged": "charged", "fee": "of it, fee", "aid_paid": "aid paid", "sponsor": "sponsor pays"}
        labels |= {"carry_out": "carry out"}
    most = "at most" if "tiers" in answer else f"each {verb}s"
    rows = [(most, f"{answer['share']} {unit}"), ("exactly", answer["exact"])]
    rows += [(label, grouped(to_minor(answer[key]))) for key, label in labels.items() if answer[key] is not None]
    if rules.surplus is None:
        asked = sum(pool.aids)
        if to_minor(answer["aid_paid"]) < asked:
            rows.append(("aid asked", grouped(asked)))
        names = [answer["capped_by"], *(name for name in answer["caps_hit"] if name != answer["capped_by"])]
        rows.append(("capped by", ", also ".join(name.replace("_", " ") for name in names if name) or "nothing"))
    tiers = answer.get("tiers", {})
    return rows + [(code, f"{each['members']:,} {verb} {each['share']}") for code, each in tiers.items()]
