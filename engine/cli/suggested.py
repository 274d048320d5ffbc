"""`fentan reconcile suggest`: what lines without a reference might be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.answer import print_json
from engine.cli.shell import in_database
from engine.money import BIGINT_MAX, grouped, to_major
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.reconcile.suggesting import Suggested

console = Console(markup=False, highlight=False)


def suggest(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID…]", min=1, max=BIGINT_MAX, help="Only these breaks.")
    ] = None,
    custodian: Annotated[str | None, typer.Option(metavar="CODE", help="Only this custodian's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many breaks of a custodian.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; amounts are text in major units.")] = False,
) -> None:
    """What a line without a reference might be: a debit under way of the same payer and amount. Nothing is posted."""
    from engine.custodian.desk import Desk
    from engine.custodian.registered import custodian_of, list_custodians
    from engine.reconcile.suggesting import suggest as suggested

    async def found(engine: AsyncEngine, settings: Settings) -> list[Suggested]:
        desk = Desk.of(settings, os.environ)
        async with engine.connect() as connection:
            chosen = await list_custodians(connection)
            if custodian is not None:
                chosen = [await custodian_of(connection, custodian)]
            return [
                each for one in chosen for each in await suggested(connection, one, desk, ids=ids or (), limit=limit)
            ]

    breaks = in_database(found)
    if as_json:
        print_json({"breaks": [_as_json(each) for each in breaks]})
    else:
        _print(breaks)


def _as_json(each: Suggested) -> dict[str, Any]:
    return {
        "break": each.break_id,
        "booked_on": each.booked_on.isoformat(),
        "amount": to_major(each.amount_minor),
        "candidates": [
            {
                "run": one.run_id,
                "seat": one.seat,
                "attempt": one.attempt,
                "amount": to_major(one.amount_minor),
                "score": one.score,
                "why": one.why,
            }
            for one in each.candidates
        ],
    }


def _print(breaks: Sequence[Suggested]) -> None:
    if not breaks:
        console.print("no open break is about a line that could be matched")
        return
    table = Table("break", "booked on", "run", "seat", "attempt", "score", "why")
    table.add_column("amount", justify="right")
    for each in breaks:
        facts = str(each.break_id), str(each.booked_on)
        for one in each.candidates:
            said = (one.run_id, one.seat, one.attempt, one.score, one.why)
            table.add_row(*facts, *map(str, said), grouped(each.amount_minor))
        if not each.candidates:
            table.add_row(*facts, "", "", "", "", "no debit under way agrees", grouped(each.amount_minor))
    console.print(table)
    sure = next((each for each in breaks if each.candidates and each.candidates[0].score == 100), None)
    if sure is not None:
        run, seat = sure.candidates[0].run_id, sure.candidates[0].seat
        how = f"{sure.break_id} --action match --run {run} --seat {seat} --reason WHY --as NAME"
        console.print(f"to propose one: fentan reconcile resolve {how}", soft_wrap=True)
