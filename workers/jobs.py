"""The jobs arq may run. A job carries ids only; everything else is looked up in PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.errors import FentanError
from engine.jobs.doing import do_next
from engine.jobs.job import drop_leftovers
from engine.reconcile.sending import send_some
from engine.runs.conductor import WorkRules, work
from engine.settings import Settings
from engine.store.doorbell import JOB, SEND, WORK, Doorbell

GRACE_SECONDS = 20.0
"""How long a job in hand may take once its worker is asked to end; then it is let go, and done again by another."""

log = structlog.get_logger()


@dataclass
class Bench:
    """What a worker process works with, and the shard it has in hand. `asked`: somebody rang for a job."""

    engine: AsyncEngine
    bell: Doorbell
    rules: WorkRules
    desk: Desk
    shard_id: int | None = None
    rings: itertools.count[int] = field(default_factory=itertools.count)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def ring(self, run_id: int) -> None:
        """Ring for a run in this worker's name, as an occasion of its own."""
        await self.bell.ring(run_id, f"{self.rules.worker}:{next(self.rings)}")

    async def ring_to_send(self, custodian_id: int) -> None:
        """Ring for a custodian likewise."""
        await self.bell.ring_to_send(custodian_id, f"{self.rules.worker}:{next(self.rings)}")

    def hold(self, shard_id: int | None) -> None:
        """Remember the shard in hand, for the heartbeat."""
        self.shard_id = shard_id


async def work_on_run(context: dict[str, Any], run_id: int) -> None:
    """Work on a run for one slice, then ring for the next if more is due: no job outlives its in-progress key."""
    bench: Bench = context["bench"]

    async def call_another() -> None:
        await bench.ring(run_id)

    if await work(bench.engine, run_id, bench.rules, bench.hold, call_another):
        await bench.ring(run_id)


async def send_to_custodian(context: dict[str, Any], custodian_id: int) -> None:
    """Send a few of the files that wait for a custodian, then ring for the next if more may leave."""
    bench: Bench = context["bench"]
    try:
        more = await send_some(bench.engine, custodian_id, bench.desk, now=datetime.now(UTC))
    except FentanError as error:  # what the environment lacks is for a person
        log.error("nothing sent", custodian_id=custodian_id, error=str(error))  # noqa: TRY400 - it says all there is
        return
    if more:
        await bench.ring_to_send(custodian_id)


async def do_jobs(context: dict[str, Any], job_id: int) -> None:
    """Wake who does this worker's jobs: they take longer than arq lets anything take, and no run waits for them."""
    bench: Bench = context["bench"]
    bench.asked.set()


async def keep_doing(
    bench: Bench, settings: Settings, stop: asyncio.Event, grace_seconds: float = GRACE_SECONDS
) -> None:
    """Do the jobs that were asked for, one at a time: when somebody rings, and as often as the worker sweeps."""
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        bench.asked.clear()
        doing = asyncio.create_task(_next_job(bench, settings))
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            await asyncio.wait([doing], timeout=grace_seconds)
            doing.cancel()
            with suppress(asyncio.CancelledError):
                await doing
        elif not doing.result():
            asked = asyncio.create_task(bench.asked.wait())
            await asyncio.wait([asked, stopping], timeout=settings.sweep_seconds, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
    stopping.cancel()


async def _next_job(bench: Bench, settings: Settings) -> bool:
    """Whether there may be more to do now."""
    now = datetime.now(UTC)
    try:
        if await do_next(bench.engine, settings, bench.desk, now=now):
            return True
        await drop_leftovers(bench.engine, settings.data_dir, now=now)
    except Exception as error:  # noqa: BLE001 - as in the sweep; the job waits again
        log.warning("job not done", error=type(error).__name__)
    return False


assert (work_on_run.__name__, send_to_custodian.__name__, do_jobs.__name__) == (WORK, SEND, JOB)
