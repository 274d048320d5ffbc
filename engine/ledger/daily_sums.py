"""Sums of each account by day, kept in memory: a trial balance of any day without going through all journals again.

The ledger only grows, and a shard's journals are numbered as they commit: what a process has summed up stays right, and
it reads what was posted since. A hundred thousand journals take a quarter of a second once, and a millisecond then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import BigInteger, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.trial_balance import TrialLine, trial_lines
from engine.store.tables import shards

_SINCE = text(
    "SELECT line.account, effective_on, sum(line.amount)::bigint"
    " FROM unnest(:shards, :after, :through) AS wanted (shard_id, after, through)"
    " JOIN journals ON journals.shard_id = wanted.shard_id"
    " AND journals.seq > wanted.after AND journals.seq <= wanted.through,"
    " unnest(accounts, amounts) AS line (account, amount)"
    " GROUP BY line.account, effective_on"
).bindparams(*(bindparam(name, type_=ARRAY(BigInteger)) for name in ("shards", "after", "through")))


@dataclass
class _OfPlan:
    """`seqs`: the last journal of each shard that is in `moved`, minor units by account and day, debit positive.

    `asked`: how often somebody asked; `answered`: how many of those the last look at the database was for.
    """

    seqs: dict[int, int] = field(default_factory=dict)
    moved: dict[tuple[int, date], int] = field(default_factory=dict)
    asked: int = 0
    answered: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class DailySums:
    """What every account of a plan was moved by on each day. One for each process and database."""

    def __init__(self) -> None:
        self._plans: defaultdict[int, _OfPlan] = defaultdict(_OfPlan)

    async def trial_balance(
        self, connection: AsyncConnection, plan_id: int, as_of: date | None = None
    ) -> list[TrialLine]:
        """As `engine.ledger.trial_balance` reads it, of everything that was committed when it was asked for.

        Those who ask at the same time share one look at the database.
        """
        known = self._plans[plan_id]
        known.asked += 1
        place = known.asked
        async with known.turn:
            if known.answered < place:  # nobody has looked since, or not to the end
                waiting = known.asked
                await _catch_up(connection, plan_id, known)
                known.answered = waiting
        sums: dict[int, int] = {}
        for (account, day), amount in known.moved.items():
            if as_of is None or day <= as_of:
                sums[account] = sums.get(account, 0) + amount
        return trial_lines(sorted(sums.items()))


async def _catch_up(connection: AsyncConnection, plan_id: int, known: _OfPlan) -> None:
    """Add what was posted since. Every journal up to a shard's seq is there once the seq is."""
    found = await connection.execute(select(shards.c.shard_id, shards.c.seq).where(shards.c.plan_id == plan_id))
    now = {row.shard_id: row.seq for row in found}
    if any(now.get(shard_id, -1) < seq for shard_id, seq in known.seqs.items()):  # restored to what it was before
        known.seqs, known.moved = {}, {}
    moved = {shard_id: seq for shard_id, seq in now.items() if seq > known.seqs.get(shard_id, 0)}
    if not moved:
        return
    values = {
        "shards": list(moved),
        "after": [known.seqs.get(shard_id, 0) for shard_id in moved],
        "through": list(moved.values()),
    }
    sums = (await connection.execute(_SINCE, values)).all()
    for account, day, amount in sums:
        known.moved[account, day] = known.moved.get((account, day), 0) + amount
    known.seqs |= moved
