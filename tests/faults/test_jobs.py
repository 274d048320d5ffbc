"""Workers killed in the middle of jobs: what was asked for is done, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.jobs.job import Job, Kind, State, ask, job_of, keep_file
from engine.roster.plan import register_plan
from engine.store.database import engine_on
from engine.store.embedded import Embedded
from tests.faults.crew import Crew
from tests.integration.worlds import rules_of_preset, until

pytestmark = pytest.mark.faults

ROWS = 70_000
"""Members of more than one shard."""

STAND = """
CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN new; END'
"""
WALL = "CREATE TRIGGER wall BEFORE INSERT ON shards FOR EACH ROW WHEN (new.number = {number}) EXECUTE FUNCTION stand()"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """On a database of nothing but a plan."""
    async with engine_on(database_url) as engine:
        async with engine.begin() as connection:
            await register_plan(connection, rules_of_preset())
        yield engine


@pytest.fixture
def crew(database_url: str, embedded: Embedded, tmp_path: Path) -> Iterator[Crew]:
    """Workers to be, whose files lie beside the test's."""
    crew = Crew(database_url, embedded.redis_url, tmp_path / "workers.log")
    yield crew
    crew.dismiss()


async def asked(engine: AsyncEngine, data_dir: Path) -> Job:
    """A roster that waits to be brought in."""
    file = data_dir / "upload"
    data_dir.mkdir()
    lines = (f"M{number},1980-01-01,2019-01-01\n" for number in range(ROWS))
    file.write_text("member_ref,born_on,joined_on\n" + "".join(lines), "utf-8")
    async with engine.begin() as connection:
        told = {"plan": "xianghubao", "file": "roster.csv"}
        job = await ask(connection, Kind.ROSTER, "plan:xianghubao", told, actor="anna")
        await keep_file(data_dir, job.job_id, file, "roster.csv")
    return job


async def stands_before(wall: AsyncConnection) -> None:
    """Wait until a worker stands before a wall."""

    async def stands() -> bool:
        # Of pg_locks: a transaction sees one and the same pg_stat_activity for as long as it lasts.
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        return bool(await wall.scalar(text(waiting)))

    await until(stands, "a worker at the wall")


async def ends(engine: AsyncEngine, job: Job) -> Job:
    async def there() -> bool:
        async with engine.connect() as connection:
            return (await job_of(connection, job.job_id)).state is not State.QUEUED

    await until(there, "the job's end", 120)
    async with engine.connect() as connection:
        return await job_of(connection, job.job_id)


@pytest.mark.parametrize("number", [1, 2])
async def test_kill_9_in_the_middle_of_an_import(engine: AsyncEngine, crew: Crew, tmp_path: Path, number: int) -> None:
    """Before its first shard, and with the first one written."""
    data_dir = tmp_path / "data"
    job = await asked(engine, data_dir)
    async with engine.begin() as connection:
        await connection.execute(text(STAND))
        await connection.execute(text(WALL.format(number=number)))
    async with engine.begin() as wall:
        await wall.execute(text("SELECT pg_advisory_xact_lock(42)"))
        crew.hire(FENTAN_DATA_DIR=str(data_dir))
        await stands_before(wall)
        crew.kill()
        async with engine.connect() as connection:
            hurt = await job_of(connection, job.job_id)
            assert (hurt.state, hurt.tries) == (State.QUEUED, 1)
            assert await connection.scalar(text("SELECT count(*) FROM members")) == 0
    crew.hire(2, FENTAN_DATA_DIR=str(data_dir))
    job = await ends(engine, job)
    assert (job.state, job.outcome) == (State.DONE, {"rows": ROWS, "repeated": False})
    assert job.tries >= 2  # each of the two may have begun it, before one had it in hand
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM members")) == ROWS
        assert await connection.scalar(text("SELECT count(*) FROM imports")) == 1
    assert [path for path in (data_dir / "jobs").rglob("*") if path.is_file()] == []


async def test_a_worker_beats_while_it_works(engine: AsyncEngine, crew: Crew, tmp_path: Path) -> None:
    """An import that stands still holds up no heartbeat."""
    data_dir = tmp_path / "data"
    job = await asked(engine, data_dir)
    async with engine.begin() as wall:
        await wall.execute(text("LOCK TABLE members IN ACCESS EXCLUSIVE MODE"))
        crew.hire(FENTAN_DATA_DIR=str(data_dir))
        await stands_before(wall)
        beats_seen = set()

        async def beats() -> bool:
            async with engine.connect() as connection:
                beats_seen.add(await connection.scalar(text("SELECT max(beat_at) FROM workers")))
            return len(beats_seen - {None}) > 1

        await until(beats, "a heartbeat beside the import")
    job = await ends(engine, job)
    assert (job.state, job.tries) == (State.DONE, 1)
