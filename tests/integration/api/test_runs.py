"""Runs over HTTP: as schedulers, approvers and ops move them, and what everybody reads of them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from engine.access.roles import Role
from tests.integration.test_credit_runs import surplus
from tests.integration.test_event_runs import event, paid_in
from tests.integration.worlds import (
    AUGUST,
    AUGUST_DEBIT,
    DEBIT,
    LATE_DEBIT,
    LATE_JULY,
    PLANNER,
    World,
    alike,
    build,
    rules_of_preset,
)
from tests.serving import Answer, Caller, Served

pytestmark = pytest.mark.integration

NEW = {"plan": "xianghubao", "debit_on": str(DEBIT)}


@pytest.fixture
async def world(served: Served) -> World:
    """Three shards and a claim that waits for its run."""
    world = await build(served.service.engine, rules_of_preset(), alike(300), alike(200), alike(100))
    await world.claim()
    return world


async def said(caller: Caller, path: str) -> Any:
    """What is read there."""
    answer = await caller.get(path)
    assert answer.status == 200, answer.said
    return answer.said


def problem(answer: Answer) -> tuple[int, str]:
    """Status and kind."""
    return answer.status, answer.said["type"].partition("#problem-")[2]


# What is not there, and who may.


async def test_a_run_that_is_not_there(served: Served) -> None:
    answer = await served.viewer.get("/v1/runs/7")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert answer.said["detail"].startswith("there is no run 7")


@pytest.mark.parametrize("of_it", ["preview", "outcome", "progress", "events", "shards"])
async def test_nothing_is_there_of_a_run_that_is_not(served: Served, of_it: str) -> None:
    assert problem(await served.viewer.get(f"/v1/runs/7/{of_it}")) == (404, "not-found")


async def test_no_runs(served: Served) -> None:
    answer = await served.viewer.get("/v1/runs?limit=1")
    assert (answer.status, answer.said) == (200, {"items": [], "next": None})
    assert (await served.viewer.get("/v1/runs?limit=0")).status == 422
    assert (await served.viewer.get("/v1/runs?nothing=0")).status == 422
    assert (await served.viewer.get("/v1/runs?state=lost")).status == 422


async def test_who_may_plan(served: Served) -> None:
    new = {"plan": "quark", "debit_on": "2019-07-14"}
    assert (await served.viewer.post("/v1/runs", new)).status == 403
    assert (await served.scheduler.post("/v1/runs", new)).status == 404


# A run's life.


async def test_a_run_from_its_plan_to_its_seal(served: Served, world: World) -> None:
    planned = await served.scheduler.post("/v1/runs", NEW)
    assert planned.status == 202
    path = planned.headers["Location"]
    assert path == f"/v1/runs/{planned.said['run_id']}"
    assert (planned.said["state"], planned.said["planned_by"], planned.said["kind"]) == (
        "planned",
        "scheduler",
        "share",
    )
    assert problem(await served.viewer.get(f"{path}/preview")) == (409, "not-now")

    run = await world.worked(await world.run(planned.said["run_id"]))
    shown = await said(served.viewer, f"{path}/preview")
    assert (shown["members"], shown["aid"], shown["cases"]) == (600, "300000.00", 1)
    assert [(row["seats"], row["charge"]) for row in shown["classes"]] == [(600, shown["share"])]
    assert shown["rounds"] is None

    other = await served.approver.post(f"{path}/approve", {"digest": "0" * 64})
    assert problem(other) == (409, "preview-changed")
    approved = await served.approver.post(f"{path}/approve", {"digest": shown["digest"]})
    assert (approved.status, approved.said["state"], approved.said["approved_by"]) == (200, "approved", "approver")

    await world.worked(run)
    sealed = await said(served.viewer, path)
    assert sealed["state"] == "sealed"
    assert re.fullmatch("[0-9a-f]{64}", sealed["root"])
    assert {"planned", "approved", "sealed"} <= set(sealed["moments"])

    outcome = await said(served.finance, f"{path}/outcome")
    totals = outcome["totals"]
    assert totals["ties"]
    assert totals["money_in"] == totals["money_out"]
    assert (totals["members"], totals["aid"], totals["charged"]) == (600, shown["aid"], shown["charged"])
    assert [(case["claim_id"], case["aid_paid"]) for case in outcome["cases"]] == [(1, "300000.00")]
    assert {"freeze", "measure", "solve", "post", "seal"} == set(outcome["phases"])
    assert "it is sealed: its debits are not all through" in outcome["missing_to_close"]
    assert (outcome["shards_failed"], outcome["failed_shards"]) == (0, [])

    written = await world.rows("SELECT actor, act FROM audit_log WHERE subject LIKE 'runs%' ORDER BY audit_id")
    assert written == [("scheduler", "plan run"), ("approver", "approve run")]
    states = "SELECT detail->'before'->>'state', detail->'after'->>'state' FROM audit_log"
    assert await world.rows(f"{states} WHERE act = 'approve run' AND subject LIKE 'runs%'") == [
        ("previewed", "approved")
    ]


async def test_whoever_planned_a_run_does_not_approve_it(served: Served, world: World) -> None:
    run = (await served.admin.post("/v1/runs", NEW)).said["run_id"]
    await world.worked(await world.run(run))
    digest = (await said(served.viewer, f"/v1/runs/{run}"))["preview_digest"]
    refused = await served.admin.post(f"/v1/runs/{run}/approve", {"digest": digest})
    assert problem(refused) == (409, "four-eyes")
    assert refused.said["invariant"] == "I13"
    assert (await served.scheduler.post(f"/v1/runs/{run}/approve", {"digest": digest})).status == 403


async def test_a_credit_run(served: Served) -> None:
    world = await build(served.service.engine, surplus(), alike(10))
    new = {"plan": world.plan.code, "debit_on": "2019-07-15"}
    needs = await served.scheduler.post("/v1/runs", new)
    assert problem(needs) == (409, "invalid-input")
    of = {"premiums": "100.00", "claims": "60", "costs": "10.5"}
    planned = await served.scheduler.post("/v1/runs", new | {"surplus": of})
    assert planned.status == 202, planned.said
    assert (planned.said["kind"], planned.said["surplus"]) == (
        "credit",
        {"premiums": "100.00", "claims": "60.00", "costs": "10.50"},
    )
    await world.worked(await world.run(planned.said["run_id"]))
    shown = await said(served.viewer, f"/v1/runs/{planned.said['run_id']}/preview")
    assert (shown["charged"], shown["surplus"]["costs"]) == ("29.50", "10.50")
    negative = await served.scheduler.post("/v1/runs", new | {"surplus": of | {"costs": "-1"}})
    assert negative.status == 422


async def test_an_event_plan_is_previewed_case_by_case(served: Served) -> None:
    world = await paid_in(served.service.engine, event(), (alike(4), [900] * 4))
    await world.claim(aid_minor=600)
    await world.claim(aid_minor=200)
    run = await world.previewed(LATE_DEBIT)
    shown = await said(served.viewer, f"/v1/runs/{run.run_id}/preview")
    assert shown["classes"] is None
    rounds = [(row["claim"], row["sharers"], row["aid"]) for row in shown["rounds"]]
    assert rounds == [(1, 4, "6.00"), (2, 4, "2.00")]
    assert run.preview is not None
    assert shown["rounds"] == run.preview["rounds"]


# Lists.


async def test_runs_are_listed_newest_first_in_parts(served: Served, world: World) -> None:
    await world.previewed()
    for notice_on, debit_on in ((LATE_JULY, LATE_DEBIT), (AUGUST, AUGUST_DEBIT)):
        await world.claim(notice_on=notice_on)
        await world.planned(debit_on)
    first = await served.viewer.get("/v1/runs?limit=2&plan=xianghubao")
    assert [run["run_id"] for run in first.said["items"]] == [3, 2]
    assert first.said["next"] == "/v1/runs?limit=2&plan=xianghubao&after=2"
    assert first.headers["Link"] == f'<{first.said["next"]}>; rel="next"'
    rest = await said(served.viewer, first.said["next"])
    assert ([run["run_id"] for run in rest["items"]], rest["next"]) == ([1], None)
    previewed = await said(served.viewer, "/v1/runs?state=previewed")
    assert [run["run_id"] for run in previewed["items"]] == [1]
    assert (await served.viewer.get("/v1/runs?plan=nowhere")).status == 404


async def test_shards_and_progress_of_a_run_that_is_being_posted(served: Served, world: World) -> None:
    run = await world.posting(1)
    await world.set_shards(run, "failed", [2])
    await world.sql("UPDATE run_shards SET error = 'it broke' WHERE state = 'failed'")
    path = f"/v1/runs/{run.run_id}"
    progress = await said(served.ops, f"{path}/progress")
    assert (progress["state"], progress["phase"]) == ("posting", "post")
    assert {name: progress[name] for name in ("shards", "shards_done", "shards_failed", "shards_due")} == {
        "shards": 3,
        "shards_done": 1,
        "shards_failed": 1,
        "shards_due": 1,
    }
    assert (progress["seats"], progress["seats_done"], progress["seats_failed"]) == (600, 300, 200)
    assert progress["members_per_second"] > 0
    assert progress["seconds_left"] > 0

    first = await served.ops.get(f"{path}/shards?limit=2")
    assert [(row["number"], row["state"], row["error"]) for row in first.said["items"]] == [
        (1, "done", None),
        (2, "failed", "it broke"),
    ]
    assert first.said["items"][0]["seconds"] > 0
    assert first.said["items"][0]["worker"] == "one"
    rest = await said(served.ops, first.said["next"])
    assert [(row["number"], row["state"], row["seconds"]) for row in rest["items"]] == [(3, "pending", None)]
    failed = await said(served.ops, f"{path}/shards?state=failed")
    assert [row["shard_id"] for row in failed["items"]] == [world.shard(2)]
    assert (await said(served.ops, f"{path}/outcome"))["failed_shards"] == [
        {"shard_id": world.shard(2), "error": "it broke"}
    ]

    assert (await served.finance.post(f"{path}/retry")).status == 403
    retried = await served.ops.post(f"{path}/retry")
    assert (retried.status, retried.said["shards_failed"], retried.said["shards_due"]) == (200, 0, 2)


# Decisions on a run under way.


async def test_pause_resume_and_what_if_match_says(served: Served, world: World) -> None:
    run = await world.planned()
    path = f"/v1/runs/{run.run_id}"
    seen = (await served.viewer.get(path)).headers["ETag"]
    paused = await served.ops.post(f"{path}/pause", If_Match=seen)
    assert (paused.status, paused.said["is_paused"]) == (200, True)
    assert paused.headers["ETag"] != seen
    assert problem(await served.scheduler.post(f"{path}/resume", If_Match=seen)) == (412, "stale")
    assert (await world.run(run.run_id)).paused
    resumed = await served.scheduler.post(f"{path}/resume", If_Match=paused.headers["ETag"])
    assert (resumed.status, resumed.said["is_paused"]) == (200, False)
    assert (await world.worked(run)).state == "previewed"


async def test_a_run_is_voided_with_a_reason_and_once(served: Served, world: World) -> None:
    run = await world.previewed()
    path = f"/v1/runs/{run.run_id}/void"
    assert (await served.finance.post(path, {"reason": "wrong day"})).status == 403
    assert (await served.scheduler.post(path, {})).status == 422
    assert (await served.scheduler.post(path, {"reason": "a\nb"})).status == 422
    voided = await served.approver.post(path, {"reason": "wrong day"})
    assert (voided.status, voided.said["state"]) == (200, "voided")
    assert await world.passed() == [1]
    assert problem(await served.scheduler.post(path, {"reason": "again"})) == (409, "not-now")
    found = await world.value("SELECT detail->>'reason' FROM audit_log WHERE act = 'void run' AND subject = 'run:1'")
    assert found == "wrong day"


# One effect, however often it is asked for.


async def planned_at_once(caller: Caller, keys: list[str]) -> list[Answer]:
    send = [caller.send("POST", "/v1/runs", json=NEW, headers={"Idempotency-Key": key}) for key in keys]
    return await asyncio.gather(*send)


async def test_one_key_at_fifty_hands_has_one_effect(served: Served, world: World) -> None:
    answers = await planned_at_once(served.scheduler, ["the-same-key"] * 50)
    kinds = {202 if answer.status == 202 else problem(answer) for answer in answers}
    assert kinds <= {202, (409, "key-in-flight")}
    done = [answer for answer in answers if answer.status == 202]
    assert done
    assert all(answer.said == done[0].said for answer in done)
    first = [answer for answer in done if "Idempotent-Replayed" not in answer.headers]
    assert len(first) == 1
    assert await world.value("SELECT count(*) FROM share_runs") == 1
    assert await world.value("SELECT count(*) FROM audit_log WHERE subject = 'runs'") == 1

    again = await served.scheduler.send("POST", "/v1/runs", json=NEW, headers={"Idempotency-Key": "the-same-key"})
    assert (again.status, again.said, again.headers["Idempotent-Replayed"]) == (202, first[0].said, "true")
    assert again.headers["Location"] == first[0].headers["Location"]
    other = NEW | {"debit_on": str(LATE_DEBIT)}
    differs = await served.scheduler.send("POST", "/v1/runs", json=other, headers={"Idempotency-Key": "the-same-key"})
    assert problem(differs) == (422, "other-payload")
    assert problem(await served.scheduler.send("POST", "/v1/runs", json=NEW)) == (400, "key-missing")


async def test_fifty_keys_for_one_period_plan_one_run(served: Served, world: World) -> None:
    hands = [served.scheduler, served.admin, await served.caller(PLANNER, Role.SCHEDULER)]
    answers = await asyncio.gather(
        *(
            hands[number % 3].send("POST", "/v1/runs", json=NEW, headers={"Idempotency-Key": f"the-key-{number}"})
            for number in range(50)
        )
    )
    (done,) = (answer for answer in answers if answer.status == 202)
    refused = [answer for answer in answers if answer.status != 202]
    assert {problem(answer) for answer in refused} == {(409, "period-taken")}
    clear = f"xianghubao has a run for {DEBIT} already; void it first to plan another (`fentan run show 1`)"
    assert {answer.said["detail"] for answer in refused} == {clear}
    assert await world.rows("SELECT run_id, planned_by FROM share_runs") == [
        (done.said["run_id"], done.said["planned_by"])
    ]
    assert await world.value("SELECT count(*) FROM run_cases") == 1


# What a page shows of many at once.


async def test_runs_are_counted_and_found_by_kind_and_day(served: Served, world: World) -> None:
    await world.sealed()
    await world.claim(notice_on=LATE_JULY)
    await world.planned(LATE_DEBIT)
    assert await said(served.viewer, "/v1/runs/counts") == {"runs": 2, "by_state": {"planned": 1, "sealed": 1}}
    of_july = f"first={DEBIT}&last={DEBIT}&kind=share&plan=xianghubao"
    assert (await said(served.viewer, f"/v1/runs/counts?{of_july}"))["by_state"] == {"sealed": 1}
    (found,) = (await said(served.viewer, f"/v1/runs?{of_july}"))["items"]
    shown = await said(served.viewer, "/v1/runs/1")
    assert found == shown
    assert (found["cases"], found["charged"], found["sponsor"]) == (1, "60.00", "323940.00")
    assert (await said(served.viewer, "/v1/runs?kind=credit"))["items"] == []
    assert (await said(served.viewer, f"/v1/runs/counts?first={AUGUST_DEBIT}")) == {"runs": 0, "by_state": {}}


async def test_the_shards_of_a_run_on_a_map(served: Served, world: World) -> None:
    run = await world.posting(2)
    shown = await said(served.viewer, f"/v1/runs/{run.run_id}/shards/map")
    assert [(each["number"], each["phase"], each["state"]) for each in shown["shards"]] == [
        (1, "post", "pending"),
        (2, "post", "done"),
        (3, "post", "pending"),
    ]
    assert (await served.viewer.get("/v1/runs/7/shards/map")).status == 404


async def test_a_preview_tells_how_shares_spread(served: Served, world: World) -> None:
    run = await world.previewed()
    shown = await said(served.viewer, f"/v1/runs/{run.run_id}/preview")
    assert shown["spread"] == [{"low": "0.10", "high": "0.10", "seats": 600, "charged": "60.00"}]
    assert shown["tiers"] == [{"tier": "member", "seats": 600, "least": "0.10", "most": "0.10", "charged": "60.00"}]
