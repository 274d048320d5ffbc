"""Two sides of a break are put together by keyboard alone, and by a browser without script."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from engine.custodian.breaks import Code
from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import axe
from tests.integration.broken import sent
from tests.integration.worlds import alike
from tests.serving import Served

pytestmark = pytest.mark.acceptance

CHARGE = "/finance/breaks/3"


@pytest.fixture(autouse=True)
async def broken(served: Served, tmp_path: Path) -> None:
    """Two duplicates of 1.00, and a charge of 1.00 that either of them might explain."""
    found = await sent(served.service.engine, tmp_path, alike(8))
    async with found.world.engine.begin() as connection:
        await found.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2], 1_00)
        await found.breaks(connection, Code.FEE_UNEXPECTED, [None], -1_00)


async def tabbed_to(page: Page, selector: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(30):
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by keyboard")


async def test_the_difference_is_live_and_the_proposal_is_made_by_keyboard(signed_in: OpenPage, served: Served) -> None:
    page = await signed_in(served.finance)
    await page.goto(CHARGE)
    left, dialog = page.locator("output[name=left]"), page.get_by_role("dialog", name="Propose what is done")
    await expect(left).to_have_text("1.00 less came than the chosen ask for.")
    await tabbed_to(page, "#also-1")
    await page.keyboard.press("Space")
    await expect(left).to_have_text("Nothing is left: the two sides are the same.")
    await expect(page.locator("#also-1")).to_be_focused()
    await expect(page.locator("#proposal form[action$='selection/propose']")).to_have_count(1)
    await tabbed_to(page, "#proposal button[popovertarget]")
    await page.keyboard.press("Enter")
    await expect(dialog).to_be_focused()
    await axe(page)
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(page.locator("#proposal button[popovertarget]").first).to_be_focused()
    await page.keyboard.press("Enter")
    await tabbed_to(page, "#proposal [name=reason]")
    await page.keyboard.type("the charge was given back twice")
    await tabbed_to(page, "#proposal button[type=submit]")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/finance/decisions/1")
    await expect(page.get_by_role("main")).to_contain_text("the charge was given back twice")


async def test_without_script_it_is_put_together_all_the_same(signed_in: OpenPage, served: Served) -> None:
    page = await signed_in(served.finance, java_script_enabled=False)
    await page.goto(CHARGE)
    await page.locator("#also-1").check()
    await page.get_by_role("button", name="Show the difference").click()
    await expect(page.locator("output[name=left]")).to_have_text("Nothing is left: the two sides are the same.")
    await page.get_by_role("button", name="Propose what is done").click()
    await page.locator("#proposal [name=reason]").fill("the charge was given back twice")
    await page.locator("#proposal button[type=submit]").click()
    await page.wait_for_url("**/finance/decisions/1")
