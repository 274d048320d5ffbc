"""Small worlds as JSON: a run that anyone can recompute by hand (`fentan apportion`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.apportion.charge import charge, offsets
from engine.apportion.errors import PoolTooLarge, TooManyDraws
from engine.apportion.histogram import Histogram, collect
from engine.apportion.measure import measure
from engine.apportion.outcome import Outcome
from engine.apportion.rate import Rate
from engine.apportion.rounds import play, play_seats
from engine.apportion.seats import UNLIMITED, Seats, class_of
from engine.apportion.solve import solve
from engine.apportion.terms import CapBasis, Case, OverCap, Rounding, Terms
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX

_DAY_MIN, _DAY_MAX = -(2**31), 2**31 - 1

Amount = Annotated[int, Field(strict=True, ge=0, le=BIGINT_MAX)]
Day = Annotated[int, Field(strict=True, ge=_DAY_MIN, le=_DAY_MAX)]
Count = Annotated[int, Field(strict=True, ge=0, le=BIGINT_MAX)]
Tier = Annotated[int, Field(strict=True, ge=0, le=2**15 - 1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rules(_Part):
    """`rules` of a world; what is absent has the plainest value."""

    weights: tuple[Count, ...] = Field((1,), min_length=1)
    fee: Rate = Fraction(0)
    rounding: Rounding = Rounding.UP
    over_cap: OverCap = OverCap.SPONSOR
    fallback: OverCap = OverCap.SPONSOR
    cap_basis: CapBasis = CapBasis.HEAD
    cap_unit: Annotated[int, Field(strict=True, ge=1)] = 1
    surplus_first: Annotated[bool, Field(strict=True)] | None = None
    floor: Amount | None = None

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.fallback is OverCap.REDISTRIBUTE:
            raise ValueError("fallback takes what redistribute cannot place: sponsor or reduce_aid")
        return self

    def terms(self) -> Terms:
        """These rules as the engine's terms."""
        return Terms(**{name: getattr(self, name) for name in type(self).model_fields if name != "floor"})


class WorldCase(_Part):
    """One case: `aid` and `cap` in minor units, `gate` a day number."""

    aid: Amount
    gate: Annotated[int, Field(strict=True, ge=_DAY_MIN, le=_DAY_MAX - 1)]
    cap: Amount | None = None


class Member(_Part):
    """One seat; `frozen` is frozen at every gate, `frozen_from` to `frozen_to` only in between."""

    shares_from: Day = 0
    ended_on: Day = _DAY_MAX
    frozen: Annotated[bool, Field(strict=True)] = False
    frozen_from: Day = 0
    frozen_to: Day = 0
    tier: Tier = 0
    allowance: Amount | None = None


class SeatGroup(_Part):
    """`seats` alike, covering every gate."""

    seats: Count
    tier: Tier = 0
    allowance: Amount | None = None


class World(_Part):
    """A run with its members (one object per seat) or groups of seats. `name`, `why`, `expect` are for readers."""

    name: str = ""
    why: Any = None
    expect: Any = None
    rules: Rules = Rules()
    cases: tuple[WorldCase, ...]
    carry_in: Amount = 0
    members: tuple[Member, ...] | None = None
    groups: tuple[SeatGroup, ...] | None = None
    waived: tuple[Count, ...] = ()
    seed_hex: Annotated[str, Field(pattern="^([0-9a-fA-F]{2})*$")] = ""
    pointer: dict[Annotated[int, Field(ge=0)], Count] = {}
    floor: Amount | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.members is None) == (self.groups is None):
            raise ValueError("give either members (one object per seat) or groups (tier, allowance, seats)")
        tiers = len(self.rules.weights)
        used = [member.tier for member in self.members or ()] + [group.tier for group in self.groups or ()]
        if used and max(used) >= tiers:
            raise ValueError(f"tier {max(used)} has no weight: rules.weights holds {tiers}, counted from tier 0")
        if self.waived and max(self.waived) >= len(self.members or ()):
            raise ValueError(f"waived names seat {max(self.waived)}; there are {len(self.members or ())} members")
        if self.groups and sum(group.seats for group in self.groups) > BIGINT_MAX:
            raise ValueError("the groups hold more seats than 2^63 - 1")
        if self.groups and self.least is not None and self.rules.rounding is Rounding.EXACT:
            raise ValueError("an event world with rounding exact needs members: odd units go to single seats")
        return self

    @property
    def least(self) -> int | None:
        """The floor of an event world, in minor units; None: all cases are one apportionment."""
        return self.rules.floor if self.floor is None else self.floor


def apportion_worlds(worlds: object) -> list[dict[str, Any]]:
    """The answers to a JSON list of worlds; raises InvalidInput naming the world and the field."""
    if not isinstance(worlds, list):
        raise InvalidInput("expected a JSON list of worlds, each an object with rules, cases and members or groups")
    return [apportion_world(world, place=f"world {number}") for number, world in enumerate(worlds)]


