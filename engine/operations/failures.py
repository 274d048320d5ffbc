"""What failed in a queue, grouped by why, and trying it again: one, or all that match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, Update, and_, func, literal, null, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.jobs.job import State as JobState
from engine.reconcile.sending import BEGUN, IS_TOO_LATE, WAITS
from engine.runs.shards import Phase, ShardState
from engine.runs.shards import retry as retry_shards
from engine.runs.states import AT_WORK
from engine.store.audit import record
from engine.store.pauses import Queue
from engine.store.tables import attempts, debit_batches, deliveries, jobs, run_shards, share_runs, webhooks
from engine.webhooks.deliveries import DeliveryState

SAMPLES = 5
"""Of a group, named one by one."""


@dataclass(frozen=True)
class Chosen:
    """Which of a queue's failures: those that are all of what is given; all of them where nothing is.

    `error`: just its text, as the group says it. Shards have a run and a shard, files a run and a batch, jobs a job,
    messages a message and a webhook. `items`: just these, each by all the numbers that it has; empty: whichever.
    """

    error: str | None = None
    run_id: int | None = None
    shard_id: int | None = None
    batch_id: int | None = None
    job_id: int | None = None
    message_id: int | None = None
    webhook_id: int | None = None
    items: Sequence[Mapping[str, int]] = ()

    @property
    def given(self) -> dict[str, Any]:
        """What is asked for, by name."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}


@dataclass(frozen=True)
class Group:
    """Failures of one cause. `first_at`, `last_at`: when they failed, of files when they were written.

    `samples`: a few of them by their numbers. `key`: where it stands among the groups, the largest first.
    """

    error: str
    count: int
    first_at: datetime
    last_at: datetime
    samples: Sequence[dict[str, int]]
    digest: str

    @property
    def key(self) -> str:
        """What comes after it is asked for by this."""
        return f"{self.count}:{self.digest}"


@dataclass(frozen=True)
class Item:
    """One failure. `numbers`: which it is; `at`: as of a group; `digest`: of its group."""

    numbers: Mapping[str, int]
    error: str
    at: datetime | None
    digest: str

    @property
    def key(self) -> str:
        """What comes after it is asked for by this."""
        return ":".join(map(str, self.numbers.values()))


@dataclass(frozen=True)
class Retried:
    """How many are due again, and the runs of those that are shards."""

    count: int
    runs: Sequence[int]


@dataclass(frozen=True)
class _Failed:
    """Where a queue's failures lie: their numbers, why, when, and which they are."""

    numbers: Mapping[str, ColumnElement[int]]
    error: ColumnElement[str]
    at: ColumnElement[Any]
    which: ColumnElement[bool]

    def listed(self) -> Select[Any]:
        """Each of them: error, at, item, digest."""
        pairs = [part for name, number in self.numbers.items() for part in (literal(name), number)]
        item = func.jsonb_build_object(*pairs, type_=JSONB)
        of_error = func.md5(self.error).label("digest")
        columns = self.error.label("error"), self.at.label("at"), item.label("item"), of_error
        return select(*columns).where(self.which)

    def chosen(self, queue: Queue, chosen: Chosen) -> list[ColumnElement[bool]]:
        """The WHERE of a choice. Raises InvalidInput for a number that nothing in the queue has."""
        given = chosen.given
        items = given.pop("items", ())
        known = {**self.numbers, "error": self.error}
        if strange := sorted(given.keys() - known.keys()):
            raise InvalidInput(f"nothing in the queue {queue} has {', '.join(strange)}; choose by {', '.join(known)}")
        if any(item.keys() != self.numbers.keys() for item in items):
            raise InvalidInput(f"what failed in the queue {queue} is named by {' and '.join(self.numbers)}")
        wanted = [tuple(item[name] for name in self.numbers) for item in items]
        these = [tuple_(*self.numbers.values()).in_(wanted)] if items else []
        return [self.which, *these, *(known[name] == value for name, value in given.items())]


_PHASES: frozenset[str] = frozenset(Phase)
_AT_WORK = select(share_runs.c.run_id).where(share_runs.c.state.in_(AT_WORK))


