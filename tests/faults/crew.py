"""Worker processes that tests may hurt, and a wall in the middle of a run, so that they are hurt at a known place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sqlalchemy import text

from engine.plans import PlanRules
from engine.runs.run import Run
from engine.runs.states import RunState
from engine.store.tables import SHARD_SEATS
from tests.integration.worlds import JULY, LATE_JULY, World, rules_of_preset, until

SEATS = (*(SHARD_SEATS,) * 12, 1_000)
"""Seats by shard: what several workers can share, and what one needs a second for."""

RULES: PlanRules = rules_of_preset(caps={"per_case": "3.00"})
AIDS = ((300_000_00, JULY), (123_456_78, LATE_JULY))
LEASE_SECONDS = 2.0

SETTINGS = {
    "FENTAN_LEASE_SECONDS": str(LEASE_SECONDS),
    "FENTAN_SLICE_SECONDS": "1",
    "FENTAN_SWEEP_SECONDS": "0.5",
    "FENTAN_MAX_ATTEMPTS": "100",
    "FENTAN_SHARDS_IN_HAND": "1",
    "FENTAN_LOG_LEVEL": "warning",
}


@dataclass
class Crew:
    """Workers of one database and one Redis; what they log goes into one file."""

    database_url: str
    redis_url: str
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def hire(self, count: int = 1, **settings: str) -> list[subprocess.Popen[bytes]]:
        """So many more workers, with these settings of their own."""
        servers = {"FENTAN_DATABASE_URL": self.database_url, "FENTAN_REDIS_URL": self.redis_url}
        command = [sys.executable, "-m", "engine.cli.main", "worker"]
        with self.log.open("ab") as log:
            hired = [self._start(command, {**os.environ, **SETTINGS, **servers, **settings}, log) for _ in range(count)]
        self.processes += hired
        return hired

    def _start(self, command: list[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment, cwd=self.log.parent, stdout=log, stderr=log)

    def kill(self, *processes: subprocess.Popen[bytes]) -> None:
        """`kill -9` of these workers, or of all."""
        for process in processes or self.processes:
            process.kill()
            process.wait()

    def dismiss(self) -> None:
        """End whoever is left, the stopped ones too."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@asynccontextmanager
async def wall(world: World, *numbers: int) -> AsyncIterator[None]:
    """Shards that cannot be posted for the length of a block: whoever comes to one stands in its transaction."""
    shards = ", ".join(str(world.shard(number)) for number in numbers)
    async with world.engine.begin() as connection:
        await connection.execute(text("SET LOCAL application_name = 'wall'"))
        await connection.execute(text(f"SELECT 1 FROM shards WHERE shard_id IN ({shards}) FOR UPDATE"))
        yield


# By whom they are blocked, not that they are: two workers also wait for each other, for a moment.
STANDING = (
    "SELECT waiting.pid FROM pg_stat_activity waiting, pg_stat_activity wall"
    " WHERE waiting.datname = current_database() AND wall.datname = current_database()"
    " AND wall.application_name = 'wall' AND wall.pid = ANY (pg_blocking_pids(waiting.pid))"
)
"""The backends that wait for the wall."""


async def at_the_wall(world: World, run: Run, workers: int) -> None:
    """Wait until so many workers stand before the wall, each inside the transaction that stores its shard."""

    async def stand() -> bool:
        return len(await world.rows(STANDING)) >= workers

    await until(stand, f"{workers} workers at the wall")
    states = await world.shard_states(run)
    assert "done" in states
    assert "pending" in states


async def ends(world: World, run: Run, state: RunState = RunState.SEALED, seconds: float = 120) -> Run:
    """The run once it is in `state`."""

    async def there() -> bool:
        return (await world.run(run.run_id)).state is state

    await until(there, f"{run.name} {state}", seconds)
    return await world.run(run.run_id)


async def came_out_the_same(world: World, run: Run, root: bytes) -> None:
    """Sealed under the root of the undisturbed run, each shard posted once, and nothing for verify to find."""
    run = await ends(world, run)
    assert run.root == root
    assert await world.rows("SELECT kind, count(*) FROM journals GROUP BY kind ORDER BY kind") == [
        ("charge", len(SEATS)), ("seal", 1),
    ]  # fmt: skip
    assert set(await world.shard_states(run)) == {"done"}
    await world.tied_out(run)
    assert await world.problems() == []
