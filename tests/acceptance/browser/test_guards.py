"""Whoever watches the pages is watched here: each guard fires at a page of the test's own that breaks its rule."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from playwright.async_api import Page

from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import Complaints, axe

pytestmark = pytest.mark.acceptance

SOUND = """<!doctype html><html lang="en"><head><title>Sound</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/sound.css">
<script type="module" src="/sound.js"></script></head>
<body><main><h1>Sound</h1><p>What is well.</p></main></body></html>"""

SCRIPTS = {
    "sound": "document.querySelector('p').textContent = 'What is well, with script.'",
    "logs": "console.error('a thing went wrong')",
    "throws": "throw new TypeError('none of that')",
    "asks": "fetch('http://elsewhere.example/counted').catch(() => {})",
    "asks-port": "fetch('http://127.0.0.1:9/counted').catch(() => {})",
    "evaluates": "try { eval('1') } catch {}",
    "misses": "fetch('/gone').then(() => {})",
}
PAGES = {name: SOUND.replace("sound.js", f"{name}.js") for name in SCRIPTS} | {
    "styled": SOUND.replace("<p>", '<p style="color: red">'),
    "unnamed": SOUND.replace("<p>", '<input type="text"><p>'),
    "faint": SOUND.replace("sound.css", "faint.css"),
}
STYLES = {"sound": "p { color: #222 }", "faint": "p { color: #bbb; background: #fff }"}
STRICT = "default-src 'self'; img-src data:"
POLICIES = {"asks": "default-src * data:", "asks-port": "default-src * data:"}


@pytest.fixture(scope="module")
async def home(assets: None) -> AsyncIterator[str]:
    """A site with one page a rule: /logs runs /logs.js."""

    def file(content: str, kind: str, policy: str = STRICT) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=content, content_type=kind, headers={"Content-Security-Policy": policy})

        return answer

    app = web.Application()
    for name, text in PAGES.items():
        app.router.add_get(f"/{name}", file(text, "text/html", POLICIES.get(name, STRICT)))
    for name, text in SCRIPTS.items():
        app.router.add_get(f"/{name}.js", file(text, "text/javascript"))
    for name, text in STYLES.items():
        app.router.add_get(f"/{name}.css", file(text, "text/css"))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_sound_page_has_no_complaint(page: Page) -> None:
    await page.goto("/sound", wait_until="networkidle")
    assert await page.locator("p").text_content() == "What is well, with script."
    await axe(page)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("logs", "console: a thing went wrong"),
        ("throws", "script: TypeError: none of that"),
        ("asks", "another host: http://elsewhere.example/counted"),
        ("asks-port", "another host: http://127.0.0.1:9/counted"),
        ("misses", "console: .*status of 404"),
        ("styled", "policy: style-src-attr: inline"),
        ("evaluates", "policy: script-src: eval"),
    ],
)
async def test_a_guard_fires(page: Page, complaints: Complaints, name: str, complaint: str) -> None:
    await page.goto(f"/{name}", wait_until="networkidle")
    complaints.expect(complaint)
    # What the browser itself says of the same.
    complaints[:] = [each for each in complaints if not each.startswith("console:")]


@pytest.mark.parametrize(
    ("name", "rule"), [("unnamed", r"label \(critical\)"), ("faint", r"color-contrast \(serious\)")]
)
async def test_axe_fires(page: Page, name: str, rule: str) -> None:
    await page.goto(f"/{name}", wait_until="networkidle")
    with pytest.raises(AssertionError, match=rule):
        await axe(page)


async def test_each_person_has_cookies_of_their_own(open_page: OpenPage) -> None:
    one, other = await open_page(), await open_page(locale="zh-CN", java_script_enabled=False)
    await one.goto("/sound")
    await one.context.add_cookies([{"name": "who", "value": "one", "url": one.url}])
    await other.goto("/sound")
    assert await other.context.cookies() == []
    assert await other.locator("p").text_content() == "What is well."
