"""A command's answer as JSON."""

from __future__ import annotations

import json

import typer


def json_text(answer: object) -> str:
    """JSON text, indented; what is none of JSON's own types stands as its text."""
    return json.dumps(answer, ensure_ascii=False, indent=2, default=str)


def print_json(answer: object) -> None:
    """Print it on standard output."""
    typer.echo(json_text(answer))
