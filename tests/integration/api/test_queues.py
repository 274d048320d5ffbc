"""Queues over HTTP: what waits, who may pause, what failed and is tried again."""

from __future__ import annotations

import pytest

from engine.runs.conductor import advance
from tests.integration.worlds import World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

QUEUES = ["measure", "post", "reverse", "send", "jobs", "webhooks"]
NOTHING = {"minute": 0, "five_minutes": 0, "hour": 0}
WHY = {"reason": "the bank asked us to wait"}


@pytest.fixture
async def world(served: Served) -> World:
    """A plan of three shards, on the API's own engine, with a claim that waits."""
    world = await build(served.service.engine, rules_of_preset(), alike(30), alike(20), alike(10))
    await world.claim()
    return world


async def test_queues_of_an_empty_database(served: Served) -> None:
    answer = await served.viewer.get("/v1/queues")
    assert [each["queue"] for each in answer.said["items"]] == QUEUES
    open_ = {"is_paused": False, "paused_at": None, "paused_by": None, "reason": None}
    assert answer.said["items"][3] == {
        "queue": "send", "depth": 0, "oldest_seconds": None, "in_flight": 0, "failed": 0,
        "done": NOTHING, "per_minute": NOTHING, "pause": {"queue": "send", **open_},
    }  # fmt: skip
    assert (await served.viewer.get("/v1/queues/send")).said == answer.said["items"][3]
    assert (await served.viewer.get("/v1/queues/nothing")).status == 422


async def test_shards_wait_until_they_are_done(served: Served, world: World) -> None:
    run = await world.planned()
    assert (await served.viewer.get("/v1/queues/measure")).said["depth"] == 0
    await world.worked(run)
    measured = (await served.viewer.get("/v1/queues/measure")).said
    assert (measured["depth"], measured["done"]) == (0, {"minute": 3, "five_minutes": 3, "hour": 3})
    assert measured["per_minute"] == {"minute": 3, "five_minutes": 0.6, "hour": 0.05}
    await world.approved(run)
    await advance(world.engine, run.run_id, freeze_hours=24)
    await world.set_shards(run, "done", [2])
    await world.sql("UPDATE run_shards SET finished_at = now() WHERE state = 'done'")
    posting = (await served.viewer.get("/v1/queues/post")).said
    assert (posting["depth"], posting["in_flight"], posting["failed"]) == (2, 0, 0)
    assert posting["oldest_seconds"] in range(30)
    assert posting["done"]["minute"] == 1


async def test_pausing_one_queue(served: Served) -> None:
    path = "/v1/queues/post"
    assert (await served.scheduler.post(f"{path}/pause", WHY)).status == 403
    before = await served.ops.get(f"{path}/pause")
    paused = await served.ops.post(f"{path}/pause", WHY, If_Match=before.headers["ETag"])
    assert paused.status == 200
    said = paused.said
    assert (said["is_paused"], said["paused_by"], said["reason"]) == (True, "ops", WHY["reason"])
    # Who comes second with what is not there any more is told; who comes anyway changes nothing.
    assert (await served.admin.post(f"{path}/pause", WHY, If_Match=before.headers["ETag"])).status == 412
    assert (await served.admin.post(f"{path}/pause", {"reason": "another"})).said == said
    assert (await served.viewer.get(f"{path}/pause")).said == said
    assert (await served.viewer.get(path)).said["pause"] == said
    assert (await served.ops.post(f"{path}/pause", {"reason": ""})).status == 422
    resumed = await served.admin.post(f"{path}/resume")
    assert resumed.said == {"queue": "post", "is_paused": False, "paused_at": None, "paused_by": None, "reason": None}
    acts = (await served.viewer.get("/v1/audit?limit=2")).said["items"]
    assert [(each["actor"], each["act"], each["subject"]) for each in acts] == [
        ("admin", "resume queue", "queues/post/resume"),
        ("admin", "resume queue", "queue:post"),
    ]
    assert (acts[0]["before"], acts[0]["after"]) == (said, resumed.said)