def apportion_world(world: object, place: str = "world") -> dict[str, Any]:
    """One world's answer, amounts as integers in minor units.

    Members: `name, charges, sponsor, carry_out, aids, fees, waived_total, pointer`; groups: `name,
    share_by_tier, charges_total, sponsor, carry_out, fees_total`. `charges` as computed and `sponsor` without
    waived seats. Raises InvalidInput, PoolTooLarge, TooManyDraws.
    """
    if isinstance(world, Mapping) and isinstance(world.get("name"), str):
        place = f"{place} ({world['name']})"
    try:
        parsed = World.model_validate(world)
    except ValidationError as error:
        raise InvalidInput("\n".join(f"{place}: {_line(each)}" for each in error.errors())) from None
    try:
        return _members(parsed) if parsed.groups is None else _groups(parsed, parsed.groups)
    except (InvalidInput, PoolTooLarge, TooManyDraws) as error:
        raise type(error)(f"{place}: {error}") from None


def _line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _seats(members: Sequence[Member]) -> Seats:
    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.array([getattr(member, name) for member in members], dtype=np.int32)

    frozen = np.array([member.frozen for member in members], dtype=bool)
    allowances = [UNLIMITED if member.allowance is None else member.allowance for member in members]
    return Seats(
        shares_from=column("shares_from"),
        ended_on=column("ended_on"),
        tier=column("tier").astype(np.int16),
        frozen_from=np.where(frozen, np.int32(_DAY_MIN), column("frozen_from")),
        frozen_to=np.where(frozen, np.int32(_DAY_MAX), column("frozen_to")),
        allowance=np.array(allowances, dtype=np.int64),
    )


def _gates(cases: Sequence[Case]) -> tuple[int, ...]:
    return tuple(sorted({case.gate for case in cases})) or (0,)


def _members(world: World) -> dict[str, Any]:
    seats, terms, seed = _seats(world.members or ()), world.rules.terms(), bytes.fromhex(world.seed_hex)
    cases = [Case(case.aid, case.gate, case.cap) for case in world.cases]
    if world.least is not None:
        rounds, charges = play_seats(
            seats, cases, terms, world.carry_in, floor=world.least, seed=seed, pointers=world.pointer
        )
        amounts, pointer = charges.amounts, charges.pointer
        sponsor = sum(each.sponsor for each in rounds)
        carry_out = rounds[-1].carry_out if rounds else world.carry_in
        by_case = sorted(rounds, key=lambda each: each.case)
        aids, fees = [each.aid for each in by_case], [each.fee for each in by_case]
    else:
        gates = _gates(cases)
        histogram = measure(seats, gates, clip=None, pointers=world.pointer)
        solution = solve(histogram, gates, cases, terms, world.carry_in, seed=seed)
        (offset,) = offsets([histogram], solution)
        charges = charge(seats, solution, gates, pointers=world.pointer, offset=offset)
        amounts, pointer = charges.amounts, world.pointer | charges.pointer
        sponsor, carry_out = solution.sponsor, solution.carry_out
        aids, fees = list(solution.aids), list(solution.fees)
    listed = amounts.tolist()
    return {
        "name": world.name,
        "charges": listed,
        "sponsor": sponsor,
        "carry_out": carry_out,
        "aids": aids,
        "fees": fees,
        "waived_total": sum(listed[seat] for seat in set(world.waived)),
        "pointer": {str(tier): position for tier, position in sorted(pointer.items())},
    }


def _groups(world: World, groups: Sequence[SeatGroup]) -> dict[str, Any]:
    terms, cases = world.rules.terms(), [Case(case.aid, case.gate, case.cap) for case in world.cases]
    gates = _gates(cases)
    histogram = _histogram(groups, len(gates))
    shares: dict[int, int] = defaultdict(int)
    outcome: Outcome
    if world.least is not None:
        outcome = played = play(histogram, gates, cases, terms, world.carry_in, floor=world.least)
        for tier, amount in zip(histogram.tiers.tolist(), played.charges.tolist(), strict=True):
            shares[tier] = max(shares[tier], amount)
    else:
        seed = bytes.fromhex(world.seed_hex)
        outcome = solution = solve(histogram, gates, cases, terms, world.carry_in, seed=seed)
        for group in solution.groups:
            odd = group.open and (group.class_, group.tier) in solution.odd_units
            shares[group.tier] = max(shares[group.tier], group.charge + odd)
    return {
        "name": world.name,
        "share_by_tier": [shares[tier] for tier in range(max((group.tier for group in groups), default=-1) + 1)],
        "charges_total": outcome.charged,
        "sponsor": outcome.sponsor,
        "carry_out": outcome.carry_out,
        "fees_total": sum(outcome.fees),
    }


def _histogram(groups: Sequence[SeatGroup], gates: int) -> Histogram:
    filled = [group for group in groups if group.seats]
    zeros = np.zeros(len(filled), dtype=np.int64)
    return collect(
        zeros + class_of(0, gates - 1),
        np.array([group.tier for group in filled], dtype=np.int64),
        np.array([UNLIMITED if group.allowance is None else group.allowance for group in filled], dtype=np.int64),
        zeros,
        np.array([group.seats for group in filled], dtype=np.int64),
    )
