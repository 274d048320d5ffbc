"""The reference page as a browser gets it: for everybody, and nothing on it can run."""

from __future__ import annotations

import pytest

from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_the_page_and_its_style_need_no_token(served: Served) -> None:
    for path, kind in (("/v1/reference", "text/html"), ("/v1/reference.css", "text/css")):
        async with served.session.get(served.url + path, headers={"Accept-Encoding": "gzip"}) as answer:
            text = await answer.text()
            assert (answer.status, answer.content_type) == (200, kind)
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert ("approve_run" in text) == (kind == "text/html")


async def test_a_problem_leads_to_its_place_on_the_page(served: Served) -> None:
    refusal = (await served.viewer.get("/v1/runs/404")).said
    path, _, place = refusal["type"].partition("#")
    async with served.session.get(served.url + path) as answer:
        assert f'id="{place}"' in await answer.text()
