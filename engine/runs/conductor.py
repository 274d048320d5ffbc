"""The conductor: move a run on when its shards are done, work on shards that are due, and sweep up what stalls.

Every entry looks at PostgreSQL first, so that a ring may come twice, late, or never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

import structlog
from sqlalchemy import and_, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.apportion import Histogram, Offset, Rounding, Solution, offsets
from engine.errors import FentanError
from engine.log import without_detail
from engine.runs.control import hold
from engine.runs.measuring import measure_shard
from engine.runs.planning import freeze
from engine.runs.posting import Lease, post_shard
from engine.runs.preview import check_unchanged, preview
from engine.runs.run import Inputs, Run, inputs_of, load_run, lock_run, move
from engine.runs.sealing import seal
from engine.runs.shards import (
    IS_DUE,
    LeaseLost,
    Phase,
    ShardClaim,
    begin_phase,
    claim_shards,
    give_back,
    progress_of,
)
from engine.runs.states import AT_WORK, RunEvent, RunState
from engine.runs.voiding import drop, fail, finish_void, reverse_shard
from engine.store.audit import record
from engine.store.pauses import PAUSED, Queue, is_worked_on
from engine.store.tables import run_shards, share_runs

PHASE_OF = {RunState.FROZEN: Phase.MEASURE, RunState.POSTING: Phase.POST, RunState.VOIDING: Phase.REVERSE}
"""The states in which shards are worked on, and what is done to them."""

BATCH_MAX = 4
BATCHES_MIN = 32
"""Shards are claimed up to four at a time, and one by one when few are left, so that every worker has some."""

log = structlog.get_logger()


@dataclass(frozen=True)
class WorkRules:
    """How work is done: who does it, how long a lease and a slice last, how often a shard is tried."""

    worker: str
    lease_seconds: float
    slice_seconds: float
    max_attempts: int
    freeze_hours: float
    shards_in_hand: int


async def advance(engine: AsyncEngine, run_id: int, *, freeze_hours: float) -> bool:
    """Take the run's next step if it is due; whether one was taken. Nothing is done while another worker does it."""
    async with engine.begin() as connection:
        run = await lock_run(connection, run_id)
        if run is None or run.paused or run.state not in AT_WORK:
            return False
        try:
            async with connection.begin_nested():
                moved = await _step(connection, run, freeze_hours)
        except (FentanError, IntegrityError) as error:
            stop = hold if run.state in (RunState.POSTING, RunState.VOIDING) else fail
            await stop(connection, run, str(error))
            log.warning("run stopped", run_id=run_id, state=run.state, error=str(error))
            return True
    if moved:
        log.info("run moved", run_id=run_id, was=run.state)
    return moved


async def _step(connection: AsyncConnection, run: Run, freeze_hours: float) -> bool:
    match run.state:
        case RunState.PLANNED:
            return await freeze(connection, run, freeze_hours=freeze_hours)
        case RunState.APPROVED:
            await check_unchanged(connection, await inputs_of(connection, run))
            await begin_phase(connection, run.run_id, Phase.POST)
            await move(connection, run, RunEvent.POST)
            return True
    if not (await progress_of(connection, run.run_id)).is_complete:
        return False
    match run.state:
        case RunState.FROZEN:
            await preview(connection, run)
        case RunState.POSTING:
            await seal(connection, run)
        case RunState.VOIDING:
            await finish_void(connection, run)
    return True


async def _nobody() -> None:
    """There is nobody to call."""


