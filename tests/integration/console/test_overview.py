"""The overview: what is under way, and what needs just this visitor now."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, text

from engine.access.roles import Role
from engine.custodian.breaks import Code
from engine.runs.conductor import advance
from engine.store.tables import workers
from tests.integration.api.furnished import furnish
from tests.integration.broken import sent
from tests.integration.console.browsing import Browser, Leaf
from tests.integration.worlds import World, alike, build, rules_of_preset
from tests.serving import Caller, Served

pytestmark = pytest.mark.integration


def needs(leaf: Leaf) -> dict[str, str]:
    """What the visitor is asked for, and where each leads."""
    links = leaf.page.xpath("//ul[@class='needs']//a")
    return {re.sub(r"\s+", " ", link.text_content()).strip(): link.get("href") for link in links}


async def seen_by(browser: Browser, caller: Caller) -> dict[str, str]:
    await browser.sign_in(caller)
    return needs(await browser.open("/"))


@pytest.fixture
async def world(served: Served) -> World:
    """A plan of three shards with a claim that waits."""
    world = await build(served.service.engine, rules_of_preset(), alike(30), alike(20), alike(10))
    await world.claim()
    return world


async def test_nothing_there_yet_is_a_page_that_says_so(served: Served, browser: Browser) -> None:
    leaf = await browser.sign_in(served.viewer)
    assert leaf.status == 200
    for said in ("Nothing waits for you.", "No run is under way.", "The clock plans no runs.", "No custodian"):
        assert said in leaf.text
    assert not browser.offers("/resume")
    assert "fentan plan register xianghubao --as viewer" in leaf.text


async def test_who_has_not_signed_in_sees_what_is_public(browser: Browser) -> None:
    assert (await browser.open("/")).url.startswith("/public")


async def test_whose_session_ends_meanwhile_is_led_to_sign_in(browser: Browser) -> None:
    leaf = await browser.open("/", **{"HX-Request": "true", "HX-Current-URL": f"{browser.url}/"})
    assert (leaf.source, leaf.headers["HX-Redirect"]) == ("", "/sign-in?back=/")


async def test_a_run_under_way_shows_how_far_it_is(served: Served, browser: Browser, world: World) -> None:
    run = await world.planned()
    await world.worked(run)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/")
    assert "waits for approval by somebody else" in leaf.text
    assert "How it begins" not in leaf.text
    await world.approved(run)
    await advance(world.engine, run.run_id, freeze_hours=24)
    await world.set_shards(run, "done", [1])
    leaf = await browser.open("/")
    assert f'href="/runs/{run.run_id}"' in leaf.source
    assert "30 / 60" in leaf.text
    assert 'hx-trigger="every 3s"' in leaf.source
    await world.set_shards(run, "failed", [2])
    assert "1 shard failed" in (await browser.open("/")).text


async def test_a_run_waits_for_whoever_may_approve_it_and_did_not_plan_it(
    served: Served, browser: Browser, world: World
) -> None:
    answer = await served.scheduler.post("/v1/runs", {"plan": world.plan.code, "debit_on": "2019-07-14"})
    run = await world.run(answer.said["run_id"])
    await world.worked(run)
    waits = {"1 run waits for your approval": f"/runs/{run.run_id}"}
    assert (await seen_by(browser, served.approver)).items() >= waits.items()
    assert waits.keys().isdisjoint(await seen_by(browser, served.scheduler))
    same = await served.caller("SCHEDULER", Role.APPROVER)
    assert waits.keys().isdisjoint(await seen_by(browser, same)), "a name in capitals is the same person"
    planner = await served.caller("scheduler", Role.APPROVER)
    assert waits.keys().isdisjoint(await seen_by(browser, planner))
    reader = await served.caller("reader", Role.APPROVER, scopes=["runs:read"])
    assert waits.keys().isdisjoint(await seen_by(browser, reader))


async def test_each_is_asked_for_what_they_may_do(served: Served, browser: Browser) -> None:
    await furnish(served)
    async with served.service.engine.begin() as connection:
        row = {"worker": "lost", "host": "host", "pid": 1, "version": "1"}
        await connection.execute(insert(workers).values(row))
        await connection.execute(text("UPDATE workers SET beat_at = now() - interval '1 minute'"))
        await connection.execute(text("UPDATE jobs SET state = 'failed', error = 'disk full' WHERE job_id = 1"))
        await connection.execute(
            text("UPDATE breaks SET assigned_to = 'finance', state = 'assigned' WHERE break_id = 2")
        )
    asked = await seen_by(browser, served.approver)
    assert asked == {"1 decision waits for your approval": "/finance/decisions/1"}
    asked = await seen_by(browser, served.ops)
    silent = {"No worker is at work: nothing moves": "/ops/workers", "2 workers are silent": "/ops/workers"}
    assert asked == {"1 failure in the queue jobs": "/ops/queues/jobs"} | silent
    # Its proposed break is in the hands of who proposed it.
    asked = await seen_by(browser, served.finance)
    assert asked.pop("2 breaks are in your hands") == "/finance/breaks?assigned_to=finance"
    assert list(asked.values()) == ["/finance/custodians/generic-csv"]
    asked = await seen_by(browser, served.scheduler)
    assert asked == {"1 claim is held by an objection": "/claims?state=published"}
    assert await seen_by(browser, served.viewer) == {}
    everything = await seen_by(browser, served.admin)
    assert "1 decision waits for your approval" in everything
    # What stands still comes first.
    assert next(iter(everything)) == "1 failure in the queue jobs"


async def test_slots_that_were_missed_wait_for_a_scheduler(served: Served, browser: Browser, world: World) -> None:
    await served.scheduler.post(f"/v1/schedules/{world.plan.code}", {"plans_at": "00:00"})
    asked = await seen_by(browser, served.scheduler)
    ((said, url),) = asked.items()
    assert re.fullmatch(r"\d+ missed slots of xianghubao", said)
    assert url == "/ops/schedules?plan=xianghubao"
    assert browser.leaf is not None
    today = datetime.now(UTC).year
    (slot,) = browser.leaf.page.xpath("//table[caption[text()='Next slots']]/tbody/tr")
    assert slot.xpath("string(td[1])").startswith((str(today), str(today + 1)))


async def test_breaks_by_severity(served: Served, browser: Browser, tmp_path: object) -> None:
    teller = await sent(served.service.engine, tmp_path, alike(8))  # type: ignore[arg-type]  # a Path
    async with teller.world.engine.begin() as connection:
        await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2, 3], 50)
    leaf = await browser.sign_in(served.viewer)
    figures = leaf.page.xpath("//section[.//h2[text()='Open breaks by severity']]//div[contains(@class, 'stat ')]")
    assert [re.sub(r"\s+", " ", each.text_content()).strip() for each in figures][:1] == ["critical 3"]


async def test_it_is_said_in_chinese(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.viewer)
    await browser.open("/language?to=zh&back=/")
    leaf = await browser.open("/")
    for said in ("总览", "没有进行中的分摊", "当前需要您处理"):
        assert said in leaf.text
