"""`fentan decision`: list, show, approve, refuse."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import decisions
from engine.cli.answer import print_json
from engine.cli.options import As
from engine.cli.shell import in_database
from engine.decisions import Decision
from engine.money import BIGINT_MAX, grouped
from engine.roster.plan import plan_of
from engine.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Money decisions outside runs: one person proposes, another approves, and only then it is done.",
)
console = Console(markup=False)

Number = Annotated[
    int, typer.Argument(metavar="N", min=1, max=BIGINT_MAX, help="The decision's number, as `list` prints it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; amounts in it are minor units.")]


@app.command("list")
def list_(
    plan: Annotated[str | None, typer.Option(metavar="CODE", help="Only this plan's.")] = None, as_json: AsJson = False
) -> None:
    """Every decision, the newest first: what is proposed, done and refused."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Decision]:
        async with engine.connect() as connection:
            plan_id = (await plan_of(connection, plan)).plan_id if plan else None
            return await decisions.list_decisions(connection, plan_id)

    found = in_database(listed)
    if as_json:
        print_json([_as_json(decision) for decision in found])
        return
    table = Table("decision", "plan", "what", "about", "effective on", "state", "proposed by", "decided by")
    for each in found:
        who = (each.proposed_by, each.decided_by or "")
        table.add_row(
            str(each.decision_id), each.plan_code, each.kind, each.subject, str(each.effective_on), each.state, *who
        )
    console.print(table)


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """What is proposed, by whom, and what came of it."""

    async def found(engine: AsyncEngine, _: Settings) -> Decision:
        async with engine.connect() as connection:
            return await decisions.decision_of(connection, number)

    decision = in_database(found)
    if as_json:
        print_json(_as_json(decision))
        return
    facts = Table(title=f"Decision {number}: {decision.kind} of {decision.plan_code}", show_header=False)
    facts.add_column()
    facts.add_column(overflow="fold")
    rows: dict[str, Any] = {
        "about": decision.subject,
        "effective on": decision.effective_on,
        "state": decision.state,
        "proposed by": decision.proposed_by,
        "decided by": decision.decided_by,
        **decision.detail,
        **(decision.outcome or {}),
    }
    for name, value in rows.items():
        if value is not None:
            facts.add_row(name.removesuffix("_minor").replace("_", " "), _fact(name, value))
    console.print(facts)


@app.command()
def approve(number: Number, actor: As) -> None:
    """Have a decision done; by someone else than who proposed it."""
    from engine.custodian.desk import Desk
    from engine.reconcile.decided import carry_out

    async def approved(engine: AsyncEngine, settings: Settings) -> Decision:
        desk = Desk.of(settings, os.environ)
        async with engine.begin() as connection:
            return await carry_out(connection, number, actor=actor, desk=desk, now=datetime.now(UTC))

    decision = in_database(approved)
    came_to = "; ".join(
        f"{name.removesuffix('_minor').replace('_', ' ')} {_fact(name, value)}"
        for name, value in (decision.outcome or {}).items()
    )
    console.print(f"decision {number}, {decision.kind} of {decision.subject}, is done: {came_to}", soft_wrap=True)


@app.command()
def refuse(
    number: Number,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the record: no names.")],
    actor: As,
) -> None:
    """Refuse a decision, so that it is never done; who proposed it may, too."""
    from engine.reconcile.decided import refuse as refuse_and_free

    async def refused(engine: AsyncEngine, _: Settings) -> Decision:
        async with engine.begin() as connection:
            return await refuse_and_free(connection, number, reason=reason, actor=actor)

    decision = in_database(refused)
    console.print(f"decision {number}, {decision.kind} of {decision.subject}, is refused by {actor}")


def _as_json(decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision.decision_id,
        "plan": decision.plan_code,
        "kind": decision.kind,
        "subject": decision.subject,
        "effective_on": decision.effective_on.isoformat(),
        "state": decision.state,
        "proposed_by": decision.proposed_by,
        "decided_by": decision.decided_by,
        "detail": decision.detail,
        "outcome": decision.outcome,
    }


def _fact(name: str, value: Any) -> str:
    """One fact for eyes: amounts in major units, long lists by their length."""
    if isinstance(value, list):
        return f"{len(value):,}"
    if isinstance(value, int) and not isinstance(value, bool):
        return grouped(value) if name.endswith("_minor") else f"{value:,}"
    return str(value)
