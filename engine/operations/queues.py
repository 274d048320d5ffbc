"""The queues as operations sees them: what waits, since when, what is in hand, what failed, how fast they are done.

Counted from the tables of each queue, over what is under way and what ended lately only: it is asked often.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, cast, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime

from engine.jobs.job import State as JobState
from engine.reconcile.sending import BEGUN, WAITS
from engine.runs.shards import IS_DUE, Phase, ShardState
from engine.runs.states import AT_WORK, RunState
from engine.store.pauses import Pause, Queue, pauses
from engine.store.tables import attempts, debit_batches, deliveries, jobs, outbox, run_shards, share_runs
from engine.webhooks.deliveries import DeliveryState

WINDOWS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=1))
"""Over which it is counted what was done."""

_FILES_OF = timedelta(days=31)
"""Files are sent within days of being written: what was sent lately is not looked for among all there ever were."""

_RESTS = (RunState.PREVIEWED, RunState.SEALED, RunState.VOIDED, RunState.FAILED)
_NOW = bindparam("now", type_=DateTime(timezone=True))
_BEGINS_A_PHASE = {Phase.MEASURE: RunState.FROZEN, Phase.POST: RunState.POSTING, Phase.REVERSE: RunState.VOIDING}


class Done(NamedTuple):
    """How many were done in the last minute, five minutes and hour."""

    minute: int
    five_minutes: int
    hour: int


@dataclass(frozen=True)
class Measured:
    """A queue now.

    `depth`: what waits for a worker, that of paused runs too; `oldest_seconds`: how long the first of it has waited,
    None: nothing waits; `in_flight`: in a worker's hand; `failed`: what waits for a person, and of files those whose
    last try failed, which wait too; `done`: of shards only those whose run has not gone on to its next phase.
    """

    pause: Pause
    depth: int
    oldest_seconds: int | None
    in_flight: int
    failed: int
    done: Done


async def measured(connection: AsyncConnection, *, now: datetime) -> list[Measured]:
    """Every queue, in its order."""
    found: dict[str, Measured] = {}
    paused = await pauses(connection)
    for row in await connection.execute(_QUEUES, {"now": now}):
        oldest = None if row.since is None else max(int((now - row.since).total_seconds()), 0)
        done = Done(row.done_0, row.done_1, row.done_2)
        found[row.queue] = Measured(paused[Queue(row.queue)], row.depth, oldest, row.in_flight, row.failed, done)
    empty = Done(0, 0, 0)
    return [found.get(queue) or Measured(pause, 0, None, 0, 0, empty) for queue, pause in paused.items()]


def _shards() -> Select[Any]:
    of = run_shards.c
    under_way = share_runs.c.state.in_(AT_WORK)
    rested_lately = or_(*[_moment_of(state) > _NOW - WINDOWS[-1] for state in _RESTS])
    began = case(*[(of.phase == phase, _moment_of(state)) for phase, state in _BEGINS_A_PHASE.items()])
    # As an array: the planner takes it for short, as it is, and does not read the shards of all runs there ever were.
    looked_at = select(share_runs.c.run_id).where(or_(under_way, rested_lately)).correlate(None).scalar_subquery()
    return (
        _counted(
            of.phase,
            waits=and_(under_way, IS_DUE),
            since=began,
            in_hand=and_(under_way, of.state == ShardState.WORKING, ~IS_DUE),
            failed=and_(under_way, of.state == ShardState.FAILED),
            done=of.state == ShardState.DONE,
            done_at=of.finished_at,
        )
        .select_from(run_shards.join(share_runs, share_runs.c.run_id == of.run_id))
        .where(of.run_id == func.any(func.array(looked_at)))
        .group_by(of.phase)
    )


def _files() -> Select[Any]:
    of = debit_batches.c
    columns = select(of.error, of.sent_at, attempts.c.created_at).select_from(debit_batches.join(attempts))
    lately = columns.where(of.sent_at > _NOW - WINDOWS[-1], attempts.c.created_at > _NOW - _FILES_OF)
    files = union_all(columns.where(WAITS), lately).subquery().c
    waits = files.sent_at.is_(None)
    return _counted(
        literal(str(Queue.SEND)),
        waits=and_(waits, files.error.is_distinct_from(BEGUN)),
        since=files.created_at,
        in_hand=and_(waits, files.error == BEGUN),
        failed=and_(waits, files.error != BEGUN),
        done=~waits,
        done_at=files.sent_at,
    )


def _jobs() -> Select[Any]:
    of = jobs.c
    queued, failed, done = (of.state == state for state in (JobState.QUEUED, JobState.FAILED, JobState.DONE))
    return _counted(
        literal(str(Queue.JOBS)),
        waits=and_(queued, of.started_at.is_(None)),
        since=of.asked_at,
        in_hand=and_(queued, of.started_at.is_not(None)),
        failed=failed,
        done=done,
        done_at=of.ended_at,
    ).where(or_(queued, failed, and_(done, of.ended_at > _NOW - WINDOWS[-1])))


def _deliveries() -> Select[Any]:
    of = deliveries.c
    states = (DeliveryState.WAITING, DeliveryState.FAILED, DeliveryState.DELIVERED)
    waiting, failed, done = (of.state == state for state in states)
    in_hand = and_(waiting, of.tries == 1, of.error.is_(None))  # a later try cannot be told from one that waits
    return (
        _counted(
            literal(str(Queue.WEBHOOKS)),
            waits=and_(waiting, or_(of.tries != 1, of.error.is_not(None))),
            since=outbox.c.recorded_at,
            in_hand=in_hand,
            failed=failed,
            done=done,
            done_at=of.ended_at,
        )
        .select_from(deliveries.join(outbox))
        .where(or_(waiting, failed, and_(done, of.ended_at > _NOW - WINDOWS[-1])))
    )


def _counted(
    queue: ColumnElement[str],
    *,
    waits: ColumnElement[bool],
    since: ColumnElement[Any],
    in_hand: ColumnElement[bool],
    failed: ColumnElement[bool],
    done: ColumnElement[bool],
    done_at: ColumnElement[Any],
) -> Select[Any]:
    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition)

    counted: list[ColumnElement[Any]] = [
        queue.label("queue"),
        count(waits).label("depth"),
        func.min(since).filter(waits).label("since"),
        count(in_hand).label("in_flight"),
        count(failed).label("failed"),
        *[count(and_(done, done_at > _NOW - window)).label(f"done_{at}") for at, window in enumerate(WINDOWS)],
    ]
    return select(*counted)


def _moment_of(state: RunState) -> ColumnElement[datetime]:
    """When a run came into a state."""
    return cast(share_runs.c.moments[str(state)].astext, DateTime(timezone=True))


# Built once: building it takes longer than the server takes to run it.
_QUEUES = union_all(_shards(), _files(), _jobs(), _deliveries())
