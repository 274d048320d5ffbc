"""Debian's Chromium on an application of the test's own.

Where no Chromium is found these tests are skipped; BROWSER_REQUIRED=1 says that it must be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from engine.store.embedded import Embedded
from tests.acceptance.browser.watched import Complaints
from tests.serving import Caller, Served, serving, settings_in

HATCH_BUILD = Path(__file__).parents[3] / "engine" / "console" / "web" / "hatch_build.py"

PATIENCE_MS = 15_000

FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # Not even a name is looked up: what a page asks of another host fails, and is complained of.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("BROWSER_REQUIRED") == "1":
        pytest.fail("BROWSER_REQUIRED=1, but there is no `chromium` on the path")
    if found is None:
        pytest.skip("no `chromium` on the path (on Debian: apt-get install chromium fonts-noto-cjk)")
    return found


@pytest.fixture(scope="session")
def assets(chromium: str) -> None:
    """The script and style of the sources as they are; whoever asks first builds them, and the others wait."""
    done = subprocess.run([sys.executable, HATCH_BUILD], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{done.stdout[-4000:]}{done.stderr[-4000:]}", pytrace=False)


@pytest.fixture(scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        await browser.close()


@pytest.fixture
async def served(assets: None, database_url: str, embedded: Embedded, tmp_path: Path) -> AsyncIterator[Served]:
    """The application on the test's database, and callers of every role."""
    async with serving(database_url, embedded.redis_url, settings_in(tmp_path / "data")) as found:
        yield found


@pytest.fixture
def home(served: Served) -> str:
    """The address that pages belong to, as in `page.goto("/runs")`; each other is another host."""
    return served.url


@pytest.fixture
def complaints() -> Complaints:
    """What was wrong so far; `complaints.expect("status of 403")` takes out what is meant to be."""
    return Complaints()


@pytest.fixture
async def open_page(browser: Browser, home: str, complaints: Complaints) -> AsyncIterator[OpenPage]:
    """A page with cookies of its own, one for each person of a story, under watch.

    It takes what Playwright's new_context does: locale="zh-CN", color_scheme="dark", java_script_enabled=False.
    """
    contexts = []

    async def opened(**options: Any) -> Page:
        context = await browser.new_context(base_url=home, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        await complaints.watch(context, home)
        return await context.new_page()

    yield opened
    for context in contexts:
        await context.close()
    assert complaints == []


@pytest.fixture
async def page(open_page: OpenPage) -> Page:
    """A page, for a story with one person."""
    return await open_page()


@pytest.fixture
async def signed_in(open_page: OpenPage, served: Served) -> OpenPage:
    """A page of who typed their token, with the options of open_page: `await signed_in(served.finance)`."""

    async def typed(caller: Caller, **options: Any) -> Page:
        page = await open_page(**options)
        await page.goto("/sign-in")
        await page.locator("input[name=token]").fill(caller.token)
        await page.locator("form:has(input[name=token]) button[type=submit]").click()
        await page.wait_for_url("**/")
        return page

    return typed
