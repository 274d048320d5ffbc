"""The trial balance: every account of a plan, debit or credit, and the difference between the two sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import Account, account_of, plan_shard, unit_of
from engine.store.views import journal_lines


class TrialLine(NamedTuple):
    """One account's balance in minor units, on the side where it stands; the other side is 0."""

    account_id: int
    debit: int
    credit: int

    @property
    def account(self) -> Account:
        """The account's code."""
        return account_of(self.account_id)

    @property
    def unit(self) -> int:
        """What it is kept in: 0, the plan's currency, or 1, cover."""
        return unit_of(self.account_id)


async def trial_balance(connection: AsyncConnection, plan_id: int, as_of: date | None = None) -> list[TrialLine]:
    """Every account of the plan that has a line, from the journals effective on or before `as_of` (default: all)."""
    account = journal_lines.c.account_id
    sums = (
        select(account, func.sum(journal_lines.c.amount))
        .where(journal_lines.c.shard_id >= plan_shard(plan_id), journal_lines.c.shard_id < plan_shard(plan_id + 1))
        .group_by(account)
        .order_by(account)
    )
    if as_of is not None:
        sums = sums.where(journal_lines.c.effective_on <= as_of)
    return trial_lines([(account_id, int(balance)) for account_id, balance in await connection.execute(sums)])


def trial_lines(balances: Iterable[tuple[int, int]]) -> list[TrialLine]:
    """A line for each account and its balance, debit positive."""
    return [TrialLine(account_id, max(balance, 0), max(-balance, 0)) for account_id, balance in balances]


def difference(lines: Sequence[TrialLine]) -> int:
    """Σ debit − Σ credit in minor units: 0, or the ledger is broken (I1)."""
    return sum(line.debit - line.credit for line in lines)
