"""Queues on real PostgreSQL: pauses that workers at work obey, what is counted, what failed and is tried again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.operations.failures import Chosen, Group, failures, retry
from engine.operations.queues import Done, Measured, measured
from engine.reconcile.sending import due_custodians, send_all
from engine.runs.conductor import due_runs, work
from engine.runs.shards import Phase, claim_shards
from engine.store.pauses import Queue, is_worked_on, pause, pauses, resume
from tests.integration.held import NOW, desk_in, instructed, profile_of, sealed
from tests.integration.worlds import ONE, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

OLGA, WHY = "olga", "a test"


async def paused(world: World, *queues: Queue, actor: str = OLGA, reason: str = WHY) -> None:
    async with world.engine.begin() as connection:
        await pause(connection, queues, reason=reason, actor=actor, now=datetime.now(UTC))


async def resumed(world: World, *queues: Queue) -> None:
    async with world.engine.begin() as connection:
        await resume(connection, queues, actor=OLGA)


async def queue_of(world: World, queue: Queue, now: datetime | None = None) -> Measured:
    async with world.engine.connect() as connection:
        found = await measured(connection, now=now or datetime.now(UTC))
    return {each.pause.queue: each for each in found}[queue]


async def failed_in(world: World, queue: Queue) -> list[Group]:
    async with world.engine.connect() as connection:
        return await failures(connection, queue)


async def retried(world: World, queue: Queue, **chosen: object) -> int:
    async with world.engine.begin() as connection:
        done = await retry(connection, queue, Chosen(**chosen), reason=WHY, actor=OLGA)  # type: ignore[arg-type]
    return done.count


async def world_of(engine: AsyncEngine, *seats: int) -> World:
    world = await build(engine, rules_of_preset(), *[alike(each) for each in seats])
    await world.claim()
    return world


async def test_who_paused_first_and_why_stays_until_it_is_resumed(engine: AsyncEngine) -> None:
    world = await world_of(engine, 3)
    await paused(world, Queue.POST)
    await paused(world, Queue.POST, Queue.SEND, actor="otto", reason="another")
    async with engine.connect() as connection:
        found = await pauses(connection)
        assert not await is_worked_on(connection, Queue.POST)
        assert await is_worked_on(connection, Queue.MEASURE)
    assert list(found) == list(Queue)
    assert [(each.queue, each.paused_by, each.reason) for each in found.values() if each.paused_at] == [
        (Queue.POST, OLGA, WHY),
        (Queue.SEND, "otto", "another"),
    ]
    await resumed(world, *Queue)
    async with engine.connect() as connection:
        assert {each.paused_at for each in (await pauses(connection)).values()} == {None}
    acts = await world.rows("SELECT actor, act, subject, detail->>'reason' FROM audit_log WHERE act LIKE 'pause%'")
    assert acts == [
        (OLGA, "pause queue", "queue:post", WHY),
        ("otto", "pause queue", "queue:post", "another"),
        ("otto", "pause queue", "queue:send", "another"),
    ]


@pytest.mark.parametrize("phase", [Phase.MEASURE, Phase.POST, Phase.REVERSE])
async def test_no_shard_is_claimed_from_a_paused_queue(engine: AsyncEngine, phase: Phase) -> None:
    world = await world_of(engine, 3, 2)
    run = await world.posting(1)
    await world.sql("UPDATE run_shards SET phase = :phase, state = 'pending'", phase=phase)

    async def claimed() -> int:
        async with engine.begin() as connection:
            claims = await claim_shards(
                connection, run.run_id, phase, clip=run.clip, worker="one", lease_seconds=9, limit=1
            )
        return len(claims)

    await paused(world, Queue(phase))
    assert await claimed() == 0
    await resumed(world, Queue(phase))
    await paused(world, *(set(Queue) - {Queue(phase)}))
    assert await claimed() == 1


async def test_a_worker_at_work_ends_what_it_has_and_takes_nothing_more(engine: AsyncEngine) -> None:
    world = await world_of(engine, *[2] * 6)
    run = await world.approved(await world.previewed())
    taken = list[int]()

    def on_shard(shard_id: int | None) -> None:
        if shard_id is not None:
            taken.append(shard_id)
            # In the worker's own stride: its first shard is in hand, uncommitted, when the queue is paused.
            pausing.set()

    pausing, rings = asyncio.Event(), 0

    async def call_another() -> None:
        nonlocal rings
        rings += 1

    async def pause_soon() -> None:
        await pausing.wait()
        await paused(world, Queue.POST)

    rules = replace(ONE, slice_seconds=20)
    more, _ = await asyncio.gather(work(engine, run.run_id, rules, on_shard, call_another), pause_soon())
    states = await world.shard_states(run)
    assert not more
    assert states.count("done") == len(taken) < 6
    assert states.count("pending") == 6 - len(taken)
    # Nobody is called to a queue that nobody may take from, by a worker or by the sweep.
    rings = 0
    assert not await work(engine, run.run_id, rules, on_shard, call_another)
    async with engine.connect() as connection:
        assert (rings, await due_runs(connection)) == (0, [])
    await resumed(world, Queue.POST)
    async with engine.connect() as connection:
        assert await due_runs(connection) == [(run.run_id, 6 - len(taken))]
    assert (await world.worked(run)).state == "sealed"


async def test_a_run_between_its_phases_goes_on_while_a_queue_is_paused(engine: AsyncEngine) -> None:
    world = await world_of(engine, 3)
    await paused(world, Queue.MEASURE)
    run = await world.planned()
    async with engine.connect() as connection:
        assert await due_runs(connection) == [(run.run_id, 0)]
    assert (await world.worked(run)).state == "frozen"
    await resumed(world, Queue.MEASURE)
    await paused(world, Queue.POST)
    assert (await world.worked(run)).state == "previewed"


async def test_shards_are_counted_by_where_they_are(engine: AsyncEngine) -> None:
    world = await world_of(engine, *[2] * 5)
    run = await world.posting(1, 2)
    states = {3: ("working", "'1 hour'"), 4: ("working", "'-1 hour'"), 5: ("failed", "'1 hour'")}
    for number, (state, lease) in states.items():
        await world.set_shards(run, state, [number])
        await world.sql(
            f"UPDATE run_shards SET lease_until = now() + interval {lease} WHERE shard_id = :shard",
            shard=world.shard(number),
        )
    await world.sql(
        "UPDATE run_shards SET finished_at = now() - interval '2 minutes' WHERE shard_id = :shard", shard=world.shard(1)
    )
    later = datetime.now(UTC) + timedelta(seconds=40)
    post = await queue_of(world, Queue.POST, later)
    assert (post.depth, post.in_flight, post.failed) == (1, 1, 1)
    assert post.done == Done(1, 2, 2)
    assert post.oldest_seconds in range(40, 70)
    # What is held or over is not under way.
    await world.voided(run)
    assert (await queue_of(world, Queue.POST)).depth == 0
    assert (await queue_of(world, Queue.REVERSE)).depth > 0


async def test_a_sealed_run_counts_for_an_hour(engine: AsyncEngine) -> None:
    world = await world_of(engine, 2, 2)
    await world.sealed()
    now = datetime.now(UTC)
    assert (await queue_of(world, Queue.POST, now)).done == Done(2, 2, 2)
    assert (await queue_of(world, Queue.POST, now + timedelta(minutes=2))).done == Done(0, 2, 2)
    assert (await queue_of(world, Queue.POST, now + timedelta(hours=2))).done == Done(0, 0, 0)


async def test_files_are_not_sent_while_their_queue_is_paused(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await sealed(engine, alike(3), profile=profile_of(limits={"max_items_per_file": 1}))
    await instructed(world, run, desk)
    send = await queue_of(world, Queue.SEND, NOW + timedelta(seconds=30))
    assert (send.depth, send.in_flight, send.failed) == (3, 0, 0)
    assert send.oldest_seconds is not None
    await paused(world, Queue.SEND)
    sent = await send_all(engine, custodian, desk, now=NOW)
    assert (sent.files, sent.waiting, sent.is_paused) == (0, 3, True)
    async with engine.connect() as connection:
        assert await due_custodians(connection, now=NOW) == []
    # Nothing says that a sending began, which only a person could clear away.
    assert await world.rows("SELECT DISTINCT error, tries FROM debit_batches") == [(None, 0)]
    await resumed(world, Queue.SEND)
    async with engine.connect() as connection:
        assert await due_custodians(connection, now=NOW) == [custodian.custodian_id]
    assert (await send_all(engine, custodian, desk, now=NOW)).files == 3
    assert (await queue_of(world, Queue.SEND, NOW)).done == Done(3, 3, 3)


async def test_files_that_failed_are_tried_at_once_but_not_too_late(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await sealed(engine, alike(3), profile=profile_of(limits={"max_items_per_file": 1}))
    await instructed(world, run, desk)
    for path in desk.folder("generic-csv", "debits").glob("*.csv"):
        path.rename(path.with_suffix(".gone"))
    assert (await send_all(engine, custodian, desk, now=NOW)).failed == 1
    (group,) = await failed_in(world, Queue.SEND)
    assert (group.count, list(group.samples)) == (1, [{"batch_id": 1, "run_id": run.run_id}])
    assert (await queue_of(world, Queue.SEND, NOW)).failed == 1
    for path in desk.folder("generic-csv", "debits").glob("*.gone"):
        path.rename(path.with_suffix(".csv"))
    assert (await send_all(engine, custodian, desk, now=NOW)).files == 2  # the first waits for its next try
    assert await retried(world, Queue.SEND, error=group.error) == 1
    assert (await send_all(engine, custodian, desk, now=NOW)).files == 1
    assert await failed_in(world, Queue.SEND) == []


async def test_files_that_missed_their_cut_off_are_not_retried(engine: AsyncEngine, tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    world, run, custodian = await sealed(engine, alike(1))
    await instructed(world, run, desk)
    assert (await send_all(engine, custodian, desk, now=NOW + timedelta(days=30))).missed == 1
    (group,) = await failed_in(world, Queue.SEND)
    assert "cannot be reached any more" in group.error
    assert await retried(world, Queue.SEND) == 0


async def test_the_largest_group_comes_first_and_pages_are_whole(engine: AsyncEngine) -> None:
    world = await world_of(engine, *[2] * 6)
    run = await world.posting()
    await world.set_shards(run, "failed", range(1, 7))
    errors = ["c", "a", "b", "b", "b", "c"]
    for number, error in enumerate(errors, start=1):
        await world.sql("UPDATE run_shards SET error = :error WHERE shard_id = :shard", error=error,
                        shard=world.shard(number))  # fmt: skip
    whole = await failed_in(world, Queue.POST)
    assert [(group.error, group.count) for group in whole] == [("b", 3), ("c", 2), ("a", 1)]
    assert whole[0].samples == [{"run_id": run.run_id, "shard_id": world.shard(number)} for number in (3, 4, 5)]
    async with engine.connect() as connection:
        pages = [
            await failures(connection, Queue.POST, after=after, limit=1)
            for after in (None, *[group.key for group in whole])
        ]
    assert [[group.error for group in page] for page in pages] == [["b"], ["c"], ["a"], []]
    assert await retried(world, Queue.MEASURE) == 0
    assert await retried(world, Queue.POST, error="b", shard_id=world.shard(1)) == 0
    assert await retried(world, Queue.POST, error="b", run_id=run.run_id) == 3
    assert [group.error for group in await failed_in(world, Queue.POST)] == ["c", "a"]
    assert (await world.shard_states(run)).count("pending") == 3
    with pytest.raises(InvalidInput, match="nothing in the queue post has batch_id"):
        await retried(world, Queue.POST, batch_id=1)


async def test_shards_of_a_run_that_is_over_are_nobodys_business(engine: AsyncEngine) -> None:
    world = await world_of(engine, 2)
    run = await world.planned()
    await world.sql("UPDATE share_runs SET paused = true")
    await world.worked(run)
    await world.sql("UPDATE share_runs SET paused = false")
    run = await world.worked(run)
    await world.set_shards(run, "failed", [1])
    await world.sql("UPDATE share_runs SET state = 'failed'")
    assert await failed_in(world, Queue.MEASURE) == []
    assert await retried(world, Queue.MEASURE) == 0


async def test_jobs_and_messages(engine: AsyncEngine) -> None:
    world = await world_of(engine, 2)
    async with engine.begin() as connection:
        for statement in (
            "INSERT INTO jobs (kind, subject, detail, asked_by) VALUES ('export', 'a', '{}', 'olga')",
            "INSERT INTO jobs (kind, subject, detail, asked_by, started_at) VALUES ('export', 'b', '{}', 'o', now())",
            (
                "INSERT INTO jobs (kind, subject, detail, asked_by, state, ended_at, error, tries, outcome)"
                " VALUES ('export', 'c', '{}', 'olga', 'failed', now(), 'disk full', 5, '{}')"
            ),
            (
                "INSERT INTO jobs (kind, subject, detail, asked_by, state, ended_at)"
                " VALUES ('export', 'd', '{}', 'olga', 'done', now())"
            ),
            (
                "INSERT INTO webhooks (url, events, made_by, ended_at) VALUES"
                " ('https://a.example', '{run.sealed}', 'olga', NULL),"
                " ('https://b.example', '{run.sealed}', 'olga', now())"
            ),
            "INSERT INTO outbox (event, subject, detail) SELECT 'run.sealed', 'run:1', '{}' FROM generate_series(1, 4)",
            (
                "INSERT INTO deliveries (message_id, webhook_id, state, tries, ended_at, error) VALUES"
                " (1, 1, 'waiting', 0, NULL, NULL), (2, 1, 'waiting', 1, NULL, NULL),"
                " (3, 1, 'failed', 12, now(), 'no'), (3, 2, 'failed', 12, now(), 'no'),"
                " (4, 1, 'delivered', 1, now(), NULL)"
            ),
        ):
            await connection.execute(text(statement))
    soon = datetime.now(UTC) + timedelta(seconds=20)
    jobs, messages = await queue_of(world, Queue.JOBS, soon), await queue_of(world, Queue.WEBHOOKS, soon)
    assert (jobs.depth, jobs.in_flight, jobs.failed, jobs.done) == (1, 1, 1, Done(1, 1, 1))
    assert (messages.depth, messages.in_flight, messages.failed, messages.done) == (1, 1, 2, Done(1, 1, 1))
    assert {jobs.oldest_seconds, messages.oldest_seconds} <= set(range(20, 40))
    assert (await failed_in(world, Queue.WEBHOOKS))[0].samples == [
        {"message_id": 3, "webhook_id": 1},
        {"message_id": 3, "webhook_id": 2},
    ]
    assert await retried(world, Queue.JOBS, job_id=1) == 0
    assert await retried(world, Queue.JOBS) == 1
    again = await world.rows("SELECT state, tries, started_at, ended_at, outcome, error FROM jobs WHERE subject = 'c'")
    assert again == [("queued", 0, None, None, None, None)]
    # Who asked not to be told any more is not told.
    assert await retried(world, Queue.WEBHOOKS) == 1
    assert await world.rows("SELECT webhook_id FROM deliveries WHERE state = 'failed'") == [(2,)]
