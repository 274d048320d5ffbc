"""Queues: what waits and how fast it goes, paused and resumed by a person, and what failed tried again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

from pydantic import Field

from engine.access.roles import EVERYONE, OPS
from engine.api.endpoint import Endpoints
from engine.api.fields import LIMIT_MAX, Id, Model, Moment, Page, Paged, Text
from engine.api.service import Call
from engine.operations.failures import Chosen, Group, Item, failed_items, failures, retry
from engine.operations.queues import WINDOWS, Measured, measured
from engine.runs.conductor import due_runs
from engine.store.pauses import Pause, Queue, pause, pauses, resume

endpoints = Endpoints("queues", "Queues of the workers: depth, age, rates, pauses, and what failed.")


class OfQueue(Model):
    """One queue."""

    queue: Queue


class QueueReason(Model):
    """Why, for whoever looks next."""

    reason: Text


class PauseView(Model):
    """Whether a queue is paused, since when, by whom and why."""

    queue: Queue
    is_paused: bool
    paused_at: Moment | None
    paused_by: str | None
    reason: str | None


class QueuePauses(Model):
    """Every queue."""

    items: list[PauseView]


class Lately(Model):
    """Over the last minute, five minutes and hour."""

    minute: float
    five_minutes: float
    hour: float


class QueueView(Model):
    """A queue now. Of messages only a first try is seen in flight; files whose last try failed wait as well."""

    queue: Queue
    depth: int
    oldest_seconds: int | None
    in_flight: int
    failed: int
    done: Lately
    per_minute: Lately
    pause: PauseView


class Queues(Model):
    """Every queue now."""

    items: list[QueueView]


class FailurePage(Paged):
    """Which part of a queue's failures."""

    queue: Queue
    after: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,17}:[0-9a-f]{32}$")] = None


class FailedPart(Paged):
    """Which of a queue's failures, one by one; of one group where that is given."""

    queue: Queue
    group: Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$")] = None
    after: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,17}(:[1-9][0-9]{0,17})?$")] = None


class FailedItem(Model):
    """One of them by its numbers: a shard of a run, a file, a job, a message to a webhook."""

    run_id: Id | None = None
    shard_id: Id | None = None
    batch_id: Id | None = None
    job_id: Id | None = None
    message_id: Id | None = None
    webhook_id: Id | None = None


class FailedOne(FailedItem):
    """One of them with its reason. `failed_at`: of files when they were written; `group`: with all of this reason."""

    error: str
    failed_at: Moment | None
    group: str


class FailureGroup(Model):
    """What failed for one reason. `first_at`, `last_at`: when it failed, of files when they were written.

    `group`: what its failures one by one are asked for by.
    """

    group: str
    error: str
    count: int
    first_at: Moment | None
    last_at: Moment | None
    samples: list[FailedItem]


class RetryFailures(Model):
    """Which failures, and why they are tried again: those that are all of what is given, all where nothing is.

    `items`: just these, each by the numbers that name it.
    """

    reason: Text
    error: Annotated[str | None, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]+$")] = None
    run_id: Id | None = None
    shard_id: Id | None = None
    batch_id: Id | None = None
    job_id: Id | None = None
    message_id: Id | None = None
    webhook_id: Id | None = None
    items: Annotated[list[FailedItem] | None, Field(min_length=1, max_length=LIMIT_MAX)] = None


class Retried(Model):
    """How many are due again."""

    queue: Queue
    retried: int


async def _every_pause(call: Call, _: object) -> QueuePauses:
    return QueuePauses(items=[_pause(each) for each in (await pauses(call.connection)).values()])


@endpoints.get("/queues", EVERYONE)
async def list_queues(call: Call) -> Queues:
    """Every queue: depth, oldest, in flight, failed, rates, pause."""
    return Queues(items=[_view(each) for each in await measured(call.connection, now=call.now)])


@endpoints.get("/queues/pauses", EVERYONE)
async def list_pauses(call: Call) -> QueuePauses:
    """Which queues are paused, and why."""
    return await _every_pause(call, None)


@endpoints.get("/queues/{queue}", EVERYONE)
async def show_queue(call: Call, params: OfQueue) -> QueueView:
    """One queue."""
    return next(
        _view(each) for each in await measured(call.connection, now=call.now) if each.pause.queue is params.queue
    )


@endpoints.get("/queues/{queue}/pause", EVERYONE)
async def show_pause(call: Call, params: OfQueue) -> PauseView:
    """Whether a queue is paused, and why."""
    return _pause((await pauses(call.connection))[params.queue])


