"""Pages under watch: what no page of ours may do, whoever looks at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, WebError

from engine.console import assets

AXE = Path(assets.__file__).parent / "web" / "node_modules" / "axe-core" / "axe.min.js"

_TELL = "document.addEventListener('securitypolicyviolation', e => tell(`${e.violatedDirective}: ${e.blockedURI}`))"

_RUN_AXE = """([part, rules]) => axe.run(part ?? document, {
    resultTypes: ['violations'],
    runOnly: rules ?? ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
})"""

OF_LOOKS = (
    "color-contrast",
    "html-lang-valid",
    "link-in-text-block",
    "scrollable-region-focusable",
    "target-size",
    "valid-lang",
)
"""The rules that other colours, words or sizes may break where a page of the same elements broke none."""


class Complaints(list[str]):
    """What was wrong on any page of a test; the test fails at its end if one is left."""

    def expect(self, pattern: str) -> None:
        """Take out what a test brought about by intent: at least one that the pattern is found in."""
        expected = [each for each in self if re.search(pattern, each)]
        assert expected, f"no complaint like {pattern!r} among {list(self)}"
        self[:] = [each for each in self if each not in expected]

    async def watch(self, context: BrowserContext, home: str) -> None:
        """Hear of every error in the console or the script, request to another host, and breach of the policy."""

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.append(f"console: {message.text} ({message.location['url']})")

        def on_error(error: WebError) -> None:
            self.append(f"script: {error.error.name}: {error.error.message}")

        def on_request(request: Request) -> None:
            asked = urlsplit(request.url)
            if asked.scheme not in {"data", "blob", "about"} and asked.netloc != urlsplit(home).netloc:
                self.append(f"another host: {request.url}")

        async def on_breach(_: object, breach: str) -> None:
            self.append(f"policy: {breach}")

        context.on("console", on_console)
        context.on("weberror", on_error)
        context.on("request", on_request)
        await context.expose_binding("tell", on_breach)
        await context.add_init_script(_TELL)


async def axe(page: Page, part: str | None = None, rules: Sequence[str] | None = None) -> None:
    """Fail on what axe-core finds serious or critical on a page as it stands, in WCAG 2.2 AA with its contrasts.

    `part`: a selector, where the rest was looked at before; `rules`: those to hold it to, all of them if None.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text("utf-8"))
    found: dict[str, Any] = await page.evaluate(_RUN_AXE, [part, rules])
    serious = [
        f"{each['id']} ({each['impact']}): {each['help']}\n    {node['html']}\n    {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"} or each["id"] == "color-contrast"
        for node in each["nodes"]
    ]
    assert serious == [], f"{page.url}:\n" + "\n".join(serious)
