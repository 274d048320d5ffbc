"""Check my share: nobody learns who is a member, a link opens once, and shows its own member alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from aiohttp import ClientSession, TCPConnector

from engine.api.problems import TooManyRequests
from engine.console.pages.share import ASKED_A_MINUTE, count_asked
from engine.ledger import seal
from engine.money import to_minor
from engine.store.outbox import Event
from tests.integration.console.browsing import Browser, browsing
from tests.integration.prepaid import known
from tests.integration.worlds import LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration


@pytest.fixture
async def world(served: Served) -> World:
    """Two sealed periods of 300 members who are known, and a platform that is told of links."""
    world = await known(await build(served.service.engine, rules_of_preset(), alike(300)))
    await world.claim()
    await world.sealed()
    await world.claim(aid_minor=3_00, notice_on=LATE_JULY)
    await world.sealed(LATE_DEBIT)
    hook = {"url": "http://127.0.0.1:9/hook", "events": [Event.SHARE_REQUESTED]}
    assert (await served.admin.post("/v1/webhooks", hook)).status == 201
    return world


@pytest.fixture
async def another(served: Served) -> AsyncIterator[Browser]:
    """Somebody else's browser."""
    async with browsing(served) as found:
        yield found


async def asked(browser: Browser, member_ref: str) -> None:
    """Ask for a link by the form; all that is said to whoever asks."""
    await browser.open("/share")
    leaf = await browser.press("/share", plan="xianghubao", member_ref=member_ref)
    assert (leaf.status, leaf.url) == (200, "/share/sent")


async def link(world: World) -> str:
    """The latest link that the platform was told."""
    return str(await world.value("SELECT detail ->> 'path' FROM outbox WHERE detail ? 'path' ORDER BY message_id DESC"))


async def opened(browser: Browser, world: World, member_ref: str) -> None:
    await asked(browser, member_ref)
    path = await link(world)
    await browser.open(path)
    leaf = await browser.press(path)
    assert leaf.url == "/share/mine", leaf.text


async def test_the_answer_is_the_same_whoever_is_asked_for(browser: Browser, world: World) -> None:
    await asked(browser, "M7")
    known_one = browser.leaf
    await asked(browser, "nobody at all")
    assert known_one is not None
    assert browser.leaf is not None
    assert browser.leaf.source == known_one.source
    assert await world.value("SELECT count(*) FROM outbox WHERE detail ? 'path'") == 1


async def test_who_asks_for_many_waits_whoever_they_are_of(served: Served, browser: Browser, world: World) -> None:
    now = datetime.now(UTC)
    for minute in (now, now + timedelta(minutes=1)):  # whichever of them it is by then
        for _ in range(ASKED_A_MINUTE):
            await count_asked(served.service.limits, "127.0.0.2", now=minute)
    links = "SELECT count(*) FROM share_links"
    async with ClientSession(connector=TCPConnector(local_addr=("127.0.0.2", 0))) as session:
        neighbour = Browser(session, served.url)
        for member_ref in ("M5", "nobody at all"):
            await neighbour.open("/share")
            leaf = await neighbour.press("/share", plan="xianghubao", member_ref=member_ref)
            assert (leaf.status, "So many links were asked for" in leaf.text) == (429, True)
            assert leaf.page.xpath("//input[@name='member_ref']/@value") == [member_ref], "nothing is typed twice"
    assert await world.value(links) == 0
    await asked(browser, "M5")
    assert await world.value(links) == 1


async def test_a_network_that_never_sleeps_is_not_held_up_for_it(served: Served) -> None:
    limits, begin = served.service.limits, datetime(2026, 1, 1, tzinfo=UTC)
    day = [begin + timedelta(minutes=10 * number) for number in range(144)]
    for moment in day + [day[-1] + timedelta(seconds=5 * number) for number in range(1, 61)]:
        await count_asked(limits, "203.0.113.7", now=moment)
    later = begin + timedelta(days=2)
    for _ in range(ASKED_A_MINUTE):
        await count_asked(limits, "203.0.113.7", now=later)
    with pytest.raises(TooManyRequests):
        await count_asked(limits, "203.0.113.7", now=later)


async def test_who_left_and_joined_again_sees_all_their_shares(browser: Browser, world: World) -> None:
    first = "member_ref = 'M200', ref_bucket = (SELECT ref_bucket FROM members WHERE seat = 200)"
    await world.sql("UPDATE members SET spell = 2 WHERE seat = 200")
    await world.sql(f"UPDATE members SET {first} WHERE seat = 7")
    await opened(browser, world, "M200")
    leaf = await browser.open("/share/mine")
    proofs = leaf.page.xpath("//button[@data-verify]/@data-proof")
    assert proofs == [f"/share/mine/proofs/{run}?seat={seat}" for run in (2, 1) for seat in (200, 7)]
    assert [json.loads((await browser.open(path)).source)["seat"] for path in proofs] == [200, 7, 200, 7]
    assert (await browser.open("/share/mine/proofs/1?seat=8")).status == 404


