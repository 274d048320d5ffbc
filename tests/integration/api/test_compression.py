"""Long answers come as gzip to whoever takes it, and as no other coding."""

from __future__ import annotations

import gzip

import pytest

from tests.serving import Served

pytestmark = pytest.mark.integration

SPECIFICATION = "/v1/openapi.json"


@pytest.mark.parametrize("path", [SPECIFICATION, "/v1/reference", "/metrics"])
async def test_whatever_is_long_is_compressed(served: Served, path: str) -> None:
    async with served.session.get(
        served.url + path, headers={"Accept-Encoding": "deflate, gzip, br"}, auto_decompress=False
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        body = await answer.read()
    assert len(body) == int(answer.headers["Content-Length"]) < len(gzip.decompress(body)) / 4


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        (SPECIFICATION, "identity"),
        (SPECIFICATION, "deflate"),
        (SPECIFICATION, "gzip; q=0, deflate"),
        (SPECIFICATION, "gzip;q=0.000"),
        ("/healthz", "gzip"),  # which is short
    ],
)
async def test_nothing_else_is(served: Served, path: str, accepted: str) -> None:
    headers = {"Accept-Encoding": accepted}
    async with served.session.get(served.url + path, headers=headers, auto_decompress=False) as answer:
        assert "Content-Encoding" not in answer.headers
        await answer.json()


async def test_it_is_enough_to_take_it_a_little(served: Served) -> None:
    headers = {"Accept-Encoding": "identity;q=1, GZIP;q=0.1"}
    async with served.session.get(served.url + SPECIFICATION, headers=headers) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert (await answer.json())["openapi"] == "3.1.0"
