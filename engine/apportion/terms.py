"""The money rules of one run, as numbers: what a plan's rules come down to once a run is planned."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from fractions import Fraction

from engine.errors import InvalidInput
from engine.money import ceiling, floor, half_up


class Rounding(StrEnum):
    """How a seat's exact share becomes minor units."""

    UP = "up"
    HALF_UP = "half_up"
    DOWN = "down"
    EXACT = "exact"

    def of(self, share: Fraction) -> int:
        """`share` in whole minor units; for `exact` the floor, before odd units are dealt out."""
        if self is Rounding.UP:
            return ceiling(share)
        return half_up(share) if self is Rounding.HALF_UP else floor(share)


class OverCap(StrEnum):
    """Who bears what the caps keep from the members."""

    SPONSOR = "sponsor"
    REDISTRIBUTE = "redistribute"
    REDUCE_AID = "reduce_aid"


class CapBasis(StrEnum):
    """Whether a per-case cap is the same for every head or grows with the weight."""

    HEAD = "head"
    WEIGHT = "weight"


@dataclass(frozen=True)
class Terms:
    """The money rules of one run (DESIGN §5).

    `weights` by tier, integers ≥ 0; `fee` the exact rate ("2/25" is 8 %); `fallback` takes what
    `redistribute` cannot place; a case's cap is ⌊cap·w/cap_unit⌋ under the basis `weight`.
    `surplus_first`: the rounding surplus covers the excess before anyone else does; None means
    the default, no under `sponsor` and yes otherwise. Raises InvalidInput.
    """

    weights: tuple[int, ...] = (1,)
    fee: Fraction = Fraction(0)
    rounding: Rounding = Rounding.UP
    over_cap: OverCap = OverCap.SPONSOR
    fallback: OverCap = OverCap.SPONSOR
    cap_basis: CapBasis = CapBasis.HEAD
    cap_unit: int = 1
    surplus_first: bool | None = None

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) < 0:
            raise InvalidInput(f"weights {list(self.weights)}: give one integer ≥ 0 for every tier")
        if self.fee < 0:
            raise InvalidInput(f"fee {self.fee} is negative")
        if self.cap_unit < 1:
            raise InvalidInput(f"cap_unit {self.cap_unit}: it divides a weight, so it is at least 1")
        if self.fallback is OverCap.REDISTRIBUTE:
            raise InvalidInput("fallback takes what redistribute cannot place: sponsor or reduce_aid")
        if self.surplus_first is None:
            object.__setattr__(self, "surplus_first", self.over_cap is not OverCap.SPONSOR)

    @property
    def bearer(self) -> OverCap:
        """Who bears the excess in the end: `sponsor` or `reduce_aid`."""
        return self.fallback if self.over_cap is OverCap.REDISTRIBUTE else self.over_cap

    def fee_on(self, aid: int) -> int:
        """F(A) = ⌊fA + ½⌋, in minor units."""
        return half_up(self.fee * aid)

    def cap_of(self, cap: int | None, tier: int) -> int | None:
        """q: the most a seat of `tier` pays for a case with `cap`, in minor units; None is no cap."""
        if cap is None or self.cap_basis is CapBasis.HEAD:
            return cap
        return cap * self.weights[tier] // self.cap_unit

    def to_json(self) -> str:
        """Canonical JSON, so that its SHA-256 pins the terms."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(values | {"fee": str(self.fee)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Terms:
        """The terms that `to_json` wrote."""
        values = json.loads(text)
        return cls(
            weights=tuple(values["weights"]),
            fee=Fraction(values["fee"]),
            rounding=Rounding(values["rounding"]),
            over_cap=OverCap(values["over_cap"]),
            fallback=OverCap(values["fallback"]),
            cap_basis=CapBasis(values["cap_basis"]),
            cap_unit=values["cap_unit"],
            surplus_first=values["surplus_first"],
        )


@dataclass(frozen=True)
class Case:
    """A passed claim inside a run: `aid` and `cap` (per case per head) in minor units, `gate` a day number."""

    aid: int
    gate: int
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.aid < 0 or (self.cap is not None and self.cap < 0):
            raise InvalidInput(f"case of {self.aid} with cap {self.cap}: amounts are not negative")
