"""`fentan quote`: what would each member pay? Answered from a plan's rules alone, without a database."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, decimal_text, grouped, to_major, to_minor
from engine.resources import config_dir

if TYPE_CHECKING:
    from engine.apportion import Case, Solution
    from engine.plans import PlanRules

CASES_MAX = 100_000


def quote(
    plan: Annotated[str, typer.Option(metavar="CODE", help="A plan of config/plans, or a path to a TOML file.")],
    aid: Annotated[list[str], typer.Option(metavar="AMOUNT[xN]", help="300000, or 300000x50 for fifty. Repeatable.")],
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
    carry: Annotated[str, typer.Option(metavar="AMOUNT", help="Carry from the run before.")] = "0",
    on: Annotated[str | None, typer.Option(metavar="DATE", help="The debit day; its year's cap applies.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each member would pay for these cases."""
    rules = load_plan(plan)
    pool = Pool(tuple(_cases(aid)), to_minor(carry), _year(on, rules))
    if cap_sum is not None and own_cap is not None and not tier:
        answer, who = answer_by_cap(rules, members or 1, to_minor(own_cap), to_minor(cap_sum), pool), members or 1
    elif cap_sum is None and own_cap is None and (members is None) == bool(tier):
        counts = _counts(tier, rules) if tier else _alike(members or 0, rules)
        answer, who = answer_to(rules, counts, pool), sum(counts.values())
    else:
        raise InvalidInput("say who shares: --members N, or --tier CODE=COUNT, or --cap-sum AMOUNT --own-cap AMOUNT")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"{rules.name} ({rules.code}), {who:,} member{'s' if who > 1 else ''}")
    for label, text in _table(rules, answer):
        typer.echo(f"{label:<12}{text:>24}")


@dataclass(frozen=True)
class Pool:
    """What is shared: aids and carry-in in minor units; `year` picks the yearly caps, with nothing used of them."""

    aids: tuple[int, ...]
    carry_in: int
    year: int


def preset_codes() -> list[str]:
    """The codes of the plans in config/plans, sorted."""
    return sorted(path.stem for path in (config_dir() / "plans").glob("*.toml"))


def load_plan(plan: str) -> PlanRules:
    """The rules of a code in config/plans, or of the TOML file at a path. Raises InvalidInput."""
    from engine.plans import parse

    known = preset_codes()
    path = config_dir() / "plans" / f"{plan}.toml" if plan in known else Path(plan)
    if path.suffix != ".toml" or not path.is_file():
        raise InvalidInput(f"no plan {plan!r}; known are {', '.join(known)}, or give the path of a TOML file")
    try:
        return parse(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name}: {error}") from None


def answer_to(rules: PlanRules, counts: Mapping[int, int], pool: Pool) -> dict[str, Any]:
    """The quote for so many members of each tier as JSON keys, money as text in major units.

    `share`, `exact` and `capped_by` are those of who pays most; with several tiers `tiers` has each.
    """
    from engine.apportion import Histogram, merge, solve
    from engine.plans import run_cap, terms, year_cap

    caps = {tier: {"per_run": run_cap(rules), "per_year": year_cap(rules, pool.year, tier)} for tier in counts}
    least = {
        tier: min(((cap, name) for name, cap in named.items() if cap is not None), default=(None, None))
        for tier, named in caps.items()
    }
    histogram = merge(Histogram.alike(count, least[tier][0], tier) for tier, count in counts.items())
    solution = solve(histogram, (0,), _shared_cases(rules, pool), terms(rules), pool.carry_in)
    shares = {
        rules.tiers[group.tier].code: {
            "members": group.seats,
            "share": to_major(group.charge + ((group.class_, group.tier) in solution.odd_units)),
            "exact": decimal_text(group.taken),
            "capped_by": least[group.tier][1] if group.allowance_capped else "per_case" if group.case_capped else None,
        }
        for group in sorted(solution.groups, key=lambda group: group.charge, reverse=True)
    }
    (most, *others) = shares.values()
    answer = {
        "share": most["share"],
        "exact": most["exact"],
        **_totals(solution),
        "capped_by": next((each["capped_by"] for each in (most, *others) if each["capped_by"]), None),
    }
    return answer if len(rules.tiers) == 1 else answer | {"tiers": shares}


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
        **_totals(solution),
        "charged": to_major(own.charge * members),
        "carry_out": None,
        "capped_by": "per_year" if own.allowance_capped else None,
    }


def _shared_cases(rules: PlanRules, pool: Pool) -> list[Case]:
    from engine.apportion import Case
    from engine.plans import case_cap

    return [Case(aid, 0, case_cap(rules)) for aid in pool.aids]


def _totals(solution: Solution) -> dict[str, Any]:
    return {
        "charged": to_major(solution.charged),
        "fee": to_major(sum(solution.fees)),
        "carry_out": to_major(solution.carry_out),
        "sponsor": to_major(solution.sponsor),
        "aid_paid": to_major(sum(solution.aids)),
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


def _year(on: str | None, rules: PlanRules) -> int:
    if on is None:
        # Without a day the question is about now: a cap without an end applies.
        return datetime.now(UTC).year
    try:
        return date.fromisoformat(on).year
    except ValueError:
        raise InvalidInput(f"--on {on}: write the day like {rules.starts_on}") from None


def _table(rules: PlanRules, answer: dict[str, Any]) -> list[tuple[str, str]]:
    labels = {"charged": "charged", "fee": "of it, fee", "aid_paid": "aid paid", "sponsor": "sponsor pays"}
    labels |= {"carry_out": "carry out"}
    payer = "at most" if "tiers" in answer else "each pays"
    rows = [(payer, f"{answer['share']} {rules.currency}"), ("exactly", answer["exact"])]
    rows += [(label, grouped(to_minor(answer[key]))) for key, label in labels.items() if answer[key] is not None]
    rows.append(("capped by", (answer["capped_by"] or "nothing").replace("_", " ")))
    tiers = answer.get("tiers", {})
    return rows + [(code, f"{each['members']:,} pay {each['share']}") for code, each in tiers.items()]
