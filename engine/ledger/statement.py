"""What stands in the ledger of one seat: its statement, read by point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import Account, account_of
from engine.store.tables import SHARD_SEATS


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


async def read_statement(connection: AsyncConnection, shard_id: int, seat: int) -> Statement:
    """One seat's statement. Reads one element of each of the shard's segments, not the segments.

    Dense segments written before the shard had the seat say nothing of it.
    """
    position = seat % SHARD_SEATS
    rows = await connection.execute(_STATEMENT, {"shard_id": shard_id, "seat": seat, "position": position})
    return Statement(shard_id, seat, tuple(Entry(*row) for row in rows if row.amount))
