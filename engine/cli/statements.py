"""`fentan statement`: what a custodian's statement holds, whether it proves itself, and what became of its lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from engine.cli.answer import print_json
from engine.cli.options import As, iso_day, not_to_come
from engine.errors import FentanError, InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from engine.custodian.gates import Tally
    from engine.custodian.readers import Described
    from engine.custodian.registered import Custodian
    from engine.custodian.statement import Footing
    from engine.custodian.statement_rows import ImportedStatement, OpenLine
    from engine.custodian.verdicts import Named, Sum
    from engine.reconcile.taking import Taken
    from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Statements of custodians: checked before anything is posted from them.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OfCustodian = Annotated[
    str | None, typer.Option("--custodian", metavar="CODE", help="Whose they are. [default: the only one there is]")
]


@app.callback()
def statement() -> None:
    """Statements of custodians: checked before anything is posted from them."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="camt, pain.002, pacs.004, MT940, CSV, 代扣 or text.")],
    profile: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Who sent it: one of config/custodians, or a .toml file. [default: any]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a statement file without a database: what it holds, whether it adds up, and every problem's place."""
    if not file.is_file():
        raise InvalidInput(f"{file}: {'is a folder; give one file' if file.is_dir() else 'there is no such file'}")
    checked = []
    for footing, tally in _statements(file, _described(profile)):
        checked.append(_told(footing, tally))
        if not as_json:
            _print(checked[-1], footing.message)
    if as_json:
        print_json(checked)
    if any(each["problems"] for each in checked):
        raise typer.Exit(1)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Statement files, in any order of their days.")],
    actor: As,
    custodian: OfCustodian = None,
    begins: Annotated[
        bool, typer.Option("--begin", help="The first statement of an account that held money before.")
    ] = False,
    on: Annotated[
        date | None,
        typer.Option("--on", metavar="DATE", parser=iso_day, help="As if it were that day. [default: today]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take statements: match every line and post it, or park the statement and say why; each file is taken once.

    A file that is refused stops no other.
    """
    from engine.cli.shell import in_database
    from engine.custodian.routes import NotSet
    from engine.reconcile.taking import take

    refused: list[str] = []

    async def taken(engine: AsyncEngine, settings: Settings) -> list[Taken]:
        async with engine.connect() as connection:
            known = await _custodian(connection, custodian)
        zone = known.profile.time_zone
        day = datetime.now(ZoneInfo(zone)).date() if on is None else not_to_come(on, zone)
        kept = settings.data_dir / "custodian"
        found: list[Taken] = []
        for file in files:
            try:
                news = await take(
                    engine, known, file, files=kept, actor=actor, on=day, environment=os.environ, begins=begins
                )
            except NotSet:
                raise
            except FentanError as error:
                refused.append(str(error) if file.name in str(error) else f"{file.name}: {error}")
                continue
            again = {each.statement_id for each in news}
            found = [*(each for each in found if each.statement_id not in again), *news]
        return found

    statements = in_database(taken)
    if as_json:
        print_json([_taken_json(each) for each in statements])
    else:
        for each in statements:
            _print_taken(each)
    for words in refused:
        typer.echo(f"fentan: {words}", err=True)
    if refused or any(each.state == "parked" for each in statements):
        raise typer.Exit(1)


@app.command("list")
def list_(
    custodian: OfCustodian = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only those that are parked.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The statements that came, newest first: their days, whether they are taken, and what became of their lines."""
    from engine.cli.shell import in_database
    from engine.custodian.statement_rows import list_statements

    async def listed(engine: AsyncEngine, _: Settings) -> list[ImportedStatement]:
        async with engine.connect() as connection:
            state = "parked" if parked else None
            return await list_statements(connection, custodian=custodian, state=state, limit=limit)

    statements = in_database(listed)
    if as_json:
        print_json([_imported_json(each) for each in statements])
        return
    for each in statements:
        typer.echo(_headline(each))
        for problem in each.problems:
            typer.echo(f"  {problem}")


@app.command()
def show(
    statement_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="The statement's number.")],
    line: Annotated[
        int | None, typer.Option("--line", metavar="N", min=1, max=2**63 - 1, help="Print this line as it came.")
    ] = None,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Lines after this one.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many lines.")] = 50,
    as_json: AsJson = False,
) -> None:
    """One statement: whether it is taken and why not, its lines by what became of them, those that did not match."""
    from engine.cli.shell import in_database
    from engine.custodian.raw_text import raw_text
    from engine.custodian.statement_rows import open_lines, place_of, statement_of
    from engine.reconcile.taking import kept_file

    async def found(engine: AsyncEngine, settings: Settings) -> tuple[ImportedStatement, list[OpenLine], str]:
        async with engine.connect() as connection:
            known = await statement_of(connection, statement_id)
            if line is None:
                return known, await open_lines(connection, statement_id, after=after, limit=limit), ""
            place = await place_of(connection, statement_id, line)
        return known, [], raw_text(kept_file(settings.data_dir / "custodian", known), known.number, place)

    known, lines, raw = in_database(found)
    if line is not None:
        typer.echo(raw)
    elif as_json:
        told = _imported_json(known) | {"open_lines": [_line_json(each) for each in lines]}
        print_json(told)
    else:
        _print_imported(known, lines)


