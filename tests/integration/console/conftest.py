"""Browsers on an API that serves the console."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.console.browsing import Browser, browsing
from tests.serving import Served


@pytest.fixture
async def browser(served: Served) -> AsyncIterator[Browser]:
    """Somebody who has not signed in."""
    async with browsing(served) as found:
        yield found
