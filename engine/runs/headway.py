"""How far a run is: its state, its shards and seats, how fast they go and how long they will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import BigInteger, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.runs.shards import Phase, Progress, ShardState, progress_of
from engine.runs.states import RESTS, RunState
from engine.store.tables import run_shards, shards, share_runs

_LATELY = timedelta(seconds=10)
"""How far back speed looks: a run that was paused for a night is no slower for it."""

_INSTANT = timedelta(milliseconds=100)


@dataclass(frozen=True)
class Headway:
    """A run on its way. Two are equal while nothing happened: speed alone is no news.

    `phase`: what is, or was last, done to its shards; None before they are frozen.
    """

    run_id: int
    state: RunState
    is_paused: bool
    failure: str | None
    phase: Phase | None
    shards: Progress
    seats_per_second: float = field(compare=False)

    @property
    def is_resting(self) -> bool:
        """Nothing moves until a person does something, or at all."""
        return self.state in RESTS

    @property
    def seconds_left(self) -> float | None:
        """Until its phase is through at this speed; None while nothing moves."""
        if self.is_resting or not self.seats_per_second:
            return None
        return (self.shards.seats - self.shards.seats_done) / self.seats_per_second


async def headway_of(connection: AsyncConnection, run_id: int) -> Headway:
    """How far a run is now. Raises NotFound."""
    found = share_runs.c
    query = select(found.state, found.paused, found.failure, found.moments, func.clock_timestamp().label("now"))
    run = (await connection.execute(query.where(found.run_id == run_id))).one_or_none()
    if run is None:
        raise NotFound(f"there is no run {run_id}; `fentan run list` shows those there are")
    since = run.now - _LATELY
    if (began := run.moments.get(run.state)) is not None:
        since = max(since, datetime.fromisoformat(began))
    lately = (run_shards.c.state == ShardState.DONE, run_shards.c.finished_at > since)
    counted = select(func.min(run_shards.c.phase), func.coalesce(func.sum(run_shards.c.seats).filter(*lately), 0))
    phase, seats = (await connection.execute(counted.where(run_shards.c.run_id == run_id))).one()
    return Headway(
        run_id=run_id,
        state=RunState(run.state),
        is_paused=run.paused,
        failure=run.failure,
        phase=None if phase is None else Phase(phase),
        shards=await progress_of(connection, run_id),
        seats_per_second=int(seats) / max(run.now - since, _INSTANT).total_seconds(),
    )


@dataclass(frozen=True)
class RunShard:
    """One shard of a run. `attempt`: how often it was taken in its phase, of which `failures` failed.

    `seconds`: from when it was taken until it was done, or until now while it is in hand.
    """

    shard_id: int
    number: int
    seats: int
    phase: Phase
    state: ShardState
    attempt: int
    failures: int
    worker: str | None
    error: str | None
    claimed_at: datetime | None
    finished_at: datetime | None
    seconds: float | None


async def list_shards(
    connection: AsyncConnection, run_id: int, *, state: ShardState | None = None, after: int = 0, limit: int = 50
) -> Sequence[RunShard]:
    """The run's shards in their order, those after the shard of a number in the plan."""
    found = run_shards.c
    until = func.coalesce(found.finished_at, func.clock_timestamp())
    seconds = func.extract("epoch", until - found.claimed_at)
    shown = [found[each.name] for each in fields(RunShard) if each.name not in ("number", "seconds")]
    query = (
        select(*shown, shards.c.number, seconds.label("seconds"))
        .join(shards, shards.c.shard_id == found.shard_id)
        .where(found.run_id == run_id, shards.c.number > literal(after, BigInteger))
        .order_by(found.shard_id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(found.state == state)
    rows = [row._asdict() for row in await connection.execute(query)]
    return [
        RunShard(
            **row
            | {
                "phase": Phase(row["phase"]),
                "state": ShardState(row["state"]),
                "seconds": _seconds(row["state"], row["seconds"]),
            }
        )
        for row in rows
    ]


class PlacedShard(NamedTuple):
    """A shard by its number in the plan, what is done to it, and where it stands in that."""

    number: int
    phase: Phase
    state: ShardState


async def map_of(connection: AsyncConnection, run_id: int) -> list[PlacedShard]:
    """Where each shard of a run stands, in their order."""
    rows = await connection.execute(
        select(shards.c.number, run_shards.c.phase, run_shards.c.state)
        .join(shards, shards.c.shard_id == run_shards.c.shard_id)
        .where(run_shards.c.run_id == run_id)
        .order_by(run_shards.c.shard_id)
    )
    return [PlacedShard(row.number, Phase(row.phase), ShardState(row.state)) for row in rows]


def _seconds(state: str, seconds: object) -> float | None:
    """A shard that was given back is in nobody's hand: it takes no time."""
    is_timed = state != ShardState.PENDING and seconds is not None
    return max(float(str(seconds)), 0.0) if is_timed else None