async def test_pausing_all_queues(served: Served) -> None:
    await served.ops.post("/v1/queues/send/pause", WHY)
    everything = (await served.admin.post("/v1/queues/pause", {"reason": "a new version"})).said["items"]
    assert [(each["queue"], each["is_paused"]) for each in everything] == [(queue, True) for queue in QUEUES]
    assert [each["paused_by"] for each in everything] == ["admin", "admin", "admin", "ops", "admin", "admin"]
    assert (await served.viewer.get("/v1/queues/pauses")).said["items"] == everything
    resumed = (await served.ops.post("/v1/queues/resume")).said["items"]
    assert [each["is_paused"] for each in resumed] == [False] * 6


async def test_a_paused_queue_is_taken_from_by_nobody(served: Served, world: World) -> None:
    run = await world.planned()
    await served.ops.post("/v1/queues/measure/pause", WHY)
    frozen = await world.worked(run)
    assert frozen.state == "frozen"
    assert (await served.viewer.get("/v1/queues/measure")).said["depth"] == 3
    await served.ops.post("/v1/queues/measure/resume")
    assert (await world.worked(run)).state == "previewed"


async def test_what_failed_is_grouped_and_tried_again(served: Served, world: World) -> None:
    run = await world.posting(1)
    await world.set_shards(run, "failed", [2, 3])
    await world.sql("UPDATE run_shards SET error = 'disk full', finished_at = now() WHERE state = 'failed'")
    last = world.shard(3)
    await world.sql("UPDATE run_shards SET error = 'other' WHERE shard_id = :shard", shard=last)
    path = "/v1/queues/post"
    first = (await served.viewer.get(f"{path}/failures?limit=1")).said
    second = (await served.viewer.get(first["next"])).said
    groups = first["items"] + second["items"]
    assert {each["error"] for each in groups} == {"disk full", "other"}
    assert second["next"] is None
    items = {each["error"]: each["samples"] for each in groups}
    nothing = {"batch_id": None, "job_id": None, "message_id": None, "webhook_id": None}
    assert items["other"] == [{"run_id": run.run_id, "shard_id": last, **nothing}]
    one = (await served.viewer.get(f"{path}/failed?limit=1")).said
    (two,) = (await served.viewer.get(one["next"])).said["items"]
    assert [each["shard_id"] for each in (*one["items"], two)] == [world.shard(2), last]
    assert (two["error"], two["run_id"], two["job_id"]) == ("other", run.run_id, None)
    (same,) = (await served.viewer.get(f"{path}/failed?group={two['group']}")).said["items"]
    assert same == two
    assert two["group"] in {each["group"] for each in groups if each["error"] == "other"}
    assert (await served.viewer.get(f"{path}/failed?after=7")).status == 409
    assert (await served.ops.post(f"{path}/retry", WHY | {"items": []})).status == 422
    assert (await served.ops.post(f"{path}/retry", WHY | {"items": [{"shard_id": last}]})).status == 409
    assert (await served.viewer.post(f"{path}/retry", WHY)).status == 403
    assert (await served.ops.post(f"{path}/retry", {})).status == 422
    these = {"items": [{"run_id": run.run_id, "shard_id": last}]}
    for chosen, retried in (({"error": "nothing"}, 0), (these, 1), ({}, 1), ({}, 0)):
        answer = await served.ops.post(f"{path}/retry", WHY | chosen)
        assert (answer.status, answer.said) == (200, {"queue": "post", "retried": retried}), chosen
    refused = await served.ops.post(f"{path}/retry", WHY | {"job_id": 1})
    assert refused.status == 409
    assert "nothing in the queue post has job_id" in refused.said["detail"]
    assert (await world.worked(run)).state == "sealed"
    acts = (await served.viewer.get("/v1/audit?act=retry queue&subject=queue:post")).said["items"]
    assert [each["detail"] for each in acts] == [
        WHY | {"count": 0},
        WHY | {"count": 1},
        WHY | {"count": 1} | these,
        WHY | {"count": 0, "error": "nothing"},
    ]
