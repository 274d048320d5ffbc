"""Workers and the doorbell on a real Valkey: each defect of arq that QUEUES lists, as it happens, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss, in_progress_key_prefix
from arq.jobs import Job
from arq.worker import Worker
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.operations.workers import drain
from engine.reconcile.sending import due_custodians
from engine.runs.run import Run
from engine.runs.states import RunState
from engine.store.database import open_engine
from engine.store.doorbell import QUEUE, WORK, Doorbell, deserialize, doorbell, redis_settings, serialize
from engine.store.embedded import Embedded
from tests.integration.held import desk_in, instructed, profile_of, sealed
from tests.integration.worlds import ONE, World, alike, build, rules_of_preset, until
from workers.jobs import Bench, send_to_custodian, work_on_run
from workers.supervisor import _answer, _beat, _let_finish, _sign_off, _sweep, peak_mib

pytestmark = [
    pytest.mark.integration,
    # arq closes its connections by redis-py's old name for it.
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
]

SWEEP_SECONDS = 0.05
DESK = Desk(Path("never made"), SecretStr("a key of the tests"), {})


@pytest.fixture
async def bell(embedded: Embedded) -> AsyncIterator[Doorbell]:
    """A doorbell on an empty Valkey."""
    async with doorbell(embedded.redis_url) as bell:
        await bell._redis.flushall()
        yield bell


@pytest.fixture
def redis(bell: Doorbell) -> ArqRedis:
    return bell._redis


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """Three shards and a claim that waits for its run."""
    world = await build(engine, rules_of_preset(), alike(300), alike(200), alike(100))
    await world.claim()
    return world


def bench(world: World, bell: Doorbell, worker: str = "one") -> Bench:
    return Bench(world.engine, bell, replace(ONE, worker=worker), DESK)


@asynccontextmanager
async def answering(embedded: Embedded, *benches: Bench) -> AsyncIterator[None]:
    """A worker's loop for each bench, in this process, for the length of a block."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_answer(embedded.redis_url, bench, stop)) for bench in benches]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def is_in(world: World, run: Run, state: RunState) -> Run:
    async def there() -> bool:
        return (await world.run(run.run_id)).state is state

    await until(there, f"{run.name} {state}")
    return await world.run(run.run_id)


async def queue_is_empty(redis: ArqRedis) -> None:
    async def empty() -> bool:
        return not await redis.zcard(QUEUE)

    await until(empty, "an empty queue")


async def charges(world: World) -> list[tuple[Any, ...]]:
    return await world.rows("SELECT shard_id, count(*) FROM journals WHERE kind = 'charge' GROUP BY 1 ORDER BY 1")


# What a ring is.


async def test_a_ring_carries_the_runs_number_and_nothing_else(bell: Doorbell, redis: ArqRedis) -> None:
    assert await bell.ring(7, "approved", times=2)
    assert await redis.zrange(QUEUE, 0, -1) == [b"run:7:approved:0", b"run:7:approved:1"]
    job = json.loads(await redis.get("arq:job:run:7:approved:0") or b"")
    assert (job["f"], job["a"], job["k"]) == (WORK, [7], {})


async def test_rings_of_one_occasion_count_once(bell: Doorbell, redis: ArqRedis) -> None:
    for _ in range(3):
        assert await bell.ring(7, "sweep:1", times=2)
    assert await bell.ring(8, "sweep:1")
    assert await redis.zcard(QUEUE) == 3


async def test_a_ring_that_nobody_hears_says_so(embedded: Embedded) -> None:
    settings = redis_settings("redis://127.0.0.1:1")
    bell = Doorbell(ArqRedis(host=settings.host, port=settings.port))
    assert not await bell.ring(7, "approved")


def test_jobs_are_json_and_pickle_is_not_read() -> None:
    assert deserialize(serialize({"f": WORK, "a": [7]})) == {"f": WORK, "a": [7]}
    with pytest.raises(ValueError, match="codec can't decode"):
        deserialize(b"\x80\x04\x95\x0b\x00")


# A whole run, rung for once.


