"""Plans over HTTP: registered, read, wound down, levied."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.roster.presets import load_plan
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_a_plan_is_registered_and_read(served: Served) -> None:
    assert (await served.scheduler.post("/v1/plans", {"plan": "quark"})).status == 403
    made = await served.admin.post("/v1/plans", {"plan": "quark"})
    assert (made.status, made.headers["Location"]) == (201, "/v1/plans/quark")
    assert made.said == {
        "plan": "quark", "name": load_plan("quark").name, "currency": "CNY", "version": 1, "seats": 0,
        "custodian": None, "locked_through": None, "ended_on": None,
    }  # fmt: skip
    again = await served.admin.post("/v1/plans", {"plan": "quark"})
    assert (again.status, again.said) == (201, made.said), "the same file again is the same version"
    assert (await served.viewer.get("/v1/plans/quark")).said == made.said
    unknown = await served.admin.post("/v1/plans", {"plan": "nowhere"})
    assert (unknown.status, unknown.said["type"]) == (404, "/v1/reference#problem-not-found")
    assert (await served.viewer.get("/v1/plans/nowhere")).status == 404


async def test_plans_are_listed_in_parts(served: Served, engine: AsyncEngine) -> None:
    await build(engine, rules_of_preset("xianghubao"), alike(3), alike(2))
    for code in ("quark", "meituan"):
        await served.admin.post("/v1/plans", {"plan": code})
    first = await served.viewer.get("/v1/plans?limit=2")
    assert [plan["plan"] for plan in first.said["items"]] == ["meituan", "quark"]
    assert first.headers["Link"] == '</v1/plans?limit=2&after=quark>; rel="next"'
    rest = await served.viewer.get(first.said["next"])
    assert [(plan["plan"], plan["seats"]) for plan in rest.said["items"]] == [("xianghubao", 5)]
    assert rest.said["next"] is None


async def test_rules_in_words_and_as_they_are_kept(served: Served, engine: AsyncEngine) -> None:
    await build(engine, rules_of_preset(), alike(1))
    await build(engine, rules_of_preset(name="Another name"))
    newest = (await served.viewer.get("/v1/plans/xianghubao/rules")).said
    assert (newest["version"], newest["rules"]["name"]) == (2, "Another name")
    first = (await served.viewer.get("/v1/plans/xianghubao/rules?version=1")).said
    assert first["rules"]["name"] != "Another name"
    assert first["words"]["life"].startswith("from 2018-11-27 until")
    assert (await served.viewer.get("/v1/plans/xianghubao/rules?version=3")).status == 404
    assert (await served.viewer.get("/v1/plans/xianghubao/rules?version=0")).status == 422


async def test_a_year_of_a_plan(served: Served, engine: AsyncEngine) -> None:
    await build(engine, rules_of_preset(), alike(1))
    year = (await served.viewer.get("/v1/plans/xianghubao/calendar?year=2019")).said
    assert (year["any_day"], year["time_zone"]) == (False, "Asia/Shanghai")
    july = {slot["notice_on"]: slot for slot in year["slots"]}["2019-07-07"]
    assert (july["ends_on"], july["debit_on"], july["paid_by"]) == ("2019-07-10", "2019-07-14", "members")
    await served.admin.post("/v1/plans", {"plan": "quark-driving"})
    any_day = (await served.viewer.get("/v1/plans/quark-driving/calendar?year=2024")).said
    assert any_day["any_day"] == (not any_day["slots"])
    assert (await served.viewer.get("/v1/plans/xianghubao/calendar?year=1999")).status == 422


async def test_what_comes_next_is_an_estimate(served: Served, engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    said = (await served.viewer.get("/v1/plans/xianghubao/forecast?on=2019-07-11")).said
    assert (said["is_estimate"], said["debit_on"], said["sharers"]) == (True, "2019-07-14", 4)
    assert (said["aid"], said["fee"], said["pool"], said["share"]) == ("0.30", "0.02", "0.32", "0.08")
    assert said["claims"] == {"passed": 1, "under_notice": 0, "objected": 0}
    for far in ("0001-01-01", "9999-12-31"):
        assert (await served.viewer.get(f"/v1/plans/xianghubao/forecast?on={far}")).status in (200, 409)


async def test_an_end_is_proposed_not_done(served: Served, engine: AsyncEngine) -> None:
    await build(engine, rules_of_preset(), alike(1))
    refused = await served.finance.post("/v1/plans/xianghubao/wind-down", {"on": "2019-07-01"})
    assert (refused.status, "takes claims until" in refused.said["detail"]) == (409, True)
    to_come = await served.finance.post("/v1/plans/xianghubao/wind-down", {"on": "9999-01-01"})
    assert (to_come.status, "is still to come" in to_come.said["detail"]) == (409, True)
    assert (await served.scheduler.post("/v1/plans/xianghubao/wind-down", {})).status == 403
    proposed = await served.finance.post("/v1/plans/xianghubao/wind-down", {})
    assert (proposed.status, proposed.said["kind"]) == (201, "wind-down"), proposed.said
    assert proposed.headers["Location"] == f"/v1/decisions/{proposed.said['decision_id']}"
    assert (await served.viewer.get("/v1/plans/xianghubao")).said["ended_on"] is None
    done = await served.approver.post(f"/v1/decisions/{proposed.said['decision_id']}/approve")
    assert done.status == 200, done.said
    assert (await served.viewer.get("/v1/plans/xianghubao")).said["ended_on"] == proposed.said["effective_on"]


async def test_a_levy_is_charged_once(served: Served, engine: AsyncEngine) -> None:
    levies = [{"name": "entry-premium", "on": "joining", "amount": "9"}]
    world = await build(engine, rules_of_preset(levies=levies, starts_on="2018-01-01"), alike(2))
    asked = {"name": "entry-premium", "on": "2019-02-01"}
    charged = await served.finance.post("/v1/plans/xianghubao/levies", asked)
    assert charged.said == {
        "plan": "xianghubao", "name": "entry-premium", "on": "2019-02-01", "seats": 2, "amount": "18.00", "short": 0,
        "short_amount": "0.00", "repeated": False,
    }  # fmt: skip
    again = await served.finance.post("/v1/plans/xianghubao/levies", asked)
    assert (again.said["repeated"], again.said["amount"]) == (True, "0.00")
    assert (await world.owed(1)).tolist() == [900, 900]
    unknown = await served.finance.post("/v1/plans/xianghubao/levies", {"name": "sun tax"})
    assert (unknown.status, "its levies are entry-premium" in unknown.said["detail"]) == (409, True)
    keyless = await served.finance.send("POST", "/v1/plans/xianghubao/levies", json=asked)
    assert keyless.status == 400