async def _custodian(connection: AsyncConnection, code: str | None) -> Custodian:
    from engine.custodian.registered import custodian_of, list_custodians

    if code is not None:
        return await custodian_of(connection, code)
    known = await list_custodians(connection)
    if len(known) != 1:
        there_are = ", ".join(each.code for each in known) or "none, `fentan custodian register` makes one known"
        raise InvalidInput(f"give --custodian CODE; there are: {there_are}")
    return known[0]


def _tally(tally: Iterable[tuple[Named, Sum]]) -> list[dict[str, Any]]:
    from engine.money import to_major

    return [
        {
            "outcome": what.outcome.name.lower(),
            "code": what.code,
            "why": what.why and what.why.name.lower(),
            "count": total.count,
            "amount": to_major(total.amount_minor),
        }
        for what, total in tally
    ]


def _taken_json(taken: Taken) -> dict[str, Any]:
    return {
        "statement": taken.statement_id,
        "number": taken.number,
        "state": taken.state,
        "books": taken.books,
        "lines": taken.lines,
        "tally": _tally(taken.tally),
        "problems": [problem._asdict() for problem in taken.problems],
    }


def _print_taken(taken: Taken) -> None:
    informs = "" if taken.books else ", which only informs"
    became = {"taken": "taken", "parked": "PARKED, nothing is posted", "repeated": "came before, nothing changed"}
    typer.echo(f"statement {taken.statement_id}{informs}: {taken.lines:,} lines · {became[taken.state]}")
    _print_tally(taken.tally)
    for problem in taken.problems:
        typer.echo(f"  {problem}")


def _print_tally(tally: Iterable[tuple[Named, Sum]]) -> None:
    for each in _tally(tally):
        why = each["code"] or (each["why"] or "").replace("_", " ")
        typer.echo(f"  {each['outcome']}{' ' + why if why else ''}: {each['count']:,} lines, {each['amount']}")


def _imported_json(known: ImportedStatement) -> dict[str, Any]:
    from engine.money import to_major

    def balance(minor: int | None) -> str | None:
        return None if minor is None else to_major(minor)

    return {
        "statement": known.statement_id,
        "custodian": known.custodian,
        "file": known.file,
        "sha256": known.sha256.hex(),
        "number": known.number,
        "message": known.message,
        "from": known.from_on and known.from_on.isoformat(),
        "to": known.to_on and known.to_on.isoformat(),
        "books": known.books,
        "state": known.state,
        "lines": known.lines,
        "credits": to_major(known.credits_minor),
        "debits": to_major(known.debits_minor),
        "opening": balance(known.opening_minor),
        "closing": balance(known.closing_minor),
        "tally": _tally(known.tally),
        "problems": [problem._asdict() for problem in known.problems],
    }


