"""A command's answer as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from engine.money import to_major


def json_text(answer: object) -> str:
    """JSON text, indented; what is none of JSON's own types stands as its text."""
    return json.dumps(answer, ensure_ascii=False, indent=2, default=str)


def print_json(answer: object) -> None:
    """Print it on standard output."""
    typer.echo(json_text(answer))


def in_major(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields in minor units become text in major units, without the `_minor` of their names."""
    return {
        name.removesuffix("_minor"): to_major(value) if name.endswith("_minor") and value is not None else value
        for name, value in fields.items()
    }
