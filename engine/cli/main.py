"""`fentan`: every command, and the one place where errors become words and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

import typer

from engine import __version__
from engine.cli.apportion import apportion
from engine.cli.quote import quote
from engine.errors import FentanError, InvalidInput
from engine.memory import keep_freed
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


_MODULES = {
    "plan": "plan",
    "calendar": "calendar",
    "roster": "roster",
    "claim": "claims",
    "run": "run",
    "schedule": "schedule",
    "ledger": "ledger",
    "custodian": "custodian",
    "statement": "statements",
    "reconcile": "reconcile",
    "member": "members",
    "decision": "decisions",
    "token": "tokens",
    "queue": "queue",
    "api": "api",
    "worker": "processes",
    "up": "processes",
    "migrate": "processes",
    "demo": "demo",
    "bench": "bench",
    "simulate": "simulate",
}
"""Commands and the module of each. A module is imported only for who asks for it: a quote starts in a tenth of a
second, and a worker does not carry what reads Parquet."""


def _add(command: str) -> None:
    """Add a command or group, in place of what an earlier `main` of this process added under its name."""
    module = import_module(f"engine.cli.{_MODULES[command]}")
    if isinstance(group := getattr(module, "app", None), typer.Typer):
        app.registered_groups = [each for each in app.registered_groups if each.name != command]
        app.add_typer(_through_api(group, command), name=command)
    else:
        app.registered_commands = [each for each in app.registered_commands if each.name != command]
        app.command(command)(getattr(module, command))


def _through_api(group: typer.Typer, name: str) -> typer.Typer:
    """The group, asking the API where settings name one. Wrong settings are said by the command that needs them."""
    with suppress(InvalidInput):
        if load_settings().api_url:
            from engine.cli.remote import through_api

            return through_api(group, name)
    return group


_SERVERS = (
    ("sqlalchemy.exc", "DBAPIError", "the database"),
    ("asyncpg", "PostgresError", "the database"),
    ("asyncpg", "InterfaceError", "the database"),
    ("redis.exceptions", "RedisError", "the doorbell"),
)
"""What a server's client raises: module, class, server. Looked up among what is loaded, so that a quote loads none."""


def _words_for(error: Exception) -> str | None:
    """What to say of an error that is no fault of the program; None: nothing, it is one."""
    if isinstance(error, FentanError):
        return str(error)
    for module, name, server in _SERVERS:
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            cause = getattr(error, "orig", None) or error
            # One line: what follows is the statement, and may hold a row.
            said = next(iter(str(cause).splitlines()), type(cause).__name__)
            return f"{server} went away or refused: {said}"
    if isinstance(error, OverflowError) and str(error) == "date value out of range":
        return "what is asked leads to a day after the year 9999; correct the dates given"
    return str(error) or type(error).__name__ if isinstance(error, OSError) else None


def main() -> None:
    """The console script."""
    keep_freed()
    try:
        asked = sys.argv[1] if len(sys.argv) > 1 else ""
        light = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
        for command in [asked] if asked in _MODULES else [] if asked in light else _MODULES:
            _add(command)
        app()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        words = _words_for(error)
        if words is None:
            raise
        typer.echo(f"fentan: {words}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
