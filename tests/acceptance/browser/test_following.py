"""The page of a run follows it: what workers do is seen without a hand on it, and a form stays under one's hands."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Request, expect
from sqlalchemy import text

from tests.acceptance.browser.conftest import PATIENCE_MS, OpenPage
from tests.acceptance.browser.watched import axe
from tests.integration.worlds import World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.acceptance


@pytest.fixture
async def world(served: Served) -> World:
    """Four shards and a claim that waits for its run."""
    world = await build(served.service.engine, rules_of_preset(), *[alike(50)] * 4)
    await world.claim()
    return world


async def test_shards_are_done_and_the_run_is_sealed_before_ones_eyes(
    signed_in: OpenPage, served: Served, world: World
) -> None:
    run = await world.posting(2)
    page = await signed_in(served.ops)
    await page.goto("/runs/1")
    await expect(page.locator("#headway")).to_contain_text("50 / 200")
    await axe(page)
    await world.set_shards(run, "done", [3])
    await expect(page.locator("#headway")).to_contain_text("100 / 200")
    await expect(page.locator("#live rect.state-done")).to_have_count(2)
    await world.set_shards(run, "pending", [3])
    await world.worked(run)
    await expect(page.locator("h1")).to_contain_text("sealed")
    await expect(page.locator("#equality")).to_contain_text("equal, read again from the journals")
    await axe(page)


async def test_a_form_that_is_open_stays_until_it_is_closed(signed_in: OpenPage, served: Served, world: World) -> None:
    run = await world.posting(2)
    page = await signed_in(served.scheduler)
    await page.goto("/runs/1")
    await page.get_by_role("button", name="Void…").click()
    await page.locator("textarea[name=reason]").fill("the wrong day")
    ended = asyncio.Event()

    def hung_up(request: Request) -> None:
        if "/events" in request.url:
            ended.set()

    # Whoever hangs up first, the page or the server, says which of the two it is.
    page.on("requestfinished", hung_up)
    page.on("requestfailed", hung_up)
    await world.worked(run)
    await asyncio.wait_for(ended.wait(), PATIENCE_MS / 1000)
    await expect(page.locator("textarea[name=reason]")).to_have_value("the wrong day")
    await page.keyboard.press("Escape")
    await expect(page.locator("h1")).to_contain_text("sealed")


async def test_a_fault_leaves_what_is_shown_and_what_comes_after_it_is_followed_again(
    signed_in: OpenPage, served: Served
) -> None:
    page = await signed_in(served.ops)
    await page.goto("/ops")
    queues = await page.locator("#live tbody tr").count()
    async with served.service.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE jobs RENAME TO jobs_away"))
    await expect(page.locator("#stale")).to_contain_text("could not be brought up to date", timeout=PATIENCE_MS)
    await expect(page.locator("#live tbody tr")).to_have_count(queues)
    await axe(page)
    async with served.service.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE jobs_away RENAME TO jobs"))
    await expect(page.locator("#stale")).to_be_empty(timeout=PATIENCE_MS)
    await expect(page.locator("#live tbody tr")).to_have_count(queues)


async def test_what_is_decided_stays_readable_without_script(signed_in: OpenPage, served: Served, world: World) -> None:
    await world.previewed()
    page = await signed_in(served.approver, java_script_enabled=False)
    await page.goto("/runs/1")
    await expect(page.locator("#equality")).to_contain_text("equal, as previewed")
    await page.get_by_role("button", name="Approve…").click()
    await page.locator("form[action$=approve] textarea[name=reason]").fill("the aid is that of the notice")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.locator("h1")).to_contain_text("approved")
