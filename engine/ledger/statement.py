"""What stands in the ledger seat by seat: one seat's statement, read by point, and all entries, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import Account, account_of, plan_shard
from engine.store.tables import SHARD_SEATS

PAGE_SEGMENTS = 100
"""Segments looked up at a time; their entries are read one segment after the other."""


class Entry(NamedTuple):
    """One amount of one seat (of one claim number on aid payable), in minor units; debits are positive."""

    shard_id: int
    seq: int
    account_id: int
    seat: int
    kind: str
    run_id: int | None
    effective_on: date
    amount: int

    @property
    def account(self) -> Account:
        """The account's code."""
        return account_of(self.account_id)


@dataclass(frozen=True)
class Statement:
    """One seat's entries on every subledger, in the order they were posted."""

    shard_id: int
    seat: int
    entries: tuple[Entry, ...]

    def running(self) -> Iterator[tuple[Entry, int]]:
        """Each entry with its account's balance after it."""
        balances: dict[Account, int] = {}
        for entry in self.entries:
            balances[entry.account] = balances.get(entry.account, 0) + entry.amount
            yield entry, balances[entry.account]

    def balance(self, account: Account) -> int:
        """Minor units; debits are positive."""
        return sum(entry.amount for entry in self.entries if entry.account == account)

    @property
    def owed(self) -> int:
        """What the member owes, in minor units."""
        return self.balance(Account.CONTRIBUTIONS_RECEIVABLE)

    @property
    def deposit(self) -> int:
        """What the member paid in beforehand and no run drew, in minor units."""
        return -self.balance(Account.MEMBER_DEPOSITS)

    @property
    def due_back(self) -> int:
        """What is owed to the member, refunds and parts of a surplus, in minor units."""
        return -self.balance(Account.REFUNDS_PAYABLE)

    @property
    def cover(self) -> int:
        """The cover that parts of surpluses bought for the member, in minor units of cover."""
        return -self.balance(Account.MEMBER_COVER)

    @property
    def waived(self) -> int:
        """The member's shares that the sponsor paid, in minor units."""
        return self.balance(Account.SPONSOR_WAIVERS)


_STATEMENT = text("""
SELECT segment.shard_id, segment.seq, segment.account_id, CAST(:seat AS bigint) AS seat,
    journals.kind, journals.run_id, journals.effective_on,
    amount_at(segment.amounts, CASE WHEN segment.positions IS NULL THEN CAST(:position AS integer) + 1
        ELSE array_position(segment.positions, CAST(:position AS integer)) END) AS amount
FROM posting_segments AS segment
JOIN journals USING (shard_id, seq)
WHERE segment.shard_id = :shard_id
ORDER BY segment.seq, segment.account_id
""")

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
WHERE shard_id = :shard_id AND seq = :seq AND account_id = :account_id
ORDER BY seat
LIMIT :limit
""")


async def read_statement(connection: AsyncConnection, shard_id: int, seat: int) -> Statement:
    """One seat's statement. Reads one element of each of the shard's segments, not the segments.

    Dense segments written before the shard had the seat say nothing of it.
    """
    position = seat % SHARD_SEATS
    rows = await connection.execute(_STATEMENT, {"shard_id": shard_id, "seat": seat, "position": position})
    return Statement(shard_id, seat, tuple(Entry(*row) for row in rows if row.amount))


async def read_entries(
    connection: AsyncConnection, plan_id: int | None = None, *, run_id: int | None = None, limit: int
) -> AsyncIterator[Entry]:
    """Up to `limit` entries of the view `ledger_entries`, ordered by shard, seq, account and seat."""
    first_shard, last_shard = (0, 2**63 - 1) if plan_id is None else (plan_shard(plan_id), plan_shard(plan_id + 1) - 1)
    bounds = {"first_shard": first_shard, "last_shard": last_shard, "run_id": run_id, "page": PAGE_SEGMENTS}
    place = {"shard_id": -1, "seq": -1, "account_id": -1}
    while True:
        segments = (await connection.execute(_SEGMENTS, bounds | place)).all()
        for segment in segments:
            place = segment._asdict()
            for row in await connection.execute(_ENTRIES, place | {"limit": limit}):
                yield Entry(*row)
                limit -= 1
            if limit == 0:
                return
        if len(segments) < PAGE_SEGMENTS:
            return
