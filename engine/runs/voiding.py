"""Void a run: dropped before posting, mirrored once something is posted; nothing is ever deleted."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.claims.sharing import release
from engine.errors import InvalidInput
from engine.ledger.accounts import plan_shard
from engine.ledger.balances import read_balance, write_balance
from engine.ledger.journals import Journal, post, posted_under
from engine.ledger.proof import charged_in
from engine.ledger.seal import leaf_hashes, sealed_root, tree_root
from engine.roster.columns import read_tags
from engine.roster.plan import lock_living
from engine.runs.corrections import check_corrected_back
from engine.runs.posting import Lease, begin_storing
from engine.runs.recovery import check_not_recovered
from engine.runs.run import Inputs, Run, frozen_at, inputs_of, lock_run_or_wait, move
from engine.runs.sealing import PLAN_JOURNALS, check_clearing
from engine.runs.shards import Phase, ShardClaim, ShardState, begin_phase, finish, renew
from engine.runs.states import NotNow, RunEvent, RunState
from engine.store.audit import record
from engine.store.tables import journals, plans, run_shards, share_runs


async def void(connection: AsyncConnection, run_id: int, *, actor: str, reason: str) -> RunState:
    """Drop a run that posted nothing, or begin to reverse one that did; its latest state.

    A sealed run is voided only while it is the plan's last: later runs stand on its carry. Raises NotNow.
    """
    run = await lock_run_or_wait(connection, run_id)
    if run.state in (RunState.COLLECTING, RunState.SETTLED, RunState.CLOSED):
        raise NotNow(
            f"{run.name} is {run.state}: its debits were asked of the custodian; correct what it charged "
            f"(`fentan run correct {run_id}`), and pay back what members paid too much (`fentan reconcile refund "
            f"{run.plan_code}`), instead"
        )
    await record(connection, actor, "void run", run.name, {"reason": reason, "state": run.state})
    if run.state not in (RunState.POSTING, RunState.SEALED):
        return await drop(connection, run)
    await lock_living(connection, run.plan_id)  # a freeze holds it too, and would stand on this run's carry
    later = await connection.scalar(
        select(share_runs.c.run_id).where(
            share_runs.c.plan_id == run.plan_id,
            share_runs.c.run_id != run_id,
            share_runs.c.state.not_in([RunState.VOIDED, RunState.FAILED, RunState.PLANNED]),
            frozen_at() > datetime.fromisoformat(run.moments["frozen"]),
        )
    )
    if later is not None:
        raise InvalidInput(f"{run.name} carries over into run {later}; void that first, or refund instead")
    await _check_uncollected(connection, run)
    await check_corrected_back(connection, run)
    await check_not_recovered(connection, run)
    posted = run_shards.c.state == ShardState.DONE
    await connection.execute(
        update(run_shards)
        .where(run_shards.c.run_id == run_id, ~posted)
        .values(phase=Phase.REVERSE, state=ShardState.DONE, worker=None, lease_until=None)
    )
    await begin_phase(connection, run_id, Phase.REVERSE, run_shards.c.phase == Phase.POST)
    return await move(connection, run, RunEvent.REVERSE, paused=False, failure=None)


async def _check_uncollected(connection: AsyncConnection, run: Run) -> None:
    """From collecting on a void is refused (DESIGN §6): what members paid would be owed back to nobody."""
    settled = await connection.scalar(
        select(journals.c.kind)
        .where(journals.c.shard_id.between(plan_shard(run.plan_id), plan_shard(run.plan_id + 1) - 1))
        .where(
            journals.c.idempotency_key.startswith(f"{run.name}:"),
            journals.c.kind.in_(["collection", "write-off", "settlement"]),
        )
        .limit(1)
    )
    if settled is not None:
        raise InvalidInput(f"{run.name} has a {settled} already; correct what it charged, or refund it, instead")


async def drop(connection: AsyncConnection, run: Run, failure: str | None = None) -> RunState:
    """Void a locked run that posted nothing, and let its claims go; `failure` says why nobody did. Raises NotNow."""
    state = await move(connection, run, RunEvent.DROP, failure=failure)
    inputs = await inputs_of(connection, run)
    await release(connection, inputs.claims, run.run_id, on=run.debit_on)
    return state


async def fail(connection: AsyncConnection, run: Run, failure: str) -> None:
    """A locked run cannot go on: say why, and let its claims go."""
    await move(connection, run, RunEvent.FAIL, failure=failure)
    inputs = await inputs_of(connection, run)
    await release(connection, inputs.claims, run.run_id, on=run.debit_on)


async def reverse_shard(engine: AsyncEngine, inputs: Inputs, claim: ShardClaim, *, lease: Lease) -> None:
    """Post the mirror image of what the run posted on this shard. Raises LeaseLost, NotNow."""
    async with engine.connect() as connection:
        charged = await posted_under(connection, claim.shard_id, f"{inputs.run.name}:charge")
        tags = await read_tags(connection, claim.shard_id, claim.seats)
    mirrored = -charged_in(charged.segments if charged is not None else (), claim.seats)
    root = await asyncio.to_thread(lambda: tree_root(leaf_hashes(mirrored, tags)))
    await renew(engine, claim, lease_seconds=lease.seconds)
    async with engine.begin() as connection:
        await begin_storing(connection, inputs, claim, RunState.VOIDING, lease)
        await finish(connection, claim, root=root)
        if charged is None:
            return
        posted = await post(connection, _mirror(charged, f"{inputs.run.name}:void"))
        if posted.is_new:
            after = await read_balance(
                connection, claim.shard_id, inputs.shares_on, through_seq=posted.seq, seats=claim.seats
            )
            await write_balance(connection, claim.shard_id, inputs.shares_on, after)


def _mirror(journal: Journal, key: str) -> Journal:
    return Journal(
        shard_id=journal.shard_id,
        key=key,
        kind="void",
        effective_on=journal.effective_on,
        lines={account: -amount for account, amount in journal.lines.items()},
        segments=tuple(segment.negated() for segment in journal.segments),
        run_id=journal.run_id,
    )


async def finish_void(connection: AsyncConnection, run: Run) -> None:
    """Mirror the plan's side of a locked run whose every shard is reversed, and seal the mirror."""
    inputs = await inputs_of(connection, run)
    for name in PLAN_JOURNALS:
        there = await posted_under(connection, plan_shard(run.plan_id), f"{run.name}:{name}")
        if there is not None:
            key = f"{run.name}:void" if name == "seal" else f"{run.name}:void:{name}"
            await post(connection, _mirror(there, key))
    await check_clearing(connection, inputs)
    roots = await connection.scalars(
        select(run_shards.c.root)
        .where(run_shards.c.run_id == run.run_id, run_shards.c.root.is_not(None))
        .order_by(run_shards.c.shard_id)
    )
    previous = await connection.scalar(select(plans.c.last_root).where(plans.c.plan_id == run.plan_id))
    root = sealed_root(previous, tree_root(list(roots)))
    await connection.execute(update(plans).where(plans.c.plan_id == run.plan_id).values(last_root=root))
    await release(connection, inputs.claims, run.run_id, on=run.debit_on)
    await move(connection, run, RunEvent.FINISH_VOID, void_root=root)
