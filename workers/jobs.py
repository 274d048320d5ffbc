"""The jobs arq may run. A job carries ids only; everything else is looked up in PostgreSQL."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.runs.conductor import WorkRules, work
from engine.store.doorbell import WORK, Doorbell


@dataclass
class Bench:
    """What a worker process works with, and the shard it has in hand."""

    engine: AsyncEngine
    bell: Doorbell
    rules: WorkRules
    shard_id: int | None = None
    rings: itertools.count[int] = field(default_factory=itertools.count)

    async def ring(self, run_id: int) -> None:
        """Ring for a run in this worker's name, as an occasion of its own."""
        await self.bell.ring(run_id, f"{self.rules.worker}:{next(self.rings)}")

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


assert work_on_run.__name__ == WORK
