"""Breaks on the console: the queue, some of them together, one with its two sides, and what forms do about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.custodian.breaks import Code, SeverityName
from tests.integration.broken import Teller, sent
from tests.integration.console.browsing import Browser, Leaf
from tests.integration.worlds import alike
from tests.serving import Served

pytestmark = pytest.mark.integration


@pytest.fixture
async def teller(served: Served, tmp_path: Path) -> Teller:
    """Two duplicates of 1.00 about seats 1 and 2, 1.00 that went out, and 20,000.00 that nobody knows."""
    found = await sent(served.service.engine, tmp_path, alike(8))
    async with found.world.engine.begin() as connection:
        await found.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2], 1_00)
        await found.breaks(connection, Code.FEE_UNEXPECTED, [None], -1_00)
        await found.breaks(connection, Code.MISSING_IN_LEDGER, [None], 20_000_00)
    return found


def numbers(leaf: Leaf) -> list[int]:
    """The breaks that a page lists."""
    return [int(each) for each in leaf.page.xpath("//tbody/tr/th/a[starts-with(@href, '/finance/breaks/')]/text()")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("code=DUPLICATE_AT_BANK", [1, 2]),
        ("severity=critical&age=>30", [1, 2, 3, 4]),
        ("age=0-1", []),
        ("text=20,000.00", [4]),
        ("custodian=generic-csv&state=open&assigned_to=", [1, 2, 3, 4]),
        ("assigned_to=cara", []),
    ],
)
async def test_the_queue_is_what_is_asked_for(
    served: Served, browser: Browser, teller: Teller, query: str, expected: list[int]
) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"/finance/breaks?{query}")
    assert (leaf.status, numbers(leaf)) == (200, expected)


async def test_the_queue_says_how_bad_it_is_and_goes_on(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/breaks?limit=3")
    assert "Critical 4" in leaf.text
    assert "20,001.00 on suspense" in leaf.text
    assert "Duplicate at bank" in leaf.text
    (onward,) = leaf.page.xpath("//a[@rel='next']/@href")
    assert numbers(await browser.open(onward)) == [4]


async def test_a_filter_that_is_none_is_refused(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    assert (await browser.open("/finance/breaks?severity=dreadful")).status == 422
    assert "No break is open" in (await browser.open("/finance/breaks")).text


async def test_those_ticked_are_assigned_and_proposed_together(
    served: Served, browser: Browser, teller: Teller
) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/breaks/chosen?ids=1&ids=2")
    assert "2 breaks, together" in leaf.text
    assert set(leaf.page.xpath("//input[@name='action']/@value")) == {"give back", "write off", "explain"}
    leaf = await browser.press("/selection/assign", to="cara")
    assert (leaf.status, leaf.url) == (200, "/finance/breaks")
    assert numbers(await browser.open("/finance/breaks?assigned_to=cara")) == [1, 2]
    await browser.open("/finance/breaks/chosen?ids=1&ids=2")
    leaf = await browser.press("/selection/propose", action="give back", reason="paid twice")
    assert leaf.url.startswith("/finance/decisions/")
    assert numbers(await browser.open("/finance/breaks?state=proposed")) == [1, 2]


async def test_nothing_ticked_is_nothing_chosen(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/breaks/chosen")
    assert "No break" in leaf.text
    assert not browser.offers("/selection/assign")


async def test_all_that_match_are_those_that_were_seen(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    queue = await browser.open("/finance/breaks?severity=critical")
    (onward,) = queue.page.xpath("//a[starts-with(@href, '/finance/breaks/matching')]/@href")
    leaf = await browser.open(onward)
    assert "4 breaks, together" in leaf.text
    async with teller.world.engine.begin() as connection:
        await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [3], 1_00)
    leaf = await browser.press("/selection/assign", to="cara")
    assert leaf.status == 409
    assert "5 breaks are chosen by now, and not 4" in leaf.text
    await browser.open(onward)
    await browser.press("/selection/assign", to="cara")
    assert numbers(await browser.open("/finance/breaks?assigned_to=cara")) == [1, 2, 3, 4, 5]


async def test_a_break_says_what_it_is_and_what_was_done(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/breaks/1")
    assert "The custodian booked again what it had booked or returned before" in leaf.text
    assert f"debit of run {teller.run.run_id}, seat 1" in leaf.text
    leaf = await browser.press("/breaks/1/assign", nth=0)
    assert "assigned" in leaf.text
    leaf = await browser.press("/breaks/1/comment", text="asked the bank")
    assert "asked the bank" in leaf.text
    assert not browser.offers("/breaks/9/assign")
    assert (await browser.open("/finance/breaks/99")).status == 404


async def test_a_break_says_from_when_on_it_is_worse_than_today(
    served: Served, browser: Browser, teller: Teller
) -> None:
    await teller.world.sql("UPDATE breaks SET opened_on = current_date, amount_minor = 100 WHERE break_id = 1")
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/breaks/1")
    (listed,) = (await served.viewer.get("/v1/breaks?ids=1")).said["items"]
    order = list(SeverityName)
    assert listed["severity"] != order[-1]
    ahead = [str(each) for each in order[order.index(listed["severity"]) + 1 :]]
    worsening = (await served.viewer.get("/v1/breaks/1")).said["worsening"]
    assert [each["severity"] for each in worsening if each["severity"] in ahead]
    for each in worsening:
        assert (f"{each['severity']} from {each['from_on']}" in leaf.text) is (each["severity"] in ahead), each


async def test_who_saw_an_older_break_decides_nothing(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    await browser.open("/finance/breaks/1")
    await served.finance.post("/v1/breaks/1/comment", {"text": "it is settled by phone"})
    leaf = await browser.press("/breaks/1/propose", action="write off", reason="nobody knows it")
    assert leaf.status == 412


async def test_the_difference_is_of_what_is_chosen(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance/breaks/3")
    assert "1.00 less came than the chosen ask for" in leaf.text
    assert leaf.page.xpath("//input[@name='also']/@value") == ["1", "2"]
    assert browser.offers("/breaks/3/propose")
    leaf = await browser.open("/finance/breaks/3?also=1")
    assert "Nothing is left: the two sides are the same" in leaf.text
    assert leaf.page.xpath("//input[@name='action'][@checked]/@value") == ["explain"]
    leaf = await browser.press("/selection/propose", reason="a fee and its refund")
    assert leaf.url.startswith("/finance/decisions/")
    assert numbers(await browser.open("/finance/breaks?state=proposed")) == [1, 3]


async def test_what_is_proposed_waits_and_offers_nothing_more(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    await browser.open("/finance/breaks/4")
    leaf = await browser.press("/breaks/4/propose", action="write off", reason="nobody knows it")
    decision = int(leaf.url.rpartition("/")[2])
    leaf = await browser.open("/finance/breaks/4")
    assert f"decision {decision}" in leaf.text
    assert not browser.offers("/breaks/4/propose")
    assert not browser.offers("/breaks/4/assign")


async def test_who_only_looks_is_offered_nothing(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.viewer)
    for path in ("/finance/breaks", "/finance/breaks/1", "/finance/breaks/chosen?ids=1"):
        leaf = await browser.open(path)
        assert leaf.status == 200
        for operation in ("assign", "propose", "comment"):
            assert not browser.offers(operation), path
    assert leaf.page.xpath("//input[@name='ids']") == []
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    sent_anyway = {"csrf": csrf, "key": "0123456789abcdef", "to": "cara"}
    assert (await browser.send("/do/v1/breaks/1/assign", sent_anyway)).status == 403


async def test_it_is_said_in_chinese(served: Served, browser: Browser, teller: Teller) -> None:
    await browser.sign_in(served.finance)
    await browser.open("/language?to=zh&back=/finance/breaks")
    leaf = await browser.open("/finance/breaks/1")
    for word in ("差错", "重复入账", "挂账", "退还"):
        assert word in leaf.text, word
    assert "Duplicate" not in leaf.text
