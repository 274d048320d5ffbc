"""`fentan apportion`: small worlds in, their apportionment out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.answer import print_json
from engine.errors import InvalidInput


def apportion(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON list of worlds; - reads standard input.")],
) -> None:
    """Recompute small worlds by the engine's own rules, in minor units."""
    from engine.apportion.worlds import apportion_worlds

    source = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{source}: {error}") from None
    try:
        worlds = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{source}: not JSON: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{source}: nested too deeply; a world is a list and a few objects deep") from None
    print_json(apportion_worlds(worlds))