def _failed_in(queue: Queue) -> _Failed:
    match queue:
        case Queue.SEND:
            of = debit_batches.c
            written = select(attempts.c.created_at).where(
                attempts.c.run_id == of.run_id, attempts.c.kind == of.kind, attempts.c.attempt == of.attempt
            )
            numbers = {"run_id": of.run_id, "batch_id": of.batch_id}
            return _Failed(numbers, of.error, written.scalar_subquery(), and_(WAITS, of.error != BEGUN))
        case Queue.JOBS:
            job = jobs.c
            which = job.state == JobState.FAILED
            return _Failed({"job_id": job.job_id}, func.coalesce(job.error, ""), job.ended_at, which)
        case Queue.WEBHOOKS:
            to = deliveries.c
            numbers = {"message_id": to.message_id, "webhook_id": to.webhook_id}
            return _Failed(numbers, func.coalesce(to.error, ""), to.ended_at, to.state == DeliveryState.FAILED)
        case Queue.MEASURE | Queue.POST | Queue.REVERSE:
            shard = run_shards.c
            which = and_(shard.phase == Phase(queue), shard.state == ShardState.FAILED, shard.run_id.in_(_AT_WORK))
            numbers = {"run_id": shard.run_id, "shard_id": shard.shard_id}
            return _Failed(numbers, func.coalesce(shard.error, ""), shard.finished_at, which)


async def failures(
    connection: AsyncConnection, queue: Queue, *, after: str | None = None, limit: int = 50
) -> list[Group]:
    """What failed in a queue, by its error, the largest group first; those after the group of key `after`."""
    failed = _failed_in(queue)
    of = failed.listed().subquery().c
    count, digest = func.count(), func.md5(of.error)
    samples = func.array_agg(aggregate_order_by(of.item, of.at, of.item), type_=ARRAY(JSONB))[1:SAMPLES]
    query = (
        select(of.error, count.label("count"), func.min(of.at), func.max(of.at), samples, digest)
        .group_by(of.error)
        .order_by(count.desc(), digest)
        .limit(limit)
    )
    if after is not None:
        written, _, last = after.partition(":")
        reached = literal(int(written), BigInteger)
        query = query.having(or_(count < reached, and_(count == reached, digest > last)))
    return [Group(*row) for row in await connection.execute(query)]


async def failed_items(
    connection: AsyncConnection, queue: Queue, *, digest: str | None = None, after: str | None = None, limit: int = 50
) -> list[Item]:
    """What failed in a queue one by one, by its numbers: of the group of a digest, or all; after the item of a key.

    Raises InvalidInput for a key that is none of the queue's.
    """
    failed = _failed_in(queue)
    query = failed.listed().order_by(*failed.numbers.values()).limit(limit)
    if digest is not None:
        query = query.where(func.md5(failed.error) == digest)
    if after is not None:
        reached = [literal(int(number), BigInteger) for number in after.split(":")]
        if len(reached) != len(failed.numbers):
            raise InvalidInput(f"what failed in the queue {queue} is named by {' and '.join(failed.numbers)}")
        query = query.where(tuple_(*failed.numbers.values()) > tuple_(*reached))
    return [
        Item({name: row.item[name] for name in failed.numbers}, row.error, row.at, row.digest)
        for row in await connection.execute(query)
    ]


async def retry(connection: AsyncConnection, queue: Queue, chosen: Chosen, *, reason: str, actor: str) -> Retried:
    """Let what failed be tried again, with a new set of tries: all of it, or what is chosen.

    Files that missed their cut-off stay as they are: they are withdrawn, not sent late. Raises InvalidInput for a
    choice by what nothing in the queue has.
    """
    where = _failed_in(queue).chosen(queue, chosen)
    if queue in _PHASES:
        runs = await retry_shards(connection, *where)
        retried = Retried(len(runs), sorted(set(runs)))
    else:
        retried = Retried((await connection.execute(_again(queue).where(*where))).rowcount, ())
    detail = {"reason": reason, "count": retried.count, **chosen.given}
    await record(connection, actor, "retry queue", f"queue:{queue}", detail)
    return retried


def _again(queue: Queue) -> Update:
    """Of a queue of files, jobs or messages: due now, as if never tried."""
    if queue is Queue.SEND:
        return update(debit_batches).where(~IS_TOO_LATE).values(due_at=None)
    if queue is Queue.JOBS:
        return update(jobs).values(
            state=JobState.QUEUED, started_at=None, ended_at=None, tries=0, outcome=null(), error=None
        )
    live = select(webhooks.c.webhook_id).where(webhooks.c.ended_at.is_(None))
    again = update(deliveries).where(deliveries.c.webhook_id.in_(live))
    return again.values(state=DeliveryState.WAITING, tries=0, due_at=None, ended_at=None)
