"""Work on a run's shards: claimed with a lease, fenced by worker and attempt, announced again when it stalls.

`run_shards` is the truth about progress. A claim is valid while its row still names the worker and the attempt, so
a worker that was thought dead can finish nothing behind the back of its successor (I3).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from time import monotonic
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Interval,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import FentanError
from engine.store.pauses import is_open
from engine.store.tables import run_shards, share_runs


class Phase(StrEnum):
    """What is done to each shard of a run."""

    MEASURE = "measure"
    POST = "post"
    REVERSE = "reverse"


class ShardState(StrEnum):
    """Where a shard stands in its phase."""

    PENDING = "pending"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


class LeaseLost(FentanError):
    """Another worker holds the shard now; what this one did is dropped."""

    invariant = "I3"


@dataclass(frozen=True)
class ShardClaim:
    """One shard in one worker's hand."""

    run_id: int
    shard_id: int
    phase: Phase
    worker: str
    attempt: int
    seats: int
    roster_version: int
    ledger_seq: int
    failures: int = 0
    fresh_until: float = 0.0

    @property
    def is_fresh(self) -> bool:
        """More than half of the lease is left, by this process's own clock: it needs no renewal yet."""
        return monotonic() < self.fresh_until

    @property
    def fence(self) -> dict[str, object]:
        """What `_FENCED` compares: its row is there only while the shard is still in this hand, at this attempt."""
        return {
            "claimed_shard_id": self.shard_id,
            "claimed_run_id": self.run_id,
            "claimed_phase": self.phase,
            "claimed_by": self.worker,
            "claimed_attempt": self.attempt,
        }


