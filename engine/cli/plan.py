"""`fentan plan`: make a plan's rules known to the database, version by version."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.quote import load_plan
from engine.cli.shell import As, in_database
from engine.ledger.accounts import open_accounts
from engine.plans import PlanRules
from engine.roster.plan import Plan, register_plan
from engine.settings import Settings
from engine.store.audit import record

app = typer.Typer(no_args_is_help=True, help="Plans: the rules runs pin.")


@app.callback()
def plans() -> None:
    """Keeps `register` a command of its own while it is the only one."""


@app.command()
def register(
    plan: Annotated[str, typer.Argument(metavar="CODE", help="A plan of config/plans, or a path to a TOML file.")],
    actor: As,
) -> None:
    """Register a plan, or a new version of its rules; runs planned before keep the version they pinned."""
    rules = load_plan(plan)

    async def registered(engine: AsyncEngine, _: Settings) -> Plan:
        async with engine.begin() as connection:
            return await enter_plan(connection, rules, actor=actor)

    found = in_database(registered)
    typer.echo(f"{found.code} is registered, rules version {found.version}")


async def enter_plan(connection: AsyncConnection, rules: PlanRules, *, actor: str) -> Plan:
    """Register the rules, and open the plan's accounts; the same again changes nothing."""
    plan = await register_plan(connection, rules)
    await open_accounts(connection, plan.plan_id)
    await record(connection, actor, "register plan", f"plan:{plan.code}", {"version": plan.version})
    return plan
