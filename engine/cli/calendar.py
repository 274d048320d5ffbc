"""`fentan calendar`: the periods of a plan in a year."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.answer import print_json
from engine.roster.presets import load_plan

if TYPE_CHECKING:
    from engine.plans import PlanRules


def calendar(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan of config/plans, or a path to a TOML file.")],
    year: Annotated[int, typer.Option(metavar="Y", min=1900, max=9000, help="Whose notices.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a year of a plan: when each notice begins and ends, its debit day, its gate, and who pays."""
    from engine.plans import slots
    from engine.plans.answers import MEMBERS, paid_by
    from engine.plans.calendar import begins_on_any_day

    rules = load_plan(plan)
    any_day = begins_on_any_day(rules)
    found = [] if any_day else list(slots(rules, date(year, 1, 1), date(year, 12, 31)))
    if as_json:
        rows = [
            {name: day.isoformat() for name, day in asdict(slot).items()} | {"paid_by": paid_by(rules, slot.debit_on)}
            for slot in found
        ]
        answer = {
            "plan": rules.code, "year": year, "time_zone": rules.time_zone, "any_day": any_day, "slots": rows,
        }  # fmt: skip
        print_json(answer)
        return
    life = f"from {rules.starts_on} until {rules.ends_on or 'further notice'}"
    typer.echo(f"{rules.name} ({rules.code}), {year}, days of {rules.time_zone}; the plan lives {life}")
    if any_day:
        typer.echo(_each_claim_by_itself(rules))
        return
    typer.echo(f"{'notice begins':<17}{'has ended on':<17}{'debit':<17}gate, at 00:00")
    for slot in found:
        days = "".join(
            f"{day:%Y-%m-%d %a}".ljust(17) for day in (slot.notice_on, slot.ends_on, slot.debit_on, slot.gate_on)
        )
        payer = paid_by(rules, slot.debit_on)
        typer.echo(days.rstrip() if payer == MEMBERS else f"{days}paid by {payer}")
    if not found:
        typer.echo("no notice begins in this year")


def _each_claim_by_itself(rules: PlanRules) -> str:
    from engine.plans.calendar import claims_until, debits_on_any_day

    days, debit = rules.notice.length_days, "on the day after"
    if not debits_on_any_day(rules):
        debit = f"on the next of days {', '.join(map(str, rules.debit.days_of_month or ()))} of the month"
    length = f"{days} day{'' if days == 1 else 's'}"
    said = f"each claim by itself: its notice begins on any day and lasts {length}; it is shared {debit}"
    if rules.wind_down is None:
        return said
    end = f"from {rules.wind_down.announced_on} on {rules.share.sponsor} pays"
    return f"{said}; {end}; claims are taken until {claims_until(rules)}"
