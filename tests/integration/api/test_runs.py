"""Runs over HTTP."""

from __future__ import annotations

import pytest

from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_a_run_that_is_not_there(served: Served) -> None:
    answer = await served.viewer.get("/v1/runs/7")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert answer.said["detail"].startswith("there is no run 7")


async def test_no_runs(served: Served) -> None:
    answer = await served.viewer.get("/v1/runs?limit=1")
    assert (answer.status, answer.said) == (200, {"items": [], "next": None})
    assert (await served.viewer.get("/v1/runs?limit=0")).status == 422
    assert (await served.viewer.get("/v1/runs?nothing=0")).status == 422


async def test_who_may_plan(served: Served) -> None:
    new = {"plan": "quark", "debit_on": "2019-07-14"}
    assert (await served.viewer.post("/v1/runs", new)).status == 403
    assert (await served.scheduler.post("/v1/runs", new)).status == 404
