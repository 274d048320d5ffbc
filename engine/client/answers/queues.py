"""Answers about queues and workers."""

from __future__ import annotations

from typing import TypedDict


class Queues(TypedDict):
    """Every queue now."""

    items: list[Queue]


class Queue(TypedDict):
    """A queue now."""

    queue: str
    depth: int
    oldest_seconds: int | None
    in_flight: int
    failed: int
    done: Lately
    per_minute: Lately
    pause: Pause


class Lately(TypedDict):
    """Over the last minute, five minutes and hour."""

    minute: float
    five_minutes: float
    hour: float


class Pause(TypedDict):
    """Whether a queue is paused, since when, by whom and why."""

    queue: str
    is_paused: bool
    paused_at: str | None
    paused_by: str | None
    reason: str | None


class QueuePauses(TypedDict):
    """Every queue."""

    items: list[Pause]


class Retried(TypedDict):
    """How many are due again."""

    queue: str
    retried: int


class Worker(TypedDict):
    """A worker as its last heartbeat says."""

    worker: str
    host: str
    pid: int
    version: str
    shard_id: int | None
    memory_mib: int | None
    is_draining: bool
    is_lost: bool
    started_at: str
    beat_at: str
    beat_age_seconds: int


class Draining(TypedDict):
    """Whether a worker was asked to take nothing more, and to end after what is in hand."""

    worker: str
    is_draining: bool
