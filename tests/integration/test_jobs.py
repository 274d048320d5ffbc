"""Jobs on real PostgreSQL: done once, in their order, refused without a trace, and free again when a worker is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.errors import InvalidInput
from engine.jobs.doing import do_next
from engine.jobs.job import Job, Kind, State, ask, drop_leftovers, folder_of, job_of, keep_file, list_jobs, retry
from engine.roster.plan import register_plan
from engine.settings import Settings
from engine.store.database import engine_on
from engine.store.doorbell import doorbell
from engine.store.embedded import Embedded
from engine.store.pauses import Queue, pause, resume
from engine.store.tables import jobs, members
from tests.integration.worlds import ONE, rules_of_preset, until
from tests.serving import settings_in
from workers.jobs import Bench, keep_doing
from workers.supervisor import _answer

pytestmark = [
    pytest.mark.integration,
    # arq closes its connections by redis-py's old name for it.
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
]

NOW = datetime(2019, 7, 20, 4, tzinfo=UTC)
HEADER = "member_ref,born_on,joined_on\n"
TWO = HEADER + "M1,1980-01-01,2019-01-01\nM2,1985-05-05,2019-01-01\n"


@pytest.fixture
async def settings(engine: AsyncEngine, tmp_path: Path) -> Settings:
    """Of a place with a plan and nobody in it."""
    async with engine.begin() as connection:
        await register_plan(connection, rules_of_preset())
    return settings_in(tmp_path / "data", sweep_seconds=0.05)


async def asked(engine: AsyncEngine, settings: Settings, content: str, kind: Kind = Kind.ROSTER, **detail: Any) -> Job:
    """A job about a file of the plan."""
    file = settings.data_dir / "upload"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content, "utf-8")
    told = {"plan": "xianghubao", "file": f"{kind}.csv"} | detail
    async with engine.begin() as connection:
        job = await ask(connection, kind, "plan:xianghubao", told, actor="anna")
        await keep_file(settings.data_dir, job.job_id, file, told["file"])
    return job


async def done(engine: AsyncEngine, settings: Settings) -> bool:
    return await do_next(engine, settings, Desk.of(settings, {}), now=NOW)


async def now_is(engine: AsyncEngine, job: Job) -> Job:
    async with engine.connect() as connection:
        return await job_of(connection, job.job_id)


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(members)) or 0)


@asynccontextmanager
async def in_another_hand(engine: AsyncEngine, job: Job) -> AsyncIterator[None]:
    """The job is being done by somebody else, for the length of a block."""
    async with engine.begin() as connection:
        await connection.execute(select(jobs.c.job_id).where(jobs.c.job_id == job.job_id).with_for_update())
        yield


async def test_a_roster_comes_in_and_its_file_is_let_go(engine: AsyncEngine, settings: Settings) -> None:
    job = await asked(engine, settings, TWO)
    folder = folder_of(settings.data_dir, job.job_id)
    assert (folder / "roster.csv").read_text("utf-8") == TWO
    assert folder.stat().st_mode & 0o777 == 0o700
    assert await done(engine, settings)
    job = await now_is(engine, job)
    assert (job.state, job.outcome, job.error, job.tries) == (State.DONE, {"rows": 2, "repeated": False}, None, 1)
    assert job.started_at is not None
    assert await count(engine) == 2
    assert not folder.exists()
    assert not await done(engine, settings)


async def test_the_same_file_again_changes_nothing(engine: AsyncEngine, settings: Settings) -> None:
    await asked(engine, settings, TWO)
    again = await asked(engine, settings, TWO)
    assert [await done(engine, settings) for _ in range(3)] == [True, True, False]
    assert (await now_is(engine, again)).outcome == {"rows": 2, "repeated": True}
    assert await count(engine) == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            HEADER + "M1,1980-01-01,2019-01-01\nM2,soon,2019-01-01\nM1,1980-01-01,2019-01-01\n",
            (
                "roster.csv, line 3, born_on: is not a date; write it like 1985-04-23\nnothing was changed; "
                "correct the file and try again"
            ),
        ),
        (
            "M7,1980-01-01,6222020200112233\n",
            (
                "roster.csv: the header is not as it must be; the columns are member_ref, born_on, joined_on, "
                "[ended_on], [tier], [payer_ref], [account], [mandate_id], [mandate_signed_on]"
            ),
        ),
        (HEADER, "roster.csv: holds no members; nothing was changed"),
    ],
)
async def test_what_is_refused_changes_nothing_and_repeats_nothing_of_the_file(
    engine: AsyncEngine, settings: Settings, content: str, error: str
) -> None:
    job = await asked(engine, settings, content)
    assert await done(engine, settings)
    job = await now_is(engine, job)
    assert (job.state, job.error, job.outcome) == (State.FAILED, error, None)
    assert await count(engine) == 0
    assert (folder_of(settings.data_dir, job.job_id) / "roster.csv").is_file()


async def test_what_failed_is_retried(engine: AsyncEngine, settings: Settings) -> None:
    leaves = "kind,member_ref,from,until,born_on\nexit,M1,2019-03-01,,\n"
    job = await asked(engine, settings, leaves, Kind.CHANGES)
    await done(engine, settings)
    assert (await now_is(engine, job)).state is State.FAILED
    await asked(engine, settings, TWO)
    await done(engine, settings)
    async with engine.begin() as connection:
        assert (await retry(connection, job.job_id)).state is State.QUEUED
    await done(engine, settings)
    job = await now_is(engine, job)
    assert (job.state, job.outcome, job.error) == (State.DONE, {"rows": 1, "repeated": False}, None)
    async with engine.begin() as connection:
        with pytest.raises(InvalidInput, match=f"job {job.job_id} is done; only what failed is retried"):
            await retry(connection, job.job_id)


async def test_a_file_that_is_gone_is_said_to_be(engine: AsyncEngine, settings: Settings) -> None:
    job = await asked(engine, settings, TWO)
    shutil.rmtree(folder_of(settings.data_dir, job.job_id))
    await done(engine, settings)
    assert (await now_is(engine, job)).error == "roster.csv: is not among the kept files any more; upload it again"


async def test_a_fault_of_ours_is_told_without_its_words(engine: AsyncEngine, settings: Settings) -> None:
    async with engine.begin() as connection:
        job = await ask(connection, Kind.ROSTER, "plan:xianghubao", {"file": "roster.csv"}, actor="anna")
        (folder := folder_of(settings.data_dir, job.job_id)).mkdir(parents=True)
        (folder / "roster.csv").write_text(TWO, "utf-8")
    assert await done(engine, settings)
    job = await now_is(engine, job)
    said = "this is a fault of ours (KeyError); the workers' log has it under this job's number"
    assert (job.state, job.error) == (State.FAILED, said)


async def test_jobs_about_one_thing_are_done_in_their_order(engine: AsyncEngine, settings: Settings) -> None:
    """A file of changes does not overtake the roster before it; what is about something else does."""
    first = await asked(engine, settings, TWO)
    second = await asked(engine, settings, "kind,member_ref,from\nexit,M1,2019-03-01\n", Kind.CHANGES)
    async with engine.begin() as connection:
        other = await ask(connection, Kind.EXPORT, "run:7", {"run_id": 7, "format": "csv"}, actor="anna")
    async with in_another_hand(engine, first):
        assert await done(engine, settings)
        assert not await done(engine, settings)
        assert (await now_is(engine, other)).error == "there is no run 7; `fentan run list` shows those there are"
    assert [await done(engine, settings) for _ in range(3)] == [True, True, False]
    assert (await now_is(engine, second)).state is State.DONE


async def test_what_was_tried_comes_after_what_was_not(engine: AsyncEngine, settings: Settings) -> None:
    """A job that costs every worker its life holds up nobody, and is given up in the end."""
    deadly = await asked(engine, settings, TWO)
    async with engine.begin() as connection:
        await connection.execute(update(jobs).values(started_at=NOW, tries=settings.max_attempts - 1))
        other = await ask(connection, Kind.EXPORT, "run:7", {"run_id": 7, "format": "csv"}, actor="anna")
    assert await done(engine, settings)
    assert (await now_is(engine, other)).state is State.FAILED
    async with engine.begin() as connection:
        await connection.execute(update(jobs).where(jobs.c.job_id == deadly.job_id).values(tries=settings.max_attempts))
    assert not await done(engine, settings)
    deadly = await now_is(engine, deadly)
    assert deadly.state is State.FAILED
    assert deadly.error == "its worker was lost each time; look into the workers' log, then retry it"
    assert await count(engine) == 0


async def test_the_last_try_is_not_given_up_while_it_begins(engine: AsyncEngine, settings: Settings) -> None:
    """Between the counting of a try and the lock on the job others may look: they leave it to who has begun."""
    job = await asked(engine, settings, TWO)
    async with engine.begin() as connection:
        await connection.execute(update(jobs).values(started_at=func.clock_timestamp(), tries=settings.max_attempts))
    assert not await done(engine, settings)
    assert (await now_is(engine, job)).state is State.QUEUED


async def test_a_lost_connection_leaves_the_job_to_others(
    engine: AsyncEngine, settings: Settings, database_url: str
) -> None:
    """Killed in the middle of an import: nothing of it is there, and the next who looks does all of it."""
    job = await asked(engine, settings, TWO)
    async with engine.begin() as wall:
        await wall.execute(text("LOCK TABLE members IN ACCESS EXCLUSIVE MODE"))
        async with engine_on(database_url) as lost:
            doing = asyncio.create_task(done(lost, settings))
            waiting = text("SELECT pid FROM pg_locks WHERE NOT granted")

            async def stands() -> bool:
                return (await wall.scalar(waiting)) is not None

            await until(stands, "the import stands before the wall")
            assert not await done(engine, settings)  # it is in a hand
            await wall.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"))
            with pytest.raises(Exception, match="connection"):
                await doing
    job = await now_is(engine, job)
    assert (job.state, job.tries, await count(engine)) == (State.QUEUED, 1, 0)
    assert await done(engine, settings)
    job = await now_is(engine, job)
    assert (job.state, job.tries, job.outcome) == (State.DONE, 2, {"rows": 2, "repeated": False})


async def test_a_paused_queue_is_taken_from_by_nobody(engine: AsyncEngine, settings: Settings) -> None:
    job = await asked(engine, settings, TWO)
    async with engine.begin() as connection:
        await pause(connection, [Queue.JOBS], reason="a test", actor="otto", now=NOW)
    assert not await done(engine, settings)
    async with engine.begin() as connection:
        await resume(connection, [Queue.JOBS], actor="otto")
    assert await done(engine, settings)
    assert (await now_is(engine, job)).state is State.DONE


async def test_a_worker_does_jobs_at_a_ring_and_by_itself(
    engine: AsyncEngine, settings: Settings, embedded: Embedded
) -> None:
    stop = asyncio.Event()
    patient = settings.model_copy(update={"sweep_seconds": 60.0})
    async with doorbell(embedded.redis_url) as bell:
        await bell._redis.flushall()
        bench = Bench(engine, bell, replace(ONE), Desk.of(settings, {}))
        tasks = [
            asyncio.create_task(keep_doing(bench, patient, stop)),
            asyncio.create_task(_answer(embedded.redis_url, bench, stop)),
        ]
        await asyncio.sleep(0)
        job = await asked(engine, settings, TWO)
        assert await bell.ring_for_job(job.job_id, "asked")

        async def ended() -> bool:
            return (await now_is(engine, job)).state is State.DONE

        await until(ended, "the job that was rung for")
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        stop.clear()
        job = await asked(engine, settings, TWO)
        task = asyncio.create_task(keep_doing(bench, settings, stop))
        await until(ended, "the job that nobody rang for")
        stop.set()
        await asyncio.wait_for(task, 10)


async def test_a_worker_that_ends_leaves_its_job_to_others(
    engine: AsyncEngine, settings: Settings, embedded: Embedded
) -> None:
    stop = asyncio.Event()
    job = await asked(engine, settings, TWO)
    async with doorbell(embedded.redis_url) as bell, engine.begin() as wall:
        await wall.execute(text("LOCK TABLE members IN ACCESS EXCLUSIVE MODE"))
        bench = Bench(engine, bell, replace(ONE), Desk.of(settings, {}))
        task = asyncio.create_task(keep_doing(bench, settings, stop, grace_seconds=0.05))

        async def stands() -> bool:
            return (await wall.scalar(text("SELECT pid FROM pg_locks WHERE NOT granted"))) is not None

        await until(stands, "the import stands before the wall")
        stop.set()
        await asyncio.wait_for(task, 10)
    assert (await now_is(engine, job)).state is State.QUEUED
    assert await done(engine, settings)
    assert (await now_is(engine, job)).outcome == {"rows": 2, "repeated": False}


async def test_a_file_whose_job_failed_long_ago_is_let_go(engine: AsyncEngine, settings: Settings) -> None:
    job = await asked(engine, settings, "no roster\n")
    await done(engine, settings)
    assert (await now_is(engine, job)).state is State.FAILED
    old = (NOW - timedelta(days=2)).timestamp()
    os.utime(folder_of(settings.data_dir, job.job_id), (old, old))
    for days, let_go in ((29, 0), (31, 1)):
        async with engine.begin() as connection:
            ended = text("UPDATE jobs SET ended_at = CAST(:now AS timestamptz) - CAST(:ago AS interval)")
            await connection.execute(ended, {"now": NOW, "ago": timedelta(days=days)})
        assert await drop_leftovers(engine, settings.data_dir, now=NOW) == let_go


async def test_what_killed_processes_left_is_let_go(engine: AsyncEngine, settings: Settings) -> None:
    waiting = await asked(engine, settings, TWO)
    old, data_dir = (NOW - timedelta(days=2)).timestamp(), settings.data_dir
    for name in ("jobs/99/roster.csv", "uploads/upload-old", "uploads/upload-new"):
        (data_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / name).write_text(TWO, "utf-8")
    for path in (folder_of(data_dir, waiting.job_id), data_dir / "jobs/99", data_dir / "uploads/upload-old"):
        os.utime(path, (old, old))
    assert await drop_leftovers(engine, data_dir, now=NOW) == 2
    left = sorted(str(path.relative_to(data_dir)) for path in data_dir.rglob("*") if path.is_file())
    assert left == [f"jobs/{waiting.job_id}/roster.csv", "uploads/upload-new"]


async def test_they_are_listed_latest_first(engine: AsyncEngine, settings: Settings) -> None:
    first = await asked(engine, settings, TWO)
    second = await asked(engine, settings, TWO, Kind.ACCOUNTS)
    await done(engine, settings)
    async with engine.connect() as connection:
        listed = [job.job_id for job in await list_jobs(connection)]
        assert listed == [second.job_id, first.job_id]
        assert [job.job_id for job in await list_jobs(connection, before=second.job_id)] == [first.job_id]
        assert [job.job_id for job in await list_jobs(connection, state=State.DONE)] == [first.job_id]
        assert [job.job_id for job in await list_jobs(connection, kind=Kind.ACCOUNTS)] == [second.job_id]
