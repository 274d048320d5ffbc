"""A token of few scopes sees on pages what it reads of the API, and is led nowhere else."""

from __future__ import annotations

import pytest

from engine.access.roles import Role
from engine.console.navigation import AREAS, READS
from tests.integration.api.test_custodians import world_of
from tests.integration.console.browsing import Browser, browsing
from tests.serving import Served

pytestmark = pytest.mark.integration

SHOWS = {
    "/ops/audit": "/v1/audit",
    "/ops/tokens": "/v1/tokens",
    "/finance/breaks": "/v1/breaks",
    "/runs/1": "/v1/runs/1",
    "/claims/1": "/v1/claims/1",
    "/finance/members/xianghubao/1": "/v1/plans/xianghubao/members/1",
    "/finance/members/xianghubao/1/proofs/1": "/v1/plans/xianghubao/members/1/proofs/1",
    "/finance/journals/xianghubao": "/v1/plans/xianghubao/journals",
}
"""Pages, and what of the API they show."""


def leads_to(browser: Browser) -> set[str]:
    """Where the navigation of the page leads."""
    assert browser.leaf is not None
    return set(browser.leaf.page.xpath("//nav//a/@href"))


async def test_a_page_shows_no_more_than_the_api_does(served: Served, browser: Browser) -> None:
    await world_of(served)
    narrow = await served.caller("narrow", Role.ADMIN, ["queues:read"])
    await browser.sign_in(narrow)
    assert (await browser.open("/ops")).status == 200
    for page, read in SHOWS.items():
        assert (await served.admin.get(read)).status == 200, read
        assert (await narrow.get(read)).status == 403, read
        leaf = await browser.open(page)
        assert (leaf.status, "scopes lack" in leaf.text) == (403, True), page
    looked_up = await browser.send("/finance/members", {"plan": "xianghubao", "member_ref": "M1"})
    assert (looked_up.status, "/members/" in looked_up.url) == (403, False)


@pytest.mark.parametrize("path", READS)
async def test_a_page_asks_for_just_the_scopes_of_what_it_shows(served: Served, path: str) -> None:
    await world_of(served)
    scopes = {f"{resource}:read" for resource in READS[path]}
    async with browsing(served) as browser:
        await browser.sign_in(await served.caller("narrow", Role.ADMIN, sorted(scopes)))
        assert (await browser.open(path)).status == 200
        assert path in leads_to(browser)
    for scope in scopes:
        others = sorted({f"{resource}:read" for reads in READS.values() for resource in reads} - {scope})
        async with browsing(served) as browser:
            await browser.sign_in(await served.caller("narrow", Role.ADMIN, others))
            assert (await browser.open(path)).status == 403, scope
            assert path not in leads_to(browser), scope


async def test_public_pages_are_everybodys_whoever_looks(served: Served, browser: Browser) -> None:
    await world_of(served)
    await browser.sign_in(await served.caller("narrow", Role.OPS, ["queues:read"]))
    for path in ("/public", "/public/xianghubao", "/public/runs/1", "/share"):
        assert (await browser.open(path)).status == 200, path


async def test_who_may_all_of_a_role_is_led_to_every_area(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    await browser.open("/ops")
    assert leads_to(browser) >= {*AREAS, "/ops/workers", "/ops/schedules", "/ops/audit"}
    assert leads_to(browser).isdisjoint({"/ops/tokens", "/ops/webhooks"})
