"""The pages of claims: the work list, filing one, and a claim from its filing to the runs that shared it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine import claims
from engine.api.claims import DEDUCTIONS_MAX
from tests.integration.console.browsing import Browser, Leaf
from tests.integration.prepaid import known
from tests.integration.worlds import Claimant, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

DAILY = {"days_of_month": list(range(1, 29)), "length_days": 30}


async def plan(served: Served, **tables: Any) -> World:
    return await known(await build(served.service.engine, rules_of_preset(**tables), alike(6)))


async def filed(served: Served, member: str, **more: object) -> int:
    said = {"plan": "xianghubao", "diagnosed_on": "2019-06-20", "on": "2019-06-25", "aid": "0.30", "member": member}
    answer = await served.scheduler.post("/v1/claims", said | more)
    assert answer.status == 201, answer.said
    return int(answer.said["claim_id"])


async def published(served: Served, member: str, on: str = "2019-07-07") -> int:
    claim_id = await filed(served, member)
    answer = await served.scheduler.post(f"/v1/claims/{claim_id}/publish", {"on": on})
    assert answer.status == 200, answer.said
    return claim_id


async def objected(served: Served, claim_id: int) -> None:
    said = {"reason": "two papers differ", "on": "2019-07-08"}
    assert (await served.scheduler.post(f"/v1/claims/{claim_id}/objections", said)).status == 201


def rows(leaf: Leaf) -> list[str]:
    return [link.text for link in leaf.page.xpath("//main//tbody//th/a")]


def tabs(leaf: Leaf) -> dict[str, str]:
    return {
        " ".join(link.text_content().split()): link.get("href") for link in leaf.page.xpath("//nav[@class='tabs']//a")
    }


async def test_no_claim_yet(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/claims")
    assert (leaf.status, "There is no claim yet." in leaf.text) == (200, True)


async def test_the_list_has_states_a_countdown_and_pages(served: Served, browser: Browser) -> None:
    world = await plan(served)
    await filed(served, "M0")
    await published(served, "M1")
    await objected(served, await published(served, "M2"))
    async with world.engine.begin() as connection:
        # The plan's last notice day is long past; a notice that lasts still is written as it would be.
        claimant = Claimant(world.shard(1), seat=3)
        claim = await claims.file(
            connection, world.plan_id, world.rules, claimant,
            diagnosed_on=date(2019, 6, 20), on=date(2019, 6, 25), actor="intake", aid_minor=50,
        )  # fmt: skip
        await claims.publish(
            connection, claim.claim_id, rules_of_preset(notice=DAILY), on=_notice_day(), actor="intake"
        )
    await browser.sign_in(served.viewer)

    leaf = await browser.open("/claims")
    assert rows(leaf) == ["4", "3", "2", "1"], "the latest first"
    assert tabs(leaf) == {
        "All 4": "/claims", "Due to pass 1": "/claims?due=true", "filed 1": "/claims?state=filed",
        "published 3": "/claims?state=published",
    }  # fmt: skip
    assert not leaf.page.xpath("//form[contains(@action, 'pass-due')]")

    leaf = await browser.open("/claims?state=published&plan=")
    assert rows(leaf) == ["2", "3", "4"], "in the order to work through"
    left = [" ".join(cell.text_content().split()) for cell in leaf.page.xpath("//tbody/tr/td[2]")]
    assert left[:2] == ["can pass", "1 objection open over"]
    assert left[2].endswith("day") or left[2].endswith("days")

    leaf = await browser.open("/claims?due=true&plan=xianghubao")
    assert rows(leaf) == ["2"]
    leaf = await browser.open("/claims?state=withdrawn")
    assert "No claim fits the filter." in leaf.text

    leaf = await browser.open("/claims?limit=2")
    (onward,) = leaf.page.xpath("//nav[@class='pager']//a")
    leaf = await browser.open(onward.get("href"))
    assert rows(leaf) == ["2", "1"]


def _notice_day() -> date:
    """Today where notices may begin today, else the day before that they could."""
    today = datetime.now(UTC).date()
    return today if today.day <= 28 else today.replace(day=28)


async def test_all_that_is_due_passes_at_once(served: Served, browser: Browser) -> None:
    await plan(served)
    await published(served, "M1")
    await published(served, "M2")
    await objected(served, await published(served, "M3"))
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/claims?state=published")
    assert "Pass 2 claims of xianghubao" in leaf.text
    leaf = await browser.press("claims/pass-due")
    assert "Done: pass due claims" in leaf.text
    assert tabs(leaf)["passed 2"] == "/claims?state=passed"


async def test_a_claim_is_filed_and_goes_to_its_page(served: Served, browser: Browser) -> None:
    await plan(served)
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/claims/new")
    assert "300,000.00" in leaf.text
    fields: dict[str, Any] = {"member": "M2", "diagnosed_on": "2019-06-20", "on": "2019-06-25", "aid": "0.30"}
    leaf = await browser.press("/v1/claims", **fields)
    assert (leaf.status, leaf.url) == (200, "/claims/1")
    assert "filed" in leaf.text
    assert "M2" not in leaf.told

    await browser.open("/claims/new?plan=xianghubao")
    by_seat: dict[str, Any] = {"json:member": "3", "diagnosed_on": "2019-06-20", "on": "2019-06-25"}
    leaf = await browser.press("/v1/claims", **by_seat)
    assert leaf.url == "/claims/2"
    assert "300,000.00" in leaf.text

    await browser.open("/claims/new?plan=xianghubao")
    both: dict[str, Any] = fields | {"json:member": "3"}
    leaf = await browser.press("/v1/claims", **both)
    assert (leaf.status, "Fill in one of the two" in leaf.text) == (422, True)

    await browser.open("/claims/new?plan=xianghubao")
    leaf = await browser.press("/v1/claims", **(fields | {"member": "M9"}))
    assert (leaf.status, "no such member" in leaf.text) == (404, True)


async def test_what_comes_off_the_aid_is_filed_with_it(served: Served, browser: Browser) -> None:
    await plan(served)
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/claims/new")
    assert len(leaf.page.xpath("//input[starts-with(@name, 'deductions.')]")) == 2 * DEDUCTIONS_MAX
    fields: dict[str, Any] = {"member": "M2", "diagnosed_on": "2019-06-20", "on": "2019-06-25"}
    fields |= {"deductions.0.amount": "1000", "deductions.0.reason": "paid by the state"}
    fields |= {"deductions.2.amount": "0.50", "deductions.2.reason": "paid by an insurance"}
    leaf = await browser.press("/v1/claims", **fields)
    assert (leaf.status, leaf.url) == (200, "/claims/1"), leaf.text
    for said in ("298,999.50", "paid by the state", "paid by an insurance"):
        assert said in leaf.text

    await browser.open("/claims/new")
    leaf = await browser.press("/v1/claims", **(fields | {"member": "M3", "deductions.2.reason": ""}))
    assert (leaf.status, "reason" in leaf.text) == (422, True), "an amount without a reason is not dropped"


async def test_an_accident_is_filed_with_all_its_facts(served: Served, browser: Browser) -> None:
    await known(await build(served.service.engine, rules_of_preset("quark-driving", exits=None), alike(6)))
    await browser.sign_in(served.scheduler)
    await browser.open("/claims/new")
    fields: dict[str, Any] = {"member": "M2", "diagnosed_on": "2019-06-20", "on": "2019-06-25"}
    fields |= {"accident.award": "10000", "accident.fault_share": "0.5", "accident.compulsory": "1000"}
    leaf = await browser.press("/v1/claims", **(fields | {"accident.third_party": "500.50"}))
    assert (leaf.status, leaf.url) == (200, "/claims/1"), leaf.text
    everything = (await served.viewer.get("/v1/claims/1")).said["history"][0]["detail"]["steps"]
    for said in ("10,000.00", "1,000.00", "500.50"):
        assert said in " ".join(everything), everything


async def test_a_claim_from_notice_to_passing(served: Served, browser: Browser) -> None:
    await plan(served)
    await filed(served, "M2")
    await browser.sign_in(served.scheduler)
    await browser.open("/claims/1")
    assert browser.offers("/publish")
    assert browser.offers("/withdraw")
    assert browser.offers("/reject")
    assert not browser.offers("/pass")
    leaf = await browser.press("claims/1/publish", on="2019-07-08")
    assert (leaf.status, "is not a notice day" in leaf.text) == (409, True)
    await browser.open("/claims/1")
    leaf = await browser.press("claims/1/publish", on="2019-07-07")
    assert (leaf.url, "Done: publish claim" in leaf.text) == ("/claims/1", True)
    assert "The notice has ended and no objection is open" in leaf.text

    await objected(served, 1)
    leaf = await browser.open("/claims/1")
    assert not browser.offers("/pass")
    assert "1 objection is open" in leaf.text
    assert "two papers differ" in leaf.text
    leaf = await browser.press("objections/1/resolve", resolution="they are alike")
    assert "they are alike" in leaf.text
    leaf = await browser.press("claims/1/pass")
    assert "Done: pass claim" in leaf.text
    assert not browser.offers("/reject")
    events = [cell.text for cell in leaf.page.xpath("//caption[contains(., 'Every decision')]/..//tbody//th")]
    assert events == ["Filed", "Notice begun", "Objection raised", "Objection answered", "Passed"]


async def test_who_decides_on_what_has_changed_is_refused(served: Served, browser: Browser) -> None:
    await plan(served)
    await published(served, "M2")
    await browser.sign_in(served.scheduler)
    await browser.open("/claims/1")
    await objected(served, 1)
    leaf = await browser.press("claims/1/reject", reason="not as filed")
    assert leaf.status == 412
    assert (await served.viewer.get("/v1/claims/1")).said["state"] == "published"


async def test_stages_runs_and_aid_that_came_back(served: Served, browser: Browser) -> None:
    world = await plan(served, aid_stages={"first": "1/5"})
    await world.claim(aid_minor=100)
    await world.sealed()
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/claims/1")
    assert leaf.page.xpath("//td[contains(., '2019-07-07')]/preceding-sibling::th/a/@href") == ["/runs/1"]
    assert "0.80 CNY is left of the aid" in leaf.text
    assert not browser.offers("/recover"), "it is for finance"
    leaf = await browser.press("claims/1/bill", amount="0.10", on="2019-07-21")
    assert "Next stage put in" in leaf.text

    await browser.sign_in(served.finance)
    await browser.open("/claims/1")
    assert not browser.offers("/withdraw")
    await browser.press("claims/1/recover", amount="0.20", reason="the papers were false")
    decisions = (await served.viewer.get("/v1/decisions/1")).said
    assert (decisions["kind"], decisions["subject"]) == ("recovery", "claim:1")


async def test_who_only_looks_has_no_button(served: Served, browser: Browser) -> None:
    await plan(served)
    await published(served, "M2")
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/claims/1")
    assert not [form for form in leaf.page.forms if "/do/" in (form.get("action") or "")]
    assert (await browser.open("/claims/new")).status == 403
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    leaf = await browser.send("/do/v1/claims/1/pass", {"csrf": csrf, "key": "k" * 32})
    assert leaf.status == 403
    assert (await browser.open("/claims/9")).status == 404


async def test_claims_in_chinese(served: Served, browser: Browser) -> None:
    await plan(served)
    await published(served, "M2")
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/claims", **{"Accept-Language": "zh"})
    assert "互助申请" in leaf.text
    assert "公示已结束且无未决异议" in leaf.text
    leaf = await browser.open("/claims/1", **{"Accept-Language": "zh"})
    assert "公示已结束，没有未决异议" in leaf.text
    assert "提交申请" in leaf.text
