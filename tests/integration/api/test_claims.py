"""Claims over HTTP, from filing through notice and objections to what a run shares; and the notice board."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from tests.integration.prepaid import known
from tests.integration.worlds import JULY, Claimant, World, alike, build, rules_of_preset
from tests.serving import Answer, Caller, Served

pytestmark = pytest.mark.integration

FILED = {"plan": "xianghubao", "diagnosed_on": "2019-06-20", "on": "2019-06-25"}


async def plan(engine: AsyncEngine, **tables: Any) -> World:
    return await known(await build(engine, rules_of_preset(**tables), alike(4)))


async def filed(caller: Caller, **more: object) -> Answer:
    return await caller.post("/v1/claims", FILED | {"member": 2, "aid": "0.30"} | more)


async def test_a_claim_from_filing_to_passing(served: Served, engine: AsyncEngine) -> None:
    world = await plan(engine)
    made = await filed(served.scheduler, member="M2")
    assert (made.status, made.headers["Location"]) == (201, "/v1/claims/1")
    assert (made.said["seat"], made.said["state"], made.said["aid"], made.said["next"]) == (2, "filed", "0.30", "0.30")
    not_a_day = await served.scheduler.post("/v1/claims/1/publish", {"on": "2019-07-08"})
    assert (not_a_day.status, "is not a notice day" in not_a_day.said["detail"]) == (409, True)
    published = await served.scheduler.post("/v1/claims/1/publish", {"on": "2019-07-07"})
    assert [published.said[name] for name in ("state", "notice_on", "notice_ends_on")] == [
        "published", "2019-07-07", "2019-07-10",
    ]  # fmt: skip
    raised = await served.scheduler.post("/v1/claims/1/objections", {"reason": "two papers differ", "on": "2019-07-08"})
    assert (raised.status, raised.said["number"], raised.said["resolved_on"]) == (201, 1, None)
    barred = await served.scheduler.post("/v1/claims/1/pass", {"on": "2019-07-10"})
    assert (barred.status, "objections open: 1" in barred.said["detail"]) == (409, True)
    answered = {"resolution": "they do not", "on": "2019-07-09"}
    assert (await served.scheduler.post("/v1/claims/1/objections/1/resolve", answered)).status == 200
    twice = await served.scheduler.post("/v1/claims/1/objections/1/resolve", answered)
    assert (twice.status, twice.said["type"]) == (409, "/v1/reference#problem-claim-refused")
    early = await served.scheduler.post("/v1/claims/1/pass", {"on": "2019-07-09"})
    assert early.status == 409
    passed = await served.scheduler.post("/v1/claims/1/pass", {"on": "2019-07-10"})
    assert passed.said["state"] == "passed"
    assert await world.passed() == [1]
    record = (await served.viewer.get("/v1/claims/1")).said
    assert [event["event"] for event in record["history"]] == ["file", "publish", "object", "resolve", "pass"]
    assert {event["actor"] for event in record["history"]} == {"scheduler"}
    assert [each["resolution"] for each in record["objections"]] == ["they do not"]
    assert (await served.viewer.get("/v1/claims/1/objections")).said["items"] == record["objections"]
    log = await world.rows(
        "SELECT act, subject, detail::text FROM audit_log WHERE subject LIKE 'claims%' ORDER BY audit_id"
    )
    assert [act for act, *_ in log] == [
        "file claim", "publish claim", "object to claim", "resolve objection", "pass claim",
    ]  # fmt: skip
    assert not any("M2" in text for *_, text in log)


async def test_who_may_and_what_is_refused(served: Served, engine: AsyncEngine) -> None:
    await plan(engine)
    for nobody in (served.viewer, served.finance, served.approver, served.ops):
        assert (await filed(nobody)).status == 403
    assert (
        (await filed(served.scheduler, member="M9")).status == (await filed(served.scheduler, member=9)).status == 404
    )
    unknown = await filed(served.scheduler, member="Somebody/Else")
    assert "Somebody" not in str(unknown.said)
    for wrong in ({"member": "2 "}, {"member": -1}, {"member": 2.5}, {"member": True}, {"aid": "0.333"}, {"aid": 1}):
        assert (await filed(served.scheduler, **wrong)).status in (404, 422), wrong
    for cannot, says in (
        ({"aid": "9999999999999999.99"}, "give more than 0 and at most"),
        ({"aid": "0"}, "give more than 0 and at most"),
        ({"on": "9999-12-31"}, "still to come"),
        ({"diagnosed_on": "0001-01-01"}, "not covered on"),
        ({"diagnosed_on": "9999-12-31"}, "after the filing"),
        ({"accident": {"award": "1", "fault_share": "7/10"}}, "leave these out"),
        ({"severity": "no such"}, "severity"),
        ({"deductions": [{"amount": "0.30", "reason": "paid by the state"}]}, "there is no aid to pay"),
    ):
        answer = await filed(served.scheduler, **cannot)
        assert (answer.status, says in answer.said["detail"]) == (409, True), answer.said
    assert (await filed(served.scheduler)).status == 201
    again = await filed(served.scheduler)
    assert (again.status, "claim 1 is already filed" in again.said["detail"]) == (409, True)
    assert (await served.scheduler.post("/v1/claims/9/pass", {})).status == 404


async def test_what_was_seen_is_what_is_decided_on(served: Served, engine: AsyncEngine) -> None:
    await plan(engine)
    await filed(served.scheduler)
    seen = (await served.viewer.get("/v1/claims/1")).headers["ETag"]
    published = await served.scheduler.post("/v1/claims/1/publish", {"on": "2019-07-07"}, If_Match=seen)
    assert published.status == 200
    stale = await served.scheduler.post("/v1/claims/1/reject", {"reason": "no"}, If_Match=seen)
    assert (stale.status, stale.said["type"]) == (412, "/v1/reference#problem-stale")
    now = published.headers["ETag"]
    rejected = await served.scheduler.post("/v1/claims/1/reject", {"reason": "not covered"}, If_Match=now)
    assert rejected.said["state"] == "rejected"


async def test_claims_are_listed_in_parts(served: Served, engine: AsyncEngine) -> None:
    await plan(engine)
    for member in range(4):
        await filed(served.scheduler, member=member)
    await served.scheduler.post("/v1/claims/2/withdraw", {"reason": "by mistake"})
    first = await served.viewer.get("/v1/claims?plan=xianghubao&state=filed&limit=2")
    assert [claim["claim_id"] for claim in first.said["items"]] == [1, 3]
    assert first.headers["Link"].startswith("</v1/claims?plan=xianghubao&state=filed&limit=2&after=3>")
    rest = (await served.viewer.get(first.said["next"])).said
    assert ([claim["claim_id"] for claim in rest["items"]], rest["next"]) == ([4], None)
    assert [c["claim_id"] for c in (await served.viewer.get("/v1/claims?state=withdrawn")).said["items"]] == [2]
    assert (await served.viewer.get("/v1/claims?plan=nowhere")).status == 404
    assert (await served.viewer.get("/v1/claims?after=x")).status == 422


async def test_the_notice_board_has_nothing_of_the_members(served: Served, engine: AsyncEngine) -> None:
    world = await plan(engine, notice={"days_of_month": list(range(1, 32)), "length_days": 3})
    today = date.fromisoformat((await served.scheduler.post("/v1/plans/xianghubao/claims/pass-due", {})).said["on"])
    days = {1: today - timedelta(days=5), 2: today, 3: today + timedelta(days=1)}
    for seat, notice_on in days.items():
        async with engine.begin() as connection:
            claim = await claims.file(
                connection, world.plan_id, world.rules, Claimant(world.shard(1), seat),
                diagnosed_on=JULY, on=JULY, actor="intake", aid_minor=30,
            )  # fmt: skip
            await claims.publish(connection, claim.claim_id, world.rules, on=notice_on, actor="intake")
    await served.scheduler.post("/v1/claims/2/objections", {"reason": "two papers differ"})
    board = (await served.viewer.get("/v1/notices?plan=xianghubao")).said["items"]
    assert board[1] == {
        "claim_id": 2, "plan": "xianghubao", "number": 2, "aid": "0.30", "severity": None,
        "notice_on": str(today), "ends_on": str(today + timedelta(days=3)), "days_left": 3, "open_objections": 1,
    }  # fmt: skip
    assert [(claim["claim_id"], claim["days_left"]) for claim in board] == [(1, 0), (2, 3)], "the third begins tomorrow"
    first = await served.viewer.get("/v1/notices?limit=1")
    assert (await served.viewer.get(first.said["next"])).said["items"] == board[1:]
    due = await served.viewer.get("/v1/notices?due=true")
    assert [claim["claim_id"] for claim in due.said["items"]] == [1]
    boards = await served.viewer.get("/v1/notices/counts?plan=xianghubao")
    assert boards.said == {"plans": [{"plan": "xianghubao", "under_notice": 1, "due": 1, "objected": 0}]}
    passed = await served.scheduler.post("/v1/plans/xianghubao/claims/pass-due", {})
    assert passed.said == {"plan": "xianghubao", "on": str(today), "passed": [1]}
    assert [claim["claim_id"] for claim in (await served.viewer.get("/v1/notices")).said["items"]] == [2]
    counts = await served.viewer.get("/v1/claims/counts?plan=xianghubao")
    assert counts.said == {"claims": 3, "by_state": {"published": 2, "passed": 1}}
    latest = await served.viewer.get("/v1/claims?newest_first=true&limit=2")
    assert [claim["claim_id"] for claim in latest.said["items"]] == [3, 2]
    assert [claim["claim_id"] for claim in (await served.viewer.get(latest.said["next"])).said["items"]] == [1]


async def test_an_objection_keeps_a_claim_from_being_due(served: Served, engine: AsyncEngine) -> None:
    await plan(engine)
    await filed(served.scheduler)
    await served.scheduler.post("/v1/claims/1/publish", {"on": "2019-07-07"})
    assert [claim["claim_id"] for claim in (await served.viewer.get("/v1/notices?due=true")).said["items"]] == [1]
    await served.scheduler.post("/v1/claims/1/objections", {"reason": "two papers differ", "on": "2019-07-08"})
    assert (await served.viewer.get("/v1/notices?due=true")).said["items"] == []
    boards = await served.viewer.get("/v1/notices/counts")
    assert boards.said == {"plans": [{"plan": "xianghubao", "under_notice": 0, "due": 0, "objected": 1}]}


async def test_a_claim_in_stages_is_billed(served: Served, engine: AsyncEngine) -> None:
    world = await plan(engine, aid_stages={"first": "1/5"})
    claim_id = await world.claim(aid_minor=100)
    waits = await served.scheduler.post(f"/v1/claims/{claim_id}/bill", {"amount": "0.10", "on": "2019-07-21"})
    assert (waits.status, "its first stage waits" in waits.said["detail"]) == (409, True)
    await world.sealed()
    billed = await served.scheduler.post(f"/v1/claims/{claim_id}/bill", {"amount": "0.10", "on": "2019-07-21"})
    assert billed.status == 200, billed.said
    names = ("state", "aid", "due", "shared", "next", "left", "stage_on")
    assert [billed.said[name] for name in names] == ["passed", "1.00", "0.30", "0.20", "0.10", "0.80", "2019-07-21"]
    stages = (await served.viewer.get(f"/v1/claims/{claim_id}/stages")).said["stages"]
    assert stages == [
        {
            "run_id": 1, "state": "sealed", "debit_on": "2019-07-14", "gate_on": "2019-07-07",
            "aid": "0.20", "aid_paid": "0.20", "fee": "0.02",
        }
    ]  # fmt: skip
    assert (await served.viewer.get("/v1/claims/9/stages")).status == 404


async def test_aid_comes_back_once_another_agrees(served: Served, engine: AsyncEngine) -> None:
    world = await plan(engine)
    claim_id = await world.claim(aid_minor=30)
    asked = {"amount": "0.20", "reason": "the papers were false"}
    unpaid = await served.finance.post(f"/v1/claims/{claim_id}/recover", asked)
    assert (unpaid.status, "no sealed run paid any of its aid" in unpaid.said["detail"]) == (409, True)
    await world.sealed()
    assert (await served.scheduler.post(f"/v1/claims/{claim_id}/recover", asked)).status == 403
    proposed = await served.finance.post(f"/v1/claims/{claim_id}/recover", asked)
    assert (proposed.status, proposed.headers["Location"]) == (201, "/v1/decisions/1")
    assert (await served.viewer.get(f"/v1/claims/{claim_id}")).said["recovered"] == "0.00"
    done = await served.approver.post("/v1/decisions/1/approve")
    assert done.said["outcome"] == {"recovered": "0.20", "recovered_in_all": "0.20"}
    assert (await served.viewer.get(f"/v1/claims/{claim_id}")).said["recovered"] == "0.20"
