"""Options that several commands take, without what their work needs."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

import typer

from engine.errors import InvalidInput

_NAME = re.compile(r"\w[\w .@-]{0,63}")


def actor_name(text: str) -> str:
    """A name as it goes into the audit log: one spelling for what looks the same. Raises InvalidInput."""
    name = unicodedata.normalize("NFKC", text).strip()
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"--as {text!r}: give a name of 1 to 64 letters, digits, spaces and . @ - _")
    return name


As = Annotated[
    str, typer.Option("--as", metavar="NAME", parser=actor_name, help="Who decides; it goes into the audit log.")
]
