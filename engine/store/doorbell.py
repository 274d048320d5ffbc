"""The doorbell: a narrow port in front of arq. A ring carries an id and nothing that cannot be lost (I2, I8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from engine.errors import FentanError

QUEUE = "fentan:work"
WORK = "work_on_run"
"""Look at this run and do what is due."""

SEND = "send_to_custodian"
"""Look at the files that wait for this custodian and send what may leave."""

JOB = "do_jobs"
"""Look at the jobs that were asked for and do the next."""

_MOMENT_SECONDS = 1.0

_PATIENT_TRIES = 11
"""A moment apart: ten seconds for a server to appear."""

log = structlog.get_logger()


class DoorbellUnreachable(FentanError, ConnectionError):
    """The doorbell does not answer; check FENTAN_REDIS_URL, or unset it to use the embedded server."""

    # A ConnectionError too: who can do without the doorbell goes on, however it was lost.


def serialize(job: dict[str, Any]) -> bytes:
    """JSON, never pickle: what is in Redis is read by people and by other versions."""
    return json.dumps(job).encode()


def deserialize(job: bytes) -> dict[str, Any]:
    """What `serialize` wrote. A result, which may hold an exception, is never kept."""
    loaded: dict[str, Any] = json.loads(job)
    return loaded


class Doorbell:
    """Rings for runs, custodians and jobs. A ring that is lost costs seconds: the sweeper rings again."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def ring(self, run_id: int, occasion: str, times: int = 1) -> bool:
        """Announce a run to `times` workers; rings of one occasion count once. False when Redis does not answer."""
        jobs = [f"run:{run_id}:{occasion}:{number}" for number in range(times)]
        return await self._enqueue(WORK, run_id, jobs)

    async def ring_to_send(self, custodian_id: int, occasion: str) -> bool:
        """`ring`, to one worker, for the files that wait for a custodian."""
        return await self._enqueue(SEND, custodian_id, [f"custodian:{custodian_id}:{occasion}"])

    async def ring_for_job(self, job_id: int, occasion: str) -> bool:
        """`ring`, to one worker, for a job that was asked for."""
        return await self._enqueue(JOB, job_id, [f"job:{job_id}:{occasion}"])

    async def answers(self) -> bool:
        """Whether Redis does."""
        try:
            await self._redis.ping()
        except (RedisError, OSError):
            return False
        return True

    async def _enqueue(self, function: str, what: int, jobs: Sequence[str]) -> bool:
        try:
            for job in jobs:
                await self._redis.enqueue_job(function, what, _job_id=job)
        except (RedisError, OSError):
            return False
        return True


def redis_settings(redis_url: str) -> RedisSettings:
    """What arq needs to know of a redis:// or unix:// address; it tries once.

    Of each try more it would write a line that is no JSON and names another address. Raises DoorbellUnreachable when
    the address cannot be read.
    """
    try:
        settings = RedisSettings.from_dsn(redis_url)
    except (RuntimeError, ValueError):
        raise DoorbellUnreachable("the doorbell's address cannot be read; write redis://host:6379/0") from None
    settings.conn_retries = 0
    return settings


@asynccontextmanager
async def quiet_doorbell(redis_url: str) -> AsyncIterator[Doorbell]:
    """A doorbell that need not answer: rings are tried for a moment, and lost where nobody hears."""
    found = ConnectionPool.from_url(redis_url, socket_timeout=_MOMENT_SECONDS, socket_connect_timeout=_MOMENT_SECONDS)
    redis = ArqRedis(found, default_queue_name=QUEUE, job_serializer=serialize, job_deserializer=deserialize)
    try:
        yield Doorbell(redis)
    finally:
        await redis.aclose()
        await found.aclose()


@asynccontextmanager
async def doorbell(redis_url: str, *, patient: bool = True) -> AsyncIterator[Doorbell]:
    """A doorbell for the length of a block; raises DoorbellUnreachable when nobody answers.

    `patient` waits ten seconds for a server to appear.
    """
    pool = await _answered(redis_settings(redis_url), _PATIENT_TRIES if patient else 1)
    try:
        yield Doorbell(pool)
    finally:
        await pool.aclose()


async def _answered(settings: RedisSettings, tries: int) -> ArqRedis:
    for left in reversed(range(tries)):
        try:
            return await create_pool(
                settings, default_queue_name=QUEUE, job_serializer=serialize, job_deserializer=deserialize
            )
        except (RedisError, OSError) as error:
            if not left:
                raise DoorbellUnreachable(f"{DoorbellUnreachable.__doc__} ({type(error).__name__}: {error})") from error
            if left == tries - 1:
                log.warning("doorbell awaited", error=type(error).__name__)
            await asyncio.sleep(_MOMENT_SECONDS)
    raise AssertionError("a doorbell is tried once at least")
