"""Who sits where: references and births of the seats, by shard and findable by reference."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Text, any_, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files.rows import joined
from engine.errors import InvalidInput, NotFound
from engine.ledger.accounts import seat_shard
from engine.roster.tags import tags_of
from engine.store.arrays import copy_in
from engine.store.database import driver_of, while_connected
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, member_columns, members, shards

REF_BUCKETS = 64
"""Into how many parts `members` can be spread."""

REF_RULE = "1 to 64 letters, digits and . _ : / @ # + = ~ * -, the first a letter or a digit"

_REF_LENGTH_MAX = 64
_REF_PATTERN = r"^[\pL\pN][\pL\pN._:/@#+=~*-]*$"
_INDEX_COLUMNS = ("plan_id", "shard_id", "seat", "ref_bucket", "spell", "member_ref")
_CHUNK_BYTES = 1 << 18
_APPEND = text("""
UPDATE member_columns SET born_on = born_on || :born_on,
    member_refs = member_refs || E'\\n' || :refs, tags = tags || :tags
WHERE shard_id = :shard_id
""")
_VIOLATED = re.compile(r"=\(\d+, (?P<member_ref>.+), \d+, \d+\)")


class Place(NamedTuple):
    """The next free seat of a plan: a shard's number (from 1) and how many seats it has."""

    number: int
    seats: int

    @property
    def room(self) -> int:
        """Seats that the shard can still take."""
        return SHARD_SEATS - self.seats

    @property
    def first_seat(self) -> int:
        """The plan-wide number of the shard's first seat."""
        return (self.number - 1) * SHARD_SEATS

    def after(self, count: int) -> Place:
        """The next free seat once `count` more, at most `room`, are taken."""
        return Place(self.number, self.seats + count) if count < self.room else Place(self.number + 1, 0)


@dataclass(frozen=True)
class Newcomers:
    """`n` people and the seats they take in one shard, encoded for the database off the event loop.

    `refs`: string[n]; `lines`: int64[n], where they stand in their file; `born_on`: int32[n] day numbers;
    `joined_refs`: one a line; `tags`: 16·n bytes; `index_rows`: CSV for `members`.
    """

    plan_id: int
    place: Place
    refs: pa.StringArray
    lines: NDArray[np.int64]
    born_on: NDArray[np.int32]
    joined_refs: str
    tags: bytes
    index_rows: memoryview

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def shard_id(self) -> int:
        """The shard they sit in."""
        return self.plan_id * PLAN_STRIDE + self.place.number


class AlreadyMember(InvalidInput):
    """A reference is a member of the plan already."""

    def __init__(self, member_ref: str, lines: list[int]) -> None:
        self.member_ref, self.lines = member_ref, lines
        super().__init__(f"member_ref {member_ref!r} is a member of the plan already")


def newcomers(
    plan_id: int,
    place: Place,
    refs: pa.StringArray,
    born_on: NDArray[np.int32],
    lines: NDArray[np.int64],
    spells: NDArray[np.int16],
    *,
    tag_key: bytes,
) -> Newcomers:
    """People for the seats from `place` on, at most `place.room`; `spells` int16[n]: how often each has joined."""
    raw = refs.cast(pa.binary()).to_pylist()
    buckets = np.fromiter(map(crc32, raw), np.uint32, len(raw)) % REF_BUCKETS
    # Sorted, so that neighbours go into the same page of the B-tree. As CSV, which the server reads as fast as its
    # binary form and is written faster; REF_RULE leaves nothing to quote.
    order = pc.sort_indices(refs)
    rows = order.to_numpy()
    seat, bucket, spell = (
        pa.array(numbers).cast(pa.string())
        for numbers in (rows.astype(np.int64) + place.first_seat + place.seats, buckets[rows], spells[rows])
    )
    of_all = f"{plan_id},{plan_id * PLAN_STRIDE + place.number},".encode()
    index_rows = joined([of_all, seat, b",", bucket, b",", spell, b",", refs.take(order), b"\n"]).data
    return Newcomers(plan_id, place, refs, lines, born_on, b"\n".join(raw).decode(), tags_of(raw, tag_key), index_rows)


def wrong_refs(refs: pa.StringArray) -> NDArray[np.bool_]:
    """bool[n]: which references break REF_RULE (null does not)."""
    follows = pc.ascii_is_alnum(refs)  # as most do, which is seen much sooner than by the pattern
    if not pc.all(follows, min_count=0).as_py():
        follows = pc.match_substring_regex(refs, _REF_PATTERN)
    right = pc.and_(follows, pc.less_equal(pc.utf8_length(refs), _REF_LENGTH_MAX))
    wrong: NDArray[np.bool_] = pc.invert(right).fill_null(False).to_numpy(zero_copy_only=False)
    return wrong


async def next_place(connection: AsyncConnection, plan_id: int) -> Place:
    """Where the plan's next member sits."""
    last = await connection.execute(
        select(shards.c.number, shards.c.seats)
        .where(shards.c.plan_id == plan_id, shards.c.number > 0)
        .order_by(shards.c.number.desc())
        .limit(1)
    )
    row = last.first()
    return Place(1, 0) if row is None else Place(row.number, row.seats).after(0)


