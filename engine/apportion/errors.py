"""What can go wrong in an apportionment beyond plainly bad input."""

from __future__ import annotations

from engine.errors import FentanError


class ClipTooSmall(FentanError):
    """A seat whose allowance was clipped would be charged more than the clip."""

    def __init__(self, needed: int) -> None:
        self.needed = needed
        super().__init__(f"a share of {needed} minor units is above the clip; measure again with at least that")


class PoolTooLarge(FentanError):
    """The pool and the seats together do not fit into 63 bits; split the run."""


class TooManyDraws(FentanError):
    """The exact shares of this run would need fractions too long to keep; give it fewer cases or gates."""


class DoesNotAddUp(FentanError):
    """Charges, sponsor and carry-in differ from aid, fee and carry-out."""

    invariant = "I5"


class OverCharged(FentanError):
    """A seat would be charged above its allowance or for a gate it does not cover."""

    invariant = "I6"
