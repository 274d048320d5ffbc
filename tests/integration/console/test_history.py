"""History outlives Redis, which holds nothing but doorbells."""

from __future__ import annotations

import re

import pytest
from redis.asyncio import Redis

from engine.store.embedded import Embedded
from tests.integration.console.browsing import Browser, Leaf
from tests.integration.console.test_ops import failed, jobs_in, row
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

PAGES = ("/ops", "/ops/queues/measure", "/ops/queues/jobs", "/ops/workers", "/ops/audit", "/runs/1")

__all__ = ["failed"]


async def test_pages_show_what_happened_when_redis_has_forgotten_all(
    served: Served, browser: Browser, embedded: Embedded, failed: list[int]
) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(30), alike(20), alike(10))
    await world.claim()
    await world.worked(await world.planned())
    await browser.sign_in(served.ops)
    await browser.open("/ops")
    await browser.press("queues/send/pause", reason="the bank asked us to wait")
    before = {path: moments_aside(await browser.open(path)) for path in PAGES}

    async with Redis.from_url(embedded.redis_url) as redis:
        await redis.flushall()
        assert await redis.dbsize() == 0

    for path in PAGES:
        leaf = await browser.open(path)
        assert (leaf.status, moments_aside(leaf)) == (200, before[path]), path
    leaf = await browser.open("/ops")
    assert row(leaf, "measure")[4:8] == ["0", "3.00", "0.60", "0.05"]
    assert "the bank asked us to wait" in leaf.text
    assert await jobs_in(served, "failed") == failed


def moments_aside(leaf: Leaf) -> str:
    """The text of a page, whatever time it is."""
    return leaf._replace(source=re.sub(r"(<time\b[^>]*>).*?</time>", r"\1…</time>", leaf.source, flags=re.DOTALL)).text
