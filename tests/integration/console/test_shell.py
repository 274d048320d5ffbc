"""What every page has: who may see it, the language, strict headers, and forms that no other site can send."""

from __future__ import annotations

import pytest
from yarl import URL

from tests.integration.console.browsing import Browser
from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_who_has_not_signed_in_is_asked_to_and_comes_back(served: Served, browser: Browser) -> None:
    leaf = await browser.open("/runs?state=sealed")
    assert (URL(leaf.url).path, dict(URL(leaf.url).query)) == ("/sign-in", {"back": "/runs?state=sealed"})
    leaf = await browser.press("/sign-in", nth=1, token=served.viewer.token)
    assert (leaf.status, leaf.url) == (200, "/runs?state=sealed")


async def test_a_wrong_token_opens_nothing(served: Served, browser: Browser) -> None:
    leaf = await browser.send("/sign-in", {"token": served.viewer.token[:-1] + "x"})
    assert leaf.status == 401
    assert (await browser.open("/runs")).url.startswith("/sign-in")


async def test_the_session_reads_the_api_and_writes_nothing(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    assert (await browser.open("/v1/queues")).status == 200
    answer = await browser.send("/v1/queues/post/pause", {"reason": "x"})
    assert answer.status == 401


async def test_a_form_of_another_site_does_nothing(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    fields = {"reason": "custodian closed"}
    assert (await browser.send("/do/v1/queues/post/pause", fields)).status == 403
    evil = {"Origin": "http://evil.example"}
    leaf = await browser.send("/sign-in", {"token": served.ops.token}, **evil)
    assert leaf.status == 403
    assert (await served.ops.get("/v1/queues/post/pause")).said["is_paused"] is False


async def test_the_language_is_what_the_browser_asks_for_until_another_is_chosen(browser: Browser) -> None:
    leaf = await browser.open("/sign-in", **{"Accept-Language": "fr, zh-CN;q=0.8, en;q=0.5"})
    assert leaf.page.get("lang") == "zh-CN"
    leaf = await browser.open("/language?to=en&back=/sign-in", **{"Accept-Language": "zh"})
    assert leaf.url == "/sign-in"
    assert (await browser.open("/sign-in", **{"Accept-Language": "zh"})).page.get("lang") == "en"


async def test_nothing_leads_to_another_site(browser: Browser) -> None:
    for back in ("//evil.example", "https://evil.example", "/\\evil.example"):
        assert (await browser.open(f"/theme?to=dark&back={back}")).url in ("/", "/public", "/sign-in?back=/")


async def test_pages_are_strict(browser: Browser) -> None:
    headers = (await browser.open("/sign-in")).headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


async def test_the_session_cookie_is_kept_from_scripts_and_other_sites(served: Served, browser: Browser) -> None:
    answer = await browser.session.post(
        browser.url + "/sign-in", data={"token": served.viewer.token}, allow_redirects=False
    )
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 303
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


async def test_an_address_that_is_nowhere_is_a_page_that_says_so(browser: Browser) -> None:
    leaf = await browser.open("/nowhere")
    assert (leaf.status, leaf.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert (await browser.open("/v1/nowhere")).headers["Content-Type"].startswith("application/problem+json")
