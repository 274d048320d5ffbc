"""What a solve answers: the shares, and where every minor unit of the pool went."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from engine.apportion.seats import UNLIMITED, Int64s
from engine.apportion.terms import Rounding


@dataclass(frozen=True)
class Group:
    """Seats that are charged alike; amounts in minor units.

    `share` is S, what the cases ask of each seat; `charge` what each pays (under `exact` without odd units).
    `open`: the allowance leaves room above S. `case_capped`: a per-case cap bound in S;
    `allowance_capped`: the allowance cut S.
    """

    class_: int
    tier: int
    allowance: int | None
    seats: int
    share: Fraction
    charge: int
    open: bool
    case_capped: bool
    allowance_capped: bool

    @property
    def taken(self) -> Fraction:
        """T = min(S, allowance), before rounding."""
        return self.share if self.allowance is None else min(self.share, Fraction(self.allowance))


@dataclass(frozen=True)
class Odd:
    """How many odd units the open seats of one (class, tier) receive under exact rounding."""

    class_: int
    tier: int
    units: int


@dataclass(frozen=True)
class Solution:
    """One run's apportionment, in minor units; by case in the order the cases were given.

    pool = P; `excess` = E, exact, what the caps kept from the members; `charged` = Σx; `sponsor` what the
    sponsor pays of E (without waived seats); `surplus` = what rounding collected beyond the pool and the run
    kept; `cut` = what `reduce_aid` took off the claims and their fees. `no_sharers`: indexes of cases nobody shares.
    """

    rounding: Rounding
    pool: int
    excess: Fraction
    charged: int
    sponsor: int
    carry_in: int
    carry_out: int
    surplus: int
    cut: int
    aids: tuple[int, ...]
    fees: tuple[int, ...]
    no_sharers: tuple[int, ...]
    groups: tuple[Group, ...]
    odd: tuple[Odd, ...] = ()

    @property
    def sharers(self) -> int:
        """Seats that share at least one case."""
        return sum(group.seats for group in self.groups)

    @property
    def case_capped(self) -> int:
        """Seats that a per-case cap stopped."""
        return sum(group.seats for group in self.groups if group.case_capped)

    @property
    def allowance_capped(self) -> int:
        """Seats that their allowance stopped."""
        return sum(group.seats for group in self.groups if group.allowance_capped)

    @property
    def share(self) -> int:
        """The most a seat pays (under `exact` without odd units)."""
        return max((group.charge for group in self.groups), default=0)

    @cached_property
    def odd_units(self) -> dict[tuple[int, int], int]:
        """Odd units by (class, tier), only where there are any."""
        return {(odd.class_, odd.tier): odd.units for odd in self.odd}

    @cached_property
    def charge_table(self) -> tuple[Int64s, Int64s, Int64s]:
        """Sorted classes, tiers and what an uncapped seat of each pays: int64 each."""
        table = {(group.class_, group.tier): self.rounding.of(group.share) for group in self.groups}
        rows = [(class_, tier, min(charge, UNLIMITED)) for (class_, tier), charge in sorted(table.items())]
        columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return columns[:, 0], columns[:, 1], columns[:, 2]

    def to_json(self) -> str:
        """Canonical JSON: exact integers, fractions as "n/d"."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values["excess"] = str(self.excess)
        values["groups"] = [asdict(group) | {"share": str(group.share)} for group in self.groups]
        values["odd"] = [asdict(odd) for odd in self.odd]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Solution:
        """The solution that `to_json` wrote."""
        values = json.loads(text)
        for name in ("aids", "fees", "no_sharers"):
            values[name] = tuple(values[name])
        values["rounding"] = Rounding(values["rounding"])
        values["excess"] = Fraction(values["excess"])
        values["groups"] = tuple(Group(**group | {"share": Fraction(group["share"])}) for group in values["groups"])
        values["odd"] = tuple(Odd(**odd) for odd in values["odd"])
        return cls(**values)

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON: what an approval pins."""
        return hashlib.sha256(self.to_json().encode()).digest()