async def test_a_link_opens_once_by_a_button(browser: Browser, another: Browser, world: World) -> None:
    await asked(browser, "M200")
    path = await link(world)
    for _ in range(3):
        leaf = await browser.open(path)
        assert "Show my shares" in leaf.text, "what only looks uses nothing up"
    leaf = await browser.press(path)
    assert (leaf.url, leaf.status) == ("/share/mine", 200)
    shares = [(link.get("href"), link.text) for link in leaf.page.xpath("//ol[@class='shares']//p/a")]
    assert shares == [("/public/runs/2", "Period of 2019-07-28"), ("/public/runs/1", "Period of 2019-07-14")]
    assert leaf.page.xpath("//button[@data-verify]/@data-share") == ["0.02", "0.10"]
    await another.open(path)
    leaf = await another.press(path)
    assert (leaf.status, "This link has done its work" in leaf.text) == (410, True)
    for mine in ("/share/mine", "/share/mine/proofs/1"):
        leaf = await another.open(mine)
        assert (leaf.status, "Ask for a new link" in leaf.text) == (410, True)


async def test_the_cookie_is_kept_from_scripts_and_from_other_pages(
    served: Served, browser: Browser, world: World
) -> None:
    await asked(browser, "M7")
    path = await link(world)
    answer = await browser.session.post(served.url + path, allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]
    for part in ("fentan_share=", "HttpOnly", "SameSite=Strict", "Path=/share", "Max-Age=900"):
        assert part in cookie
    evil = await browser.session.post(served.url + "/share", headers={"Origin": "http://evil.example"})
    assert evil.status == 403


async def test_a_proof_is_of_the_links_own_seat_and_leads_to_the_public_seal(browser: Browser, world: World) -> None:
    await opened(browser, world, "M200")
    leaf = await browser.open("/share/mine/proofs/2")
    assert leaf.headers["Content-Type"].startswith("application/json")
    assert leaf.headers["Content-Disposition"] == 'attachment; filename="share-xianghubao-2.json"'
    assert leaf.headers["Cache-Control"] == "no-store"
    proof = json.loads(leaf.source)
    assert (proof["seat"], proof["amount"], proof["leaf"]["first_seat"]) == (200, "0.02", 128)
    amounts = np.array([to_minor(amount) for amount in proof["leaf"]["amounts"]], np.int64)
    hashed = seal.leaf_hash(seal.leaf_content(amounts, bytes.fromhex("".join(proof["leaf"]["tags"])), 0))
    steps = [seal.Step(bytes.fromhex(step["sibling"]), step["is_left"]) for step in proof["steps"]]
    root = seal.sealed_root(bytes.fromhex(proof["previous_root"]), seal.climb(hashed, steps)).hex()
    leaf = await browser.open("/public/runs/2")
    assert leaf.page.xpath("//@data-root") == [root]
    assert (await browser.open("/share/mine/proofs/3")).status == 404


async def test_a_view_ends_and_can_be_closed(browser: Browser, world: World) -> None:
    await opened(browser, world, "M7")
    leaf = await browser.press("/share/mine/close")
    assert leaf.url == "/share"
    assert (await browser.open("/share/mine")).status == 410
    await opened(browser, world, "M8")
    await world.sql("UPDATE share_links SET used_at = used_at - interval '16 minutes' WHERE used_at IS NOT NULL")
    assert (await browser.open("/share/mine")).status == 410


async def test_what_is_no_link_opens_nothing(browser: Browser, world: World) -> None:
    leaf = await browser.send(f"/share/{'x' * 43}", {})
    assert (leaf.status, "Ask for a new link" in leaf.text) == (410, True)
    assert (await browser.open("/share/short")).status == 422
    assert (await browser.send("/share", {"plan": "nowhere", "member_ref": "M7"})).status == 404
    assert (await browser.send("/share", {"plan": "xianghubao"})).status == 422


async def test_checking_a_share_in_chinese(browser: Browser, world: World) -> None:
    chinese = {"Accept-Language": "zh"}
    assert "查验我的分摊" in (await browser.open("/share", **chinese)).text
    await opened(browser, world, "M7")
    leaf = await browser.open("/share/mine", **chinese)
    assert "我的分摊" in leaf.text
    (texts,) = leaf.page.xpath("//*[@id='verifying']")
    assert texts.get("data-verified") == "验证通过：您的分摊确在公开封账之中。"
