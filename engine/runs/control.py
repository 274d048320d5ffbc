"""What a person does to a run under way: pause, resume, retry. Each is in the audit log."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.runs.run import Run, lock_run_or_wait
from engine.runs.shards import retry
from engine.runs.states import AT_WORK, PAUSABLE, NotNow
from engine.store.audit import record
from engine.store.tables import run_shards, share_runs


async def set_paused(connection: AsyncConnection, run_id: int, *, paused: bool, actor: str) -> None:
    """Pause or resume: workers finish the shard in hand and take no other. Raises NotNow for a run that is over."""
    run = await lock_run_or_wait(connection, run_id)
    if run.state not in PAUSABLE:
        raise NotNow(f"{run.name} is {run.state}: there is nothing to {'pause' if paused else 'resume'}")
    failure = run.failure if paused else None
    await connection.execute(
        update(share_runs).where(share_runs.c.run_id == run_id).values(paused=paused, failure=failure)
    )
    await record(connection, actor, "pause run" if paused else "resume run", run.name)


async def hold(connection: AsyncConnection, run: Run, failure: str) -> None:
    """A locked run that is in the books cannot go on: pause it and say why. A person resumes it, or voids it."""
    await connection.execute(
        update(share_runs).where(share_runs.c.run_id == run.run_id).values(paused=True, failure=failure)
    )


async def retry_failed(connection: AsyncConnection, run_id: int, *, actor: str) -> int:
    """Give the run's failed shards a new set of attempts; how many there were. Raises NotNow for a run that is over."""
    run = await lock_run_or_wait(connection, run_id)
    if run.state not in AT_WORK:
        raise NotNow(f"{run.name} is {run.state}: there is nothing to retry")
    count = len(await retry(connection, run_shards.c.run_id == run_id))
    await record(connection, actor, "retry shards", run.name, {"shards": count})
    return count
