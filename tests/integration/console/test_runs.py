"""The pages of runs: which there are, planning one, and the page of a run through its whole life."""

from __future__ import annotations

import re
from datetime import date

import pytest

from engine.access.roles import Role
from engine.runs.run import lock_run_or_wait
from engine.runs.voiding import fail
from tests.integration.api.asked import worked
from tests.integration.console.browsing import Browser
from tests.integration.test_credit_runs import surplus
from tests.integration.test_event_runs import alike_with
from tests.integration.worlds import (
    DEBIT,
    LATE_DEBIT,
    LATE_JULY,
    PLANNER,
    World,
    alike,
    build,
    rules_of_preset,
)
from tests.serving import Served

pytestmark = pytest.mark.integration

FOLLOWED = "//*[@id='live'][@data-events]"
"""The part of a page that a script keeps fresh."""


@pytest.fixture
async def world(served: Served) -> World:
    """Three shards and a claim that waits for its run."""
    world = await build(served.service.engine, rules_of_preset(), alike(300), alike(200), alike(100))
    await world.claim()
    return world


async def test_no_run_yet(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs")
    assert leaf.status == 200
    assert "There is no run yet." in leaf.text


async def test_the_list_has_filters_states_and_pages(served: Served, browser: Browser, world: World) -> None:
    await world.sealed()
    await world.claim(notice_on=LATE_JULY)
    await world.planned(LATE_DEBIT)
    await browser.sign_in(served.viewer)

    leaf = await browser.open("/runs")
    assert [row.text for row in leaf.page.xpath("//tbody//th//a")] == ["2", "1"]
    assert "Members pay" in leaf.text
    assert "323,940.00" in leaf.text
    tabs = {link.text.strip(): link.get("href") for link in leaf.page.xpath("//nav[@class='tabs']//a")}
    assert tabs == {"All": "/runs", "planned": "/runs?state=planned", "sealed": "/runs?state=sealed"}
    assert "Plan a run" not in leaf.text

    leaf = await browser.open("/runs?state=sealed&plan=xianghubao&kind=&first=")
    assert [row.text for row in leaf.page.xpath("//tbody//th//a")] == ["1"]
    assert leaf.page.xpath("//nav[@class='tabs']//a/@href")[0] == "/runs?plan=xianghubao"
    leaf = await browser.open(f"/runs?last={DEBIT}&state=planned")
    assert "No run fits the filter." in leaf.text

    leaf = await browser.open("/runs?limit=1")
    (onward,) = leaf.page.xpath("//nav[@class='pager']//a")
    leaf = await browser.open(onward.get("href"))
    assert [row.text for row in leaf.page.xpath("//tbody//th//a")] == ["1"]
    assert [link.get("href") for link in leaf.page.xpath("//nav[@class='pager']//a")] == ["/runs"]


async def test_a_run_is_planned(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/runs/new")
    assert [option.get("value") for option in leaf.page.xpath("//select[@name='plan']/option")] == ["xianghubao"]
    leaf = await browser.open("/runs/new?plan=xianghubao")
    # The slot that was missed comes first.
    assert leaf.page.xpath("//input[@name='debit_on']/@value")[0] == str(DEBIT)
    assert "300,000.00" in leaf.text
    leaf = await browser.press("/v1/runs")
    assert (leaf.status, leaf.url) == (200, "/runs/1")
    assert "Run 1" in leaf.text
    assert "planned" in leaf.text
    leaf = await browser.open(f"/runs/new?plan=xianghubao&debit_on={DEBIT}")
    assert "This day has its run already." in leaf.text
    assert not browser.offers("/v1/runs")


async def test_the_day_that_is_proposed_is_the_next_without_a_run(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, rules_of_preset("jd-hubao"), alike(5))
    await browser.sign_in(served.scheduler)

    async def proposed() -> date:
        leaf = await browser.open("/runs/new?plan=jd-hubao")
        return date.fromisoformat(leaf.page.xpath("//input[@name='debit_on']/@value")[0])

    first = await proposed()
    await world.claim()
    assert await proposed() < first, "what was missed comes first"
    await world.planned(first)
    assert await proposed() > first


async def test_who_may_not_plan_has_no_page_for_it(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.finance)
    assert (await browser.open("/runs/new")).status == 403


async def test_a_day_that_is_no_debit_day_and_a_slot_that_is_skipped(
    served: Served, browser: Browser, world: World
) -> None:
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/runs/new?plan=xianghubao&debit_on=2019-07-15")
    assert "This is no day on which the plan debits its members." in leaf.text
    assert not browser.offers("/v1/runs")
    leaf = await browser.press("schedules/xianghubao/skip", reason="nobody was there")
    assert leaf.status == 200
    slots = (await served.viewer.get("/v1/schedules/xianghubao/slots?limit=500")).said["items"]
    assert [slot["debit_on"] for slot in slots if slot["state"] == "skipped"] == [str(DEBIT)]


async def test_what_the_next_run_may_come_to(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/new/estimate?plan=xianghubao")
    assert leaf.status == 200
    assert "An estimate, no charge" in leaf.text
    assert "324,000.00" in leaf.text


async def test_a_credit_run_is_planned_with_its_surplus(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, surplus(), alike(10))
    await browser.sign_in(served.scheduler)
    leaf = await browser.open(f"/runs/new?plan={world.plan.code}&debit_on=2019-07-15")
    assert "What premiums leave of claims and costs" in leaf.text
    leaf = await browser.press("/v1/runs", surplus__premiums="100.00", surplus__claims="60", surplus__costs="10.5")
    assert leaf.url == "/runs/1"
    await world.worked(await world.run(1))
    leaf = await browser.open("/runs/1")
    assert "Given to members" in leaf.text
    assert "The surplus" in leaf.text


async def test_a_run_from_its_preview_to_its_seal(served: Served, browser: Browser, world: World) -> None:
    run = await world.previewed()
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/1")
    assert f"It waits for the approval of somebody else than {PLANNER}" in leaf.text
    assert "It waits for your approval" not in leaf.text
    assert "All 600 who share pay the same: 0.10 each." in leaf.text
    assert "equal, as previewed" in leaf.text
    assert not browser.offers("runs/1/approve")

    await browser.sign_in(served.approver)
    leaf = await browser.open("/runs/1")
    assert f"It waits for your approval, as {PLANNER} planned it" in leaf.text
    leaf = await browser.press("runs/1/approve")
    assert (leaf.status, "reason: Fill this in." in leaf.text) == (422, True)
    await browser.open("/runs/1")
    leaf = await browser.press("runs/1/approve", reason="the two cases are those of the notice")
    assert (leaf.status, leaf.url) == (200, "/runs/1")
    assert (await world.run(1)).approved_by == "approver"
    assert "A worker takes it on" in leaf.text or leaf.page.xpath(FOLLOWED)

    await world.worked(run)
    leaf = await browser.open("/runs/1")
    assert "equal, read again from the journals" in leaf.text
    sealed = await world.run(1)
    assert sealed.root is not None
    assert sealed.root.hex() in leaf.source.replace("</span><span>", "")
    assert not leaf.page.xpath(FOLLOWED)
    assert not browser.offers("runs/1/approve")
    totals = [each.text_content() for each in leaf.page.xpath("//div[@class='total']/dd")]
    assert len(totals) == 2
    assert totals[0].strip() in totals[1]


async def test_whoever_planned_it_is_told_why_they_do_not_approve_it(
    served: Served, browser: Browser, world: World
) -> None:
    planner = await served.caller(PLANNER, Role.ADMIN)
    run = await world.previewed()
    await browser.sign_in(planner)
    leaf = await browser.open("/runs/1")
    assert "You planned this run, so somebody else approves it" in leaf.text
    assert not browser.offers("runs/1/approve")
    assert run.preview_digest is not None
    fields = {"csrf": _csrf(browser), "key": "a-key-of-mine", "digest": run.preview_digest.hex(), "reason": "mine"}
    assert (await browser.send("/do/v1/runs/1/approve", fields)).status == 409


async def test_nobody_approves_what_has_changed_since_they_looked(
    served: Served, browser: Browser, world: World
) -> None:
    await world.previewed()
    await browser.sign_in(served.approver)
    await browser.open("/runs/1")
    page = browser.leaf
    assert (await served.ops.post("/v1/runs/1/pause")).status == 200
    browser.leaf = page
    assert (await browser.press("runs/1/approve", reason="as seen")).status == 412
    assert (await world.run(1)).approved_by is None


async def test_a_run_is_paused_resumed_and_voided_for_a_reason(served: Served, browser: Browser, world: World) -> None:
    await world.previewed()
    await browser.sign_in(served.scheduler)
    await browser.open("/runs/1")
    leaf = await browser.press("runs/1/pause")
    assert "paused" in leaf.text
    assert browser.offers("runs/1/resume")
    await browser.press("runs/1/resume")
    leaf = await browser.press("runs/1/void", reason="the wrong day")
    assert leaf.status == 200
    assert "the wrong day" in leaf.text
    assert "pause run" in leaf.text
    assert (await world.run(1)).state == "voided"
    assert not browser.offers("runs/1/void")
    await browser.sign_in(served.viewer)
    await browser.open("/runs/1")
    assert not browser.offers("runs/1/void")


async def test_what_a_voided_run_left(served: Served, browser: Browser, world: World) -> None:
    run = await world.sealed()
    await world.voided(run)
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/runs/1")
    assert "what was posted is reversed, shard by shard" in leaf.text
    voided = await world.worked(run)
    assert voided.void_root is not None
    leaf = await browser.open("/runs/1")
    for said in (
        "It was voided: what it posted is reversed",
        "Its claims wait for another run.",
        "nothing of it stands",
    ):
        assert said in leaf.text, said
    assert voided.void_root.hex() in leaf.source.replace("</span><span>", "")
    links = leaf.page.xpath("//main//a/@href")
    assert "/runs/1/journals" in links
    assert "/runs/new?plan=xianghubao&debit_on=2019-07-14" in links
    assert "/public/runs/1" not in links, "a period that was voided is not public any more"


async def test_a_run_that_failed_says_why_and_what_comes_of_it(served: Served, browser: Browser, world: World) -> None:
    run = await world.planned()
    async with world.engine.begin() as connection:
        await fail(connection, await lock_run_or_wait(connection, run.run_id), "nobody shares claim 1")
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/1")
    assert leaf.text.count("nobody shares claim 1") == 1
    assert "It posted nothing, and nobody is charged." in leaf.text
    assert "Its claims wait for another run." in leaf.text
    assert not leaf.page.xpath("//section[@id='files']")
    assert not leaf.page.xpath("//main//a[starts-with(@href, '/runs/new')]"), "who only looks plans none"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.FINANCE])
async def test_who_may_not_move_a_run_has_no_button_and_is_refused(
    served: Served, browser: Browser, world: World, role: Role
) -> None:
    await world.previewed()
    await browser.sign_in(served.callers[role])
    await browser.open("/runs/1")
    for operation in ("approve", "void", "pause"):
        assert not browser.offers(f"runs/1/{operation}")
        fields = {"csrf": _csrf(browser), "key": "a-key-of-mine", "reason": "because", "digest": "0" * 64}
        kept = browser.leaf
        assert (await browser.send(f"/do/v1/runs/1/{operation}", fields)).status == 403
        browser.leaf = kept


async def test_how_fast_a_run_goes_and_how_long_it_takes(served: Served, browser: Browser, world: World) -> None:
    await world.posting(1)
    await browser.sign_in(served.viewer)
    await world.sql("UPDATE run_shards SET finished_at = clock_timestamp() + interval '1 minute' WHERE state = 'done'")
    leaf = await browser.open("/runs/1")
    (headway,) = leaf.page.xpath("//*[@id='headway']")
    said = " ".join(headway.text_content().split())
    assert re.search(r"300 / 600.* [\d,]+ members a second · \d+ \w+ left · 1 of 3 shards$", said), said


async def test_failed_shards_are_seen_and_tried_again(served: Served, browser: Browser, world: World) -> None:
    run = await world.posting(2)
    await world.sql("UPDATE run_shards SET state = 'failed', error = 'disk full' WHERE shard_id % 10 = 3")
    await browser.sign_in(served.ops)
    leaf = await browser.open("/runs/1")
    assert "1 failed" in leaf.text
    assert "disk full" in leaf.text
    assert leaf.page.xpath("//*[@id='live']//rect[contains(@class, 'state-failed')]")
    assert [link.get("href") for link in leaf.page.xpath("//*[@id='live']//a") if "queues" in link.get("href")] == [
        "/ops/queues/post"
    ]
    part = await browser.open("/runs/1/live")
    assert part.source.lstrip().startswith("<section")
    leaf = await browser.open("/runs/1/shards?state=failed")
    assert [row.text for row in leaf.page.xpath("//tbody//th")] == ["3"]
    leaf = await browser.press("runs/1/retry")
    assert await world.shard_states(run) == ["pending", "done", "pending"]
    await world.worked(run)
    leaf = await browser.open("/runs/1/shards")
    assert [row.text for row in leaf.page.xpath("//tbody//th")] == ["1", "2", "3"]


async def test_the_journals_of_a_run(served: Served, browser: Browser, world: World) -> None:
    await world.sealed()
    await browser.sign_in(served.finance)
    leaf = await browser.open("/runs/1/journals")
    assert "run:1:charge" in leaf.text
    leaf = await browser.open("/runs/1/journals?limit=1")
    assert [row.text_content() for row in leaf.page.xpath("//tbody//th")] == ["1000000 : 1"]
    assert leaf.page.xpath("//nav[@class='pager']//a")


async def test_an_export_is_asked_for_and_taken_home(served: Served, browser: Browser, world: World) -> None:
    await world.sealed()
    await browser.sign_in(served.finance)
    await browser.open("/runs/1")
    leaf = await browser.press("runs/1/exports", format="csv")
    assert "queued" in leaf.text
    await worked(served, await served.finance.post("/v1/runs/1/exports", {"format": "csv"}))
    leaf = await browser.open("/runs/1")
    files = leaf.page.xpath("//*[@id='files']//a[text()='summary.csv']/@href")
    assert files == ["/v1/exports/2/files/summary.csv", "/v1/exports/1/files/summary.csv"]
    assert (await served.finance.get(files[1])).status == 200
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/1")
    assert "summary.csv" in leaf.text
    assert not leaf.page.xpath("//*[@id='files']//a[text()='summary.csv']")


async def test_a_run_of_rounds_says_what_each_case_costs(served: Served, browser: Browser) -> None:
    world = await alike_with(served.service.engine, [5_00] * 20 + [1_50] * 10)
    await world.claim(aid_minor=60_00)
    await world.previewed()
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/1")
    assert "Case by case" in leaf.text


async def test_a_run_that_is_not_there(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    for path in ("/runs/7", "/runs/7/live", "/runs/7/shards", "/runs/7/journals"):
        assert (await browser.open(path)).status == 404


async def test_all_of_it_in_chinese(served: Served, browser: Browser, world: World) -> None:
    await world.sealed()
    await browser.sign_in(served.viewer)
    await browser.open("/language?to=zh&back=/runs")
    leaf = await browser.open("/runs/1")
    assert leaf.page.get("lang") == "zh-CN"
    assert "已封账" in leaf.text
    assert "收入 = 支出" in leaf.text


def _csrf(browser: Browser) -> str:
    assert browser.leaf is not None
    return str(browser.leaf.page.xpath("//input[@name='csrf']/@value")[0])
