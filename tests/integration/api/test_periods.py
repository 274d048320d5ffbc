"""Periods over HTTP: what sealed runs collected and paid, for all to see."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.test_credit_runs import classes, cover, planned
from tests.integration.worlds import LATE_DEBIT, LATE_JULY, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_periods_say_what_was_posted(served: Served, engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(4), alike(3))
    await world.claim(aid_minor=50)
    await world.sealed()
    await world.claim(notice_on=LATE_JULY)
    await world.claim(notice_on=LATE_JULY)
    second = await world.sealed(LATE_DEBIT)
    await world.claim(notice_on=LATE_JULY)
    said = (await served.viewer.get("/v1/periods?plan=xianghubao")).said["items"]
    assert [period["run_id"] for period in said] == [2, 1]
    for period in said:
        totals = (await served.viewer.get(f"/v1/runs/{period['run_id']}/outcome")).said["totals"]
        assert {name: period[name] for name in totals if name in period} == {
            name: totals[name] for name in totals if name in period
        }
        assert period["money_in"] == period["money_out"]
    first = (await served.viewer.get("/v1/periods/1")).said
    assert first == said[1]
    names = ("plan", "name", "kind", "unit", "debit_on", "members", "sharers", "cases", "share", "aid", "charged")
    assert [first[name] for name in names] == [
        "xianghubao", "相互宝", "share", "CNY", "2019-07-14", 7, 7, 1, "0.08", "0.50", "0.56",
    ]  # fmt: skip
    assert second.root is not None
    assert (said[0]["root"], said[0]["previous_root"]) == (second.root.hex(), first["root"])
    part = (await served.viewer.get("/v1/periods?limit=1")).said
    assert (await served.viewer.get(part["next"])).said["items"] == [first]
    totals = (await served.viewer.get("/v1/periods/totals")).said["plans"]
    assert totals == [
        {"plan": "xianghubao", "name": "相互宝", "currency": "CNY", "runs": 2, "cases": 3, "aid": "600000.50"}
    ]


async def test_cases_have_numbers_and_no_seats(served: Served, engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(share={"over_cap": "reduce_aid"}), alike(4))
    await world.claim(aid_minor=50)
    await world.claim(aid_minor=30)
    await world.sealed()
    first = (await served.viewer.get("/v1/periods/1/cases?limit=1")).said
    assert [set(case) for case in first["items"]] == [{"number", "claim_number", "gate_on", "aid", "aid_paid", "fee"}]
    (case,) = (await served.viewer.get(first["next"])).said["items"]
    assert (case["claim_number"], case["gate_on"], case["aid"], case["aid_paid"]) == (2, "2019-07-07", "0.30", "0.30")


async def test_what_is_not_sealed_is_nowhere(served: Served, engine: AsyncEngine) -> None:
    world = await build(engine, rules_of_preset(), alike(4))
    await world.claim()
    run = await world.previewed()
    for path in ("/v1/periods/1", "/v1/periods/1/cases", "/v1/periods/2"):
        assert (await served.viewer.get(path)).status == 404, path
    run = await world.worked(await world.approved(run))
    assert (await served.viewer.get("/v1/periods/1")).status == 200
    await world.voided(run)
    await world.worked(run)
    assert (await served.viewer.get("/v1/periods/1")).status == 404
    assert (await served.viewer.get("/v1/periods")).said["items"] == []
    assert [plan["runs"] for plan in (await served.viewer.get("/v1/periods/totals")).said["plans"]] == [0]


async def test_a_surplus_is_a_period_too(served: Served, engine: AsyncEngine) -> None:
    world = await build(engine, cover(), classes(0, 1))
    run = await world.worked(await planned(world, 100_00, 60_00, 10_00))
    await world.worked(await world.approved(run))
    (period,) = (await served.viewer.get("/v1/periods")).said["items"]
    assert (period["kind"], period["unit"], period["cases"]) == ("credit", "cover", 1)
    assert period["money_in"] == period["money_out"]
    ((case,), _) = (await served.viewer.get("/v1/periods/1/cases")).said.values()
    assert case["claim_number"] is None
    (totals,) = (await served.viewer.get("/v1/periods/totals")).said["plans"]
    assert (totals["cases"], totals["aid"]) == (0, "0.00"), "what is given back is no aid"
