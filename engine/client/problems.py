"""What the API refuses, as an error with all that the problem says (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.errors import FentanError


class Unreachable(FentanError):
    """The API does not answer."""


class JobFailed(FentanError):
    """A job has failed."""


class ProofBroken(FentanError):
    """The proof does not lead to the seal; compare the seal with what was published, and tell the plan's auditor."""

    invariant = "I7"


class WrongField(NamedTuple):
    """A field of a request, and what is wrong with it."""

    field: str
    message: str


class ApiProblem(FentanError):
    """The API refused. Its text is the problem's detail; `kind` is the end of its type, as in `not-found`."""

    def __init__(self, status: int, said: dict[str, Any]) -> None:
        super().__init__(str(said.get("detail") or said.get("title") or f"the API answered {status}"))
        self.status = status
        self.type = str(said.get("type", "about:blank"))
        self.title = str(said.get("title", ""))
        self.detail = str(said.get("detail", ""))
        self.invariant = said.get("invariant")
        self.request_id = str(said.get("request_id", ""))
        self.errors: Sequence[WrongField] = [
            WrongField(str(wrong.get("field", "")), str(wrong.get("message", ""))) for wrong in said.get("errors") or ()
        ]

    @property
    def kind(self) -> str:
        """What kind of refusal it is, wherever the API is served from."""
        return self.type.rpartition("#problem-")[2]
