"""A worker process: arq's loop under a supervisor, a sweeper and a heartbeat beside it.

A Redis outage ends arq's loop, so it is begun again. The sweeper announces what is due, unannounced or expired, so an
emptied Redis costs one sweep. Numpy works in threads; the loop stays free for the heartbeat (QUEUES).
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from arq.worker import Worker, func
from redis.exceptions import RedisError
from sqlalchemy import delete
from sqlalchemy import func as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import __version__
from engine.custodian.desk import Desk
from engine.reconcile.sending import due_custodians
from engine.runs.conductor import WorkRules, drop_expired, due_runs
from engine.runs.scheduling import plan_due
from engine.runs.shards import fail_abandoned
from engine.settings import Settings
from engine.store.database import engine_on
from engine.store.doorbell import JOB, QUEUE, SEND, WORK, deserialize, doorbell, redis_settings, serialize
from engine.store.tables import workers
from engine.webhooks.delivering import keep_delivering
from workers.jobs import Bench, do_jobs, keep_doing, send_to_custodian, work_on_run

HEARTBEAT_SECONDS = 2.0
FORGOTTEN = timedelta(hours=1)
"""A worker that has not been heard of for so long was killed; its row goes."""
POLL_SECONDS = 0.1
"""arq starts one job a look when it may hold one at a time; its default of half a second is felt by people."""
READ_LIMIT = 1_000
"""arq reads 100 queued jobs by default, which starves larger fleets."""

log = structlog.get_logger()


async def run_worker(database_url: str, redis_url: str, settings: Settings, tether: int | None = None) -> None:
    """Work until SIGTERM or SIGINT, until the file descriptor `tether` ends or somebody drains this worker.

    What is in hand is finished first.
    """
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
    rules = WorkRules(
        worker=name,
        lease_seconds=settings.lease_seconds,
        slice_seconds=settings.slice_seconds,
        max_attempts=settings.max_attempts,
        freeze_hours=settings.freeze_hours,
        shards_in_hand=settings.shards_in_hand,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if tether is not None:
        asyncio.get_running_loop().add_reader(tether, stop.set)
    async with engine_on(database_url, pool_size=settings.shards_in_hand + 3) as engine:
        log.info("worker started", worker=name)
        async with doorbell(redis_url) as bell:
            bench = Bench(engine, bell, rules, Desk.of(settings, os.environ))
            tasks = [
                asyncio.create_task(_answer(redis_url, bench, stop)),
                asyncio.create_task(_sweep(bench, settings.sweep_seconds, stop)),
                asyncio.create_task(keep_doing(bench, settings, stop)),
                asyncio.create_task(keep_delivering(engine, settings.signing_key, stop)),
            ]
            ended = asyncio.Event()
            beating = asyncio.create_task(_beat(bench, stop, ended))
            await asyncio.gather(*tasks)
            ended.set()
            await beating
        await _sign_off(engine, name)
        log.info("worker stopped", worker=name)


async def _answer(redis_url: str, bench: Bench, stop: asyncio.Event) -> None:
    """Answer the doorbell; begin again when Redis was away: one word when it goes, one when it is back."""
    lost = False

    async def answered(_: dict[Any, Any]) -> None:
        nonlocal lost
        if lost:
            log.info("doorbell back")
        lost = False

    while not stop.is_set():
        worker = Worker(
            functions=[
                # arq knows only (ctx, *args, **kwargs).
                func(work_on_run, name=WORK),  # type: ignore[arg-type]
                func(send_to_custodian, name=SEND),  # type: ignore[arg-type]
                func(do_jobs, name=JOB),  # type: ignore[arg-type]
            ],
            queue_name=QUEUE,
            redis_settings=redis_settings(redis_url),
            ctx={"bench": bench},
            handle_signals=False,
            on_startup=answered,  # type: ignore[arg-type]
            max_jobs=1,
            job_timeout=10 * bench.rules.slice_seconds + 2 * bench.rules.lease_seconds,
            keep_result=0,
            max_tries=1,
            poll_delay=POLL_SECONDS,
            queue_read_limit=READ_LIMIT,
            health_check_interval=60,
            log_results=False,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )
        answering = asyncio.create_task(worker.async_run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([answering, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not answering.done():
            await _let_finish(worker, answering)
        elif (error := answering.exception()) is not None:
            if not lost:
                log.warning("doorbell lost", error=type(error).__name__)
            lost = True
            # The job in hand needs no doorbell; closing the worker now would cut it off with its lease running.
            await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1)
        with suppress(RedisError, OSError):
            await worker.close()


async def _let_finish(worker: Worker, answering: asyncio.Task[None]) -> None:
    """Take no more jobs, let the one in hand end its slice."""
    worker.allow_pick_jobs = False
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering
    # One more may have been picked just then; closing the worker would cut it off.
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)


async def _sweep(bench: Bench, sweep_seconds: float, stop: asyncio.Event) -> None:
    """Plan what the clock plans, announce again what is due. All workers sweep; rings of one tick count once."""
    while not stop.is_set():
        try:
            await drop_expired(bench.engine)
            await plan_due(bench.engine, now=datetime.now(UTC))
            async with bench.engine.begin() as connection:
                if abandoned := await fail_abandoned(connection, max_attempts=bench.rules.max_attempts):
                    log.error("shards abandoned", shards=abandoned)
                due, to_send = await due_runs(connection), await due_custodians(connection, now=datetime.now(UTC))
            tick = int(time.time() / sweep_seconds)
            for run_id, _ in due:
                await bench.bell.ring(run_id, f"sweep:{tick}")
            for custodian_id in to_send:
                await bench.bell.ring_to_send(custodian_id, f"sweep:{tick}")
        except Exception as error:  # noqa: BLE001 - a server that starts or stops raises the driver's own
            log.warning("sweep failed", error=type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), sweep_seconds)


async def _beat(bench: Bench, stop: asyncio.Event, ended: asyncio.Event) -> None:
    """Say in the database that this worker lives and what it holds, until all has ended; hear whether it is to stop."""
    while not ended.is_set():
        try:
            if await _write_beat(bench.engine, bench) and not stop.is_set():
                log.info("worker drained", worker=bench.rules.worker)
                stop.set()
        except Exception as error:  # noqa: BLE001 - as in the sweep
            log.warning("heartbeat failed", error=type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), HEARTBEAT_SECONDS)


async def _sign_off(engine: AsyncEngine, name: str) -> None:
    """Take a worker that ends off the list, where the database still answers; its row is forgotten otherwise."""
    try:
        async with engine.begin() as connection:
            await connection.execute(delete(workers).where(workers.c.worker == name))
    except Exception as error:  # noqa: BLE001 - as in the sweep
        log.warning("sign-off failed", error=type(error).__name__)


async def _write_beat(engine: AsyncEngine, bench: Bench) -> bool:
    """One heartbeat; whether somebody asked this worker to end."""
    beat = insert(workers).values(
        worker=bench.rules.worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        shard_id=bench.shard_id,
        memory_mib=peak_mib(),
    )
    async with engine.begin() as connection:
        await connection.execute(delete(workers).where(workers.c.beat_at < sql.clock_timestamp() - FORGOTTEN))
        beaten = beat.on_conflict_do_update(
            index_elements=["worker"],
            set_={
                "shard_id": beat.excluded.shard_id,
                "memory_mib": beat.excluded.memory_mib,
                "beat_at": sql.clock_timestamp(),
            },
        )
        return bool(await connection.scalar(beaten.returning(workers.c.draining)))


def peak_mib() -> int:
    """The most memory this process ever held, in MiB."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        # Elsewhere than on Linux, where this figure outlives an exec: it would count what held whoever started us.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
