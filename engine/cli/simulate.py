"""`fentan simulate`: counterparties to test with, each a process of its own that knows nothing of the database."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InvalidInput
from engine.money import to_minor

app = typer.Typer(no_args_is_help=True, help="Counterparties to test with; they know nothing of the database.")


@app.callback()
def simulate() -> None:
    """Counterparties to test with; they know nothing of the database."""


@app.command("custodian")
def play_custodian(
    received: Annotated[Path, typer.Option("--in", metavar="FOLDER", help="The debit files, with their manifests.")],
    sent: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the statements go.")],
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed plants the same faults.")],
    profile: Annotated[
        str, typer.Option(metavar="CODE", help="Which custodian: one of config/custodians, or a .toml file.")
    ] = "generic-csv",
    rates: Annotated[
        str, typer.Option(metavar="FAULT=RATE,…", help="How often what goes wrong; all=0 for nothing. [default: 2 %]")
    ] = "",
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="FORMAT", help="csv or camt.053, or both. [default: what the profile books from]"
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="The last day to play. [default: all]")
    ] = None,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write what was planted, for tests.")] = None,
    top_ups: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is paid in: CSV of reference,amount,day; once a file.")
    ] = None,
    opening: Annotated[
        str, typer.Option(metavar="AMOUNT", help="What the account holds before its first statement.")
    ] = "0.00",
) -> None:
    """Book debits and payouts as a custodian would: a statement for each day, with faults planted by a seed.

    Called again it goes on where it was: day by day, or all at once, it writes the same.
    """
    from engine.custodian.profile import load
    from engine.simulator.custodian import Custodian
    from engine.simulator.faults import Rates

    found = load(profile)
    if not received.is_dir():
        raise InvalidInput(f"--in {received}: is no folder")
    sent.mkdir(parents=True, exist_ok=True)
    account = os.environ.get(found.account.number_from, "SIMULATED")
    formats = form or [found.books_from]
    custodian = Custodian(found, seed=seed, rates=Rates.read(rates), account=account, formats=formats)
    last = None if until is None else until.date()
    played = custodian.play(received, sent, until=last, truth=truth, top_ups=top_ups, opening_minor=to_minor(opening))
    for statement in played.statements:
        typer.echo(statement.name)
    typer.echo(f"{played.lines:,} lines; planted: {', '.join(f'{n:,} {fault}' for fault, n in played.planted.items())}")
