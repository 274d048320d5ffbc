"""`fentan roster`: import a roster, make one up, bring in what happens to members."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import pyarrow.parquet
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.options import As
from engine.cli.shell import in_database
from engine.errors import InvalidInput
from engine.members.deposits import open_deposits
from engine.plans import PlanRules
from engine.roster import imports, synth
from engine.roster.accounts import Changed, change_accounts
from engine.roster.change_files import change_roster
from engine.roster.files import UNREADABLE
from engine.roster.plan import Plan, enter_plan, plan_of, plan_or_only
from engine.roster.presets import load_plan, preset_codes
from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Rosters: who is a member of a plan, from when, until when.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .csv file.")]
PlanCode = Annotated[
    str, typer.Option("--plan", metavar="CODE", help="The plan; one of config/plans is registered if it is not yet.")
]
PlanOrOnly = Annotated[
    str | None, typer.Option("--plan", metavar="CODE", help="The plan. [default: the only one there is]")
]


@app.command("import")
def import_file(file: File, plan: PlanCode) -> None:
    """Enrol the members of a file: member_ref, born_on, joined_on, and if you like ended_on, tier.

    Of plans with family payers also payer_ref (who pays), of prepaid plans deposit (what a member begins with). For
    debits account, and where the custodian asks for mandates mandate_id and mandate_signed_on; they are kept sealed.
    """

    async def imported(engine: AsyncEngine, settings: Settings) -> imports.Imported:
        async with engine.begin() as connection:
            found = await _plan_or_preset(connection, plan)
            return await _imported(connection, settings, found, file, Console(stderr=True))

    result = in_database(imported)
    what = "already imported, nothing changed" if result.repeated else f"imported into {plan}"
    typer.echo(f"{file.name}: {result.rows:,} members {what}")


async def import_with_progress(
    engine: AsyncEngine, settings: Settings, plan: Plan, path: Path, console: Console
) -> imports.Imported:
    """`import_roster` in a transaction of its own, with a progress bar on `console`."""
    async with engine.begin() as connection:
        return await _imported(connection, settings, plan, path, console)


@app.command("change")
def change_file(file: File, plan: PlanOrOnly = None) -> None:
    """Bring in what happens to members: kind, member_ref, from, and until (freeze), born_on and tier (join).

    The kinds are join, exit, freeze; where the plan allows it tier (another tier, asked on the day in from) and payer
    (payer_ref pays from now on, or the member where it is empty).
    """

    async def changed(engine: AsyncEngine, settings: Settings) -> tuple[str, imports.Imported]:
        key = settings.member_tag_key.get_secret_value().encode()
        async with engine.begin() as connection:
            found = await plan_or_only(connection, plan)
            with _progress(Console(stderr=True), f"changes of {found.code}", _rows(file)) as advance:
                return found.code, await change_roster(connection, found, file, tag_key=key, progress=advance)

    code, result = in_database(changed)
    what = "already recorded, nothing changed" if result.repeated else f"recorded; the next run of {code} has them"
    typer.echo(f"{file.name}: {result.rows:,} changes {what}")


@app.command("accounts")
def change_accounts_of(file: File, actor: As, plan: PlanOrOnly = None) -> None:
    """Change the accounts of members: member_ref, account, and for mandates mandate_id, mandate_signed_on.

    A line says all there is of its member: a mandate that it leaves out is known no more. What was asked for stays as
    it was; the next debits go to the new account.
    """

    async def changed(engine: AsyncEngine, settings: Settings) -> tuple[str, Changed]:
        async with engine.begin() as connection:
            found = await plan_or_only(connection, plan)
            key = settings.account_key
            return found.code, await change_accounts(connection, found, file, account_key=key, actor=actor)

    code, result = in_database(changed)
    what = f"taken; the next debits of {code} go there" if result.shards else "known already, nothing changed"
    typer.echo(f"{file.name}: accounts of {result.members:,} members {what}")


@app.command("synth")
def make_up(
    members: Annotated[int, typer.Option(metavar="N", help="How many.")],
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed makes the same members.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What to write: .parquet or .csv. [default: roster-N-S.parquet]"),
    ] = None,
    plan: Annotated[str, typer.Option(metavar="CODE", help="Whose age limits, tiers and start.")] = "xianghubao",
    until: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="The last day to join. [default: the plan's last, or today]"
        ),
    ] = None,
) -> None:
    """Make up members of plausible ages, who join along an S-curve; a few leave."""
    rules = load_plan(plan)
    last = _last_day(rules) if until is None else until.date()
    if last < rules.starts_on or (rules.ends_on is not None and last > rules.ends_on):
        raise InvalidInput(
            f"--until {last}: {plan} lives from {rules.starts_on} until {rules.ends_on or 'further notice'}"
        )
    out = out or Path(f"roster-{members}-{seed}.parquet")
    synth.write_synthetic(out, members, seed, rules, joined_from=rules.starts_on, joined_until=last)
    typer.echo(f"{out}: {members:,} members of {plan} who joined from {rules.starts_on} until {last}, seed {seed}")


async def _plan_or_preset(connection: AsyncConnection, code: str) -> Plan:
    """The plan with this code; one of config/plans that nobody registered yet is registered now."""
    try:
        return await plan_of(connection, code)
    except InvalidInput:
        if code not in preset_codes():
            raise
    return await enter_plan(connection, load_plan(code), actor="roster import")


async def _imported(
    connection: AsyncConnection, settings: Settings, plan: Plan, path: Path, console: Console
) -> imports.Imported:
    key = settings.member_tag_key.get_secret_value().encode()
    with _progress(console, f"members of {plan.code}", _rows(path)) as advance:
        return await imports.import_roster(
            connection,
            plan,
            path,
            tag_key=key,
            progress=advance,
            take_deposits=open_deposits,
            account_key=settings.account_key,
        )


def _last_day(rules: PlanRules) -> date:
    today = datetime.now(ZoneInfo(rules.time_zone)).date()
    return today if rules.ends_on is None else min(today, rules.ends_on)


def _rows(path: Path) -> int | None:
    """How many rows the file has, where that can be known without reading it."""
    if path.suffix.lower() == ".csv" or not path.is_file():
        return None
    try:
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except UNREADABLE:
        return None  # why not is said by who reads it


@contextmanager
def _progress(console: Console, label: str, total: int | None) -> Iterator[imports.Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)