async def enrol(connection: AsyncConnection, people: Newcomers) -> None:
    """Give the newcomers their seats.

    Raises AlreadyMember when one of them has this spell already; the transaction is lost then.
    """
    place, shard_id = people.place, people.shard_id
    born_on = people.born_on.astype("<i4").tobytes()
    if place.seats == 0:
        row = {"shard_id": shard_id, "plan_id": people.plan_id, "number": place.number, "first_seat": place.first_seat}
        await connection.execute(insert(shards).values(**row, seats=len(people)))
        identity = (shard_id, born_on, people.joined_refs, people.tags)
        await copy_in(connection, member_columns, ["shard_id", "born_on", "member_refs", "tags"], [identity])
    else:
        await connection.execute(
            update(shards).where(shards.c.shard_id == shard_id).values(seats=place.seats + len(people))
        )
        appended = {"born_on": born_on, "refs": people.joined_refs, "tags": people.tags}
        await connection.execute(_APPEND, {"shard_id": shard_id} | appended)
    await _index(connection, people)


async def _index(connection: AsyncConnection, people: Newcomers) -> None:
    async def chunks() -> AsyncIterator[memoryview]:
        for start in range(0, len(people.index_rows), _CHUNK_BYTES):
            yield people.index_rows[start : start + _CHUNK_BYTES]

    driver = await driver_of(connection)
    try:
        with while_connected(driver):
            await driver.copy_to_table(members.name, source=chunks(), columns=list(_INDEX_COLUMNS), format="csv")
    except asyncpg.UniqueViolationError as error:
        found = _VIOLATED.search(error.detail or "")
        if error.constraint_name != "members_pkey" or found is None:
            raise
        same = pc.equal(people.refs, found["member_ref"]).to_numpy(zero_copy_only=False)
        raise AlreadyMember(found["member_ref"], people.lines[same].tolist()) from None


async def find_seats(connection: AsyncConnection, plan_id: int, member_ref: str) -> list[tuple[int, int]]:
    """(shard_id, seat) of each of the member's spells in the plan, the first one first; empty when unknown."""
    found = await connection.execute(
        select(members.c.shard_id, members.c.seat)
        .where(
            members.c.plan_id == plan_id,
            members.c.member_ref == member_ref,
            members.c.ref_bucket == crc32(member_ref.encode()) % REF_BUCKETS,
        )
        .order_by(members.c.spell)
    )
    return [(row.shard_id, row.seat) for row in found]


def called(member: str | int) -> str:
    """How a message calls a member who is known by a reference, or by a seat alone."""
    return f"seat {member}" if isinstance(member, int) else member


async def seat_taken(connection: AsyncConnection, plan_id: int, seat: int) -> bool:
    """Whether somebody has, or had, this seat of the plan."""
    seats = select(shards.c.seats).where(shards.c.shard_id == seat_shard(plan_id, seat))
    return seat % SHARD_SEATS < (await connection.scalar(seats) or 0)


async def ref_of(connection: AsyncConnection, plan_id: int, seat: int) -> str:
    """The reference of who sits there. Raises InvalidInput when nobody does."""
    line = func.split_part(member_columns.c.member_refs, "\n", seat % SHARD_SEATS + 1)
    query = select(line).where(member_columns.c.shard_id == seat_shard(plan_id, seat))
    found: str | None = await connection.scalar(query)
    if not found:
        raise NotFound(f"nobody has seat {seat} of the plan")
    return found


async def all_seats(
    connection: AsyncConnection, plan_id: int, refs: pa.StringArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[m] rows of `refs`, and int64[m]: a seat of each, every spell of theirs; each reference once, none null."""
    found = await connection.execute(
        select(func.array_agg(members.c.member_ref), func.array_agg(members.c.seat))
        .where(members.c.plan_id == plan_id)
        .where(members.c.member_ref == any_(literal(refs.to_pylist(), ARRAY(Text))))
    )
    known, seats = found.one()
    rows: NDArray[np.int64] = pc.index_in(pa.array(known or [], pa.string()), value_set=refs).to_numpy()
    return rows.astype(np.int64), np.array(seats or [], np.int64)


async def last_seats(connection: AsyncConnection, plan_id: int, refs: pa.StringArray) -> NDArray[np.int64]:
    """int64[n]: the seat of the last spell of each of the members, -1 for who is none; no reference may be null."""
    if not len(refs):
        return np.empty(0, np.int64)
    last = (
        select(members.c.member_ref, members.c.seat)
        .ext(distinct_on(members.c.member_ref))
        .where(members.c.plan_id == plan_id)
        .where(members.c.member_ref == any_(literal(refs.unique().to_pylist(), ARRAY(Text))))
        .order_by(members.c.member_ref, members.c.spell.desc())
        .subquery()
    )
    # Two arrays instead of a row for each: they are read several times faster.
    found = (await connection.execute(select(func.array_agg(last.c.member_ref), func.array_agg(last.c.seat)))).one()
    known, seats = found[0] or [], found[1] or []
    places = pc.index_in(refs, value_set=pa.array(known, pa.string())).fill_null(-1).to_numpy()
    found_seats: NDArray[np.int64] = np.array([*seats, -1], np.int64)[places]
    return found_seats
