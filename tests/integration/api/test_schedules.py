"""Schedules and slots over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.plans.calendar import next_debit_day
from engine.runs.scheduling import plan_due
from tests.integration.test_credit_runs import surplus
from tests.integration.worlds import DEBIT, LATE_DEBIT, World, alike, build, rules_of_preset
from tests.serving import Answer, Served

pytestmark = pytest.mark.integration

XIANGHUBAO = "/v1/schedules/xianghubao"
NOTHING_SET = {
    "plan": "xianghubao",
    "plans_at": None,
    "set_by": None,
    "set_at": None,
    "refusal": None,
    "tried_at": None,
}


@pytest.fixture
async def world(served: Served) -> World:
    """A claim that has waited for its run since 14 July 2019."""
    world = await build(served.service.engine, rules_of_preset(), alike(10))
    await world.claim()
    return world


def problem(answer: Answer) -> tuple[int, str]:
    """Status and kind."""
    return answer.status, answer.said["type"].partition("#problem-")[2]


async def test_a_schedule_is_set_seen_changed_and_ended(served: Served, world: World) -> None:
    before = await served.viewer.get(XIANGHUBAO)
    assert (before.status, before.said) == (200, NOTHING_SET)
    assert (await served.viewer.get("/v1/schedules")).said == {"items": [], "next": None}
    assert (await served.finance.post(XIANGHUBAO, {"plans_at": "09:00"})).status == 403

    made = await served.scheduler.post(XIANGHUBAO, {"plans_at": "09:00"}, If_Match=before.headers["ETag"])
    assert (made.status, made.said["plans_at"], made.said["set_by"]) == (200, "09:00", "scheduler")
    assert (await served.viewer.get(XIANGHUBAO)).headers["ETag"] == made.headers["ETag"]
    stale = await served.admin.post(XIANGHUBAO, {"plans_at": "10:00"}, If_Match=before.headers["ETag"])
    assert problem(stale) == (412, "stale")
    assert (await served.admin.post(XIANGHUBAO, {"plans_at": "10:30"})).said["plans_at"] == "10:30"

    ended = await served.scheduler.post(f"{XIANGHUBAO}/end")
    assert (ended.status, ended.said) == (200, NOTHING_SET)
    assert problem(await served.scheduler.post(f"{XIANGHUBAO}/end")) == (404, "not-found")
    acts = await world.rows(
        "SELECT actor, act, detail->'before'->>'plans_at', detail->'after'->>'plans_at' FROM audit_log"
        " WHERE subject LIKE 'schedules/%' ORDER BY audit_id"
    )
    assert acts == [
        ("scheduler", "schedule plan", None, "09:00"),
        ("admin", "schedule plan", "09:00", "10:30"),
        ("scheduler", "unschedule plan", "10:30", None),
    ]


@pytest.mark.parametrize("wrong", ["9:00", "24:00", "09:60", "09:00:00", "", None, 900])
async def test_only_a_time_of_the_day_is_taken(served: Served, world: World, wrong: object) -> None:
    assert (await served.scheduler.post(XIANGHUBAO, {"plans_at": wrong})).status == 422


async def test_what_cannot_be_scheduled(served: Served) -> None:
    assert (await served.scheduler.post("/v1/schedules/nowhere", {"plans_at": "09:00"})).status == 404
    assert (await served.viewer.get("/v1/schedules/nowhere")).status == 404
    assert (await served.viewer.get("/v1/schedules/nowhere/slots")).status == 404
    await build(served.service.engine, surplus(), alike(1))
    refused = await served.scheduler.post("/v1/schedules/zhonghui-surplus", {"plans_at": "09:00"})
    assert problem(refused) == (409, "invalid-input")


async def test_what_the_clock_has_to_do_is_listed_by_plan(served: Served, world: World) -> None:
    for code in ("a-plan", "b-plan"):
        await build(served.service.engine, rules_of_preset().model_copy(update={"code": code}), alike(3))
    for code in ("xianghubao", "b-plan", "a-plan"):
        assert (await served.scheduler.post(f"/v1/schedules/{code}", {"plans_at": "00:00"})).status == 200
    first = await served.viewer.get("/v1/schedules?limit=2")
    assert [each["plan"] for each in first.said["items"]] == ["a-plan", "b-plan"]
    (last,) = (await served.viewer.get(first.said["next"])).said["items"]
    # It is years after the plan's end: the slots that the claim waited for were missed, and one more is open to it.
    today = datetime.now(ZoneInfo(world.rules.time_zone)).date()
    assert (last["plan"], last["next_slot"]) == ("xianghubao", str(next_debit_day(world.rules, today)))
    assert last["missed_slots"] > 1
    assert last["claims_waiting"] == 1


async def test_a_run_planned_by_the_clock_has_its_schedules_owner_and_a_refusal_is_shown(
    served: Served, world: World
) -> None:
    await served.scheduler.post(XIANGHUBAO, {"plans_at": "00:00"})
    (run,) = await plan_due(world.engine, now=datetime.now(UTC))
    assert (await served.viewer.get(f"/v1/runs/{run.run_id}")).said["planned_by"] == "scheduler"
    await served.scheduler.post(f"/v1/runs/{run.run_id}/void", {"reason": "not yet"})
    assert await plan_due(world.engine, now=datetime.now(UTC)) == []
    shown = (await served.viewer.get(XIANGHUBAO)).said
    assert shown["refusal"].startswith("xianghubao would go past its slot of 2019-07-14")
    assert shown["tried_at"] is not None


async def test_slots_are_listed_latest_first_in_parts_and_skipped_by_decision(served: Served, world: World) -> None:
    path = f"{XIANGHUBAO}/slots"
    whole = (await served.viewer.get(f"{path}?limit=500")).said["items"]
    days = [slot["debit_on"] for slot in whole]
    assert days == sorted(days, reverse=True)
    assert (days[-1], whole[-1]["state"], whole[-1]["claims"]) == (str(DEBIT), "missed", 1)
    assert whole[0]["state"] == "open"

    page = await served.viewer.get(f"{path}?limit=40")
    found = page.said["items"]
    while page.said["next"] is not None:
        page = await served.viewer.get(page.said["next"])
        found += page.said["items"]
    assert found == whole

    wanted = {"debit_on": str(DEBIT), "reason": "the bank was closed"}
    assert (await served.finance.post(f"{XIANGHUBAO}/skip", wanted)).status == 403
    skipped = await served.scheduler.post(f"{XIANGHUBAO}/skip", wanted)
    assert (skipped.status, skipped.said["state"], skipped.said["skipped_by"]) == (200, "skipped", "scheduler")
    assert problem(await served.scheduler.post(f"{XIANGHUBAO}/skip", wanted)) == (409, "invalid-input")
    planned = await served.scheduler.post("/v1/runs", {"plan": "xianghubao", "debit_on": str(LATE_DEBIT)})
    assert planned.status == 202, planned.said
    last = (await served.viewer.get(f"{path}?limit=500")).said["items"][-2:]
    assert [(slot["debit_on"], slot["state"], slot["run_id"], slot["reason"]) for slot in last] == [
        (str(LATE_DEBIT), "run", planned.said["run_id"], None),
        (str(DEBIT), "skipped", None, "the bank was closed"),
    ]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", str(DEBIT + timedelta(days=1))])
async def test_a_day_that_is_no_slot_is_refused(served: Served, world: World, day: str) -> None:
    answer = await served.scheduler.post(f"{XIANGHUBAO}/skip", {"debit_on": day, "reason": "a test"})
    assert answer.status == 409
    planned = await served.scheduler.post("/v1/runs", {"plan": "xianghubao", "debit_on": day})
    assert planned.status == 409


async def test_what_a_run_of_a_day_would_carry(served: Served, world: World) -> None:
    due = await served.viewer.get(f"{XIANGHUBAO}/slots/{DEBIT}/claims")
    assert (due.status, due.said) == (200, {
        "plan": "xianghubao", "kind": "share", "debit_on": str(DEBIT), "is_debit_day": True, "aid": "300000.00",
        "claims": [{"claim_id": 1, "number": 1, "aid": "300000.00", "gate_on": "2019-07-07"}],
    })  # fmt: skip
    before = (await served.viewer.get(f"{XIANGHUBAO}/slots/2019-07-08/claims")).said
    assert (before["is_debit_day"], before["claims"], before["aid"]) == (False, [], "0.00")
    await world.planned()
    assert (await served.viewer.get(f"{XIANGHUBAO}/slots/{DEBIT}/claims")).said["claims"] == []