def _line_json(line: OpenLine) -> dict[str, Any]:
    from engine.money import to_major

    told = line._asdict() | {"amount": to_major(line.amount_minor)}
    del told["amount_minor"]
    return told | {"booked_on": line.booked_on and line.booked_on.isoformat()}


def _headline(known: ImportedStatement) -> str:
    days = "no day" if known.from_on is None else f"{known.from_on} to {known.to_on}"
    informs = "" if known.books else ", only informs"
    return (
        f"{known.statement_id} · {known.custodian} · {known.message}{informs} · {days} · {known.lines:,} lines"
        f" · {'taken' if known.is_taken else 'PARKED'}"
    )


def _print_imported(known: ImportedStatement, lines: list[OpenLine]) -> None:
    from engine.money import to_major

    told = _imported_json(known)
    typer.echo(_headline(known))
    typer.echo(f"  file {known.file}, statement {known.number} of it, SHA-256 {told['sha256']}")
    typer.echo(f"  opening {told['opening'] or '-'} · credits {told['credits']} · debits {told['debits']}")
    typer.echo(f"  closing {told['closing'] or '-'}")
    _print_tally(known.tally)
    for problem in known.problems:
        typer.echo(f"  {problem}")
    for line in lines:
        decided = f", decided by statement {line.decided_by}" if line.decided_by else ""
        said = " · ".join(word for word in (line.kind, line.reference, line.reason) if word)
        became = f"{line.outcome} {line.code or ''}".strip() + decided
        typer.echo(
            f"  {line.ordinal} ({line.place}) {line.booked_on or '-'} {to_major(line.amount_minor)}: {said}: {became}"
        )


def _described(profile: str | None) -> list[Described]:
    from engine.custodian.profile import parse
    from engine.resources import config_dir

    folder = config_dir() / "custodians"
    known = {each.name.removesuffix(".toml"): each for each in folder.iterdir() if each.name.endswith(".toml")}
    if profile is None:
        profiles = [parse(known[code].read_text("utf-8"), known[code].name) for code in sorted(known)]
    elif profile.endswith(".toml"):
        path = Path(profile)
        if not path.is_file():
            raise InvalidInput(f"--profile {profile}: there is no such file")
        profiles = [parse(path.read_text("utf-8"), path.name)]
    elif profile in known:
        profiles = [parse(known[profile].read_text("utf-8"), known[profile].name)]
    else:
        raise InvalidInput(f"--profile {profile}: there is none; known: {', '.join(sorted(known))}")
    return [(each.layouts, each.currency) for each in profiles]


def _statements(file: Path, described: list[Described]) -> Iterator[tuple[Footing, Tally]]:
    from engine.custodian.gates import Tally
    from engine.custodian.readers import read
    from engine.custodian.statement import Footing

    tally = Tally()
    for part in read(file, described):
        if isinstance(part, Footing):
            yield part, tally
            tally = Tally()
        else:
            tally.take(part)


def _told(footing: Footing, tally: Tally) -> dict[str, Any]:
    from engine.custodian.gates import problems, ties
    from engine.money import to_major

    statement = footing.statement

    def balance(minor: int | None) -> str | None:
        return None if minor is None else to_major(minor)

    return {
        "account": statement.account or None,
        "currency": statement.currency or None,
        "entries": footing.entries,
        "credits": to_major(tally.credits),
        "debits": to_major(tally.debits),
        "opening": balance(statement.opening_minor),
        "closing": balance(statement.closing_minor),
        "ties": ties(statement, tally),
        "problems": [problem._asdict() for problem in problems(footing, tally)],
    }


def _print(told: dict[str, Any], message: str) -> None:
    ties = {True: "ties out", False: "does NOT tie out", None: "states no opening and closing balance to tie"}
    typer.echo(f"{message} · account {told['account'] or 'not named'} · {told['currency'] or 'no currency'}")
    typer.echo(f"  {told['entries']:,} entries · credits {told['credits']} · debits {told['debits']}")
    typer.echo(f"  opening {told['opening'] or '-'} · closing {told['closing'] or '-'} · {ties[told['ties']]}")
    for problem in told["problems"]:
        typer.echo(f"  {problem['code']} at {problem['place']}: {problem['message']}")
