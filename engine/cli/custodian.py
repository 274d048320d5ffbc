"""`fentan custodian`: who holds the plans' money, what it was asked for, and what of that has left."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.options import As
from engine.cli.shell import in_database
from engine.custodian import registered
from engine.custodian.profile import load
from engine.custodian.registered import Custodian
from engine.roster.plan import plan_of
from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Custodians: whose plans they hold, the debits they are asked for.")
console = Console(markup=False, highlight=False)

Code = Annotated[str, typer.Argument(metavar="CODE", help="The custodian.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_all() -> None:
    """The custodians there are, and how many plans' money each holds."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Custodian]:
        async with engine.connect() as connection:
            return await registered.list_custodians(connection)

    table = Table("code", "name", "currency", "debits", "books from")
    table.add_column("plans", justify="right")
    for each in in_database(listed):
        known = each.profile
        row = (each.code, known.name, known.currency, known.debits.format, known.books_from)
        table.add_row(*row, str(len(each.plans)))
    console.print(table)


@app.command()
def show(code: Code, as_json: AsJson = False) -> None:
    """What a custodian takes and sends back, as it is registered."""

    async def found(engine: AsyncEngine, _: Settings) -> Custodian:
        async with engine.connect() as connection:
            return await registered.custodian_of(connection, code)

    custodian = in_database(found)
    if as_json:
        said = {"custodian": custodian.custodian_id, "plans": custodian.plans}
        print(json.dumps(custodian.profile.model_dump(mode="json") | said, ensure_ascii=False, indent=2))
        return
    table = Table(show_header=False, box=None)
    for name, value in _facts(custodian):
        table.add_row(name, value)
    console.print(table)


def _facts(custodian: Custodian) -> list[tuple[str, str]]:
    known, limits = custodian.profile, custodian.profile.limits
    size = f"{limits.max_items_per_file:,} debits, {limits.max_bytes:,} bytes"
    return [
        ("code", known.code),
        ("name", known.name),
        ("money", f"{known.currency}, of {len(custodian.plans)} plans"),
        ("time zone", known.time_zone),
        ("debits", f"{known.debits.format}, at most {size} a file, {limits.files_per_hour:,} files an hour"),
        ("cut-off", f"{limits.cut_off:%H:%M}, {limits.lead_days} business days before the debit day"),
        ("statements", ", ".join(f"{each} (books)" if each == known.books_from else each for each in known.statements)),
        ("booking", known.booking.replace("_", " ")),
        ("in transit", f"{known.in_transit_days} business days at most"),
    ]


@app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="CODE_OR_FILE", help="One of config/custodians, or a TOML file.")],
    actor: As,
) -> None:
    """Make a custodian known to the database, or take its profile as it is now."""
    profile = load(name)

    async def known(engine: AsyncEngine, _: Settings) -> Custodian:
        async with engine.begin() as connection:
            return await registered.register(connection, profile, actor=actor)

    custodian = in_database(known)
    console.print(f"{custodian.code} is registered; `fentan custodian assign {custodian.code} PLAN` lets it hold money")


@app.command()
def assign(
    code: Code, plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan whose money it holds.")], actor: As
) -> None:
    """Let a custodian hold a plan's money; for good."""

    async def assigned(engine: AsyncEngine, _: Settings) -> Custodian:
        async with engine.begin() as connection:
            found = await plan_of(connection, plan)
            return await registered.assign(connection, code, found.plan_id, actor=actor)

    in_database(assigned)
    console.print(f"{code} holds the money of {plan}")
