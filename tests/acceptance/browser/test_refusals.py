"""What a refusal looks like: beside its field, in a form that stays open, whatever became of the session meanwhile."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import axe
from tests.serving import Served

pytestmark = pytest.mark.acceptance


async def asked_why(page: Page, why: str) -> None:
    """The form that pauses every queue, open and filled in."""
    await page.goto("/ops")
    await page.get_by_role("button", name="Pause all…").click()
    await page.locator(":popover-open textarea").fill(why)


async def test_a_wrong_field_is_told_beside_it(signed_in: OpenPage, served: Served) -> None:
    page = await signed_in(served.ops)
    await asked_why(page, "not\x01typed")
    await page.locator(":popover-open button[type=submit]").click()
    reason = page.locator(":popover-open textarea")
    await expect(reason).to_have_attribute("aria-invalid", "true")
    await expect(reason).to_have_accessible_description("One line of text.")
    await expect(reason).to_be_focused()
    await expect(page.locator(":popover-open .refusal")).to_have_text(re.compile("^Some fields are missing[^:]*$"))
    await axe(page, ":popover-open")
    await reason.fill("the custodian is closed\nuntil Monday")
    await page.locator(":popover-open button[type=submit]").click()
    await expect(page.locator(".banner")).to_contain_text("the custodian is closed until Monday")


async def test_what_was_typed_outlives_the_session(signed_in: OpenPage, served: Served) -> None:
    page = await signed_in(served.ops)
    await asked_why(page, "half an hour of words")
    await page.context.clear_cookies()
    # The page asks for its news, and stays while somebody writes on it.
    async with page.expect_response(lambda response: response.headers.get("hx-redirect") == "/sign-in?back=/ops"):
        pass
    press, refusal = page.locator(":popover-open button[type=submit]"), page.locator(":popover-open .refusal")
    await press.click()
    await expect(refusal).to_contain_text("Your session has ended.")
    async with page.expect_popup() as opened:
        await refusal.get_by_role("link", name="Sign in").click()
    other = await opened.value
    await other.locator("input[name=token]").fill(served.ops.token)
    await other.locator("form:has(input[name=token]) button[type=submit]").click()
    await other.wait_for_url("**/")
    await press.click()
    await expect(refusal).to_contain_text("You have signed in anew")
    await press.click()
    await expect(page.locator(".banner")).to_contain_text("half an hour of words")


async def test_whose_session_ended_is_shown_the_way_in(signed_in: OpenPage, served: Served) -> None:
    page = await signed_in(served.ops)
    await page.goto("/ops/queues/post?limit=5")
    await page.context.clear_cookies()
    await page.wait_for_url(re.compile(r"/sign-in\?back=/ops/queues/post%3Flimit%3D5$"))
