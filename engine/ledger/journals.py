"""Journals: balanced lines with one segment per control account, posted once under their key (I1, I2, I3)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, bindparam, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import FentanError
from engine.ledger.accounts import account_of
from engine.store.arrays import copy_in, copy_out
from engine.store.tables import journals, posting_segments, shards


class Unbalanced(FentanError):
    """The journal's lines do not sum to zero."""

    invariant = "I1"


class SegmentMismatch(FentanError):
    """A segment does not sum to its line, or a control account's line has no segment."""

    invariant = "I2"


class KeyReused(FentanError):
    """Another journal was posted under this key; the same key never stands for different content."""

    invariant = "I3"


@dataclass(frozen=True)
class Segment:
    """The detail of one line: int64 amounts by position in the shard; positions int32 ascending, or None = dense."""

    account_id: int
    amounts: NDArray[np.int64]
    positions: NDArray[np.int32] | None = None

    @classmethod
    def of(cls, account: int, dense: NDArray[np.int64]) -> Segment:
        """The smaller of the two forms of a dense array, one amount per position."""
        positions = np.flatnonzero(dense)
        if positions.size == 0 or 3 * positions.size >= 2 * dense.size:  # 12 bytes a sparse entry, 8 a dense one
            return cls(account, dense)
        return cls(account, dense[positions], positions.astype(np.int32))

    @property
    def total(self) -> int:
        """Σ amounts, in minor units."""
        return int(self.amounts.sum())

    @property
    def digest(self) -> bytes:
        """SHA-256 of account, positions and amounts, little-endian."""
        hashed = hashlib.sha256(
            struct.pack("<qi", self.account_id, -1 if self.positions is None else self.amounts.size)
        )
        if self.positions is not None:
            hashed.update(np.ascontiguousarray(self.positions, dtype="<i4").data)
        hashed.update(np.ascontiguousarray(self.amounts, dtype="<i8").data)
        return hashed.digest()

    def dense(self, seats: int) -> NDArray[np.int64]:
        """One int64 amount per position, zero where the segment says nothing."""
        if self.positions is None and self.amounts.size == seats:
            return self.amounts
        spread = np.zeros(seats, dtype=np.int64)
        spread[slice(self.amounts.size) if self.positions is None else self.positions] = self.amounts
        return spread

    def negated(self) -> Segment:
        """The same detail with every sign turned."""
        return Segment(self.account_id, -self.amounts, self.positions)


@dataclass(frozen=True)
class Journal:
    """What is to be posted on one shard. `key` says what it is (`run:7:charge`), never an attempt."""

    shard_id: int
    key: str
    kind: str
    effective_on: date
    lines: Mapping[int, int]
    segments: tuple[Segment, ...] = ()
    run_id: int | None = None
    digests: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what the database would refuse, with words. Raises Unbalanced or SegmentMismatch."""
        if sum(self.lines.values()) != 0 or len(self.lines) < 2:
            raise Unbalanced(f"the {len(self.lines)} lines of {self.key} sum to {sum(self.lines.values())}, not 0")
        control = {account: amount for account, amount in self.lines.items() if account_of(account).is_control}
        detail = {segment.account_id: segment.total for segment in self.segments}
        if control != detail or len(detail) != len(self.segments):
            raise SegmentMismatch(f"{self.key}: control lines {control} against segments {detail}")
        object.__setattr__(self, "digests", tuple(segment.digest for segment in self.segments))

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of kind, run, date and lines, each with its segment's digest: what two postings of a key share."""
        hashed = hashlib.sha256(f"{self.kind} {self.run_id} {self.effective_on.isoformat()}".encode())
        detail = {segment.account_id: digest for segment, digest in zip(self.segments, self.digests, strict=True)}
        for account, amount in self.lines.items():
            hashed.update(struct.pack("<qq", account, amount) + detail.get(account, b""))
        return hashed.digest()

    def digest(self, seq: int, head: bytes) -> bytes:
        """The shard's head once this is posted as `seq` on the old head: SHA-256 of both, the key and the content."""
        place = struct.pack("<qq", self.shard_id, seq)
        return hashlib.sha256(head + place + self.key.encode() + self.fingerprint).digest()


class Posted(NamedTuple):
    """Where a journal stands in its shard, and whether this call put it there."""

    seq: int
    is_new: bool


