"""The table of commands that go through the API, held against the commands there are."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import typer

from engine.cli import main
from engine.cli.remote import COMMANDS, through_api

WHOLE_GROUPS = ("schedule", "decision", "queue")


def commands_of(group: str) -> dict[str, inspect.Signature]:
    app = import_module(f"engine.cli.{main._MODULES[group]}").app
    return {
        f"{group} {command.name or command.callback.__name__}": inspect.signature(command.callback)
        for command in app.registered_commands
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_of_the_table_takes_what_the_command_takes(name: str) -> None:
    known = commands_of(name.split(maxsplit=1)[0])
    client, *taken = inspect.signature(COMMANDS[name]).parameters
    assert client == "client"
    assert set(taken) == set(known[name].parameters) - {"actor"}


def test_whole_groups_go_through_the_api() -> None:
    expected = {name for group in WHOLE_GROUPS for name in commands_of(group)} | (
        set(commands_of("run")) - {"run correct", "run payers"}
    )
    assert expected - set(COMMANDS) == set()


def test_the_local_group_stays_as_it_is() -> None:
    app = import_module("engine.cli.run").app
    before = [(command.name, command.callback) for command in app.registered_commands]
    made = through_api(app, "run")
    assert [(command.name, command.callback) for command in app.registered_commands] == before
    names = [command.name for command in made.registered_commands]
    assert names == [command.name for command in app.registered_commands]
    (approve,) = [each for each in made.registered_commands if each.callback and each.callback.__name__ == "approve"]
    assert approve.callback is not None
    assert inspect.signature(approve.callback).parameters["actor"].default is None
    assert isinstance(made, typer.Typer)
