"""One member's proof: that their amount stands under a run's seal, shown with their neighbours' amounts and tags.

What a reader needs to check it by hand is SHA-256: hash the leaf, climb the steps, then cover the previous root
(engine/ledger/seal.py). Tags are keyed hashes of member references; no name is in a proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.ledger import seal
from engine.ledger.accounts import Account, account_of
from engine.ledger.journals import Segment
from engine.store.arrays import copy_out
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, member_columns, posting_segments, run_shards, share_runs

_SIGNS = {
    Account.CONTRIBUTIONS_RECEIVABLE: 1,
    Account.MEMBER_DEPOSITS: 1,
    Account.SPONSOR_WAIVERS: 1,
    Account.REFUNDS_PAYABLE: -1,
    Account.MEMBER_COVER: -1,
}
"""A seat's share in a run stands on one of these: owed by the member or drawn from what was paid in, or waived and the
sponsor's; of a credit run given, in money or cover, which is a credit."""


def charged_in(segments: Iterable[Segment], places: int) -> NDArray[np.int64]:
    """int64[places]: what a run's journal of kind charge (or void, then negative) comes to seat by seat."""
    charged = np.zeros(places, dtype=np.int64)
    for segment in segments:
        charged += _SIGNS.get(account_of(segment.account_id), 0) * segment.dense(places)
    return charged


@dataclass(frozen=True)
class Proof:
    """int64 `amounts` and 16-byte `tags` of one leaf, the steps up to the run's tree, and the roots in the chain."""

    run_id: int
    seat: int
    first_seat: int
    amounts: NDArray[np.int64]
    tags: bytes
    steps: tuple[seal.Step, ...]
    previous_root: bytes | None
    root: bytes

    @property
    def amount(self) -> int:
        """The seat's share in minor units, owed or waived."""
        return int(self.amounts[self.seat - self.first_seat])

    @property
    def tag(self) -> bytes:
        """The seat's member tag: the member who knows the reference's tag knows the seat is theirs."""
        first = (self.seat - self.first_seat) * seal.TAG_BYTES
        return self.tags[first : first + seal.TAG_BYTES]

    @property
    def leaf_tags(self) -> list[bytes]:
        """The member tag of each seat of the leaf."""
        return [self.tags[at : at + seal.TAG_BYTES] for at in range(0, len(self.tags), seal.TAG_BYTES)]


def verify_proof(proof: Proof) -> bool:
    """Whether the leaf leads to the root."""
    leaf = seal.leaf_hash(seal.leaf_content(proof.amounts, proof.tags, 0))
    return seal.sealed_root(proof.previous_root, seal.climb(leaf, proof.steps)) == proof.root


async def read_tags(connection: AsyncConnection, shard_id: int, seats: int) -> bytes:
    """The tags of a shard's first `seats` seats, 16 bytes each; fewer when the shard has fewer."""
    query = "SELECT substr(tags, 1, $2) FROM member_columns WHERE shard_id = $1"
    found = await copy_out(connection, query, [shard_id, seats * seal.TAG_BYTES], [member_columns.c.tags.type])
    return found[0][0] if found else b""


async def read_charges(connection: AsyncConnection, shard_id: int, run_id: int, seats: int) -> NDArray[np.int64]:
    """int64[seats]: what the run charged (or gave) each seat of the shard, waived shares in."""
    columns = (posting_segments.c.account_id, posting_segments.c.amounts, posting_segments.c.positions)
    segments = await copy_out(
        connection,
        "SELECT segment.account_id, segment.amounts, segment.positions"
        " FROM posting_segments AS segment JOIN journals USING (shard_id, seq)"
        " WHERE shard_id = $1 AND run_id = $2 AND kind = 'charge'",
        [shard_id, run_id],
        [column.type for column in columns],
    )
    return charged_in((Segment(*segment) for segment in segments), seats)


class SeatShare(NamedTuple):
    """What a run charged one seat, or gave, in minor units, and how much of that the sponsor paid."""

    amount: int
    waived: int


# One element of each segment is read, not the segment. A run that charged the seat nothing is there as well.
_SHARES = text("""
SELECT run_shards.run_id, posted.account_id, posted.amount
FROM run_shards
LEFT JOIN LATERAL (
    SELECT segment.account_id,
        amount_at(segment.amounts, CASE WHEN segment.positions IS NULL THEN CAST(:position AS integer) + 1
            ELSE array_position(segment.positions, CAST(:position AS integer)) END) AS amount
    FROM journals
    JOIN posting_segments AS segment USING (shard_id, seq)
    WHERE journals.shard_id = run_shards.shard_id AND journals.run_id = run_shards.run_id AND journals.kind = 'charge'
) AS posted ON true
WHERE run_shards.shard_id = :shard_id AND run_shards.run_id = ANY(CAST(:runs AS bigint[]))
    AND run_shards.seats > CAST(:position AS integer)
""")


async def shares_of_seat(
    connection: AsyncConnection, shard_id: int, seat: int, runs: Iterable[int]
) -> dict[int, SeatShare]:
    """Run → what a proof shows of the seat, for those of the posted runs that were frozen with it."""
    asked = {"shard_id": shard_id, "position": seat % SHARD_SEATS, "runs": list(runs)}
    found: dict[int, SeatShare] = {}
    for row in await connection.execute(_SHARES, asked):
        before = found.get(row.run_id, SeatShare(0, 0))
        amount = 0 if not row.amount else _SIGNS.get(account_of(row.account_id), 0) * row.amount
        waived = amount if amount and account_of(row.account_id) is Account.SPONSOR_WAIVERS else 0
        found[row.run_id] = SeatShare(before.amount + amount, before.waived + waived)
    return found


async def prove(connection: AsyncConnection, run_id: int, shard_id: int, seat: int) -> Proof:
    """The proof of a seat's share in a sealed run. Raises NotFound when the run is not sealed or lacks the seat."""
    run = (
        await connection.execute(
            select(share_runs.c.previous_root, share_runs.c.root).where(
                share_runs.c.run_id == run_id, share_runs.c.plan_id == shard_id // PLAN_STRIDE
            )
        )
    ).one_or_none()
    if run is None or run.root is None:
        raise NotFound(f"run {run_id} is not a sealed run of this plan; `fentan run list` shows the sealed ones")
    parts = (
        await connection.execute(
            select(run_shards.c.shard_id, run_shards.c.seats, run_shards.c.root)
            .where(run_shards.c.run_id == run_id)
            .order_by(run_shards.c.shard_id)
        )
    ).all()
    number = next((at for at, part in enumerate(parts) if part.shard_id == shard_id), None)
    position = seat % SHARD_SEATS
    if number is None or position >= parts[number].seats:
        raise NotFound(f"seat {seat} joined after run {run_id} was frozen; it has no share there")
    seats = parts[number].seats
    amounts, tags = (
        await read_charges(connection, shard_id, run_id, seats),
        await read_tags(connection, shard_id, seats),
    )
    hashes, leaf = seal.leaf_hashes(amounts, tags), position // seal.LEAF_SEATS
    first = leaf * seal.LEAF_SEATS
    return Proof(
        run_id=run_id,
        seat=seat,
        first_seat=seat - position + first,
        amounts=amounts[first : first + seal.LEAF_SEATS],
        tags=tags[first * seal.TAG_BYTES : (first + seal.LEAF_SEATS) * seal.TAG_BYTES],
        steps=(*seal.path(hashes, leaf), *seal.path([part.root for part in parts], number)),
        previous_root=run.previous_root,
        root=run.root,
    )
