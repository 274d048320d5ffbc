"""What members paid for a run beyond what it came to, once a correction lowered it: they are owed it back.

A correction stands on what its seats owe for the run. Where they had paid, or pay what was asked of them before, that
leaves a credit there; it moves to refunds payable, from where it is paid out. Nobody needs to approve that again: the
correction was.
"""

from __future__ import annotations

from datetime import date

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.decisions import Decision, DecisionState, Kind, list_decisions
from engine.ledger.accounts import Account
from engine.ledger.journals import Journal, Segment, post
from engine.members.collection import owed_by
from engine.members.shards import shard_of
from engine.reconcile.locking import first_open_day


async def owe_back(
    connection: AsyncConnection, plan_id: int, run_name: str, *, on: date, besides: Decision | None = None
) -> int:
    """Owe back what the seats that corrections of a run (`run:7`) name overpaid for it; how much, in minor units.

    `besides`: a correction that is just being done. Once for each credit: what was moved is no credit any more.
    """
    moved = 0
    day = await first_open_day(connection, plan_id, on)
    corrections = await list_decisions(connection, plan_id, subject=run_name)
    done = [each for each in corrections if (each.kind, each.state) == (Kind.CORRECTION, DecisionState.DONE)]
    done += [besides] if besides is not None else []
    for shard_id in sorted({shard_id for each in done for shard_id, *_ in each.detail["seats"]}):
        shard = await shard_of(connection, shard_id)
        credit = np.maximum(-await owed_by(connection, shard, run_name), 0)
        if not credit.any():
            continue
        segments = (
            Segment.of(shard.account(Account.CONTRIBUTIONS_RECEIVABLE), credit),
            Segment.of(shard.account(Account.REFUNDS_PAYABLE), -credit),
        )
        journal = Journal(
            shard_id=shard_id,
            # Named by the posting whose credits it moves, as what settles debts is.
            key=f"{run_name}:overpaid:{shard.seq}",
            kind="refund",
            effective_on=day,
            lines={segment.account_id: segment.total for segment in segments},
            segments=segments,
        )
        await post(connection, journal)
        moved += segments[0].total
    return moved
