"""Balances of a subledger: a checkpoint per shard and account, plus the segments posted after it.

Checkpoints are a cache outside I4: they can be rebuilt from the segments, and `ledger verify` compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Boolean, Integer, Table, delete
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import Account, account_id, account_of
from engine.ledger.journals import Segment
from engine.store.arrays import copy_in, copy_out
from engine.store.tables import PLAN_STRIDE, balances, posting_segments, year_usage

_AMOUNTS = posting_segments.c.amounts.type
_POSITIONS = posting_segments.c.positions.type

_SHARES_ON = (Account.CONTRIBUTIONS_RECEIVABLE, Account.MEMBER_DEPOSITS)
_SHARED_BY = ("charge", "void", "correction")


def is_usage(kind: str, account: int) -> bool:
    """Whether a segment of this account in a journal of this kind uses up its seats' yearly caps (DESIGN §5).

    What members are charged for, owed or drawn from what they paid in, and what takes it back; neither what the sponsor
    paid for them nor levies and deposits.
    """
    return kind in _SHARED_BY and account_of(account) in _SHARES_ON


class Balance(NamedTuple):
    """int64[seats] amounts after the posting `as_of_seq`, and how many segments were read beyond the checkpoint."""

    amounts: NDArray[np.int64]
    as_of_seq: int
    segments: int

    def plus(self, amounts: NDArray[np.int64], seq: int) -> Balance:
        """The balance after one more posting."""
        return Balance(self.amounts + amounts, seq, self.segments + 1)


async def _read(
    connection: AsyncConnection,
    checkpoint: Table,
    key: Sequence[int],
    segments_where: str,
    through_seq: int,
    seats: int,
) -> Balance:
    """Checkpoint of `key` (its shard and one more column) plus the later segments up to `through_seq`."""
    second = checkpoint.primary_key.columns.values()[1].name
    rows = await copy_out(
        connection,
        f"WITH checkpoint AS (SELECT * FROM {checkpoint.name}"  # noqa: S608  # the names are our tables' own
        f" WHERE shard_id = $1 AND {second} = $2 AND as_of_seq <= $3)"
        " SELECT true, packed(NULL::integer[]), packed(amounts) FROM checkpoint"
        " UNION ALL SELECT false, packed(segment.positions), packed(segment.amounts)"
        " FROM posting_segments AS segment JOIN journals USING (shard_id, seq)"
        " WHERE segment.shard_id = $1 AND segment.seq <= $3"
        f" AND segment.seq > coalesce((SELECT as_of_seq FROM checkpoint), 0) AND {segments_where}",
        [key[0], key[1], through_seq],
        [Boolean(), _POSITIONS, _AMOUNTS],
    )
    amounts = np.zeros(seats, dtype=np.int64)
    for _, positions, posted in rows:
        amounts += Segment(0, posted, positions).dense(seats)
    return Balance(amounts, through_seq, sum(not is_checkpoint for is_checkpoint, *_ in rows))


async def _write(connection: AsyncConnection, checkpoint: Table, key: Sequence[int], balance: Balance) -> None:
    shard_id, second = checkpoint.primary_key.columns.values()
    await connection.execute(delete(checkpoint).where(shard_id == key[0], second == key[1]))
    columns = [shard_id.name, second.name, "as_of_seq", "amounts"]
    await copy_in(connection, checkpoint, columns, [(*key, balance.as_of_seq, balance.amounts)])


async def read_balance(
    connection: AsyncConnection, shard_id: int, account: int, *, through_seq: int, seats: int
) -> Balance:
    """A subledger's balance on one shard after `through_seq`, by position."""
    where = "segment.account_id = $2"
    return await _read(connection, balances, (shard_id, account), where, through_seq, seats)


async def write_balance(connection: AsyncConnection, shard_id: int, account: int, balance: Balance) -> None:
    """Replace the checkpoint."""
    await _write(connection, balances, (shard_id, account), balance)


async def read_year_usage(
    connection: AsyncConnection, shard_id: int, year: int, *, through_seq: int, seats: int
) -> Balance:
    """What each seat was charged for debit days of the calendar year `year` (see is_usage)."""
    where = f"{_is_usage(shard_id)} AND journals.effective_on BETWEEN make_date($2, 1, 1) AND make_date($2, 12, 31)"
    return await _read(connection, year_usage, (shard_id, year), where, through_seq, seats)


class Used(NamedTuple):
    """A segment that used up yearly caps, and the debit day it did so for, as a day number."""

    day: int
    segment: Segment


async def read_usage(
    connection: AsyncConnection, shard_id: int, first_day: int, last_day: int, *, through_seq: int
) -> list[Used]:
    """What each seat was charged for debit days from `first_day` to `last_day` (day numbers; see is_usage)."""
    rows = await copy_out(
        connection,
        "SELECT day, packed(segment.positions), packed(segment.amounts)"  # noqa: S608  # the names are our tables' own
        " FROM posting_segments AS segment JOIN journals USING (shard_id, seq),"
        " LATERAL (SELECT journals.effective_on - date '1970-01-01' AS day) AS charged"
        f" WHERE segment.shard_id = $1 AND segment.seq <= $2 AND day BETWEEN $3 AND $4 AND {_is_usage(shard_id)}",
        [shard_id, through_seq, first_day, last_day],
        [Integer(), _POSITIONS, _AMOUNTS],
    )
    return [Used(day, Segment(0, amounts, positions)) for day, positions, amounts in rows]


def _is_usage(shard_id: int) -> str:
    """is_usage in SQL."""
    accounts = ", ".join(str(account_id(shard_id // PLAN_STRIDE, code)) for code in _SHARES_ON)
    kinds = ", ".join(f"'{kind}'" for kind in _SHARED_BY)
    return f"segment.account_id IN ({accounts}) AND journals.kind IN ({kinds})"


async def write_year_usage(connection: AsyncConnection, shard_id: int, year: int, balance: Balance) -> None:
    """Replace the checkpoint."""
    await _write(connection, year_usage, (shard_id, year), balance)
