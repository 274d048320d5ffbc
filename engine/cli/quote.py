"""`fentan quote`: what would each member pay? Answered from a plan's rules alone, without a database."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import InvalidInput
from engine.money import decimal_text, grouped, to_major, to_minor
from engine.resources import config_dir

if TYPE_CHECKING:
    from engine.plans import PlanRules

CASES_MAX = 100_000


def quote(
    plan: Annotated[str, typer.Option(metavar="CODE", help="A plan of config/plans, or a path to a TOML file.")],
    members: Annotated[int, typer.Option(metavar="N", min=1, help="How many members share.")],
    aid: Annotated[list[str], typer.Option(metavar="AMOUNT[xN]", help="300000, or 300000x50 for fifty. Repeatable.")],
    carry: Annotated[str, typer.Option(metavar="AMOUNT", help="Carry from the run before.")] = "0",
    on: Annotated[str | None, typer.Option(metavar="DATE", help="The debit day; its year's cap applies.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each member would pay for these cases."""
    rules = load_plan(plan)
    answer = answer_to(rules, members, _cases(aid), to_minor(carry), _year(on, rules))
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"{rules.name} ({rules.code}), {members:,} members")
    for label, text in _table(rules, answer):
        typer.echo(f"{label:<12}{text:>24}")


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


def answer_to(rules: PlanRules, members: int, aids: list[int], carry_in: int, year: int) -> dict[str, Any]:
    """The quote as JSON keys, money as text in major units; `year` picks the yearly cap, with nothing used of it."""
    from engine.apportion import Case, Histogram, solve
    from engine.plans import case_cap, run_cap, terms, year_cap

    if len(rules.tiers) > 1:
        raise InvalidInput(f"{rules.code} has {len(rules.tiers)} tiers; a quote needs a plan whose members are alike")
    caps = {"per_run": run_cap(rules), "per_year": year_cap(rules, year)}
    allowance, cap_name = min(((cap, name) for name, cap in caps.items() if cap is not None), default=(None, None))
    cases = [Case(aid, 0, case_cap(rules)) for aid in aids]
    solution = solve(Histogram.alike(members, allowance), (0,), cases, terms(rules), carry_in)
    (group,) = solution.groups
    capped_by = cap_name if group.allowance_capped else "per_case" if group.case_capped else None
    return {
        "share": to_major(group.charge + bool(solution.odd)),
        "exact": decimal_text(group.taken),
        "charged": to_major(solution.charged),
        "fee": to_major(sum(solution.fees)),
        "carry_out": to_major(solution.carry_out),
        "sponsor": to_major(solution.sponsor),
        "aid_paid": to_major(sum(solution.aids)),
        "capped_by": capped_by,
    }


def _cases(texts: list[str]) -> list[int]:
    aids: list[int] = []
    for text in texts:
        match = re.fullmatch(r"(?P<amount>[0-9.]+)(?:x(?P<count>[0-9]{1,9}))?", text)
        if not match:
            raise InvalidInput(f"--aid {text}: write an amount, or amount x count: 300000 or 300000x50")
        count = int(match["count"] or 1)
        if len(aids) + count > CASES_MAX:
            raise InvalidInput(f"--aid {text}: that is more than {CASES_MAX:,} cases; quote fewer at a time")
        aids += [to_minor(match["amount"])] * count
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
    rows = [("each pays", f"{answer['share']} {rules.currency}"), ("exactly", answer["exact"])]
    rows += [(label, grouped(to_minor(answer[key]))) for key, label in labels.items()]
    return [*rows, ("capped by", (answer["capped_by"] or "nothing").replace("_", " "))]
