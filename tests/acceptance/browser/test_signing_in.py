"""How somebody comes in and goes out, in both languages and colour schemes, wide and narrow, and without script."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import Complaints, axe
from tests.serving import Served

pytestmark = pytest.mark.acceptance

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 740}


@pytest.mark.parametrize(
    ("locale", "scheme", "viewport"),
    [("en-GB", "light", WIDE), ("zh-CN", "dark", NARROW), ("zh-CN", "light", WIDE), ("en-GB", "dark", NARROW)],
)
async def test_the_form_shuts_nobody_out(
    open_page: OpenPage, locale: str, scheme: str, viewport: dict[str, int]
) -> None:
    page = await open_page(locale=locale, color_scheme=scheme, viewport=viewport)
    await page.goto("/sign-in")
    await expect(page.locator("html")).to_have_attribute("lang", re.compile(f"^{locale[:2]}"))
    await axe(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def test_script_and_style_come_from_the_build(open_page: OpenPage, served: Served) -> None:
    page = await open_page()
    loaded: list[str] = []
    page.on("response", lambda response: loaded.append(f"{response.status} {response.url.removeprefix(served.url)}"))
    await page.goto("/sign-in")
    patterns = [r"200 /static/main-[\w-]{8}\.js", r"200 /static/main-[\w-]{8}\.css"]
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, each) for each in loaded)] == []


@pytest.mark.parametrize("scripted", [True, False])
async def test_in_and_out(open_page: OpenPage, signed_in: OpenPage, served: Served, scripted: bool) -> None:
    page = await signed_in(served.finance, java_script_enabled=scripted)
    (cookie,) = [each for each in await page.context.cookies() if each["name"] == "fentan_session"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    await expect(page.locator("header").first).to_contain_text("finance")
    await page.locator(".account summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    assert "fentan_session" not in {each["name"] for each in await page.context.cookies()}
    # Who is signed in is not shown the form: a cookie that somebody kept opens nothing.
    await page.context.add_cookies([{"name": "fentan_session", "value": cookie["value"], "url": served.url}])
    await page.goto("/sign-in")
    await expect(page.locator("input[name=token]")).to_be_visible()


async def test_a_wrong_token_is_told_in_words(open_page: OpenPage, complaints: Complaints) -> None:
    page = await open_page()
    await page.goto("/sign-in")
    await page.locator("input[name=token]").fill("fentan_1_nobody")
    await page.locator("form:has(input[name=token]) button[type=submit]").click()
    await expect(page.get_by_text("That is not right, or no longer valid.")).to_be_visible()
    await axe(page)
    complaints.expect("status of 401")
