"""Chromium before every page, signed in as whoever works there, and what it sees in WebP."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, Page, ViewportSize, async_playwright

from engine.api.answering import SESSION
from engine.errors import InvalidInput
from tests.acceptance.browser.conftest import FLAGS
from tests.pages import address_of
from tests.screenshots.office import Office
from tests.screenshots.pictures import FOLDER, Picture, pictures
from tests.screenshots.shown import Shown

WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
TALL = 1_240
"""Of a longer page so many pixels from its top are kept."""

QUALITY = 55
PATIENCE_MS = 20_000

WHO = {
    "": "chen.ying",
    "/runs": "zhao.min",
    "/runs/new": "li.wei",
    "/runs/{run_id}/settlement": "wang.fang",
    "/claims": "li.wei",
    "/finance": "wang.fang",
    "/finance/decisions": "zhao.min",
    "/ops": "zhou.tao",
    "/ops/schedules": "li.wei",
    "/ops/tokens": "chen.ying",
    "/public": None,
    "/share": None,
}
"""Who looks at what begins so; None: somebody who has not signed in."""

SETTLED = """async () => {
    await document.fonts.ready;
    for (const each of document.querySelectorAll('img')) await each.decode().catch(() => {});
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return Math.ceil(document.documentElement.scrollHeight);
}"""


def chromium() -> str:
    """Where Chromium is. Raises InvalidInput."""
    found = shutil.which("chromium")
    if found is None:
        raise InvalidInput("no `chromium` on the path; on Debian: apt-get install chromium fonts-noto-cjk")
    return found


class Camera:
    """Takes pictures of an office's console. Each person, language and size has a browser context of its own."""

    def __init__(self, browser: Browser, office: Office, world: Shown) -> None:
        self._browser, self._office, self._world = browser, office, world
        self._pages: dict[tuple[str | None, str, bool], Page] = {}

    async def take(self, picture: Picture) -> bytes:
        """A picture, in WebP. Raises InvalidInput for a page that does not answer as it should."""
        page = await self._page_for(picture)
        await page.emulate_media(color_scheme="dark" if picture.scheme == "dark" else "light", reduced_motion="reduce")
        address = address_of(picture.path, **self._world.of(picture))
        answer = await page.goto(address, wait_until="load")
        if answer is None or answer.status != 200:
            raise InvalidInput(f"{address}: {answer and answer.status}")
        if picture.also == "verified":
            await page.get_by_role("button", name="Verify").first.click()
            await page.locator(".verified, .notice.good").first.wait_for()
        size = NARROW if picture.is_narrow else WIDE
        await page.set_viewport_size(size)
        height = min(int(await page.evaluate(SETTLED)), TALL)
        # What sticks to the end of the window is then at the end of the picture.
        await page.set_viewport_size({**size, "height": max(height, size["height"])})
        await page.evaluate(SETTLED)
        session = await page.context.new_cdp_session(page)
        taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        await session.detach()
        return base64.b64decode(taken["data"])

    async def _page_for(self, picture: Picture) -> Page:
        who = WHO[max((begins for begins in WHO if picture.path.startswith(begins)), key=len)]
        key = who, picture.language, picture.is_narrow
        if key not in self._pages:
            self._pages[key] = await self._enter(*key)
        return self._pages[key]

    async def _enter(self, who: str | None, language: str, is_narrow: bool) -> Page:
        context = await self._browser.new_context(
            base_url=self._office.served.url,
            viewport=NARROW if is_narrow else WIDE,
            locale="zh-CN" if language == "zh" else "en-GB",
            timezone_id="Asia/Shanghai",
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        if who is None:
            await self._open_link(context)
        else:
            session = {"name": SESSION, "value": self._office.sessions[who], "url": self._office.served.url}
            await context.add_cookies([session])  # type: ignore[list-item]  # a TypedDict
        return await context.new_page()

    async def _open_link(self, context: BrowserContext) -> None:
        page = await context.new_page()
        await page.goto(await self._office.link(self._world.plan, self._world.member_ref))
        await page.locator("main form button").first.click()
        await page.wait_for_url("**/share/mine")
        await page.close()


@asynccontextmanager
async def camera(office: Office, world: Shown) -> AsyncIterator[Camera]:
    """A camera for the length of a block."""
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), "--font-render-hinting=none"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield Camera(browser, office, world)
        await browser.close()


async def take_all(office: Office, world: Shown) -> list[Path]:
    """Every picture into its file, and no file left that is none of them; those that are new or changed.

    Raises InvalidInput that names every page that could not be taken.
    """
    FOLDER.mkdir(exist_ok=True)
    changed, wrong, wanted = [], list[str](), list(pictures())
    async with camera(office, world) as lens:
        for picture in wanted:
            try:
                file, taken = FOLDER / picture.file, await lens.take(picture)
            except (InvalidInput, KeyError, Error) as error:
                wrong.append(f"{picture.file}: {error}")
                continue
            if not file.exists() or file.read_bytes() != taken:
                file.write_bytes(taken)
                changed.append(file)
    for file in set(FOLDER.glob("*.webp")) - {FOLDER / each.file for each in wanted}:
        file.unlink()
    if wrong:
        raise InvalidInput("\n".join(wrong))
    return changed
