"""What integration tests share beside the servers: an API on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.store.embedded import Embedded
from tests.serving import Served, serving, settings_in


@pytest.fixture
async def served(database_url: str, embedded: Embedded, tmp_path: Path) -> AsyncIterator[Served]:
    """An API on the test's database, and callers of every role."""
    async with serving(database_url, embedded.redis_url, settings_in(tmp_path / "data")) as found:
        yield found
