"""The shards of a plan as bulk steps go through them, and what was posted on one, seat by seat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import Account, account_id
from engine.ledger.balances import read_balance, write_balance
from engine.ledger.journals import Journal, Posted, Segment, post
from engine.roster.columns import DAY
from engine.store.arrays import copy_out
from engine.store.tables import PLAN_STRIDE, journals, member_columns, posting_segments, shards

Amounts = NDArray[np.int64]


class Shard(NamedTuple):
    """One shard of seats, and the `seq` of its last posting."""

    shard_id: int
    first_seat: int
    seats: int
    seq: int

    @property
    def plan_id(self) -> int:
        """The plan it belongs to."""
        return self.shard_id // PLAN_STRIDE

    def account(self, code: Account) -> int:
        """The id of its plan's account in currency."""
        return account_id(self.plan_id, code)


_SHARDS = select(shards.c.shard_id, shards.c.first_seat, shards.c.seats, shards.c.seq)


async def shards_of(connection: AsyncConnection, plan_id: int) -> list[Shard]:
    """Every shard of the plan that has seats, in order; the caller holds the plan's lock (`lock_roster`)."""
    found = await connection.execute(
        _SHARDS.where(shards.c.plan_id == plan_id, shards.c.number > 0).order_by(shards.c.shard_id)
    )
    return [Shard(*row) for row in found]


async def shard_of(connection: AsyncConnection, shard_id: int) -> Shard:
    """One shard, locked until the transaction ends, so that what was posted on it stays what it is."""
    found = await connection.execute(_SHARDS.where(shards.c.shard_id == shard_id).with_for_update())
    return Shard(*found.one())


async def births_of(connection: AsyncConnection, shard_id: int) -> NDArray[np.int32]:
    """int32[n]: the day numbers on which the shard's members were born."""
    stored: bytes | None = await connection.scalar(
        select(member_columns.c.born_on).where(member_columns.c.shard_id == shard_id)
    )
    return np.frombuffer(stored or b"", DAY)


async def deposits_of(connection: AsyncConnection, shard: Shard) -> Amounts:
    """int64[n]: what each seat has paid in and not used, in minor units."""
    deposits = shard.account(Account.MEMBER_DEPOSITS)
    balance = await read_balance(connection, shard.shard_id, deposits, through_seq=shard.seq, seats=shard.seats)
    return -balance.amounts


async def amounts_under(connection: AsyncConnection, shard: Shard, account: Account, where: str) -> Amounts:
    """int64[n]: the sum of an account's postings over the shard's journals that the SQL condition `where` picks.

    `where` is the program's own text: nothing that a person wrote goes into it.
    """
    rows = await copy_out(
        connection,
        "SELECT packed(segment.positions), packed(segment.amounts) FROM posting_segments AS segment"  # noqa: S608
        " JOIN journals USING (shard_id, seq)"
        f" WHERE segment.shard_id = $1 AND segment.account_id = $2 AND segment.seq <= $3 AND {where}",
        [shard.shard_id, shard.account(account), shard.seq],
        [posting_segments.c.positions.type, posting_segments.c.amounts.type],
    )
    summed = np.zeros(shard.seats, dtype=np.int64)
    for positions, amounts in rows:
        summed += Segment(0, amounts, positions).dense(shard.seats)
    return summed


async def is_posted(connection: AsyncConnection, shard: Shard, key: str) -> bool:
    """Whether a journal stands under the key on the shard."""
    there = exists().where(journals.c.shard_id == shard.shard_id, journals.c.idempotency_key == key)
    return bool(await connection.scalar(select(there)))


async def post_in_bulk(connection: AsyncConnection, shard: Shard, journal: Journal, account: Account) -> Posted:
    """Post a journal about a whole shard, and write the checkpoint of the one control account it moves."""
    posted = await post(connection, journal)
    if posted.is_new:
        moved = shard.account(account)
        (segment,) = (segment for segment in journal.segments if segment.account_id == moved)
        before = await read_balance(connection, shard.shard_id, moved, through_seq=posted.seq - 1, seats=shard.seats)
        after = before.plus(segment.dense(shard.seats), posted.seq)
        await write_balance(connection, shard.shard_id, moved, after)
    return posted
