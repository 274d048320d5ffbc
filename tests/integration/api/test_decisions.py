"""Decisions over HTTP: seen, approved by another (I13), refused; each once."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.roles import Role
from engine.decisions import Decision, Kind, propose
from tests.integration.worlds import World, alike, build, rules_of_preset
from tests.serving import Answer, Served

pytestmark = pytest.mark.integration

ON = date(2019, 7, 20)


async def paid(engine: AsyncEngine) -> World:
    """A plan that shared one claim of 0.30."""
    world = await build(engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    await world.sealed()
    return world


async def proposed(served: Served, amount: str = "0.10") -> Answer:
    """What finance proposes: that aid came back."""
    asked = {"amount": amount, "reason": "paid twice", "on": str(ON)}
    return await served.finance.post("/v1/claims/1/recover", asked)


async def written(world: World, kind: Kind, subject: str, detail: dict[str, Any]) -> Decision:
    """A decision as another desk wrote it."""
    async with world.engine.begin() as connection:
        return await propose(connection, world.plan_id, kind, subject, detail, on=ON, actor="finance")


async def test_what_is_proposed_is_shown(served: Served, engine: AsyncEngine) -> None:
    await paid(engine)
    assert (await proposed(served)).status == 201
    assert (await served.viewer.get("/v1/decisions/1")).said == {
        "decision_id": 1, "plan": "xianghubao", "kind": "recovery", "subject": "claim:1", "effective_on": str(ON),
        "state": "proposed", "proposed_by": "finance", "decided_by": None,
        "detail": {"claim": 1, "amount": "0.10", "to": "carry", "reason": "paid twice"}, "outcome": None,
    }  # fmt: skip
    assert (await served.viewer.get("/v1/decisions/2")).status == 404


async def test_I13_the_two_are_two_people(served: Served, engine: AsyncEngine) -> None:
    world = await paid(engine)
    await proposed(served)
    approve = "/v1/decisions/1/approve"
    for not_theirs in (served.viewer, served.finance, served.scheduler, served.ops):
        assert (await not_theirs.post(approve)).status == 403
    for same in ("finance", "Finance"):
        other_hat = await served.caller(same, Role.APPROVER)
        refused = await other_hat.post(approve)
        assert (refused.status, refused.said["invariant"], refused.said["type"]) == (
            409, "I13", "/v1/reference#problem-four-eyes",
        )  # fmt: skip
    with pytest.raises(IntegrityError, match="decisions_four_eyes_check"):  # the database would not either
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE decisions SET state = 'done', decided_by = 'FINANCE'"))
    assert (await served.viewer.get("/v1/decisions/1")).said["state"] == "proposed"
    done = await served.approver.post(approve)
    assert (done.said["state"], done.said["decided_by"]) == ("done", "approver")
    log = await world.rows("SELECT actor, act FROM audit_log WHERE act LIKE '%recover%' OR act LIKE 'approve decision'")
    assert {("finance", "recover claim"), ("finance", "propose recovery"), ("approver", "approve recovery")} <= set(log)
    assert ("approver", "approve decision") in log


async def test_what_is_approved_twice_at_once_happens_once(served: Served, engine: AsyncEngine) -> None:
    world = await paid(engine)
    await proposed(served)
    answers = await asyncio.gather(
        *(each.post("/v1/decisions/1/approve") for each in (served.approver, served.admin) * 4)
    )
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] + [409] * 7
    assert {answer.said["type"] for answer in answers if answer.status == 409} == {"/v1/reference#problem-not-open"}
    assert await world.value("SELECT count(*) FROM journals WHERE kind = 'recovery'") == 1
    assert (await served.viewer.get("/v1/claims/1")).said["recovered"] == "0.10"


async def test_refused_is_refused_for_good(served: Served, engine: AsyncEngine) -> None:
    world = await paid(engine)
    await proposed(served)
    assert (await served.viewer.post("/v1/decisions/1/refuse", {"reason": "no"})).status == 403
    assert (await served.finance.post("/v1/decisions/1/refuse", {"reason": ""})).status == 422
    refused = await served.finance.post("/v1/decisions/1/refuse", {"reason": "a mistake"})
    assert (refused.said["state"], refused.said["outcome"]) == ("refused", {"reason": "a mistake"})
    late = await served.approver.post("/v1/decisions/1/approve")
    assert (late.status, "is refused, by finance" in late.said["detail"]) == (409, True)
    assert await world.value("SELECT count(*) FROM journals WHERE kind = 'recovery'") == 0


async def test_what_cannot_be_done_stays_proposed(served: Served, engine: AsyncEngine) -> None:
    await paid(engine)
    await proposed(served, "0.30")
    await proposed(served, "0.30")
    assert (await served.approver.post("/v1/decisions/1/approve")).status == 200
    too_much = await served.approver.post("/v1/decisions/2/approve")
    assert (too_much.status, "came back already" in too_much.said["detail"]) == (409, True)
    assert (await served.viewer.get("/v1/decisions/2")).said["state"] == "proposed"


async def test_they_are_listed_in_parts_the_newest_first(served: Served, engine: AsyncEngine) -> None:
    world = await paid(engine)
    for amount in ("0.01", "0.02", "0.03"):
        await proposed(served, amount)
    await written(world, Kind.PERIOD_LOCK, "plan:xianghubao", {"through": "2019-06-30"})
    await served.approver.post("/v1/decisions/2/approve")

    async def numbers(query: str) -> list[int]:
        return [each["decision_id"] for each in (await served.viewer.get(f"/v1/decisions{query}")).said["items"]]

    assert await numbers("") == [4, 3, 2, 1]
    assert await numbers("?state=proposed&kind=recovery") == [3, 1]
    assert await numbers("?subject=plan:xianghubao") == await numbers("?kind=period%20lock") == [4]
    assert await numbers("?plan=xianghubao&state=done") == [2]
    first = await served.viewer.get("/v1/decisions?kind=recovery&limit=2")
    assert [each["decision_id"] for each in first.said["items"]] == [3, 2]
    assert first.headers["Link"] == '</v1/decisions?kind=recovery&limit=2&after=2>; rel="next"'
    assert [each["decision_id"] for each in (await served.viewer.get(first.said["next"])).said["items"]] == [1]
    assert (await served.viewer.get("/v1/decisions?state=open")).status == 422


async def test_those_it_is_about_are_listed_apart(served: Served, engine: AsyncEngine) -> None:
    world = await paid(engine)
    seats = [[world.shard(1), 0, 5], [world.shard(1), 3, -2]]
    await written(world, Kind.CORRECTION, "run:1", {"run": 1, "reason": "r", "members": 2, "seats": seats})
    await written(world, Kind.PAYOUT, "run:1", {"run": 1, "claims": [[1, 25, 5]], "amount_minor": 25})
    shown = (await served.viewer.get("/v1/decisions/1")).said["detail"]
    assert shown == {"run": 1, "reason": "r", "members": 2}
    first = await served.viewer.get("/v1/decisions/1/parts?limit=1")
    rest = await served.viewer.get(first.said["next"])
    assert [*first.said["items"], *rest.said["items"]] == [
        {"number": 1, "seat": 0, "claim_number": None, "amount": "0.05", "set_off": "0.00"},
        {"number": 2, "seat": 3, "claim_number": None, "amount": "-0.02", "set_off": "0.00"},
    ]
    assert (await served.viewer.get("/v1/decisions/2/parts")).said["items"] == [
        {"number": 1, "seat": None, "claim_number": 1, "amount": "0.25", "set_off": "0.05"}
    ]
    assert (await served.viewer.get("/v1/decisions/1/parts?after=999999999999999999")).said["items"] == []
