"""Journals as they stand in the database, rebuilt one by one, so that what was stored beside them can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import account_of
from engine.ledger.journals import Journal, Segment, SegmentMismatch, Unbalanced
from engine.money.sums import exact_sum
from engine.store.arrays import copy_out
from engine.store.tables import PLAN_STRIDE, journals, posting_segments


class StoredSegment(NamedTuple):
    """A segment with the total and the digest stored beside it."""

    segment: Segment
    total: int
    digest: bytes


class StoredJournal(NamedTuple):
    """A journal's row, its int64 accounts and amounts, and its segments."""

    shard_id: int
    seq: int
    idempotency_key: str
    fingerprint: bytes
    kind: str
    run_id: int | None
    effective_on: date
    prev_digest: bytes
    digest: bytes
    accounts: NDArray[np.int64]
    amounts: NDArray[np.int64]
    segments: tuple[StoredSegment, ...] = ()

    @property
    def lines(self) -> list[tuple[int, int]]:
        """(account, amount) of each line, as Python integers."""
        return list(zip(self.accounts.tolist(), self.amounts.tolist(), strict=False))

    def rebuilt(self, places: int) -> Journal:
        """The journal again, checked anew on a shard of `places` seats. Raises Unbalanced or SegmentMismatch."""
        if self.accounts.size != self.amounts.size or len(dict(self.lines)) != self.accounts.size:
            raise Unbalanced("its accounts are not distinct, each with one amount")
        for account, _ in self.lines:
            if account // PLAN_STRIDE != self.shard_id // PLAN_STRIDE:
                raise Unbalanced(f"account {account} is of another plan")
            try:
                account_of(account)
            except ValueError:
                raise Unbalanced(f"account {account} is not in the chart") from None
        for segment, total, digest in self.segments:
            _check_segment(segment, total, digest, places)
        return Journal(
            shard_id=self.shard_id,
            key=self.idempotency_key,
            kind=self.kind,
            effective_on=self.effective_on,
            lines=dict(self.lines),
            segments=tuple(stored.segment for stored in self.segments),
            run_id=self.run_id,
        )


def _check_segment(segment: Segment, total: int, digest: bytes, places: int) -> None:
    """Raises SegmentMismatch unless it fits the shard, sums to its total and hashes to its digest."""
    account, positions = segment.account_id, segment.positions
    if positions is None:
        fits = segment.amounts.size <= places
    else:
        ascends = positions.size > 0 and positions[0] >= 0 and bool((np.diff(positions) > 0).all())
        fits = ascends and positions.size == segment.amounts.size and int(positions[-1]) < places
    if not fits:
        raise SegmentMismatch(f"the segment of account {account} does not lie on the shard's {places} places")
    if exact_sum(segment.amounts) != total:
        raise SegmentMismatch(f"the segment of account {account} sums to {exact_sum(segment.amounts)}, not {total}")
    if segment.digest != digest:
        raise SegmentMismatch(f"the segment of account {account} does not hash to its digest")


async def read_stored(connection: AsyncConnection, shard_id: int, first: int, last: int) -> Iterator[StoredJournal]:
    """The journals `first` to `last` of a shard, in order, with their segments. Raises MalformedCopy."""
    columns = [journals.c[name] for name in StoredJournal._fields if name in journals.c]
    rows = await copy_out(
        connection,
        f"SELECT {', '.join(column.name for column in columns)} FROM journals"  # noqa: S608  # our own columns
        " WHERE shard_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
        [shard_id, first, last],
        [column.type for column in columns],
    )
    detail = [posting_segments.c[name] for name in ("seq", "total", "digest", "account_id", "amounts", "positions")]
    segments: dict[int, list[StoredSegment]] = {}
    for seq, total, digest, *parts in await copy_out(
        connection,
        f"SELECT {', '.join(column.name for column in detail)} FROM posting_segments"  # noqa: S608  # as above
        " WHERE shard_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, account_id",
        [shard_id, first, last],
        [column.type for column in detail],
    ):
        segments.setdefault(seq, []).append(StoredSegment(Segment(*parts), total, digest))
    return (StoredJournal(*row)._replace(segments=tuple(segments.get(row[1], ()))) for row in rows)
