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

    def hold(self, shard_id: int | None) -> None:
        """Remember the shard in hand, for the heartbeat."""
        self.shard_id = shard_id


async def work_on_run(context: dict[str, Any], run_id: int) -> None:
    """Work on a run for one slice, then ring for the next if more is due: no job outlives its in-progress key."""
    bench: Bench = context["bench"]
    if await work(bench.engine, run_id, bench.rules, bench.hold):
        await bench.bell.ring(run_id, f"{bench.rules.worker}:{next(bench.rings)}")


assert work_on_run.__name__ == WORK
