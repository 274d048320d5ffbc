"""The API's reference as people read it."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.acceptance.browser.watched import axe

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_shuts_nobody_out(page: Page, scheme: str) -> None:
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.goto("/v1/reference")
    await axe(page)