async def work(
    engine: AsyncEngine,
    run_id: int,
    rules: WorkRules,
    on_shard: Callable[[int | None], None],
    call_another: Callable[[], Awaitable[None]] = _nobody,
) -> bool:
    """Work on a run for one slice; whether more is due.

    `on_shard` hears which shard is in hand. Who finds more than they can hold calls another, and so on: one ring
    brings every worker that is free.
    """
    until = monotonic() + rules.slice_seconds
    while monotonic() < until:
        moved = await advance(engine, run_id, freeze_hours=rules.freeze_hours)
        async with engine.connect() as connection:
            run = await load_run(connection, run_id)
            if (
                run.paused
                or run.state not in PHASE_OF
                or not await is_worked_on(connection, Queue(PHASE_OF[run.state]))
            ):
                if moved:
                    continue
                return False
            inputs = await inputs_of(connection, run)
            shard_offsets = await _offsets(connection, inputs)
            due = (await progress_of(connection, run_id)).due
        if due > rules.shards_in_hand:
            await call_another()
        batch = min(max(due // BATCHES_MIN, 1), BATCH_MAX)
        hands = [
            _hand(engine, inputs, rules, until, batch, shard_offsets, on_shard) for _ in range(rules.shards_in_hand)
        ]
        if not any(await asyncio.gather(*hands)) and not moved:
            # Whole, and yet not moved: another worker was just looking, before the last shard was done.
            async with engine.connect() as connection:
                return (await progress_of(connection, run_id)).is_complete
    return True


async def _hand(
    engine: AsyncEngine,
    inputs: Inputs,
    rules: WorkRules,
    until: float,
    batch: int,
    shard_offsets: dict[int, Offset],
    on_shard: Callable[[int | None], None],
) -> int:
    """One shard after the other, claimed `batch` at a time, until none is due or the slice ends; how many."""
    taken = 0
    while monotonic() < until:
        async with engine.begin() as connection:
            claims = await claim_shards(
                connection,
                inputs.run.run_id,
                PHASE_OF[inputs.run.state],
                clip=inputs.run.clip,
                worker=rules.worker,
                lease_seconds=rules.lease_seconds,
                limit=batch,
            )
        if not claims:
            break
        for claim in claims:
            on_shard(claim.shard_id)
            await _do(engine, inputs, claim, rules, shard_offsets.get(claim.shard_id, {}))
        taken += len(claims)
    on_shard(None)
    return taken


async def _do(engine: AsyncEngine, inputs: Inputs, claim: ShardClaim, rules: WorkRules, offset: Offset) -> None:
    """One claimed shard through its phase; a failure gives it back, and says so in its row."""
    lease = Lease(rules.lease_seconds)
    try:
        match claim.phase:
            case Phase.MEASURE:
                await measure_shard(engine, inputs, claim)
            case Phase.POST:
                await post_shard(engine, inputs, claim, offset=offset, lease=lease)
            case Phase.REVERSE:
                await reverse_shard(engine, inputs, claim, lease=lease)
    except LeaseLost:
        log.warning("lease lost", run_id=claim.run_id, shard_id=claim.shard_id, attempt=claim.attempt)
    except Exception as error:  # whatever it was, the shard must not stay in a hand that let it fall
        # What Fentan itself refuses will be refused again; anything else may be the weather.
        for_good = isinstance(error, FentanError) or claim.failures + 1 >= rules.max_attempts
        async with engine.begin() as connection:
            await give_back(connection, claim, without_detail(f"{type(error).__name__}: {error}"), for_good=for_good)
        log.exception("shard failed", run_id=claim.run_id, shard_id=claim.shard_id, attempt=claim.attempt)


async def _offsets(connection: AsyncConnection, inputs: Inputs) -> dict[int, Offset]:
    """Each shard's offset in the rotation of odd units; only exact rounding has any."""
    solution = inputs.solution
    if not isinstance(solution, Solution) or solution.rounding is not Rounding.EXACT:
        return {}
    rows = (
        await connection.execute(
            select(run_shards.c.shard_id, run_shards.c.histogram)
            .where(run_shards.c.run_id == inputs.run.run_id)
            .order_by(run_shards.c.shard_id)
        )
    ).all()
    counted = offsets([Histogram.from_bytes(row.histogram) for row in rows], solution)
    return dict(zip([row.shard_id for row in rows], counted, strict=True))


async def due_runs(connection: AsyncConnection) -> list[tuple[int, int]]:
    """(run, how many shards are due) for every run that waits for a worker: unannounced, expired, or ready to move.

    What is in a paused queue waits for no worker.
    """
    due = and_(IS_DUE, run_shards.c.phase.not_in(PAUSED))
    rows = await connection.execute(
        select(
            share_runs.c.run_id,
            func.count().filter(due).label("due"),
            func.count().filter(run_shards.c.state != "done").label("left"),
        )
        .outerjoin(run_shards, run_shards.c.run_id == share_runs.c.run_id)
        .where(share_runs.c.state.in_(AT_WORK), ~share_runs.c.paused)
        .group_by(share_runs.c.run_id)
    )
    return [(row.run_id, row.due) for row in rows if row.due or not row.left]


async def drop_expired(engine: AsyncEngine) -> None:
    """A freeze that nobody approved in time is dropped: it keeps the plan's other runs waiting."""
    frozen = (RunState.FROZEN, RunState.MEASURED, RunState.PREVIEWED)
    async with engine.connect() as connection:
        expired = await connection.scalars(
            select(share_runs.c.run_id).where(
                share_runs.c.state.in_(frozen), share_runs.c.freeze_expires_at < func.clock_timestamp()
            )
        )
        run_ids = list(expired)
    for run_id in run_ids:
        async with engine.begin() as connection:
            run = await lock_run(connection, run_id)
            if run is not None and run.state in frozen:
                await drop(connection, run, "nobody approved it before its freeze expired")
                await record(connection, "fentan", "drop run", run.name, {"reason": "freeze expired"})
                log.warning("freeze expired", run_id=run_id)
