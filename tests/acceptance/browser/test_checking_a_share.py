"""A member has their own browser verify a share; what was tampered with on the way is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from engine.store.outbox import Event
from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import Complaints, axe
from tests.integration.prepaid import known
from tests.integration.worlds import LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.acceptance


@pytest.fixture
async def world(served: Served) -> World:
    """Two sealed periods of 300 members who are known, and a platform that is told of links."""
    world = await known(await build(served.service.engine, rules_of_preset(), alike(300)))
    await world.claim()
    await world.sealed()
    await world.claim(aid_minor=3_00, notice_on=LATE_JULY)
    await world.sealed(LATE_DEBIT)
    hook = {"url": "http://127.0.0.1:9/hook", "events": [Event.SHARE_REQUESTED]}
    assert (await served.admin.post("/v1/webhooks", hook)).status == 201
    return world


async def opened(page: Page, world: World, member_ref: str = "M200") -> None:
    """Ask for a link, get it from the platform, and open it."""
    await page.goto("/share")
    await page.get_by_label("member reference").fill(member_ref)
    await page.get_by_role("button", name="Send me a link").click()
    await expect(page.get_by_role("heading", name="A link is on its way")).to_be_visible()
    await page.goto(await world.value("SELECT detail ->> 'path' FROM outbox WHERE detail ? 'path'"))
    await page.get_by_role("button", name="Show my shares").click()
    await page.wait_for_url("**/share/mine")


async def test_each_step_is_computed_and_shown(page: Page, world: World) -> None:
    await opened(page, world)
    await axe(page)
    latest, first = await world.run(2), await world.run(1)
    for run in (latest, first):
        assert run.root is not None
        share = page.locator(f"#run-{run.run_id}")
        await share.get_by_role("button", name="Verify").click()
        await expect(share.locator(".notice.good")).to_have_text("Verified: your share stands under the public seal.")
        steps = share.locator(".steps li")
        await expect(steps).to_have_count(6)
        await expect(steps.nth(0)).to_contain_text("128 amounts of neighbours")
        await expect(steps.nth(4).locator("code")).to_have_text(run.root.hex())
    await axe(page)
    await page.goto("/public/runs/2")
    assert latest.root is not None
    await expect(page.locator("[data-root] .digest").first).to_have_text(latest.root.hex())


def raised(proof: dict[str, Any]) -> None:
    """One's own amount is another."""
    proof["amount"] = proof["leaf"]["amounts"][200 - 128] = "0.03"


def swapped(proof: dict[str, Any]) -> None:
    """A neighbour's amount is another."""
    proof["leaf"]["amounts"][0] = "0.03"


def resealed(proof: dict[str, Any]) -> None:
    """All fits, but for the seal of another period that it follows."""
    proof["previous_root"] = "0" * 64


def moved(proof: dict[str, Any]) -> None:
    """It is a neighbour's."""
    proof["seat"] += 1


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (raised, "The proof says 0.03"),
        (swapped, "do not lead to the seal that the proof names"),
        (resealed, "do not lead to the seal that the proof names"),
        (moved, "does not hold your amount and tag at your place"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_what_was_changed_is_found_out(
    page: Page, world: World, tamper: Callable[[dict[str, Any]], None], says: str
) -> None:
    async def changed(route: Route) -> None:
        answer = await route.fetch()
        proof = json.loads(await answer.text())
        tamper(proof)
        await route.fulfill(response=answer, body=json.dumps(proof))

    await opened(page, world)
    await page.route("**/share/mine/proofs/2", changed)
    share = page.locator("#run-2")
    await share.get_by_role("button", name="Verify").click()
    await expect(share.locator(".notice.bad")).to_contain_text(says)
    await expect(share.locator(".notice.good")).to_have_count(0)


async def test_another_seal_on_the_public_page_is_found_out(page: Page, world: World) -> None:
    async def changed(route: Route) -> None:
        answer = await route.fetch()
        run = await world.run(2)
        assert run.root is not None
        await route.fulfill(response=answer, body=(await answer.text()).replace(run.root.hex(), "0" * 64))

    await opened(page, world)
    await page.route("**/public/runs/2", changed)
    await page.locator("#run-2").get_by_role("button", name="Verify").click()
    await expect(page.locator("#run-2 .notice.bad")).to_contain_text("shows another seal")


async def test_once_the_view_is_over_it_says_so(page: Page, world: World, complaints: Complaints) -> None:
    await opened(page, world)
    await world.sql("UPDATE share_links SET used_at = used_at - interval '16 minutes'")
    await page.locator("#run-2").get_by_role("button", name="Verify").click()
    await expect(page.locator("#run-2 .notice.bad")).to_contain_text("ask for a new link")
    complaints.expect("status of 410")


async def test_without_script_the_proof_is_there_to_keep(open_page: OpenPage, world: World) -> None:
    page = await open_page(java_script_enabled=False)
    await opened(page, world)
    await expect(page.get_by_role("button", name="Verify")).to_have_count(0)
    async with page.expect_download() as download:
        await page.locator("#run-2").get_by_role("link", name="Download the proof").click()
    assert (await download.value).suggested_filename == "share-xianghubao-2.json"


async def test_finance_has_a_proof_checked_as_members_do(signed_in: OpenPage, served: Served, world: World) -> None:
    page = await signed_in(served.finance)
    await page.goto("/finance/members/xianghubao/200/proofs/2")
    await page.get_by_role("button", name="Verify in this browser").click()
    await expect(page.locator(".notice.good")).to_contain_text("the share of this seat stands under the public seal")
    await expect(page.locator(".steps li")).to_have_count(6)
    await axe(page)
    await page.route("**/proofs/2", _with_another_amount)
    await page.get_by_role("button", name="Verify in this browser").click()
    await expect(page.locator(".notice.bad")).to_contain_text("The proof says 0.03")


async def _with_another_amount(route: Route) -> None:
    answer = await route.fetch()
    proof = json.loads(await answer.text())
    raised(proof)
    await route.fulfill(response=answer, body=json.dumps(proof))
