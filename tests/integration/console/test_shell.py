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


async def test_what_a_form_answered_leads_to_no_page_that_is_not_there(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.admin)
    leaf = await browser.open("/ops/tokens")
    switches = "//a[starts-with(@href, '/language') or starts-with(@href, '/theme')]"
    assert leaf.page.xpath(switches)
    leaf = await browser.press("/v1/tokens", name="robot")
    assert "shown this once" in leaf.text
    assert not leaf.page.xpath(switches)
    assert "/do/" not in leaf.source


async def test_what_was_done_is_told_on_the_next_page_not_to_a_part_of_one(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    await browser.open("/ops")
    path = browser.url + "/do/v1/queues/send/pause"
    form = next(form for form in browser.leaf.page.forms if path.endswith(form.get("action")))  # type: ignore[union-attr]  # opened
    await browser.session.post(path, data=dict(form.form_values()) | {"reason": "x"}, allow_redirects=False)
    assert "Done:" not in (await browser.open("/ops", **{"HX-Request": "true"})).text
    assert "Done:" in (await browser.open("/ops")).text
    assert "Done:" not in (await browser.open("/ops")).text


async def test_nothing_leads_to_another_site(browser: Browser) -> None:
    for back in ("//evil.example", "https://evil.example", "/\\evil.example"):
        assert (await browser.open(f"/theme?to=dark&back={back}")).url in ("/", "/public", "/sign-in?back=/")


@pytest.mark.parametrize("path", ["/sign-in", "/public", "/", "/ops/audit", "/runs/404", "/do/v1/runs"])
async def test_pages_are_strict(served: Served, browser: Browser, path: str) -> None:
    await browser.sign_in(served.viewer)
    headers = (await browser.open(path)).headers
    policy = headers["Content-Security-Policy"]
    for said in ("default-src 'none'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'"):
        assert said in policy
    assert "unsafe" not in policy
    # Who goes back after signing out is shown nothing.
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


async def test_the_session_cookie_is_kept_from_scripts_and_other_sites(served: Served, browser: Browser) -> None:
    answer = await browser.session.post(
        browser.url + "/sign-in", data={"token": served.viewer.token}, allow_redirects=False
    )
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 303
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    behind = {"X-Forwarded-Proto": "https"}
    answer = await browser.session.post(
        browser.url + "/sign-in", data={"token": served.viewer.token}, headers=behind, allow_redirects=False
    )
    assert "Secure" in answer.headers["Set-Cookie"]


async def test_an_address_that_is_nowhere_is_a_page_that_says_so(browser: Browser) -> None:
    leaf = await browser.open("/nowhere")
    assert (leaf.status, leaf.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert (await browser.open("/v1/nowhere")).headers["Content-Type"].startswith("application/problem+json")
