"""The roster by shard: columns of day numbers, a version of them for every fold, and what runs and claims read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Column, ColumnElement, Select, bindparam, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion.seats import Seats
from engine.errors import InvalidInput
from engine.plans import NEVER, date_of, day_number
from engine.roster.members import find_seats
from engine.roster.tags import TAG_BYTES
from engine.store.tables import SHARD_SEATS, member_columns, roster, roster_changes

_TAGS = select(member_columns.c.tags).where(member_columns.c.shard_id == bindparam("of_shard"))

Days = NDArray[np.int32]

DAY, TIER = np.dtype("<i4"), np.dtype("<i2")
"""How a day and a tier are stored; a column is one after the other, in seat order."""


@dataclass(frozen=True)
class Columns:
    """One version of a shard's roster: int32[n] day numbers, `tier` int16[n].

    A seat shares from `shares_from` on, claims from `claims_from` on, until before `ended_on` (NEVER: no end in
    sight), and does not share from `frozen_from` until before `frozen_to` (both None: nobody was ever frozen; 0 and
    0: this seat was not).
    """

    shares_from: Days
    claims_from: Days
    ended_on: Days
    tier: NDArray[np.int16]
    frozen_from: Days | None = None
    frozen_to: Days | None = None

    def __len__(self) -> int:
        return len(self.shares_from)

    def extended(self, more: Columns) -> Columns:
        """These seats, then those of `more`, none of which was ever frozen."""

        def then(one: Days | None, other: Days) -> Days | None:
            return None if one is None else np.concatenate([one, other])

        nobody = np.zeros(len(more), np.int32)
        return Columns(
            np.concatenate([self.shares_from, more.shares_from]),
            np.concatenate([self.claims_from, more.claims_from]),
            np.concatenate([self.ended_on, more.ended_on]),
            np.concatenate([self.tier, more.tier]),
            then(self.frozen_from, nobody),
            then(self.frozen_to, nobody),
        )


_NO_DAYS = np.empty(0, np.int32)

NO_SEATS = Columns(_NO_DAYS, _NO_DAYS, _NO_DAYS, np.empty(0, np.int16))

NAMES = ("shares_from", "claims_from", "ended_on", "tier", "frozen_from", "frozen_to")


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


async def read_seats(connection: AsyncConnection, shard_id: int, version: int, first_seat: int) -> Seats:
    """What a run needs of a shard's seats at one version; no allowances. Raises InvalidInput when there is none."""
    names = ("shares_from", "ended_on", "tier", "frozen_from", "frozen_to")
    return Seats(**await _read(connection, shard_id, version, names), first_seat=first_seat)


async def _read(connection: AsyncConnection, shard_id: int, version: int, names: tuple[str, ...]) -> dict[str, Any]:
    row = (await connection.execute(_version(names), {"of_shard": shard_id, "of_version": version})).one_or_none()
    if row is None:
        raise InvalidInput(f"shard {shard_id} has no version {version} of its roster")
    return {
        name: None if value is None else np.frombuffer(value, TIER if name == "tier" else DAY)
        for name, value in zip(names, row, strict=True)
    }


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
    """One spell of a member in a plan; days are day numbers, `ended_on` is NEVER when no end is in sight."""

    shard_id: int
    seat: int
    born_on: date
    shares_from: int
    claims_from: int
    ended_on: int


async def membership_on(connection: AsyncConnection, plan_id: int, member_ref: str, day: date) -> Membership | None:
    """The member's spell that had begun by `day`, the last of several; else the first to come; None when unknown.

    Changes not yet folded count. Whether the spell covers `day` is for the caller to see.
    """
    spells = [await _spell(connection, *seat) for seat in await find_seats(connection, plan_id, member_ref)]
    begun = [spell for spell in spells if spell.shares_from <= day_number(day)]
    return begun[-1] if begun else next(iter(spells), None)


async def _spell(connection: AsyncConnection, shard_id: int, seat: int) -> Membership:
    position = seat % SHARD_SEATS
    days = {"shares_from": 0, "claims_from": 0, "ended_on": NEVER}
    newest = await connection.execute(
        select(*(_day_at(roster.c[name], position).label(name) for name in days), roster.c.folded_through)
        .where(roster.c.shard_id == shard_id)
        .order_by(roster.c.version.desc())
        .limit(1)
    )
    row = newest.first()
    # A seat given since the last fold lies beyond its columns; its own change says all there is to know.
    if row is not None and row.shares_from:
        days = {name: _day_in(getattr(row, name)) for name in days}
    changes = await connection.execute(
        select(roster_changes.c.kind, roster_changes.c.from_day, roster_changes.c.until_day)
        .where(roster_changes.c.shard_id == shard_id, roster_changes.c.seat == seat)
        .where(roster_changes.c.change_id > (0 if row is None else row.folded_through))
        .order_by(roster_changes.c.change_id)
    )
    for change in changes:
        if change.kind == "join":
            days |= {"shares_from": change.from_day, "claims_from": change.until_day}
        elif change.kind == "exit":
            days["ended_on"] = change.from_day
    born_on = await connection.scalar(
        select(_day_at(member_columns.c.born_on, position)).where(member_columns.c.shard_id == shard_id)
    )
    assert born_on, "every seat has a birth"
    return Membership(shard_id, seat, date_of(_day_in(born_on)), **days)


def _day_at(column: Column[Any], position: int) -> ColumnElement[Any]:
    """The four bytes of one seat; the server fetches only the page they lie on."""
    return func.substring(column, position * DAY.itemsize + 1, DAY.itemsize)


def _day_in(stored: bytes) -> int:
    return int.from_bytes(stored, "little", signed=True)
