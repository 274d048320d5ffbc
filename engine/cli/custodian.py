"""`fentan custodian`: who holds the plans' money, what it was asked for, and what of that has left."""

from __future__ import annotations

import os
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.answer import print_json
from engine.cli.options import As, not_to_come
from engine.cli.shell import in_database
from engine.custodian import registered
from engine.custodian.calls import CALLS
from engine.custodian.desk import Desk
from engine.custodian.outbox import OutgoingFile, files_of
from engine.custodian.profile import load
from engine.custodian.registered import Custodian, custodian_of
from engine.custodian.transports import fetch_new
from engine.money import BIGINT_MAX, grouped, to_major
from engine.reconcile import instructing, sending
from engine.reconcile.collecting import CollectedRun
from engine.reconcile.day import CustodianDay, File, play_day, send_waiting
from engine.reconcile.instructing import Asking
from engine.reconcile.sending import Sent
from engine.roster.plan import newest_rules, plan_of
from engine.runs.run import load_run
from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Custodians: whose plans they hold, the debits they are asked for.")
console = Console(markup=False, highlight=False)

RunId = Annotated[int, typer.Argument(metavar="RUN", min=1, max=BIGINT_MAX, help="The run's number.")]
On = Annotated[
    datetime | None,
    typer.Option("--on", metavar="DATE", formats=["%Y-%m-%d"], help="As if it were that day. [default: now]"),
]
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
        print_json(custodian.profile.model_dump(mode="json") | said)
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


@app.command()
def instruct(run_id: RunId, actor: As, on: On = None) -> None:
    """Write the files that ask for what members owe for a sealed run; they are sent as the custodian takes them."""

    async def instructed(engine: AsyncEngine, settings: Settings) -> Asking:
        async with engine.begin() as connection:
            run = await load_run(connection, run_id)
            now = _moment(on, (await newest_rules(connection, run.plan_id)).time_zone)
            return await instructing.instruct(connection, run_id, _desk(settings), on=now.date(), now=now, actor=actor)

    asking = in_database(instructed)
    if not asking.batches:
        console.print(f"run {run_id} is settled: nobody owes anything for it")
        return
    said = f"{asking.instructions:,} debits of {grouped(asking.amount_minor)} in {asking.batches:,} files"
    console.print(f"run {run_id} asks for {said}, to be debited on {asking.debit_on}", soft_wrap=True)


def _moment(on: datetime | None, time_zone: str) -> datetime:
    """Now, or the first moment of a day there. Raises InvalidInput for a day that is still to come."""
    zone = ZoneInfo(time_zone)
    return datetime.now(zone) if on is None else datetime.combine(not_to_come(on.date(), time_zone), time(), zone)


def _desk(settings: Settings) -> Desk:
    return Desk.of(settings, os.environ)


@app.command()
def send(code: Code, on: On = None) -> None:
    """Send the files that wait, as many as the custodian takes now; workers do it by themselves.

    With --on the whole day is played, hour by hour until its end.
    """

    async def sent_to(engine: AsyncEngine, settings: Settings) -> Sent:
        async with engine.connect() as connection:
            custodian = await custodian_of(connection, code)
        return await _send_all(engine, custodian, settings, on)

    print_sent(code, in_database(sent_to))


async def _send_all(engine: AsyncEngine, custodian: Custodian, settings: Settings, on: datetime | None) -> Sent:
    """Send now, or through a whole day."""
    now = _moment(on, custodian.profile.time_zone)
    return await send_waiting(engine, custodian, _desk(settings), now=now, whole_day=on is not None)


def print_sent(code: str, sent: Sent) -> None:
    """What a sending came to, for eyes; exits with 1 where something needs a person."""
    what = f"{sent.instructions:,} instructions of {grouped(sent.amount_minor)}"
    console.print(f"{sent.files:,} files sent to {code}, {what}; {sent.waiting:,} wait", soft_wrap=True)
    if sent.is_paused:
        console.print("the queue send is paused; `fentan queue list` says by whom and why")
    if sent.failed:
        console.print(f"{sent.failed:,} failed and will be tried again; `fentan custodian batches RUN` says why")
    if sent.missed:
        console.print(
            f"{sent.missed:,} cannot reach their debit day any more; `fentan custodian withdraw {code}` lets their"
            " debits be asked anew",
            soft_wrap=True,
        )
    if sent.failed or sent.missed or sent.is_paused:
        raise typer.Exit(1)


@app.command()
def withdraw(
    code: Code,
    actor: As,
    on: On = None,
    not_there: Annotated[
        bool,
        typer.Option("--not-there", help="Also those whose sending broke off: you asked, and it has none of them."),
    ] = False,
) -> None:
    """Withdraw the files that missed their cut-off, so that their debits are asked anew."""

    async def withdrawn(engine: AsyncEngine, _: Settings) -> int:
        async with engine.begin() as connection:
            custodian = await custodian_of(connection, code)
            now = _moment(on, custodian.profile.time_zone)
            return await sending.withdraw(connection, custodian, now=now, actor=actor, not_there=not_there)

    console.print(f"{in_database(withdrawn):,} files are withdrawn")


