"""The roster by shard: columns of day numbers, a version of them for every fold, and what runs and claims read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Column, ColumnElement, Select, bindparam, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion.seats import Seats
from engine.errors import InvalidInput
from engine.ledger.accounts import seat_shard
from engine.plans import NEVER, date_of, day_number
from engine.roster.cover import tier_on
from engine.roster.members import find_seats, seat_taken
from engine.roster.plan import newest_rules
from engine.roster.tags import TAG_BYTES
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, member_columns, roster, roster_changes

_TAGS = select(member_columns.c.tags).where(member_columns.c.shard_id == bindparam("of_shard"))

Days = NDArray[np.int32]
Tiers = NDArray[np.int16]

DAY, TIER = np.dtype("<i4"), np.dtype("<i2")
"""How a day (or a seat) and a tier are stored; a column is one after the other, in seat order."""

ALONE = -1
"""The payer of a seat that pays for itself."""


@dataclass(frozen=True)
class Columns:
    """One version of a shard's roster: int32[n] day numbers, `tier` and `next_tier` int16[n], `payer` int32[n] seats.

    A seat shares from `shares_from` on, claims from `claims_from` on, until before `ended_on` (NEVER: no end in
    sight), and does not share from `frozen_from` until before `frozen_to` (0 and 0: it was never frozen). It weighs by
    `next_tier` from `next_tier_from` on (0: none was chosen), by `tier` before. Another seat is its `payer`, or ALONE.
    None stands for a column in which no seat of the shard has anything.
    """

    shares_from: Days
    claims_from: Days
    ended_on: Days
    tier: NDArray[np.int16]
    frozen_from: Days | None = None
    frozen_to: Days | None = None
    next_tier: NDArray[np.int16] | None = None
    next_tier_from: Days | None = None
    payer: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.shares_from)

    def extended(self, more: Columns) -> Columns:
        """These seats, then those of `more`."""
        both = {}
        for name in NAMES:
            one, other = getattr(self, name), getattr(more, name)
            if one is not None or other is not None:
                both[name] = np.concatenate([self.filled(name), more.filled(name)])
        return Columns(**both)

    def filled(self, name: str) -> NDArray[Any]:
        """The column of this name; where it is None, one of the same meaning."""
        column: NDArray[Any] | None = getattr(self, name)
        if column is None:
            return np.full(len(self), ALONE if name == "payer" else 0, _type_of(name))
        return column

    def seats(self, first_seat: int, *, on_day: int) -> Seats:
        """What a run debited on `on_day` needs of these seats; no allowances."""
        tier = self.tier
        if self.next_tier is not None and self.next_tier_from is not None:
            tier = _weighing(tier, self.next_tier, self.next_tier_from, on_day)
        return Seats(self.shares_from, self.ended_on, tier, self.frozen_from, self.frozen_to, first_seat=first_seat)


def _weighing(tier: Tiers, chosen: Tiers, chosen_from: Days, on_day: int) -> Tiers:
    """The tiers that weigh on a day: one that was chosen from its day on."""
    weighing: Tiers = np.where((chosen_from > 0) & (chosen_from <= on_day), chosen, tier)
    return weighing


_NO_DAYS = np.empty(0, np.int32)

NO_SEATS = Columns(_NO_DAYS, _NO_DAYS, _NO_DAYS, np.empty(0, np.int16))

NAMES = tuple(field.name for field in fields(Columns))


class Version(NamedTuple):
    """Which version of a shard's roster, and the last change that went into it."""

    version: int
    folded_through: int


UNWRITTEN = Version(0, 0)
"""What comes before a shard's first version."""


async def latest_version(connection: AsyncConnection, shard_id: int) -> Version:
    """The newest version of a shard's roster; UNWRITTEN when it has none."""
    found = await connection.execute(
        select(roster.c.version, roster.c.folded_through)
        .where(roster.c.shard_id == shard_id)
        .order_by(roster.c.version.desc())
        .limit(1)
    )
    row = found.first()
    return UNWRITTEN if row is None else Version(row.version, row.folded_through)


