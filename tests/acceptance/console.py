"""What the console script left behind, and what tests ask of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it printed, however its lines were broken."""
        return " ".join(self.out.split())


Fentan = Callable[..., Done]
"""The console script: called with its arguments. The fixture `fentan` is one."""


def said(done: Done) -> str:
    """The words of a command that did what it was asked, and had nothing to complain of."""
    assert (done.code, done.err) == (0, "")
    return done.words


def told(done: Done) -> Any:
    """The JSON of one that did."""
    return json.loads(said(done))


def refused(done: Done) -> str:
    """Why it did nothing: on standard error, with exit code 1 and no traceback."""
    assert (done.code, done.out.strip(), done.err[:8]) == (1, "", "fentan: ")
    return done.err[8:].strip()