@app.command()
def fetch(code: Code) -> None:
    """Fetch what the custodian has ready, and name what was not taken yet."""

    async def fetched(engine: AsyncEngine, settings: Settings) -> list[Path]:
        async with engine.connect() as connection:
            custodian = await custodian_of(connection, code)
        return await fetch_new(custodian, _desk(settings))

    for path in in_database(fetched):
        typer.echo(path)


@app.command()
def day(code: Code, actor: As, on: On = None) -> None:
    """A custodian's whole day: take what it sent, ask again or end who does not pay, send what waits.

    Auto top-ups and levies that are due are asked for as well. The same day again goes on where it was. Ends with 1
    where something needs a person.
    """

    async def played(engine: AsyncEngine, settings: Settings) -> tuple[CustodianDay, Sent]:
        async with engine.connect() as connection:
            custodian = await custodian_of(connection, code)
        now = _moment(on, custodian.profile.time_zone)
        done = await play_day(engine, custodian, _desk(settings), on=now.date(), now=now, actor=actor)
        return done, await _send_all(engine, custodian, settings, on)

    done, sent = in_database(played)
    for file in done.files:
        console.print(f"{file.name}: {file.refused or _became(file)}", soft_wrap=True)
    if any(file.refused for file in done.files):
        console.print(
            "what was refused lies in in/taken: have it corrected, or ask for it anew, and then"
            " `fentan statement import FILE`",
            soft_wrap=True,
        )
    if done.overdue_lines:
        console.print(f"{done.overdue_lines:,} lines have waited too long for what they name: breaks")
    for run in done.collected.runs:
        console.print(f"run {run.run_id} is {run.state}: {_brought(run)}", soft_wrap=True)
    for asked in done.collected.called:
        what = f"{asked.instructions:,} {CALLS[asked.kind]} of {grouped(asked.amount_minor)}"
        console.print(f"call {asked.run_id}: {what} asked for {asked.debit_on}", soft_wrap=True)
    if done.collected.missing:
        console.print(f"{done.collected.missing:,} refunds, auto top-ups or levies are missing at the custodian")
    print_sent(code, sent)
    if any(file.needs_a_person for file in done.files):
        raise typer.Exit(1)


def _became(file: File) -> str:
    words = [
        f"{each.state}, {each.lines:,} lines" + (f": {each.problems[0]}" if each.problems else "")
        for each in file.statements
    ]
    return "; ".join(words)


def _brought(run: CollectedRun) -> str:
    left = run.unpaid.written_off
    words = [
        f"{run.asked.instructions:,} asked again for {run.asked.debit_on}" if run.asked else "",
        f"{run.missing:,} missing at the custodian" if run.missing else "",
        f"{left.seats:,} left unpaid, {grouped(left.amount_minor)} written off" if left.seats else "",
    ]
    return ", ".join(filter(None, words)) or "nothing new"


@app.command()
def batches(run_id: RunId, as_json: AsJson = False) -> None:
    """The files of a run, or of a call by its number: what is in each, and whether it left."""

    async def found(engine: AsyncEngine, _: Settings) -> list[OutgoingFile]:
        async with engine.connect() as connection:
            if not (found := await files_of(connection, run_id)):
                await load_run(connection, run_id)
            return found

    files = in_database(found)
    if as_json:
        print_json([_file_json(each) for each in files])
        return
    if not files:
        console.print(f"run {run_id} has no files; `fentan custodian instruct {run_id}` makes them once it is sealed")
        return
    table = Table("file", "debit day")
    for name in ("instructions", "amount"):
        table.add_column(name, justify="right")
    zone = ZoneInfo(files[0].time_zone)
    table.add_column(f"sent ({zone})", overflow="fold")
    table.add_column("sha256", overflow="fold")
    for each in files:
        sent = f"{each.sent_at.astimezone(zone):%Y-%m-%d %H:%M}" if each.sent_at else each.error or each.state
        amounts = (f"{each.count:,}", grouped(each.amount_minor))
        table.add_row(each.file, each.debit_on.isoformat(), *amounts, sent, each.sha256)
    console.print(table)


def _file_json(each: OutgoingFile) -> dict[str, Any]:
    return {
        "batch": each.batch_id,
        "kind": each.kind,
        "attempt": each.attempt,
        "debit_on": each.debit_on.isoformat(),
        "file": each.file,
        "reference": each.reference,
        "sha256": each.sha256,
        "bytes": each.bytes,
        "count": each.count,
        "amount": to_major(each.amount_minor),
        "state": each.state,
        "sent_at": each.sent_at.isoformat() if each.sent_at else None,
        "tries": each.tries,
        "error": each.error,
    }
