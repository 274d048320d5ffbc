"""The one error every part of Fentan raises, so that a face needs one `except`."""

from __future__ import annotations


class FentanError(Exception):
    """Something Fentan was asked to do cannot be done."""

    invariant: str | None = None
    """The invariant (docs/architecture.md, I1 to I14) that this error guards, if any."""

    def __init__(self, message: str | None = None) -> None:
        text = message or (type(self).__doc__ or "").strip().split("\n")[0]
        super().__init__(f"{text} [{self.invariant}]" if self.invariant else text)


class InvalidInput(FentanError):
    """The input is not valid."""


class NotFound(InvalidInput):
    """There is no such thing."""
