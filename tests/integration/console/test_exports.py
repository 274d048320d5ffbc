"""Exports on the console: asked for by a form, written by a worker, handed out to whom the API hands them out."""

from __future__ import annotations

import hashlib

import pytest

from tests.integration.api.test_custodians import world_of
from tests.integration.bank_statement import Line
from tests.integration.console.browsing import Browser
from tests.integration.console.test_statements import works
from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_an_export_of_a_run_is_asked_for_and_handed_out(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    await world.takes(Line(10, world.reference(0)), Line(3_00, "who is this"))
    run_id = world.run.run_id
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/exports")
    assert "Nobody asked for an export yet." in leaf.text
    assert not browser.offers(f"runs/{run_id}/exports")
    await browser.open(f"/finance/exports?run_id={run_id}")
    leaf = await browser.press(f"runs/{run_id}/exports", format="csv")
    assert (leaf.status, leaf.url) == (200, "/finance/exports/1")
    assert "It waits for a worker." in leaf.text
    assert leaf.page.xpath("//section[@id='live']/@hx-get") == ["/finance/exports/1"]
    await works(served)
    leaf = await browser.open("/finance/exports/1")
    assert leaf.page.xpath("//section[@id='live']/@hx-get") == []
    files = leaf.page.xpath("//a[@download]/@href")
    assert "/v1/exports/1/files/summary.csv" in files
    told = leaf.text.replace(" ", "")
    for file in files:
        assert hashlib.sha256((await browser.open(file)).source.encode()).hexdigest() in told, file


async def test_an_account_is_exported_over_days(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    await world.takes(Line(10, world.reference(0)))
    await browser.sign_in(served.finance)
    await browser.open("/finance/exports")
    leaf = await browser.press("custodians/generic-csv/exports", first="2019-07-16", last="2019-07-14")
    assert leaf.status == 409
    await browser.open("/finance/exports")
    leaf = await browser.press("custodians/generic-csv/exports", first="2019-07-14", last="2019-07-16", format="xlsx")
    assert leaf.url == "/finance/exports/1"
    await works(served)
    leaf = await browser.open("/finance/exports?custodian=generic-csv")
    assert "XLSX" in leaf.text
    assert "2019-07-14 – 2019-07-16" in leaf.text
    assert "done" in leaf.text
    leaf = await browser.open(f"/finance/exports?run_id={world.run.run_id}")
    assert "No export is so." in leaf.text


async def test_who_may_not_ask_reads_which_there_are(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    run_id = world.run.run_id
    answer = await served.finance.post(f"/v1/runs/{run_id}/exports", {})
    assert answer.status == 202
    await works(served)
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"/finance/exports?run_id={run_id}")
    assert leaf.page.xpath("//tbody//th/a/@href") == ["/finance/exports/1"]
    assert not browser.offers("/exports")
    leaf = await browser.open("/finance/exports/1")
    assert "summary.csv" in leaf.text
    assert leaf.page.xpath("//a[@download]") == []
    assert (await browser.open("/v1/exports/1/files/summary.csv")).status == 403
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    leaf = await browser.send(f"/do/v1/runs/{run_id}/exports", {"csrf": csrf, "key": "k" * 8})
    assert leaf.status == 403


async def test_another_job_is_no_export(served: Served, browser: Browser) -> None:
    await world_of(served)
    await browser.sign_in(served.finance)
    assert (await browser.open("/finance/exports/1")).status == 404
    assert (await browser.open("/finance/exports?run_id=99")).status == 404


async def test_exports_in_chinese(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    await browser.open("/language?to=zh&back=/")
    assert "尚无导出。" in (await browser.open("/finance/exports")).text