@endpoints.post("/queues/{queue}/pause", OPS, changes=show_pause)
async def pause_queue(call: Call, params: OfQueue, body: QueueReason) -> PauseView:
    """Let nobody take from a queue; what is in hand ends. One that is paused stays as it is."""
    await pause(call.connection, [params.queue], reason=body.reason, actor=call.actor, now=call.now)
    return await show_pause(call, params)


@endpoints.post("/queues/{queue}/resume", OPS, changes=show_pause)
async def resume_queue(call: Call, params: OfQueue) -> PauseView:
    """Let a queue be worked on again."""
    await _resume(call, [params.queue])
    return await show_pause(call, params)


@endpoints.post("/queues/pause", OPS, changes=_every_pause)
async def pause_all_queues(call: Call, body: QueueReason) -> QueuePauses:
    """Let nobody take from any queue; those that are paused stay as they are."""
    await pause(call.connection, list(Queue), reason=body.reason, actor=call.actor, now=call.now)
    return await list_pauses(call)


@endpoints.post("/queues/resume", OPS, changes=_every_pause)
async def resume_all_queues(call: Call) -> QueuePauses:
    """Let every queue be worked on again."""
    await _resume(call, list(Queue))
    return await list_pauses(call)


@endpoints.get("/queues/{queue}/failures", EVERYONE)
async def list_failures(call: Call, params: FailurePage) -> Page[FailureGroup]:
    """What failed in a queue, grouped by its error, the largest group first."""
    groups = await failures(call.connection, params.queue, after=params.after, limit=params.limit + 1)
    return call.page(groups, params.limit, _failure, lambda group: group.key)


@endpoints.get("/queues/{queue}/failed", EVERYONE)
async def list_failed(call: Call, params: FailedPart) -> Page[FailedOne]:
    """What failed in a queue, one by one, by its numbers."""
    found = await failed_items(
        call.connection, params.queue, digest=params.group, after=params.after, limit=params.limit + 1
    )
    return call.page(found, params.limit, _failed_one, lambda item: item.key)


@endpoints.post("/queues/{queue}/retry", OPS)
async def retry_queue(call: Call, params: OfQueue, body: RetryFailures) -> Retried:
    """Try again what failed in a queue: one, some, those of an error, or all."""
    items = [item.model_dump(exclude_none=True) for item in body.items or ()]
    chosen = Chosen(**body.model_dump(exclude={"reason", "items"}), items=tuple(items))
    retried = await retry(call.connection, params.queue, chosen, reason=body.reason, actor=call.actor)
    _ring(call, retried.runs, "retried")
    for job_id in [each for each in (body.job_id, *(item.get("job_id") for item in items)) if retried.count and each]:
        call.ring_for_job(job_id)
    return Retried(queue=params.queue, retried=retried.count)


async def _resume(call: Call, chosen: Collection[Queue]) -> None:
    await resume(call.connection, chosen, actor=call.actor)
    _ring(call, [run_id for run_id, _ in await due_runs(call.connection)], "resumed")


def _ring(call: Call, runs: Sequence[int], what: str) -> None:
    for run_id in runs:
        call.ring(run_id, f"{what}:{call.request_id}")


def _pause(found: Pause) -> PauseView:
    return PauseView(
        queue=found.queue,
        is_paused=found.paused_at is not None,
        paused_at=found.paused_at,
        paused_by=found.paused_by,
        reason=found.reason,
    )


def _view(found: Measured) -> QueueView:
    minutes = [window.total_seconds() / 60 for window in WINDOWS]
    rates = [round(count / each, 2) for count, each in zip(found.done, minutes, strict=True)]
    return QueueView(
        queue=found.pause.queue,
        depth=found.depth,
        oldest_seconds=found.oldest_seconds,
        in_flight=found.in_flight,
        failed=found.failed,
        done=Lately(**found.done._asdict()),
        per_minute=Lately(minute=rates[0], five_minutes=rates[1], hour=rates[2]),
        pause=_pause(found.pause),
    )


def _failed_one(item: Item) -> FailedOne:
    return FailedOne(**item.numbers, error=item.error, failed_at=item.at, group=item.digest)


def _failure(group: Group) -> FailureGroup:
    return FailureGroup(
        group=group.digest,
        error=group.error,
        count=group.count,
        first_at=group.first_at,
        last_at=group.last_at,
        samples=[FailedItem(**each) for each in group.samples],
    )
