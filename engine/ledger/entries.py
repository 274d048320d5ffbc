"""All that stands in the ledger seat by seat, a row for each seat and amount: by pages, and as CSV of any length."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sqlalchemy import BigInteger, Date, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeEngine

from engine.ledger.accounts import account_of, first_seat, plan_shard
from engine.ledger.statement import Entry
from engine.money import BIGINT_MAX, MINOR_DIGITS
from engine.store.arrays import copy_out
from engine.store.tables import PLAN_STRIDE, posting_segments

PAGE_SEGMENTS = 100
"""Segments looked up at a time; their entries are read one segment after the other."""

CSV_SEGMENTS = 16
"""Segments in memory at a time: 8 MiB of full shards."""

ENTRY_COLUMNS = ("shard", "seq", "date", "kind", "run", "account", "name", "seat", "amount")


class Place(NamedTuple):
    """Where an entry stands in the order of all."""

    shard_id: int = 0
    seq: int = 0
    account_id: int = 0
    seat: int = BIGINT_MAX


BEGINNING = Place()

_SEGMENTS = text("""
SELECT shard_id, seq, segment.account_id
FROM posting_segments AS segment
JOIN journals USING (shard_id, seq)
WHERE shard_id BETWEEN :first_shard AND :last_shard
    AND (shard_id, seq, segment.account_id) > (:shard_id, :seq, :account_id)
    AND (CAST(:run_id AS bigint) IS NULL OR journals.run_id = :run_id)
ORDER BY shard_id, seq, segment.account_id
LIMIT :page
""")

# Asked of the whole view at once, a first page of 52 M entries took 34 s: the planner sorts them all.
_ENTRIES = text("""
SELECT shard_id, seq, account_id, seat, kind, run_id, effective_on, amount
FROM ledger_entries
WHERE shard_id = :shard_id AND seq = :seq AND account_id = :account_id AND seat > :seat
    AND (CAST(:run_id AS bigint) IS NULL OR run_id = :run_id)
ORDER BY seat
LIMIT :limit
""")

_COLUMNS = posting_segments.c
_KINDS: list[TypeEngine[Any]] = [
    *(BigInteger(), BigInteger(), BigInteger(), Text(), BigInteger(), Date()),
    *(_COLUMNS.positions.type, ARRAY(BigInteger)),
]
_PACKED = """
SELECT shard_id, seq, segment.account_id, kind, run_id, effective_on, packed(positions), packed(segment.amounts)
FROM posting_segments AS segment
JOIN journals USING (shard_id, seq)
WHERE shard_id BETWEEN $1 AND $2 AND (shard_id, seq, segment.account_id) > ($3, $4, $5) AND ($6 = 0 OR run_id = $6)
ORDER BY shard_id, seq, segment.account_id
LIMIT $7
"""


async def read_entries(
    connection: AsyncConnection,
    plan_id: int | None = None,
    *,
    run_id: int | None = None,
    after: Place = BEGINNING,
    limit: int,
) -> AsyncIterator[Entry]:
    """Up to `limit` entries of the view `ledger_entries` after a place, ordered by shard, seq, account and seat."""
    first_shard, last_shard = _shards(plan_id)
    bounds = {"first_shard": first_shard, "last_shard": last_shard, "run_id": run_id, "page": PAGE_SEGMENTS}
    place = after._asdict()
    begun = [place] if after.shard_id and first_shard <= after.shard_id <= last_shard else []
    while True:
        found = await connection.execute(_SEGMENTS, bounds | place)
        segments = [row._asdict() | {"seat": -1} for row in found.all()]
        for place in (*begun, *segments):
            for row in await connection.execute(_ENTRIES, place | {"run_id": run_id, "limit": limit}):
                yield Entry(*row)
                limit -= 1
            if limit == 0:
                return
        begun = []
        if len(segments) < PAGE_SEGMENTS:
            return


async def entries_as_csv(engine: AsyncEngine, plan_id: int, *, run_id: int | None = None) -> AsyncIterator[bytes]:
    """Every entry of a plan, or of a run of it, as CSV with a header: a piece at a time, a few segments in memory.

    No connection is held while a piece is sent. Journals only ever follow those there are: whoever reads on while
    others post sees what was posted before, and perhaps some of that.
    """
    yield (",".join(ENTRY_COLUMNS) + "\n").encode()
    first_shard, last_shard = _shards(plan_id)
    place: Sequence[int] = BEGINNING[:3]
    while True:
        async with engine.connect() as connection:
            arguments = [first_shard, last_shard, *place, run_id or 0, CSV_SEGMENTS]
            segments = await copy_out(connection, _PACKED, arguments, _KINDS)
        for segment in segments:
            if piece := await asyncio.to_thread(_csv, *segment):
                yield piece
        if len(segments) < CSV_SEGMENTS:
            return
        place = segments[-1][:3]


def _csv(
    shard_id: int, seq: int, account_id: int, kind: str, run_id: int | None, on: Any, positions: Any, amounts: Any
) -> bytes:
    """The lines of one segment; nothing where all its amounts are 0."""
    at = np.flatnonzero(amounts)
    if not at.size:
        return b""
    first = first_seat(shard_id) if shard_id % PLAN_STRIDE else 0
    seats = first + (at if positions is None else positions[at].astype(np.int64))
    account = account_of(account_id)

    def same(value: Any, type_: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type_), at.size)

    number, word = pa.int64(), pa.string()
    made = [
        *(same(shard_id, number), same(seq, number), same(on, pa.date32()), same(kind, word), same(run_id, number)),
        *(same(int(account), number), same(account.title, word), pa.array(seats), _major(amounts[at])),
    ]
    written = io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    pyarrow.csv.write_csv(pa.record_batch(made, names=list(ENTRY_COLUMNS)), written, options)
    return written.getvalue()


def _major(amounts: Any) -> pa.Array:
    """int64[n] minor units as decimals in major units, to the last digit."""
    return pc.multiply(pa.array(amounts).cast(pa.decimal128(19, 0)), pa.scalar(Decimal(1).scaleb(-MINOR_DIGITS)))


def _shards(plan_id: int | None) -> tuple[int, int]:
    return (0, BIGINT_MAX) if plan_id is None else (plan_shard(plan_id), plan_shard(plan_id + 1) - 1)
