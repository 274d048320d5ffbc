"""Small books for the ledger's tests: a plan with shards, and journals to post on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import Account, account_id, open_accounts, plan_shard
from engine.ledger.journals import Journal, Segment

DAY = date(2019, 1, 21)


async def open_books(connection: AsyncConnection, seats: Sequence[int] = (8, 5), code: str | None = None) -> int:
    """A plan with its accounts, shard 0 and one shard for each count of seats; its id."""
    plan_id = await connection.scalar(
        text(
            "INSERT INTO plans (code, name, currency)"
            " VALUES (coalesce(:code, 'plan-' || gen_random_uuid()), 'a plan', 'CNY') RETURNING plan_id"
        ),
        {"code": code},
    )
    assert isinstance(plan_id, int)
    await open_accounts(connection, plan_id)
    for number, count in enumerate([0, *seats]):
        await connection.execute(
            text("INSERT INTO shards (shard_id, plan_id, number, first_seat, seats) VALUES (:id, :plan, :n, :f, :s)"),
            {
                "id": plan_shard(plan_id) + number,
                "plan": plan_id,
                "n": number,
                "f": max(number - 1, 0) * 65_536,
                "s": count,
            },
        )
    return plan_id


def charge(
    shard_id: int,
    amounts: Sequence[int],
    *,
    run_id: int = 7,
    waived: Sequence[int] | None = None,
    kind: str = "charge",
    effective_on: date = DAY,
) -> Journal:
    """What a run posts on a shard: members owe `amounts`, the sponsor owes `waived`, run clearing is credited."""
    plan_id = shard_id // 1_000_000
    details = {Account.CONTRIBUTIONS_RECEIVABLE: amounts} | ({Account.SPONSOR_WAIVERS: waived} if waived else {})
    segments = tuple(
        Segment.of(account_id(plan_id, code), np.array(dense, dtype=np.int64)) for code, dense in details.items()
    )
    lines = {segment.account_id: segment.total for segment in segments}
    lines[account_id(plan_id, Account.RUN_CLEARING)] = -sum(lines.values())
    return Journal(
        shard_id=shard_id,
        key=f"run:{run_id}:{kind}",
        kind=kind,
        effective_on=effective_on,
        lines=lines,
        segments=segments,
        run_id=run_id,
    )
