"""`fentan reconcile pay`, `refund` and `close`: money out by decision of two, and the end of a run."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.options import As
from engine.cli.shell import in_database
from engine.decisions import Decision
from engine.money import BIGINT_MAX, grouped
from engine.roster.plan import newest_rules, plan_of
from engine.runs.run import load_run
from engine.runs.states import RunState
from engine.settings import Settings

console = Console(markup=False, highlight=False)

RunId = Annotated[int, typer.Argument(metavar="RUN", min=1, max=BIGINT_MAX, help="The run's number.")]
PlanCode = Annotated[str, typer.Argument(metavar="PLAN", help="The plan.")]
On = Annotated[
    datetime | None,
    typer.Option(
        metavar="DATE",
        formats=["%Y-%m-%d"],
        help="The day of it; paid then, or the next day the custodian can be reached. [default: today in its zone]",
    ),
]


def pay(run_id: RunId, actor: As, on: On = None) -> None:
    """Propose to pay a run's aid that is not paid yet to its claimants; done once somebody else approves."""
    from engine.reconcile.payouts import propose_payouts

    async def proposed(engine: AsyncEngine, _: Settings) -> Decision:
        async with engine.begin() as connection:
            day = await _day(connection, (await load_run(connection, run_id)).plan_id, on)
            return await propose_payouts(connection, run_id, on=day, actor=actor)

    decision = in_database(proposed)
    found = decision.detail
    kept = f", after {grouped(found['set_off_minor'])} that was recovered before" if found["set_off_minor"] else ""
    _print_proposed(decision, f"{grouped(found['amount_minor'])} of aid to {found['claimants']:,} claimants{kept}")


def refund(plan: PlanCode, actor: As, on: On = None) -> None:
    """Propose to pay every member of a plan what they are owed back; done once somebody else approves."""
    from engine.reconcile.refunds import propose_refunds

    async def proposed(engine: AsyncEngine, _: Settings) -> Decision:
        async with engine.begin() as connection:
            plan_id = (await plan_of(connection, plan)).plan_id
            return await propose_refunds(connection, plan_id, on=await _day(connection, plan_id, on), actor=actor)

    decision = in_database(proposed)
    found = decision.detail
    _print_proposed(decision, f"{grouped(found['amount_minor'])} is paid back to {found['seats']:,} members")


def close(run_id: RunId, actor: As, on: On = None) -> None:
    """Close a settled run: its aid is paid, its breaks are resolved, and every debit is accounted for."""
    from engine.reconcile.closing import close_run

    async def closed(engine: AsyncEngine, _: Settings) -> RunState:
        async with engine.begin() as connection:
            day = await _day(connection, (await load_run(connection, run_id)).plan_id, on)
            return await close_run(connection, run_id, on=day, actor=actor)

    console.print(f"run {run_id} is {in_database(closed)}")


def _print_proposed(decision: Decision, what: str) -> None:
    number = decision.decision_id
    console.print(f"decision {number}, effective on {decision.effective_on}: {what}", soft_wrap=True)
    console.print(f"it waits for somebody else: `fentan decision approve {number} --as NAME`", soft_wrap=True)


async def _day(connection: AsyncConnection, plan_id: int, on: datetime | None) -> date:
    if on is not None:
        return on.date()
    return datetime.now(ZoneInfo((await newest_rules(connection, plan_id)).time_zone)).date()
