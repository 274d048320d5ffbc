"""Crowds: whatever so many ask for at once, nobody waits for a connection that somebody else holds in vain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, CookieJar, TCPConnector

from engine.api.application import POOL_SIZE
from tests.integration.prepaid import known
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

CROWD = 4 * POOL_SIZE
"""Where each held a connection and waited for another, the pool would give up, and most be answered 503."""


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """As many connections as it takes."""
    async with ClientSession(connector=TCPConnector(limit=0), cookie_jar=CookieJar(unsafe=True)) as found:
        yield found


async def test_who_asks_for_links_stops_nobody(served: Served, session: ClientSession) -> None:
    await known(await build(served.service.engine, rules_of_preset(), alike(CROWD)))

    async def ask(number: int) -> int:
        fields = {"plan": "xianghubao", "member_ref": f"M{number}"}
        async with session.post(served.url + "/share", data=fields, allow_redirects=False) as response:
            return response.status

    crowd = asyncio.gather(*[ask(number) for number in range(CROWD)])
    assert (await served.viewer.get("/v1/queues")).status == 200
    assert set(await crowd) <= {303, 429}


async def test_who_wants_an_estimate_stops_nobody(served: Served, session: ClientSession) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(30))
    await world.claim()
    async with session.post(served.url + "/sign-in", data={"token": served.viewer.token}) as response:
        assert response.status == 200

    async def ask() -> int:
        async with session.get(served.url + "/runs/new/estimate?plan=xianghubao") as response:
            return response.status

    assert set(await asyncio.gather(*[ask() for _ in range(CROWD)])) == {200}


async def test_who_guesses_names_stops_nobody(served: Served, session: ClientSession) -> None:
    async def guess(number: int) -> int:
        fields = {"name": f"nobody{number}", "password": "x" * 12}
        async with session.post(served.url + "/sign-in", data=fields) as response:
            return response.status

    crowd = asyncio.gather(*[guess(number) for number in range(CROWD)])
    assert (await served.viewer.get("/v1/queues")).status == 200
    assert set(await crowd) == {401, 503}
