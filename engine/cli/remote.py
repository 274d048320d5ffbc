"""Commands through the API: where FENTAN_API_URL is set, those in this table ask it instead of the database.

A command keeps its options and its words. `--json` prints what the API answered, as it came. Who decides is whose token
it is: --as may be left out, and must name them where it is there. A command that is not in the table and would open a
database says that it cannot (engine/cli/shell.py).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import typer

from engine.cli import remote_desks, remote_runs
from engine.cli.asking import Asking
from engine.cli.shell import start
from engine.client import Client
from engine.errors import InvalidInput

PATIENCE_SECONDS = 5.0
"""A person would rather be told soon that nobody answers."""

COMMANDS = remote_runs.commands | remote_desks.commands


def through_api(group: typer.Typer, name: str) -> typer.Typer:
    """The same group of commands, with those of the table asking the API."""
    made = copy(group)
    made.registered_commands = []
    for command in group.registered_commands:
        local = command.callback
        assert local is not None
        asking = COMMANDS.get(f"{name} {command.name or local.__name__}")
        made.registered_commands.append(copy(command))
        if asking is not None:
            made.registered_commands[-1].callback = _asking(local, asking)
    return made


def _asking(local: Callable[..., Any], asking: Asking) -> Callable[..., None]:
    """A command with the options of a local one, of which --as may be left out."""

    @functools.wraps(local)
    def command(actor: str | None = None, **given: Any) -> None:
        asyncio.run(_asked(asking, actor, given))

    declared = inspect.signature(local, eval_str=True)
    options = [
        each.replace(kind=each.KEYWORD_ONLY, default=None if each.name == "actor" else each.default)
        for each in declared.parameters.values()
    ]
    command.__signature__ = declared.replace(parameters=options)  # type: ignore[attr-defined]
    return command


async def _asked(asking: Asking, actor: str | None, given: Mapping[str, Any]) -> None:
    settings = start()
    token = settings.api_token.get_secret_value()
    async with Client(settings.api_url, token, patience_seconds=PATIENCE_SECONDS) as client:
        if actor is not None and (holder := (await client.show_me())["name"]) != actor:
            raise InvalidInput(
                f"--as {actor}: FENTAN_API_TOKEN is {holder}'s, and it is {holder} who decides; leave --as out, or use "
                f"a token of {actor}'s"
            )
        await asking(client, **given)
