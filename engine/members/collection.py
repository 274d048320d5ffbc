"""What members owe for a run: collected, or written off when they leave without paying."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Boolean, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.ledger.journals import Journal, Segment
from engine.members.due import exits
from engine.members.shards import Amounts, Shard, amounts_under, post_in_bulk, shard_of
from engine.plans import NEVER, PlanRules, day_number
from engine.plans.calendar import next_debit_day
from engine.roster.changes import Kind, current_columns, record_by_rule
from engine.roster.plan import rules_of
from engine.store.arrays import copy_out
from engine.store.tables import posting_segments, share_runs


@dataclass(frozen=True)
class Settled:
    """What was taken off the members' debts: from how many seats, and how much in minor units."""

    seats: int
    amount_minor: int


@dataclass(frozen=True)
class Unpaid:
    """What became of who did not pay: how many left, how many were written off, and how much in minor units."""

    ended: int
    written_off: Settled


async def collect(
    connection: AsyncConnection,
    run_id: int,
    shard_id: int,
    positions: NDArray[np.int32] | None = None,
    *,
    on: date,
) -> Settled:
    """What seats of a shard still owe for a run has come in: custodian cash against contributions receivable.

    `positions`: int32 places in the shard, those that paid; None: all. What a seat paid it does not owe again.
    """
    shard = await shard_of(connection, shard_id)
    return await _settle(connection, shard, f"run:{run_id}", "collection", Account.CUSTODIAN_CASH, positions, on)


async def exit_unpaid(
    connection: AsyncConnection,
    run_id: int,
    shard_id: int,
    positions: NDArray[np.int32],
    *,
    leaves_on: date | None = None,
    posted_on: date | None = None,
) -> Unpaid:
    """Who did not pay a run by its last retry leaves the day after; what they owe for it is then a bad debt.

    `positions`: int32 places in the shard. `leaves_on`: the leaving day of what was asked for only later than the run;
    `posted_on`: the day of the write-off, where that of leaving is locked. The caller holds the plan's lock
    (`lock_roster`). Once per seat and run: who owes nothing for it any more is let be. Raises InvalidInput where the
    plan ends nobody for not paying.
    """
    run = (await connection.execute(select(share_runs).where(share_runs.c.run_id == run_id))).one()
    if leaves_on is None:
        leaves_on = leaving_day(await rules_of(connection, run.plan_id, run.rules_version), run.debit_on)
    shard = await shard_of(connection, shard_id)
    owing = np.intersect1d(positions, np.flatnonzero(await owed_by(connection, shard, f"run:{run_id}") > 0)).astype(
        np.int32
    )
    _, _, columns = await current_columns(connection, shard_id)
    from_days = np.full(len(columns), NEVER, dtype=np.int32)
    from_days[owing] = day_number(leaves_on)
    due = exits(columns, from_days, day_number(leaves_on))
    seats = shard.first_seat + due.positions
    await record_by_rule(connection, shard_id, Kind.EXIT, seats, due.from_days, reason="unpaid")
    cause, against = f"run:{run_id}", Account.BAD_DEBT
    day = posted_on or leaves_on
    return Unpaid(len(due), await _settle(connection, shard, cause, "write-off", against, owing, day))


def leaving_day(rules: PlanRules, debit_on: date) -> date:
    """The first day not covered of who does not pay: the day after the last retry.

    Retries are daily from the day after the debit: for `retry_days`, or until the day before the next debit (SCHEMES:
    xianghubao, jd-hubao, meituan). Raises InvalidInput where the plan has no such rule.
    """
    if rules.unpaid is None:
        raise InvalidInput(f"{rules.code} ends nobody for not paying: it has no table unpaid")
    if rules.unpaid.retry_days is None:
        return next_debit_day(rules, debit_on + timedelta(days=1))
    return debit_on + timedelta(days=rules.unpaid.retry_days + 1)


async def owed_by(connection: AsyncConnection, shard: Shard, cause: str) -> Amounts:
    """int64[n] minor units: what each seat still owes for `cause` (`run:7`, `levy`), by the keys of journals."""
    where = f"starts_with(journals.idempotency_key, '{cause}:')"
    return await amounts_under(connection, shard, Account.CONTRIBUTIONS_RECEIVABLE, where)


class Debts(NamedTuple):
    """What each seat of a shard was charged, and what it still owes: int64[n] minor units."""

    charged: Amounts
    owed: Amounts


async def debts_by(connection: AsyncConnection, shard: Shard, run: str) -> Debts:
    """What seats were charged and still owe for a run (`run:7`), read once for both."""
    rows = await copy_out(
        connection,
        f"SELECT idempotency_key = '{run}:charge', packed(segment.positions), packed(segment.amounts)"  # noqa: S608
        " FROM posting_segments AS segment JOIN journals USING (shard_id, seq)"
        f" WHERE segment.shard_id = $1 AND segment.account_id = $2 AND starts_with(idempotency_key, '{run}:')",
        [shard.shard_id, shard.account(Account.CONTRIBUTIONS_RECEIVABLE)],
        [Boolean(), posting_segments.c.positions.type, posting_segments.c.amounts.type],
    )
    charged, later = np.zeros(shard.seats, np.int64), np.zeros(shard.seats, np.int64)
    for is_charge, positions, amounts in rows:
        (charged if is_charge else later)[:] += Segment(0, amounts, positions).dense(shard.seats)
    return Debts(charged, charged + later)


async def _settle(
    connection: AsyncConnection,
    shard: Shard,
    cause: str,
    kind: str,
    against: Account,
    positions: NDArray[np.int32] | None,
    on: date,
) -> Settled:
    """Credit what the seats still owe for a cause, debit `against`; nothing is posted where nothing is owed."""
    owed = await owed_by(connection, shard, cause)
    if positions is not None:
        owed[np.setdiff1d(np.arange(shard.seats), positions)] = 0
    np.maximum(owed, 0, out=owed)
    if not owed.any():
        return Settled(0, 0)
    receivable = shard.account(Account.CONTRIBUTIONS_RECEIVABLE)
    segment = Segment.of(receivable, -owed)
    journal = Journal(
        shard_id=shard.shard_id,
        # Named by the posting whose debts it settles, and without the run's id: what a run charged stays as sealed.
        key=f"{cause}:{kind}:{shard.seq}",
        kind=kind,
        effective_on=on,
        lines={shard.account(against): -segment.total, receivable: segment.total},
        segments=(segment,),
    )
    await post_in_bulk(connection, shard, journal, Account.CONTRIBUTIONS_RECEIVABLE)
    return Settled(int(np.count_nonzero(owed)), -segment.total)
