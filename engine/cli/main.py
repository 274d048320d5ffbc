"""`fentan`: every command, and the one place where errors become words and exit codes."""

from __future__ import annotations

import os
import sys

import typer

from engine import __version__
from engine.cli.apportion import apportion
from engine.cli.quote import quote
from engine.errors import FentanError
from engine.settings import load_settings, shown

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fentan (分摊): split the aid, charge within caps, post once, seal with a proof.",
)
app.command()(apportion)
app.command()(quote)


@app.command()
def settings() -> None:
    """Every setting, its value and where it came from; secrets are hidden."""
    rows = list(shown(load_settings(), dict(os.environ)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, value, source in rows:
        typer.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}")


@app.command()
def version() -> None:
    """The version of Fentan."""
    typer.echo(__version__)


def _add_database_commands() -> None:
    """What needs a database is imported only for those who ask for it: `fentan quote` starts in a tenth of a second."""
    from engine.cli import bench, claims, demo, ledger, processes, roster, run

    app.add_typer(roster.app, name="roster")
    app.add_typer(claims.app, name="claim")
    app.add_typer(run.app, name="run")
    app.add_typer(ledger.app, name="ledger")
    app.command()(processes.worker)
    app.command()(processes.up)
    app.command("migrate")(processes.migrate_database)
    app.command()(demo.demo)
    app.command()(bench.bench)


def main() -> None:
    """The console script."""
    if len(sys.argv) < 2 or sys.argv[1] not in ("apportion", "quote", "settings", "version"):
        _add_database_commands()
    try:
        app()
    except FentanError as error:
        typer.echo(f"fentan: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
