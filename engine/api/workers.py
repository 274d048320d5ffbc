"""Workers: who lives and what each has in hand; drained by a person."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.access.roles import EVERYONE, OPS
from engine.api.endpoint import Endpoints
from engine.api.fields import Model, Moment, Page, Paged, Text
from engine.api.service import Call
from engine.operations.workers import Worker, drain, list_workers, worker_of

endpoints = Endpoints("workers", "Worker processes: their heartbeats, and asking one to end.")

WorkerName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$")]
"""Host, process and a few random digits, as the worker's log says."""


class OfWorker(Model):
    """One worker."""

    worker: WorkerName


class DrainReason(Model):
    """Why, for whoever looks next."""

    reason: Text


class Draining(Model):
    """Whether a worker was asked to take nothing more, and to end after what is in hand."""

    worker: str
    is_draining: bool


class WorkerView(Model):
    """A worker as its last heartbeat says. `is_lost`: nothing was heard of it for half a minute."""

    worker: str
    host: str
    pid: int
    version: str
    shard_id: int | None
    memory_mib: int | None
    is_draining: bool
    is_lost: bool
    started_at: Moment
    beat_at: Moment
    beat_age_seconds: int


@endpoints.get("/workers", EVERYONE)
async def list_of_workers(call: Call, params: Paged) -> Page[WorkerView]:
    """Workers that were heard of in the last hour, by name."""
    found = await list_workers(call.connection, after=params.after or "", limit=params.limit + 1)
    return call.page(found, params.limit, lambda worker: _view(call, worker), lambda worker: worker.worker)


@endpoints.get("/workers/{worker}", EVERYONE)
async def show_worker(call: Call, params: OfWorker) -> WorkerView:
    """One worker."""
    return _view(call, await worker_of(call.connection, params.worker))


@endpoints.get("/workers/{worker}/drain", EVERYONE)
async def show_drain(call: Call, params: OfWorker) -> Draining:
    """Whether a worker was asked to end."""
    return Draining(worker=params.worker, is_draining=(await worker_of(call.connection, params.worker)).draining)


@endpoints.post("/workers/{worker}/drain", OPS, changes=show_drain)
async def drain_worker(call: Call, params: OfWorker, body: DrainReason) -> Draining:
    """Ask a worker to end after what is in hand; it hears it with its next heartbeat."""
    await drain(call.connection, params.worker, reason=body.reason, actor=call.actor)
    return await show_drain(call, params)


def _view(call: Call, found: Worker) -> WorkerView:
    return WorkerView(
        worker=found.worker,
        host=found.host,
        pid=found.pid,
        version=found.version,
        shard_id=found.shard_id,
        memory_mib=found.memory_mib,
        is_draining=found.draining,
        is_lost=found.is_lost(call.now),
        started_at=found.started_at,
        beat_at=found.beat_at,
        beat_age_seconds=max(int((call.now - found.beat_at).total_seconds()), 0),
    )
