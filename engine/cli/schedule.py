"""`fentan schedule`: let the clock plan the runs of a plan, and see what it has to do."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli import slots as slot_commands
from engine.cli.answer import print_json
from engine.cli.options import As
from engine.cli.shell import in_database
from engine.errors import InvalidInput
from engine.roster.plan import plan_of
from engine.runs.scheduling import Schedule, Standing, end_schedule, list_schedules, set_schedule
from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Runs that the clock plans, once the time of a debit day has come.")
PlanCode = Annotated[str, typer.Argument(metavar="PLAN", help="The plan.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _clock_time(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - of a clock in the plan's zone
    except ValueError:
        raise InvalidInput(f"{text!r} is no time of the day; write it like 09:00") from None


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Each plan that the clock plans for: when, in whose name, its next slot, and what was missed or refused."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Standing]:
        async with engine.connect() as connection:
            return await list_schedules(connection, now=datetime.now(UTC))

    found = in_database(listed)
    if as_json:
        rows = [
            {
                "plan": each.schedule.plan_code,
                **{name: value for name, value in asdict(each.schedule).items() if name != "plan_code"},
                "plans_at": f"{each.schedule.plans_at:%H:%M}",
                "next_slot": each.next_slot,
                "missed_slots": each.missed,
                "claims_waiting": each.claims,
            }
            for each in found
        ]
        print_json(rows)
        return
    table = Table("plan", "planned at", "set by", "next slot", "missed", "claims waiting", "last refusal")
    for each in found:
        known = each.schedule
        counts = (f"{each.missed:,}", f"{each.claims:,}")
        table.add_row(
            known.plan_code,
            f"{known.plans_at:%H:%M}",
            known.set_by,
            str(each.next_slot or ""),
            *counts,
            known.refusal,
        )
    Console(markup=False).print(table)


@app.command("set")
def set_(
    plan: PlanCode,
    at: Annotated[time, typer.Option("--at", metavar="HH:MM", parser=_clock_time, help="In the plan's time zone.")],
    actor: As,
) -> None:
    """Let the clock plan a plan's runs at a time of its debit days, in your name: somebody else approves them."""

    async def scheduled(engine: AsyncEngine, _: Settings) -> Schedule:
        async with engine.begin() as connection:
            found = await plan_of(connection, plan)
            return await set_schedule(connection, found, plans_at=at, now=datetime.now(UTC), actor=actor)

    schedule = in_database(scheduled)
    typer.echo(f"{plan}: runs are planned at {schedule.plans_at:%H:%M} of each debit day, in the name of {actor}")


@app.command()
def end(plan: PlanCode, actor: As) -> None:
    """Let the clock plan no more runs of a plan."""

    async def ended(engine: AsyncEngine, _: Settings) -> None:
        async with engine.begin() as connection:
            await end_schedule(connection, await plan_of(connection, plan), actor=actor)

    in_database(ended)
    typer.echo(f"{plan}: the clock plans no more runs")


@app.command()
def slots(plan: PlanCode, as_json: AsJson = False) -> None:
    """What became of each debit day of a plan: run, skipped, missed, or open."""
    slot_commands.slots(plan, None, as_json)