async def read_columns(connection: AsyncConnection, shard_id: int, version: int) -> Columns:
    """All columns of one version; no seats at version 0. Raises InvalidInput when there is no such version."""
    return NO_SEATS if version == 0 else Columns(**await _read(connection, shard_id, version, NAMES))


async def write_columns(connection: AsyncConnection, shard_id: int, version: Version, columns: Columns) -> None:
    """Add a version. A version is never changed once written; the database refuses a second of the same number."""
    values = {name: to_bytes(getattr(columns, name)) for name in NAMES}
    await connection.execute(insert(roster).values(shard_id=shard_id, **version._asdict(), **values))


async def read_seats(
    connection: AsyncConnection, shard_id: int, version: int, first_seat: int, *, on_day: int
) -> Seats:
    """What a run debited on `on_day` needs of a shard's seats at one version; no allowances.

    A tier that was chosen is the seat's from its day on. Raises InvalidInput when there is no such version.
    """
    names = ("shares_from", "ended_on", "tier", "frozen_from", "frozen_to", "next_tier", "next_tier_from")
    found = await _read(connection, shard_id, version, names)
    chosen, chosen_from = found.pop("next_tier"), found.pop("next_tier_from")
    if chosen is not None:
        found["tier"] = _weighing(found["tier"], chosen, chosen_from, on_day)
    return Seats(**found, first_seat=first_seat)


async def _read(connection: AsyncConnection, shard_id: int, version: int, names: tuple[str, ...]) -> dict[str, Any]:
    row = (await connection.execute(_version(names), {"of_shard": shard_id, "of_version": version})).one_or_none()
    if row is None:
        raise InvalidInput(f"shard {shard_id} has no version {version} of its roster")
    return {
        name: None if value is None else np.frombuffer(value, _type_of(name))
        for name, value in zip(names, row, strict=True)
    }


def _type_of(name: str) -> np.dtype[Any]:
    return TIER if name in ("tier", "next_tier") else DAY


@cache
def _version(names: tuple[str, ...]) -> Select[tuple[Any, ...]]:
    """Built once for the columns wanted: building a statement takes longer than the server takes to run it."""
    return select(*(roster.c[name] for name in names)).where(
        roster.c.shard_id == bindparam("of_shard"), roster.c.version == bindparam("of_version")
    )


def to_bytes(column: NDArray[np.int32] | NDArray[np.int16] | None) -> bytes | None:
    """A column as it is stored, little-endian; None stays None."""
    return None if column is None else column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()


async def read_tags(connection: AsyncConnection, shard_id: int, seats: int) -> bytes:
    """The tags of a shard's first `seats` seats, 16 bytes each. Raises InvalidInput when it has fewer."""
    tags = await connection.scalar(_TAGS, {"of_shard": shard_id})
    if tags is None or len(tags) < seats * TAG_BYTES:
        raise InvalidInput(f"shard {shard_id} has no {seats} member tags")
    first: bytes = tags[: seats * TAG_BYTES]
    return first


@dataclass(frozen=True, slots=True)
class Membership:
    """One spell of a member in a plan; days are day numbers, `ended_on` is NEVER when no end is in sight.

    `frozen_from`, `frozen_to`: the latest freeze, (0, 0) when there was none. `tier`: by which claims go on the day
    that was asked about (`engine.roster.cover`). `payer_seat`: None when the member pays for themself.
    """

    shard_id: int
    seat: int
    born_on: date
    shares_from: int
    claims_from: int
    ended_on: int
    frozen_from: int = 0
    frozen_to: int = 0
    tier: int = 0
    payer_seat: int | None = None


async def membership_on(connection: AsyncConnection, plan_id: int, member: str | int, day: date) -> Membership | None:
    """The member's spell that had begun by `day`, the last of several; else the first to come; None when unknown.

    `member`: a reference, or the seat of the spell that is meant. Changes not yet folded count. Whether the spell
    covers `day` is for the caller to see.
    """
    asked = day_number(day)
    if isinstance(member, int):
        taken = await seat_taken(connection, plan_id, member)
        return await _spell(connection, seat_shard(plan_id, member), member, asked) if taken else None
    spells = [await _spell(connection, *seat, asked) for seat in await find_seats(connection, plan_id, member)]
    begun = [spell for spell in spells if spell.shares_from <= asked]
    return begun[-1] if begun else next(iter(spells), None)


