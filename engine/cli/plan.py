"""`fentan plan`: a plan's rules in words, checked, compared, and made known to the database version by version."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from engine.cli.answer import print_json
from engine.cli.options import As, not_to_come
from engine.errors import InvalidInput
from engine.roster.presets import load_plan, preset_codes

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from engine.decisions import Decision
    from engine.plans import PlanRules
    from engine.roster.plan import Plan
    from engine.runs.forecast import Forecast
    from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Plans: their rules in words, and the rules runs pin.")

PlanName = Annotated[str, typer.Argument(metavar="CODE", help="A plan of config/plans, or a path to a TOML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ESTIMATE = "an estimate, no charge"


@app.command("list")
def list_plans(*, as_json: AsJson = False) -> None:
    """The plans of config/plans."""
    plans = [load_plan(code) for code in preset_codes()]
    if as_json:
        print_json(
            [
                {
                    "code": rules.code,
                    "name": rules.name,
                    "starts_on": rules.starts_on.isoformat(),
                    "ends_on": rules.ends_on.isoformat() if rules.ends_on else None,
                }
                for rules in plans
            ]
        )
        return
    width = max(len(rules.code) for rules in plans)
    for rules in plans:
        typer.echo(f"{rules.code:<{width}}  {rules.starts_on} – {rules.ends_on or '…'!s:<10}  {rules.name}")


@app.command()
def show(plan: PlanName, *, as_json: AsJson = False) -> None:
    """Explain a plan's rules in words."""
    from engine.plans.explanation import explain

    topics = explain(load_plan(plan))
    if as_json:
        print_json(topics)
        return
    width = max(len(topic) for topic in topics)
    for topic, sentence in topics.items():
        typer.echo(f"{topic:<{width}}  {sentence}")


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file of rules.")]) -> None:
    """Check a file of rules; everything that is wrong is said at once, each with its key."""
    if file.suffix != ".toml" or not file.is_file():
        raise InvalidInput(f"{file}: name a TOML file that is there")
    rules = load_plan(str(file))
    typer.echo(f"{file.name}: the rules of {rules.name} ({rules.code}) are sound; `fentan plan show {file}` explains")


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A plan of config/plans, or a path to a TOML file.")],
    new: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Name each rule on which two plans differ: what A says → what B says."""
    from engine.plans.explanation import differences

    before, after = load_plan(old), load_plan(new)
    found = differences(before, after)
    if as_json:
        print_json([difference._asdict() for difference in found])
        return
    if not found:
        typer.echo(
            "no rule differs" + ("" if before == after else "; the files do, in what has no effect in these plans")
        )
    for topic, was, is_now in found:
        typer.echo(f"{topic}: {was or 'nothing said'} → {is_now or 'nothing said'}")


@app.command()
def register(plan: PlanName, actor: As) -> None:
    """Register a plan, or a new version of its rules; runs planned before keep the version they pinned."""
    from engine.cli.shell import in_database
    from engine.roster.plan import enter_plan

    rules = load_plan(plan)

    async def registered(engine: AsyncEngine, _: Settings) -> Plan:
        async with engine.begin() as connection:
            return await enter_plan(connection, rules, actor=actor)

    found = in_database(registered)
    typer.echo(f"{found.code} is registered, rules version {found.version}")


@app.command("wind-down")
def wind_down(
    plan: Annotated[str, typer.Argument(metavar="CODE", help="A registered plan.")],
    actor: As,
    on: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="The day the books are closed. [default: today in the plan's zone]",
        ),
    ] = None,
) -> None:
    """Propose to end a plan: refunds as its rules say, and closed books. It is done once somebody else approves."""
    from engine.cli.shell import in_database
    from engine.plans.explanation import explain
    from engine.roster.plan import plan_of, rules_of
    from engine.runs.ending import propose_wind_down

    async def proposed(engine: AsyncEngine, _: Settings) -> tuple[Decision, PlanRules]:
        async with engine.begin() as connection:
            found = await plan_of(connection, plan)
            rules = await rules_of(connection, found.plan_id, found.version)
            day = on.date() if on is not None else datetime.now(ZoneInfo(rules.time_zone)).date()
            not_to_come(day, rules.time_zone)
            return await propose_wind_down(connection, found, rules, on=day, actor=actor), rules

    decision, rules = in_database(proposed)
    number, ends_on = decision.decision_id, decision.detail["ends_on"]
    typer.echo(f"{plan} is to end: memberships on {ends_on}, the books on {decision.effective_on}")
    typer.echo(f"its rules: {explain(rules)['wind-down']}")
    typer.echo(f"decision {number} waits for somebody else: `fentan decision approve {number} --as NAME`")


@app.command()
def forecast(
    plan: Annotated[str, typer.Argument(metavar="CODE", help="A registered plan.")],
    on: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="From which day on. [default: today in the plan's zone]"
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Estimate the next run: what members would share by the claims under notice and today's roster and caps."""
    from engine.cli.shell import in_database
    from engine.roster.plan import plan_of, rules_of
    from engine.runs.forecast import forecast as estimate

    async def estimated(engine: AsyncEngine, _: Settings) -> Forecast:
        async with engine.connect() as connection:
            # One snapshot: what members do meanwhile changes nothing in it, and nothing waits for it.
            await connection.execution_options(isolation_level="REPEATABLE READ")
            found = await plan_of(connection, plan)
            rules = await rules_of(connection, found.plan_id, found.version)
            day = on.date() if on is not None else datetime.now(ZoneInfo(rules.time_zone)).date()
            return await estimate(connection, found, rules, on=day)

    found = in_database(estimated)
    if as_json:
        print_json(found.as_json())
    else:
        _print_forecast(found)


def _print_forecast(found: Forecast) -> None:
    from engine.money import grouped

    claims = found.claims
    typer.echo(f"{found.plan_code}, debit on {found.debit_on}: {ESTIMATE}, by what is known on {found.on}")
    typer.echo(f"claims: {claims.passed} passed, {claims.under_notice} under notice")
    if claims.objected:
        typer.echo(f"{claims.objected} more with an open objection; they are not counted in")
    if not found.gates:
        typer.echo("no claim to share: nobody would pay anything, 0.00")
        return
    typer.echo(f"gates, at 00:00: {', '.join(str(gate) for gate in found.gates)}")
    amounts = {
        "aid": found.aid, "fee": found.fee, "carry in": found.carry_in, "pool": found.pool,
        "charged": found.charged, "sponsor": found.sponsor, "carry out": found.carry_out,
    }  # fmt: skip
    for name, minor in amounts.items():
        typer.echo(f"{name:<10}{grouped(minor):>20}")
    typer.echo(f"{found.sharers:,} members share; each pays at most {grouped(found.share)}")
    if len(found.shares) > 1:
        for tier, minor in found.shares.items():
            typer.echo(f"  {tier}: {grouped(minor)}")
    if found.unshared:
        typer.echo(f"{found.unshared} of the claims nobody would share; the plan's rule no_sharers says what then")
