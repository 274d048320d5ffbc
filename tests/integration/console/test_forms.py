"""Forms: whose they are is known before anything of them is kept, and what is no form of ours is refused in words."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import FormData
from sqlalchemy import text

from engine.console.forms import FIELDS_BYTES_MAX
from tests.integration.api.test_custodians import world_of
from tests.integration.console.browsing import Browser
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

PAUSE = "/do/v1/queues/post/pause"
UPLOAD = "/do/v1/custodians/generic-csv/statements"
SAME, OTHER = {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "cross-site"}
ELSEWHERE = {"Origin": "https://console.example"}


async def csrf_of(browser: Browser) -> str:
    return str((await browser.open("/ops")).page.xpath("string(//input[@name='csrf']/@value)"))


async def is_paused(served: Served) -> bool:
    return bool((await served.ops.get("/v1/queues/post/pause")).said["is_paused"])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"key": "a\x00bcdefgh"}, 400),
        ({"key": "short"}, 400),
        ({"key": "k" * 200_000}, 400),
        ({"a": "1", "a.b": "2"}, 422),
        ({"a.b": "1", "a": "2"}, 422),
        ({"a[]": "1", "a.b": "2"}, 422),
        ({"a.b": "1", "a[]": "2"}, 422),
        ({"json:reason": "[" * 100_000}, 422),
        ({"reason": "two\x00words"}, 422),
    ],
    ids=["key of nothing", "short key", "long key", *"abcd", "deep", "nothing"],
)
async def test_a_form_that_no_page_holds_is_refused(
    served: Served, browser: Browser, fields: dict[str, str], status: int
) -> None:
    await browser.sign_in(served.ops)
    leaf = await browser.send(PAUSE, {"csrf": await csrf_of(browser), "reason": "x"} | fields)
    assert (leaf.status, await is_paused(served)) == (status, False), leaf.text


async def test_long_fields_come_whole_or_are_refused(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    csrf = await csrf_of(browser)
    headers = {"Content-Type": "multipart/form-data; boundary=part"}
    for reason, status in ((b"r" * 500, 200), (b"r" * 70_000, 422), (b"r" * FIELDS_BYTES_MAX, 413), (b"\xff\xfe", 400)):
        form = b"".join(
            b'--part\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % field
            for field in ((b"csrf", csrf.encode()), (b"reason", reason))
        )
        body = BytesIO(form + b"--part--\r\n")
        async with browser.session.post(browser.url + PAUSE, data=body, headers=headers) as response:
            assert response.status == status
    assert (await served.ops.get("/v1/queues/post/pause")).said["reason"] == "r" * 500


@pytest.mark.parametrize("is_finance", [True, False])
async def test_no_file_is_kept_of_whom_may_not_send_it(served: Served, browser: Browser, is_finance: bool) -> None:
    await world_of(served)
    await browser.sign_in(served.finance if is_finance else served.viewer)
    csrf = await csrf_of(browser)
    for secret, headers in ((csrf, ELSEWHERE), (csrf, OTHER), ("", {}), (csrf, {})):
        if secret and not headers and is_finance:
            continue  # theirs to send
        form = FormData(default_to_multipart=True)
        form.add_field("csrf", secret)
        form.add_field("file", b"date,amount\n", filename="a.csv")
        async with browser.session.post(browser.url + UPLOAD, data=form, headers=headers) as response:
            assert response.status == 403
    assert not (Path(served.service.settings.data_dir) / "uploads").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), (ELSEWHERE, 403), (SAME | ELSEWHERE, 200), (OTHER, 403), (OTHER | ELSEWHERE, 403)],
    ids=["old browser", "elsewhere", "behind a proxy", "other site", "other site and origin"],
)
async def test_a_browser_that_says_whose_form_it_is_is_believed(
    served: Served, browser: Browser, headers: dict[str, str], status: int
) -> None:
    await browser.sign_in(served.ops)
    fields = {"csrf": await csrf_of(browser), "reason": "maintenance"}
    assert (await browser.send(PAUSE, fields, **headers)).status == status
    assert await is_paused(served) == (status == 200)


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_a_form_for_a_secret_that_is_sent_twice_makes_one(
    served: Served, browser: Browser, is_at_once: bool
) -> None:
    await browser.sign_in(served.admin)
    leaf = await browser.open("/ops/tokens")
    (form,) = (form for form in leaf.page.forms if (form.get("action") or "").endswith("/v1/tokens"))
    fields = dict(form.form_values()) | {"name": "robot", "role": "viewer", "days": "1"}

    async def send() -> int:
        async with browser.session.post(browser.url + form.get("action"), data=fields) as response:
            return response.status

    statuses = await asyncio.gather(send(), send()) if is_at_once else [await send(), await send()]
    assert sorted(statuses) == [200, 409]
    async with served.service.engine.connect() as connection:
        tokens = await connection.scalar(text("SELECT count(*) FROM api_tokens WHERE name = 'robot'"))
        kept = await connection.scalar(text("SELECT string_agg(body, '') FROM idempotency_keys WHERE actor = 'admin'"))
    assert (tokens, bytes(kept or b"")) == (1, b"")


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("/public?from=singlemessage&isappinstalled=0", "/public"),
        ("/share?utm_source=x&plan=xianghubao", "/share?plan=xianghubao"),
        (f"/share/{'a' * 43}?from=singlemessage", f"/share/{'a' * 43}"),
    ],
)
async def test_what_others_append_to_a_link_is_left_out(
    served: Served, browser: Browser, asked: str, shown: str
) -> None:
    await build(served.service.engine, rules_of_preset(), alike(1))
    leaf = await browser.open(asked)
    assert (leaf.status, leaf.url) == (200, shown)
