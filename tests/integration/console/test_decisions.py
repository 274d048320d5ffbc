"""Decisions on the console: what waits, who may decide it, what forms do about it."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.roles import Role
from engine.decisions import Kind, propose
from tests.integration.console.browsing import Browser, Leaf
from tests.integration.worlds import World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

ON = date(2019, 7, 20)


@pytest.fixture
async def world(served: Served, engine: AsyncEngine) -> World:
    """A plan that paid a claim of 0.30; finance proposed that 0.10 of it came back, twice."""
    world = await build(engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    await world.sealed()
    for _ in range(2):
        asked = {"amount": "0.10", "reason": "paid twice", "on": str(ON)}
        assert (await served.finance.post("/v1/claims/1/recover", asked)).status == 201
    return world


def numbers(leaf: Leaf) -> list[int]:
    """The decisions that a page lists."""
    return [int(each) for each in leaf.page.xpath("//tbody/tr/th/a[starts-with(@href, '/finance/decisions/')]/text()")]


async def test_those_that_wait_are_listed_and_the_others_on_demand(
    served: Served, browser: Browser, world: World
) -> None:
    await served.approver.post("/v1/decisions/1/approve")
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/decisions")
    assert (leaf.status, numbers(leaf)) == (200, [2])
    for query, expected in (
        ("state=all", [2, 1]),
        ("state=done", [1]),
        ("state=refused", []),
        ("state=all&kind=refund", []),
        ("state=all&plan=xianghubao&kind=recovery", [2, 1]),
    ):
        assert numbers(await browser.open(f"/finance/decisions?{query}")) == expected, query
    leaf = await browser.open("/finance/decisions?state=all&limit=1")
    (onward,) = leaf.page.xpath("//a[@rel='next']/@href")
    assert numbers(await browser.open(onward)) == [1]
    assert (await browser.open("/finance/decisions?state=undecided")).status == 422


async def test_nothing_waits(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    assert "No decision waits" in (await browser.open("/finance/decisions")).text
    assert (await browser.open("/finance/decisions/1")).status == 404


async def test_I13_who_proposed_it_sees_that_somebody_else_must(served: Served, browser: Browser, world: World) -> None:
    for caller in (served.finance, await served.caller("Finance", Role.APPROVER)):
        await browser.sign_in(caller)
        leaf = await browser.open("/finance/decisions/1")
        assert "somebody else must approve it" in leaf.text
        assert not browser.offers("/decisions/1/approve")
        assert browser.offers("/decisions/1/refuse")
        assert "you: somebody else approves it" in (await browser.open("/finance/decisions")).text
    csrf = (await browser.open("/finance/decisions/1")).page.xpath("//input[@name='csrf']/@value")[0]
    sent = {"csrf": csrf, "key": "0123456789abcdef", "reason": "it is late"}
    anyway = await browser.send("/do/v1/decisions/1/approve", sent)
    assert (anyway.status, "I13" in anyway.source) == (409, True)


async def test_another_approves_and_it_is_done(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.approver)
    leaf = await browser.open("/finance/decisions/1")
    assert "paid twice" in leaf.text
    assert "0.10" in leaf.text
    assert leaf.page.xpath("//a[@href='/claims/1']")
    leaf = await browser.press("/decisions/1/approve")
    assert (leaf.status, "reason: Fill this in." in leaf.text) == (422, True)
    await browser.open("/finance/decisions/1")
    leaf = await browser.press("/decisions/1/approve", reason="the receipts are here")
    assert (leaf.status, leaf.url) == (200, "/finance/decisions/1")
    assert "What came of it" in leaf.text
    assert not browser.offers("/decisions/1/approve")
    assert not browser.offers("/decisions/1/refuse")
    assert (await served.viewer.get("/v1/decisions/1")).said["decided_by"] == "approver"


async def test_it_is_refused_for_a_reason(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.approver)
    await browser.open("/finance/decisions/1")
    assert (await browser.press("/decisions/1/refuse", reason="")).status == 422
    await browser.open("/finance/decisions/1")
    leaf = await browser.press("/decisions/1/refuse", reason="a mistake of ours")
    assert leaf.status == 200
    assert "a mistake of ours" in leaf.text
    assert (await served.viewer.get("/v1/decisions/1")).said["state"] == "refused"


async def test_who_saw_it_open_does_not_decide_it_anew(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.approver)
    await browser.open("/finance/decisions/1")
    await served.finance.post("/v1/decisions/1/refuse", {"reason": "withdrawn"})
    assert (await browser.press("/decisions/1/approve", reason="as seen")).status == 412


async def test_who_only_looks_is_offered_nothing(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/decisions/1")
    assert "It waits for an approver who is not finance" in leaf.text
    for step in ("approve", "refuse"):
        assert not browser.offers(f"/decisions/1/{step}")
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    sent_anyway = {"csrf": csrf, "key": "0123456789abcdef"}
    assert (await browser.send("/do/v1/decisions/1/approve", sent_anyway)).status == 403


async def test_those_it_is_about_are_listed_in_parts(served: Served, browser: Browser, world: World) -> None:
    seats = [[world.shard(1), 0, 5], [world.shard(1), 3, -2]]
    sums = {"members": 2, "charged_more_minor": 5, "given_back_minor": 2, "against": "carry"}
    async with world.engine.begin() as connection:
        detail = {"run": 1, "reason": "r", **sums, "seats": seats}
        await propose(connection, world.plan_id, Kind.CORRECTION, "run:1", detail, on=ON, actor="finance")
        paid = {"run": 1, "claims": [[1, 25, 5]], "claimants": 1, "amount_minor": 25, "set_off_minor": 5}
        await propose(connection, world.plan_id, Kind.PAYOUT, "run:1", paid, on=ON, actor="finance")
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/decisions/3?limit=1")
    assert leaf.page.xpath("//a[@href='/finance/members/xianghubao/0']")
    assert not leaf.page.xpath("//a[@href='/finance/members/xianghubao/3']")
    (onward,) = leaf.page.xpath("//a[@rel='next']/@href")
    leaf = await browser.open(onward)
    assert leaf.page.xpath("//a[@href='/finance/members/xianghubao/3']")
    assert "−0.02" in leaf.text
    leaf = await browser.open("/finance/decisions/4")
    assert "claim 1 of the plan" in leaf.text
    cells = leaf.page.xpath("//tbody/tr/td[@class='num']")
    assert [cell.text_content().strip() for cell in cells] == ["0.25", "0.05"]


async def test_it_is_said_in_chinese(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.viewer)
    await browser.open("/language?to=zh&back=/finance/decisions")
    for path in ("/finance/decisions", "/finance/decisions/1"):
        leaf = await browser.open(path)
        for word in ("资金决定", "追回互助金", "提议人"):
            assert word in leaf.text, (path, word)
        for word in ("recovery", "Recovery", "waits"):
            assert word not in leaf.text, (path, word)