# Statements of the hot path are built once: building one takes longer than the server takes to run it.
IS_DUE = or_(
    run_shards.c.state == ShardState.PENDING,
    and_(run_shards.c.state == ShardState.WORKING, run_shards.c.lease_until < func.clock_timestamp()),
)
_NEW_LEASE = func.clock_timestamp() + bindparam("lease", type_=Interval)
_FENCED = update(run_shards).where(
    run_shards.c.shard_id == bindparam("claimed_shard_id"),
    run_shards.c.run_id == bindparam("claimed_run_id"),
    run_shards.c.phase == bindparam("claimed_phase"),
    run_shards.c.state == ShardState.WORKING,
    run_shards.c.worker == bindparam("claimed_by"),
    run_shards.c.attempt == bindparam("claimed_attempt"),
)
_FINISH = _FENCED.values(state=ShardState.DONE, lease_until=None, finished_at=func.clock_timestamp())
_RENEW = _FENCED.values(lease_until=_NEW_LEASE)
_CLAIM = (
    update(run_shards)
    .where(
        tuple_(run_shards.c.shard_id, run_shards.c.run_id).in_(
            select(run_shards.c.shard_id, run_shards.c.run_id)
            .where(
                run_shards.c.run_id == bindparam("of_run"),
                run_shards.c.phase == bindparam("of_phase"),
                IS_DUE,
                is_open(bindparam("of_phase")),
                select(share_runs.c.run_id)
                .where(
                    share_runs.c.run_id == bindparam("of_run"),
                    ~share_runs.c.paused,
                    share_runs.c.clip.is_not_distinct_from(bindparam("of_clip", type_=BigInteger)),
                )
                .exists(),
            )
            .order_by(run_shards.c.shard_id)
            .limit(bindparam("at_most"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(
        state=ShardState.WORKING,
        worker=bindparam("claimed_by"),
        attempt=run_shards.c.attempt + 1,
        failures=run_shards.c.failures + case((run_shards.c.state == ShardState.WORKING, 1), else_=0),
        lease_until=_NEW_LEASE,
        claimed_at=func.clock_timestamp(),
        error=None,
    )
    .returning(
        run_shards.c.shard_id,
        run_shards.c.attempt,
        run_shards.c.failures,
        run_shards.c.seats,
        run_shards.c.roster_version,
        run_shards.c.ledger_seq,
    )
)


async def claim_shards(
    connection: AsyncConnection,
    run_id: int,
    phase: Phase,
    *,
    clip: int | None,
    worker: str,
    lease_seconds: float,
    limit: int,
) -> list[ShardClaim]:
    """Take up to `limit` due shards of the run, the lowest that nobody is storing.

    None while the run or the queue of its phase is paused, or it is measured by another `clip` than the caller knows.
    """
    lease = timedelta(seconds=lease_seconds)
    values = {
        "of_run": run_id,
        "of_phase": phase,
        "of_clip": clip,
        "at_most": limit,
        "claimed_by": worker,
        "lease": lease,
    }
    rows = (await connection.execute(_CLAIM, values)).all()
    fresh_until = monotonic() + lease_seconds / 2
    return [
        ShardClaim(
            run_id,
            row.shard_id,
            phase,
            worker,
            row.attempt,
            row.seats,
            row.roster_version,
            row.ledger_seq,
            failures=row.failures,
            fresh_until=fresh_until,
        )
        for row in sorted(rows)
    ]


async def renew(engine: AsyncEngine, claim: ShardClaim, *, lease_seconds: float) -> None:
    """Begin the lease anew before the transaction that stores the shard, if half of it is gone. Raises LeaseLost."""
    if claim.is_fresh:
        return
    async with engine.begin() as connection:
        await _update(connection, claim, _RENEW, {"lease": timedelta(seconds=lease_seconds)})


async def finish(connection: AsyncConnection, claim: ShardClaim, **results: Any) -> None:
    """The fenced UPDATE every storing transaction begins with: its row lock is the lease now. Raises LeaseLost."""
    await _update(connection, claim, _FINISH, results)


async def give_back(connection: AsyncConnection, claim: ShardClaim, error: str, *, for_good: bool) -> None:
    """The work failed: due again, or waiting for a person. A lost lease is nobody's business any more."""
    state = ShardState.FAILED if for_good else ShardState.PENDING
    values = {
        "state": state,
        "lease_until": None,
        "failures": run_shards.c.failures + 1,
        "error": error[:2000],
        "finished_at": func.clock_timestamp() if for_good else None,
    }
    await connection.execute(_FENCED.values(values), claim.fence)


async def fail_abandoned(connection: AsyncConnection, *, max_attempts: int) -> int:
    """Leave to a person what let `max_attempts` workers go without a word: it may be what ended them; how many."""
    result = await connection.execute(
        update(run_shards)
        .where(
            run_shards.c.state == ShardState.WORKING,
            run_shards.c.lease_until < func.clock_timestamp(),
            run_shards.c.failures + 1 >= max_attempts,
        )
        .values(
            state=ShardState.FAILED,
            lease_until=None,
            error=f"{max_attempts} workers went away with this shard",
            finished_at=func.clock_timestamp(),
        )
    )
    return result.rowcount


async def _update(connection: AsyncConnection, claim: ShardClaim, fenced: Update, values: dict[str, Any]) -> None:
    result = await connection.execute(fenced, claim.fence | values)
    if result.rowcount != 1:
        raise LeaseLost(f"{LeaseLost.__doc__} (run {claim.run_id}, shard {claim.shard_id}, attempt {claim.attempt})")


@dataclass(frozen=True)
class Progress:
    """How far a run's shards are, in shards and seats."""

    shards: int
    done: int
    working: int
    failed: int
    due: int
    seats: int
    seats_done: int
    seats_working: int
    seats_failed: int

    @property
    def is_complete(self) -> bool:
        """Every frozen shard is done."""
        return self.done == self.shards


async def progress_of(connection: AsyncConnection, run_id: int) -> Progress:
    """Count the run's shards; an expired lease counts as due."""

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition)

    def seats(*condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(run_shards.c.seats).filter(*condition), 0)

    done = run_shards.c.state == ShardState.DONE
    working, failed = run_shards.c.state == ShardState.WORKING, run_shards.c.state == ShardState.FAILED
    row = (
        await connection.execute(
            select(
                func.count().label("shards"),
                count(done).label("done"),
                count(working).label("working"),
                count(failed).label("failed"),
                count(IS_DUE).label("due"),
                seats(true()).label("seats"),
                seats(done).label("seats_done"),
                seats(working).label("seats_working"),
                seats(failed).label("seats_failed"),
            ).where(run_shards.c.run_id == run_id)
        )
    ).one()
    return Progress(**row._asdict())


async def retry(connection: AsyncConnection, *where: ColumnElement[bool]) -> list[int]:
    """Give the failed shards of `where` a new set of attempts; the run of each."""
    again = (
        update(run_shards)
        .where(run_shards.c.state == ShardState.FAILED, *where)
        .values(state=ShardState.PENDING, failures=0, finished_at=None)
    )
    return list(await connection.scalars(again.returning(run_shards.c.run_id)))


async def begin_phase(connection: AsyncConnection, run_id: int, phase: Phase, *where: ColumnElement[bool]) -> None:
    """Make the run's shards (those of `where`) due in `phase`; whoever held one loses it."""
    await connection.execute(
        update(run_shards)
        .where(run_shards.c.run_id == run_id, *where)
        .values(
            phase=phase,
            state=ShardState.PENDING,
            attempt=0,
            failures=0,
            worker=None,
            lease_until=None,
            error=None,
            claimed_at=None,
            finished_at=None,
        )
    )