async def _spell(connection: AsyncConnection, shard_id: int, seat: int, day: int) -> Membership:
    position = seat % SHARD_SEATS
    newest = await connection.execute(
        select(*(value_at(roster.c[name], position).label(name) for name in NAMES), roster.c.folded_through)
        .where(roster.c.shard_id == shard_id)
        .order_by(roster.c.version.desc())
        .limit(1)
    )
    row = newest.first()
    # A seat given since the last fold lies beyond its columns; its own change says all there is to know.
    known = {} if row is None else {name: stored for name in NAMES if (stored := getattr(row, name))}
    values = {"ended_on": NEVER, "payer": ALONE} | {name: value_in(stored) for name, stored in known.items()}
    through = 0 if row is None else row.folded_through
    for change in await _changes_of(connection, shard_id, seat, after=through):
        match change.kind:
            case "join":
                values |= {"shares_from": change.from_day, "claims_from": change.until_day, "tier": change.tier}
                values["payer"] = ALONE if change.payer is None else change.payer
            case "exit":
                values["ended_on"] = change.from_day
            case "freeze":
                values |= {"frozen_from": change.from_day, "frozen_to": change.until_day}
            case "tier":
                values["next_tier_from"] = change.from_day
            case "payer":
                values["payer"] = ALONE if change.payer is None else change.payer
    born_on = await connection.scalar(
        select(value_at(member_columns.c.born_on, position)).where(member_columns.c.shard_id == shard_id)
    )
    assert born_on, "every seat has a birth"
    tier = values["tier"]
    if values.get("next_tier_from"):
        tier = await _tier_on(connection, shard_id, seat, day)
    return Membership(
        shard_id,
        seat,
        date_of(value_in(born_on)),
        values["shares_from"],
        values["claims_from"],
        values["ended_on"],
        values.get("frozen_from", 0),
        values.get("frozen_to", 0),
        tier,
        None if values["payer"] == ALONE else values["payer"],
    )


async def _tier_on(connection: AsyncConnection, shard_id: int, seat: int, day: int) -> int:
    """By which tier claims of a seat that ever chose another go on a day: its whole history says so."""
    changes = await _changes_of(connection, shard_id, seat, after=0)
    joined = next((change.tier for change in changes if change.kind == "join"), None)
    if joined is None:  # it came in a roster file, and the first version that has it says how
        position = seat % SHARD_SEATS
        first = await connection.scalar(
            select(value_at(roster.c.tier, position))
            .where(roster.c.shard_id == shard_id, func.octet_length(roster.c.tier) > position * TIER.itemsize)
            .order_by(roster.c.version)
            .limit(1)
        )
        assert first, "the seat stands in a version of its shard"
        joined = value_in(first)
    rules = await newest_rules(connection, shard_id // PLAN_STRIDE)
    chosen = [(change.tier, change.until_day) for change in changes if change.kind == "tier"]
    return tier_on(rules, joined, chosen, day)


async def _changes_of(connection: AsyncConnection, shard_id: int, seat: int, *, after: int) -> Sequence[Any]:
    changes = await connection.execute(
        select(
            roster_changes.c.kind,
            roster_changes.c.from_day,
            roster_changes.c.until_day,
            roster_changes.c.tier,
            roster_changes.c.payer,
        )
        .where(roster_changes.c.shard_id == shard_id, roster_changes.c.seat == seat)
        .where(roster_changes.c.change_id > after)
        .order_by(roster_changes.c.change_id)
    )
    return changes.all()


def value_at(column: Column[Any], position: int) -> ColumnElement[Any]:
    """The bytes of one seat in a stored column, empty beyond its end; the server fetches only the page they lie on."""
    size = _type_of(column.name).itemsize
    return func.substring(column, position * size + 1, size)


def value_in(stored: bytes) -> int:
    """What the bytes of one seat say."""
    return int.from_bytes(stored, "little", signed=True)
