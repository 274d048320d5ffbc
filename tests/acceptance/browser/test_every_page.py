"""Every page there is, opened by an admin in light and dark: it answers, it complains of nothing, axe finds nothing."""

from __future__ import annotations

import pytest

from engine.console.routes import PAGES
from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import axe
from tests.integration.api.test_custodians import world_of
from tests.integration.api.test_statements import taken
from tests.integration.bank_statement import Line
from tests.serving import Served

pytestmark = pytest.mark.acceptance

NO_PAGES = {
    "/": "what is there once somebody signed in is opened by that",
    "/runs/{run_id}/live": "a part of its run's page, in the story",
    "/share/mine": "of who opened a link, in the story",
    "/share/mine/proofs/{run_id}": "a file",
    "/finance/members/{plan}/{seat}/proofs/{run_id}": "a proof, for the script of another page",
}
QUERIES = {
    "/runs/new": "?plan=xianghubao",
    "/runs/new/estimate": "?plan=xianghubao",
    "/finance/breaks/chosen": "?ids=1",
}
IN_THE_WORLD = {
    **dict.fromkeys(("run_id", "claim_id", "statement_id", "break_id", "decision_id", "webhook_id"), "1"),
    "job_id": "2",
    "line_id": "1-2",
    "custodian": "generic-csv",
    "plan": "xianghubao",
    "seat": "1",
    "shard_id": "1000000",
    "seq": "1",
    "queue": "post",
    "secret": "a-secret-of-nobody-whatever",
}
SHOWN = [page.path for area in PAGES for page in area.all if page.method == "GET" and page.path not in NO_PAGES]


async def furnish(served: Served) -> None:
    """A sealed run with a statement, of whose two breaks one is proposed; an export that waits; a webhook."""
    world = await world_of(served)
    await taken(served, Line(10, world.reference(3)), Line(3_00, "nobody we know"), Line(4_00, "nor this"))
    proposal = {"action": "write off", "reason": "nobody knows it"}
    seen = await served.finance.get("/v1/breaks/2")
    answer = await served.finance.post("/v1/breaks/2/propose", proposal, If_Match=seen.headers["ETag"])
    assert answer.status < 300, answer.said
    assert (await served.finance.post("/v1/runs/1/exports", {"format": "csv"})).status == 202
    hook = {"url": "http://127.0.0.1:9/hook", "events": ["run.sealed"]}
    assert (await served.admin.post("/v1/webhooks", hook)).status == 201


async def test_every_page_shuts_nobody_out(signed_in: OpenPage, served: Served) -> None:
    await furnish(served)
    # Colours that are on their way from one scheme to the other are neither's.
    page = await signed_in(served.admin, reduced_motion="reduce")
    wrong: list[str] = []
    for path in ("/", *SHOWN):
        response = await page.goto(path.format(**IN_THE_WORLD) + QUERIES.get(path, ""))
        assert response is not None
        if response.status != 200:
            wrong.append(f"{path}: {response.status}")
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            try:
                await axe(page)
            except AssertionError as found:
                wrong.append(f"{scheme}: {found}")
    assert wrong == [], "\n".join(wrong)