# Built once: they run for each shard of a run, and building them costs more than running them.
_LOCK = (
    select(shards.c.shard_id, shards.c.seq, shards.c.head)
    .where(shards.c.shard_id == bindparam("at_shards", type_=ARRAY(BigInteger)).any_())
    .order_by(shards.c.shard_id)
    .with_for_update()
)
_CLAIM_KEYS = (
    insert(journals)
    .on_conflict_do_nothing(index_elements=["shard_id", "idempotency_key"])
    .returning(journals.c.shard_id)
)
_MOVE_ON = update(shards).where(shards.c.shard_id == bindparam("at_shard"))


async def post(connection: AsyncConnection, journal: Journal) -> Posted:
    """Post once: the same again is a no-op. Raises KeyReused when the key stands for something else."""
    (posted,) = await post_all(connection, [journal])
    return posted


async def post_all(connection: AsyncConnection, posting: Sequence[Journal]) -> list[Posted]:
    """Post journals of different shards, each once, in as few round trips as one takes.

    The same again is a no-op. Raises KeyReused when a key stands for something else, and ValueError for two of one
    shard, which take two calls. The shards' rows are locked first, in their order, which orders and serialises their
    postings; the keys are claimed before the COPY.
    """
    wanted = [journal.shard_id for journal in posting]
    if len(set(wanted)) < len(wanted):
        raise ValueError("two of the journals are of one shard, and would take the same place in it")
    before = {row.shard_id: row for row in await connection.execute(_LOCK, {"at_shards": wanted})}
    heads = {
        at: journal.digest(before[at].seq + 1, before[at].head) for at, journal in zip(wanted, posting, strict=True)
    }
    claimed = set(
        await connection.scalars(
            _CLAIM_KEYS,
            [
                {
                    "shard_id": journal.shard_id,
                    "seq": before[journal.shard_id].seq + 1,
                    "idempotency_key": journal.key,
                    "fingerprint": journal.fingerprint,
                    "kind": journal.kind,
                    "run_id": journal.run_id,
                    "effective_on": journal.effective_on,
                    "prev_digest": before[journal.shard_id].head,
                    "digest": heads[journal.shard_id],
                    "accounts": list(journal.lines),
                    "amounts": list(journal.lines.values()),
                }
                for journal in posting
            ],
        )
    )
    new = [journal for journal in posting if journal.shard_id in claimed]
    if new:
        await copy_in(
            connection,
            posting_segments,
            ["shard_id", "seq", "account_id", "positions", "amounts", "total", "digest"],
            (
                (at, before[at].seq + 1, segment.account_id, segment.positions, segment.amounts, segment.total, digest)
                for journal in new
                for at in [journal.shard_id]
                for segment, digest in zip(journal.segments, journal.digests, strict=True)
            ),
        )
        moved = [{"at_shard": at, "seq": before[at].seq + 1, "head": heads[at]} for at in sorted(claimed)]
        await connection.execute(_MOVE_ON, moved)
    return [
        Posted(before[journal.shard_id].seq + 1, is_new=True)
        if journal.shard_id in claimed
        else await _posted_before(connection, journal)
        for journal in posting
    ]


async def _posted_before(connection: AsyncConnection, journal: Journal) -> Posted:
    there = (
        await connection.execute(
            select(journals.c.seq, journals.c.fingerprint).where(
                journals.c.shard_id == journal.shard_id, journals.c.idempotency_key == journal.key
            )
        )
    ).one()
    if there.fingerprint != journal.fingerprint:
        raise KeyReused(f"{journal.key} on shard {journal.shard_id} was posted before with other content")
    return Posted(there.seq, is_new=False)


async def posted_under(connection: AsyncConnection, shard_id: int, key: str) -> Journal | None:
    """The journal that stands under a key, with its segments; None when nothing was posted."""
    row = (
        await connection.execute(
            select(journals).where(journals.c.shard_id == shard_id, journals.c.idempotency_key == key)
        )
    ).one_or_none()
    if row is None:
        return None
    columns = (posting_segments.c.account_id, posting_segments.c.amounts, posting_segments.c.positions)
    segments = await copy_out(
        connection,
        "SELECT account_id, packed(amounts), packed(positions) FROM posting_segments"
        " WHERE shard_id = $1 AND seq = $2 ORDER BY account_id",
        [shard_id, row.seq],
        [column.type for column in columns],
    )
    return Journal(
        shard_id=shard_id,
        key=key,
        kind=row.kind,
        effective_on=row.effective_on,
        lines=dict(zip(row.accounts, row.amounts, strict=True)),
        segments=tuple(Segment(*segment) for segment in segments),
        run_id=row.run_id,
    )