async def test_one_ring_before_and_one_after_approval_are_enough(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    run = await world.planned()
    async with answering(embedded, bench(world, bell)):
        await bell.ring(run.run_id, "planned")
        run = await is_in(world, run, RunState.PREVIEWED)
        await world.approved(run)
        await bell.ring(run.run_id, "approved")
        await is_in(world, run, RunState.SEALED)
        await queue_is_empty(redis)
    assert await redis.keys("arq:result:*") == []
    assert await redis.keys("arq:job:*") == []


@pytest.mark.parametrize(("shards_in_hand", "calls"), [(1, 1), (2, 1), (3, 0)])
async def test_who_finds_more_than_they_can_hold_calls_another(
    world: World, bell: Doorbell, redis: ArqRedis, shards_in_hand: int, calls: int
) -> None:
    run = await world.planned()
    one = Bench(world.engine, bell, replace(ONE, shards_in_hand=shards_in_hand), DESK)
    await work_on_run({"bench": one}, run.run_id)
    assert await redis.zrange(QUEUE, 0, -1) == [b"run:1:one:0:0"][:calls]


async def test_a_slice_that_ends_with_more_due_rings_for_the_next(
    world: World, bell: Doorbell, redis: ArqRedis
) -> None:
    run = await world.planned()
    short = Bench(world.engine, bell, replace(ONE, slice_seconds=1e-9, shards_in_hand=3), DESK)
    await work_on_run({"bench": short}, run.run_id)
    assert await redis.zrange(QUEUE, 0, -1) == [b"run:1:one:0:0"]


# The sweeper and the heartbeat.


async def test_the_sweeper_rings_for_what_is_due_until_it_is_done(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    run = await world.planned()
    stop = asyncio.Event()
    sweeping = asyncio.create_task(_sweep(bench(world, bell), SWEEP_SECONDS, stop))

    async def rung() -> bool:
        return bool(await redis.zcard(QUEUE))

    await until(rung, "a ring")
    await redis.flushall()
    await until(rung, "another ring after FLUSHALL")
    async with answering(embedded, bench(world, bell, "two")):
        await is_in(world, run, RunState.PREVIEWED)
        await world.approved(run)
        await is_in(world, run, RunState.SEALED)
        await queue_is_empty(redis)
    stop.set()
    await sweeping


async def test_the_sweeper_drops_a_freeze_that_expired(world: World, bell: Doorbell) -> None:
    run = await world.previewed()
    await world.sql("UPDATE share_runs SET freeze_expires_at = clock_timestamp() - interval '1 second'")
    stop = asyncio.Event()
    sweeping = asyncio.create_task(_sweep(bench(world, bell), SWEEP_SECONDS, stop))
    await is_in(world, run, RunState.VOIDED)
    stop.set()
    await sweeping


async def test_sweeper_and_heartbeat_outlive_a_database_that_is_not_right(world: World, bell: Doorbell) -> None:
    await world.planned()
    one, stop = bench(world, bell), asyncio.Event()
    await world.sql("ALTER TABLE share_runs RENAME TO lost")
    await world.sql("ALTER TABLE workers RENAME TO gone")
    tasks = [asyncio.create_task(_sweep(one, SWEEP_SECONDS, stop)), asyncio.create_task(_beat(one, stop, stop))]
    await asyncio.wait(tasks, timeout=3 * SWEEP_SECONDS)
    assert [task.done() for task in tasks] == [False, False]
    await world.sql("ALTER TABLE lost RENAME TO share_runs")

    async def rung() -> bool:
        return bool(await bell._redis.zcard(QUEUE))

    await until(rung, "a ring once the database is right again")
    stop.set()
    await asyncio.gather(*tasks)


async def test_a_heartbeat_says_who_lives_and_what_it_costs(world: World, bell: Doorbell) -> None:
    one, stop = bench(world, bell), asyncio.Event()
    one.hold(world.shard(2))
    beating = asyncio.create_task(_beat(one, stop, stop))

    async def told() -> bool:
        return await world.rows("SELECT worker, shard_id FROM workers") == [("one", world.shard(2))]

    await until(told, "a heartbeat")
    stop.set()
    await beating
    assert 10 < peak_mib() < 100_000


async def test_who_is_drained_hears_it_with_the_next_heartbeat_and_beats_until_all_has_ended(
    world: World, bell: Doorbell
) -> None:
    one, other = bench(world, bell), bench(world, bell, "other")
    stop, ended, others_stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    beating = [
        asyncio.create_task(_beat(one, stop, ended)),
        asyncio.create_task(_beat(other, others_stop, ended)),
    ]

    async def lives() -> bool:
        return bool(await world.value("SELECT count(*) FROM workers") == 2)

    await until(lives, "two heartbeats")
    async with world.engine.begin() as connection:
        assert (await drain(connection, "one", reason="a test", actor="olga")).draining
    await asyncio.wait_for(stop.wait(), 10)
    assert not beating[0].done()
    assert not others_stop.is_set()
    ended.set()
    await asyncio.gather(*beating)


# Defects of arq, on purpose.


async def test_the_same_job_twice_at_the_same_time_posts_once(world: World, bell: Doorbell) -> None:
    run = await world.approved(await world.previewed())
    crew = [{"bench": bench(world, bell, name)} for name in ("one", "one", "two")]
    await asyncio.gather(*(work_on_run(context, run.run_id) for context in crew))
    await world.worked(run)
    assert (await world.run(run.run_id)).state is RunState.SEALED
    assert await charges(world) == [(world.shard(number), 1) for number in (1, 2, 3)]
    assert await world.problems() == []


async def test_a_job_older_than_its_in_progress_key_is_tried_no_second_time(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    run = await world.approved(await world.previewed())
    async with world.engine.begin() as wall:
        await wall.exec_driver_sql(f"SELECT 1 FROM shards WHERE shard_id = {world.shard(1)} FOR UPDATE")
        async with answering(embedded, bench(world, bell, "one"), bench(world, bell, "two")):
            await bell.ring(run.run_id, "approved")

            job = f"run:{run.run_id}:approved:0"

            async def begun() -> bool:
                return bool(await redis.exists(in_progress_key_prefix + job))

            async def taken_by_the_other() -> bool:
                return not await redis.exists(f"arq:job:{job}")

            await until(begun, "the job begins")
            await redis.delete(in_progress_key_prefix + job)
            await until(taken_by_the_other, "the job is taken once more, and left: it is tried once")
            await wall.rollback()
            await is_in(world, run, RunState.SEALED)
            await queue_is_empty(redis)
    assert await charges(world) == [(world.shard(number), 1) for number in (1, 2, 3)]
    assert await world.problems() == []


async def test_an_unknown_job_is_lost_and_nothing_else(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    """As when a newer version rang: the sweeper rings again in words that this one knows."""
    run = await world.planned()
    await redis.enqueue_job("work_on_something", run.run_id, _job_id="newer", _queue_name=QUEUE)
    async with answering(embedded, bench(world, bell)):
        await queue_is_empty(redis)
        await bell.ring(run.run_id, "sweep:1")
        await is_in(world, run, RunState.PREVIEWED)


@pytest.mark.parametrize("job", [b"\x80\x04\x95junk", b"{}", b""])
async def test_what_is_no_job_is_lost_and_nothing_else(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis, job: bytes
) -> None:
    run = await world.planned()
    await redis.set("arq:job:foreign", job)
    await redis.zadd(QUEUE, {"foreign": 1})
    async with answering(embedded, bench(world, bell)):
        await bell.ring(run.run_id, "planned")
        await is_in(world, run, RunState.PREVIEWED)


async def test_a_run_that_is_not_there_fails_its_job_and_nothing_else(
    world: World, bell: Doorbell, embedded: Embedded
) -> None:
    run = await world.planned()
    async with answering(embedded, bench(world, bell)):
        await bell.ring(404, "planned")
        await bell.ring(run.run_id, "planned")
        await is_in(world, run, RunState.PREVIEWED)


async def test_an_abort_of_a_job_to_come_kills_nothing(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    run = await world.planned()
    job_id = f"run:{run.run_id}:planned:0"
    await Job(job_id, redis, QUEUE, deserialize).abort(timeout=0.01, poll_delay=0.01)
    assert await redis.zrange(abort_jobs_ss, 0, -1) == [job_id.encode()]
    async with answering(embedded, bench(world, bell)):
        await bell.ring(run.run_id, "planned")
        await is_in(world, run, RunState.PREVIEWED)


async def test_a_job_that_was_picked_as_the_worker_stopped_ends_too() -> None:
    ended = asyncio.Event()
    worker = SimpleNamespace(allow_pick_jobs=True, tasks={})

    async def job() -> None:
        await asyncio.sleep(0)
        ended.set()

    async def polling() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            worker.tasks["late"] = asyncio.create_task(job())

    answering = asyncio.create_task(polling())
    await asyncio.sleep(0)
    await _let_finish(cast(Worker, worker), answering)
    assert ended.is_set()


async def test_an_occasion_can_be_rung_for_again_once_its_job_is_done(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    """arq keeps a result for an hour, and takes no job of that name meanwhile; here none is kept."""
    run = await world.planned()
    async with answering(embedded, bench(world, bell)):
        await bell.ring(run.run_id, "planned")
        await is_in(world, run, RunState.PREVIEWED)
        await queue_is_empty(redis)
        await world.voided(run)
        again = await world.planned()
        assert await redis.enqueue_job(WORK, again.run_id, _job_id=f"run:{run.run_id}:planned:0") is not None
        await is_in(world, again, RunState.PREVIEWED)


async def test_more_jobs_than_arq_reads_at_a_time_starve_nobody(
    world: World, bell: Doorbell, embedded: Embedded, redis: ArqRedis
) -> None:
    """A hundred jobs that others have in progress stand before ours in the queue."""
    run = await world.planned()
    for number in range(150):
        await redis.set(f"{in_progress_key_prefix}stuck:{number}", b"1")
        await redis.zadd(QUEUE, {f"stuck:{number}": 1})
    async with answering(embedded, bench(world, bell)):
        await bell.ring(run.run_id, "planned")
        await is_in(world, run, RunState.PREVIEWED)


# Files that wait for a custodian.


async def test_a_worker_sends_what_waits(
    engine: AsyncEngine, bell: Doorbell, embedded: Embedded, tmp_path: Path
) -> None:
    world, run, custodian = await sealed(engine, alike(50), profile=profile_of(limits={"max_items_per_file": 1}))
    desk, now = desk_in(tmp_path), datetime.now(UTC)
    await instructed(world, run, desk, on=now.date(), now=now)
    one = replace(bench(world, bell), desk=desk)
    stop = asyncio.Event()
    sweeping = asyncio.create_task(_sweep(one, SWEEP_SECONDS, stop))

    async def all_sent() -> bool:
        return bool(await world.value("SELECT bool_and(sent_at IS NOT NULL) FROM debit_batches"))

    try:
        async with answering(embedded, one):
            await until(all_sent, "sending")
    finally:
        stop.set()
        await sweeping
    assert len(list(desk.folder(custodian.code, "out").glob("*.csv"))) == 50
    assert await world.value("SELECT max(tries) FROM debit_batches") == 1
    async with engine.connect() as connection:
        assert await due_custodians(connection, now=datetime.now(UTC)) == []


async def test_a_custodian_that_cannot_be_reached_ends_no_worker(
    engine: AsyncEngine, bell: Doorbell, redis: ArqRedis, tmp_path: Path
) -> None:
    world, run, custodian = await sealed(
        engine, alike(2), profile=profile_of("mock-bank", debits=profile_of().debits, currency="CNY")
    )
    desk, now = desk_in(tmp_path), datetime.now(UTC)
    await instructed(world, run, desk, on=now.date(), now=now)
    await send_to_custodian({"bench": replace(bench(world, bell), desk=desk)}, custodian.custodian_id)
    assert await redis.zcard(QUEUE) == 0
    assert await world.value("SELECT tries FROM debit_batches") == 0


async def test_a_worker_ends_where_its_database_is_away() -> None:
    away = open_engine("postgresql+asyncpg://worker@127.0.0.1:1/none", pool_size=1)
    with structlog.testing.capture_logs() as said:
        await _sign_off(away, "worker:1:aa")
    await away.dispose()
    assert said == [{"event": "sign-off failed", "log_level": "warning", "error": "ConnectionRefusedError"}]
