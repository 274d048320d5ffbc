"""`fentan statement`: what a custodian's statement holds, and whether it proves itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.custodian.gates import Tally
    from engine.custodian.readers import Described
    from engine.custodian.statement import Footing

app = typer.Typer(no_args_is_help=True, help="Statements of custodians: checked before anything is posted from them.")


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read a statement file without a database: what it holds, whether it adds up, and every problem's place."""
    if not file.is_file():
        raise InvalidInput(f"{file}: there is no such file")
    checked = []
    for footing, tally in _statements(file, _described(profile)):
        checked.append(_told(footing, tally))
        if not as_json:
            _print(checked[-1], footing.message)
    if as_json:
        typer.echo(json.dumps(checked, ensure_ascii=False, indent=2))
    if any(each["problems"] for each in checked):
        raise typer.Exit(1)


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
