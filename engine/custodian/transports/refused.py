"""What every transport raises where a custodian cannot be reached or refuses."""

from __future__ import annotations

from engine.errors import FentanError


class NotTaken(FentanError):
    """The custodian did not take a file, or does not answer; its text names no address, no token and no account."""


class Unsure(NotTaken):
    """The custodian was given a file and did not say whether it took it; it may have it."""
