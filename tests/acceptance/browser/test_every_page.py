"""Every page there is, opened by an admin: wide and narrow, in both languages and colours, with all that opens on it.

It answers, it complains of nothing, axe finds nothing, nothing runs out of a small screen; and it reads without script.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
from playwright.async_api import Page

from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import OF_LOOKS, axe
from tests.integration.api.test_custodians import world_of
from tests.integration.api.test_statements import taken
from tests.integration.bank_statement import Line
from tests.pages import OPENED, address_of
from tests.serving import Served

pytestmark = pytest.mark.acceptance

IN_THE_WORLD = {
    **dict.fromkeys(("run_id", "claim_id", "statement_id", "break_id", "decision_id", "webhook_id"), "1"),
    "job_id": "2",
    "line_id": "1-2",
    "custodian": "generic-csv",
    "plan": "xianghubao",
    "seat": "1",
    "shard_id": "1000000",
    "seq": "1",
    "queue": "post",
    "secret": "a-secret-of-nobody-whatever",
}
OF_A_LINK = "/share/mine"
"""Of who opened a link, in the story."""

NARROW = {"width": 360, "height": 740}

OVERFLOWS = "document.documentElement.scrollWidth > window.innerWidth"
TOO_WIDE = """[...document.querySelectorAll('main *')]
    .filter(each => each.getBoundingClientRect().right > window.innerWidth && !each.closest('.table-box, .tabs'))
    .map(each => each.outerHTML.slice(0, 200)).slice(0, 3)"""
ASKED = """[...document.querySelectorAll('[popover] form')]
    .map(each => each.getAttribute('action').replace(/[0-9]+/g, 'N'))"""
OPEN = """number => {
    document.querySelector(':popover-open')?.hidePopover();
    const ask = document.querySelectorAll('[popover] form')[number].closest('[popover]');
    ask.showPopover();
    return ask;
}"""
IS_SEEN_WHOLE = """ask => {
    const { left, right, top, bottom } = ask.getBoundingClientRect();
    return left >= 0 && right <= window.innerWidth && top >= 0 && bottom <= window.innerHeight
        && ask.scrollWidth <= ask.clientWidth;
}"""


async def furnish(served: Served) -> None:
    """A sealed run with a statement, of whose two breaks one is proposed; an export that waits; a webhook."""
    world = await world_of(served)
    await taken(served, Line(10, world.reference(3)), Line(3_00, "nobody we know"), Line(4_00, "nor this"))
    proposal = {"action": "write off", "reason": "nobody knows it"}
    seen = await served.finance.get("/v1/breaks/2")
    answer = await served.finance.post("/v1/breaks/2/propose", proposal, If_Match=seen.headers["ETag"])
    assert answer.status < 300, answer.said
    assert (await served.finance.post("/v1/runs/1/exports", {"format": "csv"})).status == 202
    hook = {"url": "http://127.0.0.1:9/hook", "events": ["run.sealed"]}
    assert (await served.admin.post("/v1/webhooks", hook)).status == 201


def places() -> Iterator[tuple[str, str]]:
    """Every page and its address in the world."""
    for path in OPENED:
        if path != OF_A_LINK:
            yield path, address_of(path, **IN_THE_WORLD)


async def test_every_page_shuts_nobody_out(signed_in: OpenPage, served: Served) -> None:
    await furnish(served)
    # Colours that are on their way from one scheme to the other are neither's.
    wide = await signed_in(served.admin, reduced_motion="reduce", color_scheme="light")
    narrow = await signed_in(
        served.admin, reduced_motion="reduce", locale="zh-CN", color_scheme="dark", viewport=NARROW, has_touch=True
    )
    plain = await signed_in(served.admin, java_script_enabled=False)
    found = await asyncio.gather(in_english(wide), in_chinese(narrow), without_script(plain))
    assert list(chain.from_iterable(found)) == []


async def in_english(page: Page) -> list[str]:
    """What is wrong in the light where there is room."""
    wrong: list[str] = []
    for path, address in places():
        response = await page.goto(address)
        if response is None or response.status != 200:
            wrong.append(f"{path}: {response and response.status}")
        wrong += await found_by_axe(page)
    return wrong


async def in_chinese(page: Page) -> list[str]:
    """What is wrong on a small dark screen, and in whatever opens there."""
    wrong: list[str] = []
    opened: set[str] = set()
    for path, address in places():
        await page.goto(address)
        wrong += await found_by_axe(page, rules=OF_LOOKS)
        if await page.evaluate(OVERFLOWS):
            wrong.append(f"{path} is wider than the screen: {await page.evaluate(TOO_WIDE)}")
        for number, asks in enumerate(await page.evaluate(ASKED)):
            if asks in opened:
                continue
            opened.add(asks)
            ask = await page.evaluate_handle(OPEN, number)
            wrong += await found_by_axe(page, part=":popover-open")
            if not await ask.evaluate(IS_SEEN_WHOLE):
                wrong.append(f"{path}: {asks} is not within the screen")
    await page.goto("/")
    await page.locator(".menu > summary").click()
    wrong += await found_by_axe(page, part=".menu")
    assert len(opened) > 20
    return wrong


async def without_script(page: Page) -> list[str]:
    """Which pages say nothing to whoever has no script."""
    wrong: list[str] = []
    for path, address in places():
        response = await page.goto(address)
        heading = await page.locator("h1").all_inner_texts()
        said = "".join(await page.locator("main").all_inner_texts())
        if response is None or response.status != 200 or not all(heading) or len(said) < len(str(heading)) + 20:
            wrong.append(f"{path} without script: {response and response.status}, {heading}, {said[:50]!r}")
    return wrong


async def found_by_axe(page: Page, part: str | None = None, rules: Sequence[str] | None = None) -> list[str]:
    try:
        await axe(page, part, rules)
    except AssertionError as found:
        return [str(found)]
    return []
