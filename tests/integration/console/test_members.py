"""Members on the console: found by a form, a seat's standing and statement, a proof, a return; never a reference."""

from __future__ import annotations

import pytest

from engine.money import to_minor
from tests.integration.api.test_members import charged, frozen
from tests.integration.console.browsing import Browser
from tests.integration.prepaid import held_by
from tests.integration.worlds import LATE_DEBIT, LATE_JULY
from tests.serving import Served

pytestmark = pytest.mark.integration

HERE = "/finance/members/xianghubao"


async def test_a_member_is_found_without_an_address_that_names_them(served: Served, browser: Browser) -> None:
    world = await charged(served.service.engine)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/members")
    assert leaf.page.xpath("//form[@method='post'][@action='/finance/members']//input/@name") == ["member_ref"]
    leaf = await browser.send("/finance/members", {"plan": "xianghubao", "member_ref": "M2"})
    assert (leaf.status, leaf.url) == (200, f"{HERE}/2")
    assert "Seat 2 of xianghubao" in leaf.text
    assert "M2" not in leaf.text, "who has a seat is told to the desks alone"
    leaf = await browser.send("/finance/members", {"plan": "xianghubao", "member_ref": "Somebody/Else"})
    assert (leaf.status, "no such member" in leaf.text, "Somebody" in leaf.source) == (404, True, False)
    await world.sql("UPDATE members SET member_ref = 'M2', spell = 2, ref_bucket = (SELECT ref_bucket FROM members "
                    "WHERE seat = 2) WHERE seat = 1")  # fmt: skip
    leaf = await browser.send("/finance/members", {"plan": "xianghubao", "member_ref": "M2"})
    assert (leaf.url, leaf.page.xpath("//tbody//th/a/@href")) == ("/finance/members", [f"{HERE}/2", f"{HERE}/1"])
    leaf = await browser.open("/finance/members?plan=xianghubao&seat=1")
    assert leaf.url == f"{HERE}/1"
    assert (await browser.open("/finance/members?plan=xianghubao&seat=9")).status == 404


@pytest.mark.parametrize(("role", "is_told"), [("viewer", False), ("approver", False), ("finance", True)])
async def test_the_desks_read_who_has_a_seat(served: Served, browser: Browser, role: str, is_told: bool) -> None:
    await charged(served.service.engine)
    await browser.sign_in(getattr(served, role))
    assert ("M1" in (await browser.open(f"{HERE}/1")).text) == is_told


async def test_how_a_seat_stands_and_its_statement(served: Served, browser: Browser) -> None:
    world = await charged(served.service.engine, 4, [-1, 0, 0, -1])
    await world.claim(notice_on=LATE_JULY)
    await world.sealed(LATE_DEBIT)
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"{HERE}/1")
    assert [row.text_content().strip() for row in leaf.page.xpath("//tbody/tr/td[last()]")] == ["0.10", "0.20"]
    assert leaf.page.xpath(f"//dd/a[@href='{HERE}/0']"), "who pays for it"
    assert "contributions receivable" in leaf.text
    assert leaf.page.xpath("//div[@class='stat'][p='Owes']/p[@class='value']")[0].text_content() == "0.20"
    leaf = await browser.open(f"{HERE}/1?limit=1")
    (onward,) = leaf.page.xpath("//nav[@class='pager']//a/@href")
    leaf = await browser.open(onward)
    assert [row.text_content().strip() for row in leaf.page.xpath("//tbody/tr/td[last()]")] == ["0.20"]
    assert leaf.page.xpath("//nav[@class='pager']//a/@href") == [f"{HERE}/1"]
    leaf = await browser.open(f"{HERE}/0")
    assert leaf.page.xpath("//dd/a/@href") == [f"{HERE}/1", f"{HERE}/2"], "for whom it pays"
    assert "not covered" in (await browser.open(f"{HERE}/1?on=2018-12-31")).text


async def test_each_share_has_its_proof(served: Served, browser: Browser) -> None:
    world = await charged(served.service.engine, 300)
    run = await world.run(1)
    assert run.root is not None
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"{HERE}/200/shares")
    (proof,) = leaf.page.xpath("//tbody//td[last()]/a/@href")
    leaf = await browser.open(proof)
    assert leaf.status == 200
    assert "seats 128 to 255" in leaf.text
    assert run.root.hex() in leaf.text.replace(" ", "")
    (file,) = leaf.page.xpath("//a[@download]/@href")
    assert leaf.page.xpath("//button[@data-verify='1']/@data-proof") == [file]
    assert run.root.hex() in (await browser.open(file)).source
    assert (await browser.open(f"{HERE}/200/proofs/2")).status == 404


async def test_no_run_and_no_plan_yet(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    assert "No plan is registered." in (await browser.open("/finance/members")).text


async def test_a_frozen_member_returns(served: Served, browser: Browser) -> None:
    world = await frozen(served.service.engine)
    there = "/finance/members/waterdrop/1"
    await browser.sign_in(served.finance)
    leaf = await browser.open(there)
    assert "are over" in leaf.text, "years later nobody returns"
    assert not browser.offers("return")
    await browser.open(f"{there}?on=2019-07-20")
    leaf = await browser.press("/return", amount="0.01")
    assert (leaf.status, "needs to pay in" in leaf.text) == (409, True)
    leaf = await browser.open(f"{there}?on=2019-07-20")
    (needed,) = leaf.page.xpath("//input[@name='amount']/@value")
    leaf = await browser.press("/return")
    assert (leaf.status, leaf.url) == (200, f"{there}?on=2019-07-20")
    assert "are over" not in leaf.text
    assert not browser.offers("return")
    assert (await held_by(world))[1] > 50
    assert to_minor(needed) > 0


async def test_only_finance_lets_a_member_return(served: Served, browser: Browser) -> None:
    world = await frozen(served.service.engine)
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/finance/members/waterdrop/1?on=2019-07-20")
    assert "Has to pay in" in leaf.text
    assert not browser.offers("return")
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    leaf = await browser.send(
        "/do/v1/plans/waterdrop/members/1/return", {"csrf": csrf, "key": "k" * 8, "amount": "9.00"}
    )
    assert leaf.status == 403
    assert (await held_by(world))[1] == 50


async def test_in_chinese(served: Served, browser: Browser) -> None:
    await charged(served.service.engine)
    await browser.sign_in(served.viewer)
    await browser.open("/language?to=zh&back=/")
    assert "按成员编号查找" in (await browser.open("/finance/members")).text
    leaf = await browser.open(f"{HERE}/1")
    assert "xianghubao 席位 1" in leaf.text
    assert "应收分摊款" in leaf.text
