"""Post one shard of an approved run: one transaction with its journal, segments, balances and its own row."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.apportion import Charges, Offset, OverCharged, Seats, charge
from engine.ledger.accounts import Account, account_of
from engine.ledger.balances import Balance, read_balance, write_balance
from engine.ledger.journals import Journal, Segment, post
from engine.ledger.seal import leaf_hashes, tree_root
from engine.roster.columns import read_tags
from engine.runs.allowance import seats_of, waived_seats
from engine.runs.run import Inputs
from engine.runs.shards import ShardClaim, finish, renew
from engine.runs.states import NotNow, RunState
from engine.store.tables import share_runs


class Drawn(NamedTuple):
    """What one shard is charged: int64[n] amounts as computed, those waived (or None), and its Merkle root.

    `posted`: what is charged, as it stands on the account of the shares; what a credit run gives is negative there.
    """

    charges: Charges
    charged: NDArray[np.int64]
    waived: NDArray[np.int64] | None
    posted: NDArray[np.int64]
    root: bytes


@dataclass(frozen=True)
class Lease:
    """How long a shard may take, and the limit of its storing transaction, which is shorter."""

    seconds: float

    @property
    def transaction_milliseconds(self) -> int:
        """Four fifths of the lease: the database ends the transaction before the lease does."""
        return int(self.seconds * 800)


_BEGIN = (
    select(share_runs.c.state, func.set_config("transaction_timeout", bindparam("limit"), True))
    .where(share_runs.c.run_id == bindparam("of_run"))
    .with_for_update(key_share=True, read=True)
)


async def post_shard(engine: AsyncEngine, inputs: Inputs, claim: ShardClaim, *, offset: Offset, lease: Lease) -> None:
    """Charge the shard's seats and post what they owe. Raises LeaseLost, NotNow, KeyReused, OverCharged."""
    await renew(engine, claim, lease_seconds=lease.seconds)
    async with engine.begin() as connection:
        await begin_storing(connection, inputs, claim, RunState.POSTING, lease)
        seats = (await seats_of(connection, inputs, claim)).seats
        tags = await read_tags(connection, claim.shard_id, len(seats))
        before = await read_balance(
            connection, claim.shard_id, inputs.shares_on, through_seq=claim.ledger_seq, seats=len(seats)
        )
        drawn, journal = await asyncio.to_thread(_drawn_up, inputs, claim, seats, tags, offset)
        await finish(
            connection,
            claim,
            charged_minor=int(drawn.charged.sum()),
            waived_minor=0 if drawn.waived is None else int(drawn.waived.sum()),
            waived_seats=0 if drawn.waived is None else int(np.count_nonzero(drawn.waived)),
            pointers={str(tier): seat for tier, seat in drawn.charges.pointer.items()},
            root=drawn.root,
        )
        if journal is None:
            return
        posted = await post(connection, journal)
        if posted.is_new:
            if posted.seq != claim.ledger_seq + 1:  # something else was posted here since the freeze
                before = await read_balance(
                    connection, claim.shard_id, inputs.shares_on, through_seq=posted.seq - 1, seats=len(seats)
                )
            after = before.plus(drawn.posted, posted.seq)
            _refuse_overdraft(inputs, claim, drawn, after)
            await write_balance(connection, claim.shard_id, inputs.shares_on, after)


def _refuse_overdraft(inputs: Inputs, claim: ShardClaim, drawn: Drawn, after: Balance) -> None:
    """I6: a run draws no balance below zero, whatever was posted on it since the freeze."""
    if account_of(inputs.shares_on) is not Account.MEMBER_DEPOSITS:
        return
    overdrawn = np.count_nonzero((after.amounts > 0) & (drawn.charged > 0))
    if overdrawn:
        raise OverCharged(
            f"shard {claim.shard_id}: {overdrawn} seats have less left than {inputs.run.name} draws from them; "
            "something was posted on their balances since its freeze: void it and plan anew"
        )


async def begin_storing(
    connection: AsyncConnection, inputs: Inputs, claim: ShardClaim, state: RunState, lease: Lease
) -> None:
    """Open a storing transaction: shorter than the lease, only while the run is in `state`; a void waits for it."""
    values = {"limit": f"{lease.transaction_milliseconds}ms", "of_run": claim.run_id}
    found = await connection.scalar(_BEGIN, values)
    if found != state:
        raise NotNow(f"{inputs.run.name} is {found}, so nothing more is posted for it")


def _drawn_up(
    inputs: Inputs, claim: ShardClaim, seats: Seats, tags: bytes, offset: Offset
) -> tuple[Drawn, Journal | None]:
    drawn = draw(inputs, seats, tags, offset)
    return drawn, charge_journal(inputs, claim, drawn)


def draw(inputs: Inputs, seats: Seats, tags: bytes, offset: Offset) -> Drawn:
    """What each seat of one shard pays, who pays it, and the shard's root: a pure function of what was pinned."""
    if inputs.solution is None:
        raise NotNow(f"{inputs.run.name} has no solution yet")
    charges = charge(seats, inputs.solution, inputs.gates, pointers=inputs.pointers, offset=offset)
    waives = waived_seats(inputs, seats)
    charged, waived = charges.amounts, None
    if waives is not None:
        waived = np.where(waives, charges.amounts, 0)
        charged = charges.amounts - waived
    posted = -charged if inputs.is_credit else charged
    return Drawn(charges, charged, waived, posted, tree_root(leaf_hashes(charges.amounts, tags)))


def charge_journal(inputs: Inputs, claim: ShardClaim, drawn: Drawn) -> Journal | None:
    """Debit the members, and the sponsor for those it waives; credit the run's clearing. None when nobody owes.

    A credit run credits the members and debits its clearing.
    """
    segments = [Segment.of(inputs.shares_on, drawn.posted)]
    if drawn.waived is not None:
        segments.append(Segment.of(inputs.account(Account.SPONSOR_WAIVERS), drawn.waived))
    owed = tuple(segment for segment in segments if segment.total)
    if not owed:
        return None
    lines = {segment.account_id: segment.total for segment in owed}
    lines[inputs.account(Account.RUN_CLEARING)] = -sum(lines.values())
    return Journal(
        shard_id=claim.shard_id,
        key=f"{inputs.run.name}:charge",
        kind="charge",
        effective_on=inputs.run.debit_on,
        lines=lines,
        segments=owed,
        run_id=inputs.run.run_id,
    )
