"""`fentan calendar`: the periods of a plan in a year."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from typing import Annotated

import typer

from engine.cli.quote import load_plan


def calendar(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan of config/plans, or a path to a TOML file.")],
    year: Annotated[int, typer.Option(metavar="Y", min=1900, max=9000, help="Whose notices.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a year of a plan: when each notice begins and ends, its debit day, and its gate."""
    from engine.plans import slots

    rules = load_plan(plan)
    found = list(slots(rules, date(year, 1, 1), date(year, 12, 31)))
    if as_json:
        rows = [{name: day.isoformat() for name, day in asdict(slot).items()} for slot in found]
        answer = {"plan": rules.code, "year": year, "time_zone": rules.time_zone, "slots": rows}
        typer.echo(json.dumps(answer, indent=2))
        return
    life = f"from {rules.starts_on} until {rules.ends_on or 'further notice'}"
    typer.echo(f"{rules.name} ({rules.code}), {year}, days of {rules.time_zone}; the plan lives {life}")
    typer.echo(f"{'notice begins':<17}{'has ended on':<17}{'debit':<17}gate, at 00:00")
    for slot in found:
        days = (slot.notice_on, slot.ends_on, slot.debit_on, slot.gate_on)
        typer.echo("".join(f"{day:%Y-%m-%d %a}".ljust(17) for day in days).rstrip())
    if not found:
        typer.echo("no notice begins in this year")
