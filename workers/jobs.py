"""The jobs arq may run. A job carries ids only; everything else is looked up in PostgreSQL."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.errors import FentanError
from engine.reconcile.sending import send_some
from engine.runs.conductor import WorkRules, work
from engine.store.doorbell import SEND, WORK, Doorbell

log = structlog.get_logger()


@dataclass
class Bench:
    """What a worker process works with, and the shard it has in hand."""

    engine: AsyncEngine
    bell: Doorbell
    rules: WorkRules
    desk: Desk
    shard_id: int | None = None
    rings: itertools.count[int] = field(default_factory=itertools.count)

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


assert (work_on_run.__name__, send_to_custodian.__name__) == (WORK, SEND)
