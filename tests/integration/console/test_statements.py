"""Statements on the console: what came, an import by a form, one with its lines, a line to its bytes and postings."""

from __future__ import annotations

from typing import Any

import pytest

from engine.jobs.doing import do_next
from tests.integration.api.test_custodians import world_of
from tests.integration.api.test_statements import taken
from tests.integration.bank_statement import Line, statement
from tests.integration.console.browsing import Browser
from tests.serving import Served

pytestmark = pytest.mark.integration


async def works(served: Served) -> None:
    """A worker does whatever waits."""
    from datetime import UTC, datetime

    service = served.service
    while await do_next(service.engine, service.settings, service.desk, now=datetime.now(UTC)):
        pass


async def test_a_file_is_imported_by_a_form(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/statements")
    assert "no statement yet" in leaf.text
    assert "No statement came yet" in leaf.text
    content = statement((Line(10, world.reference(0)), Line(3_00, "who is this"))).encode()
    leaf = await browser.press("/statements", file=("2019-07-15.csv", content), name="2019-07-15.csv", on="2019-07-20")
    assert (leaf.status, leaf.url) == (200, "/finance/statements?job=1")
    assert "It waits for a worker" in leaf.text
    assert leaf.page.xpath("//section[@id='live']/@hx-get") == ["/finance/statements?job=1"]
    await works(served)
    leaf = await browser.open("/finance/statements?job=1")
    assert "1 statement taken; 2 lines. Statement 1" in leaf.text
    assert leaf.page.xpath("//section[@id='live']/@hx-get") == []
    assert "2019-07-15.csv" in leaf.text


async def test_a_name_with_an_account_is_refused(served: Served, browser: Browser) -> None:
    await world_of(served)
    await browser.sign_in(served.finance)
    await browser.open("/finance/statements")
    leaf = await browser.press("/statements", file=("x.csv", b"x"), name="6222000011112222.csv")
    assert leaf.status == 422


@pytest.mark.parametrize(("query", "expected"), [("", 2), ("state=parked", 1), ("state=taken", 1), ("limit=1", 1)])
async def test_they_are_listed(served: Served, browser: Browser, query: str, expected: int) -> None:
    world = await world_of(served)
    await taken(served, Line(10, world.reference(0)))
    await taken(served, Line(10, world.reference(1)), opening=10, closing=99_00)
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"/finance/statements?custodian=generic-csv&{query}")
    listed = leaf.page.xpath("//tbody//a[starts-with(@href, '/finance/statements/')]")
    assert (leaf.status, len(listed)) == (200, expected)
    assert bool(leaf.page.xpath("//a[@rel='next']")) == (query == "limit=1")


async def some(served: Served) -> Any:
    """A statement of a line that matched and two that nobody knows."""
    world = await world_of(served)
    await taken(served, Line(10, world.reference(3)), Line(3_00, "Zhang San 6222000011112222"), Line(4_00, "another"))
    return world


async def test_one_says_that_it_adds_up_and_what_became_of_its_lines(served: Served, browser: Browser) -> None:
    world = await some(served)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/statements/1?limit=1")
    for said in ("= closing balance 7.10 it adds up", "Missing in ledger", "imported", "finance"):
        assert said.lower() in leaf.text.lower(), said
    assert leaf.page.xpath("//tbody//a[starts-with(@href, '/finance/lines/')]/@href") == ["/finance/lines/1-2"]
    (onward,) = leaf.page.xpath("//a[@rel='next']/@href")
    leaf = await browser.open(onward)
    assert leaf.page.xpath("//tbody//a[starts-with(@href, '/finance/lines/')]/@href") == ["/finance/lines/1-3"]
    leaf = await browser.open("/finance/statements/1?which=all")
    assert len(leaf.page.xpath("//tbody//a[starts-with(@href, '/finance/lines/')]")) == 3
    assert f"debit of run {world.run.run_id}, seat 3" in leaf.text
    assert "6222000011" not in leaf.told


async def test_a_line_leads_to_its_bytes_and_to_what_was_posted(served: Served, browser: Browser) -> None:
    world = await some(served)
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/lines/1-1")
    assert world.reference(3) in leaf.page.xpath("string(//pre)")
    assert "by its reference" in leaf.text
    for said in ("contributions receivable", f"run:{world.run.run_id}:statement:1:2019-07-15", "−0.10"):
        assert said in leaf.text, said
    leaf = await browser.open("/finance/lines/1-2")
    assert "Zhang San 6222000011112222" in leaf.page.xpath("string(//pre)")
    assert "suspense" in leaf.text
    assert leaf.page.xpath("//a[@href='/finance/breaks/1']")
    assert (await browser.open("/finance/lines/1-9")).status == 404
    assert (await browser.open("/finance/lines/1")).status == 422


async def test_who_only_looks_sees_no_bytes_and_imports_nothing(served: Served, browser: Browser) -> None:
    await some(served)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/lines/1-2")
    assert leaf.status == 200
    assert "finance sees it" in leaf.text
    assert "Zhang" not in leaf.told
    leaf = await browser.open("/finance/statements")
    assert not browser.offers("/statements")
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    refused = await browser.send("/do/v1/custodians/generic-csv/statements", {"csrf": csrf, "key": "0123456789abcdef"})
    assert refused.status == 403


async def test_a_parked_one_says_why(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    await taken(served, Line(10, world.reference(0)), closing=99_00)
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/statements/1")
    for said in ("It is parked: nothing of it is posted", "Balance break", "It is not taken"):
        assert said in leaf.text, said
    assert "Nothing: its statement is parked" in (await browser.open("/finance/lines/1-1")).text


async def test_where_the_file_is_gone_what_is_stored_stays(served: Served, browser: Browser) -> None:
    await some(served)
    for kept in (served.service.desk.files / "generic-csv" / "statements").iterdir():
        kept.unlink()
    await browser.sign_in(served.finance)
    for path in ("/finance/statements/1?which=all", "/finance/lines/1-2"):
        leaf = await browser.open(path)
        assert (leaf.status, "no more among the kept ones" in leaf.text) == (200, True), path


async def test_it_is_said_in_chinese(served: Served, browser: Browser) -> None:
    await some(served)
    await browser.sign_in(served.finance)
    await browser.open("/language?to=zh&back=/finance/statements")
    for path, words in (
        ("/finance/statements", ("对账单", "导入")),
        ("/finance/statements/1", ("期初余额", "长款", "勾对")),
        ("/finance/lines/1-1", ("原文", "应收分摊款")),
    ):
        leaf = await browser.open(path)
        for word in words:
            assert word in leaf.text, word
