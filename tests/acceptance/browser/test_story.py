"""A period through the pages, by the hands of those who keep it: planned, approved, watched, reconciled, checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from engine.custodian.reference import Kind, Reference
from engine.store.outbox import Event
from tests.acceptance.browser.conftest import OpenPage
from tests.acceptance.browser.watched import axe
from tests.faults.crew import Crew, wall
from tests.integration.bank_statement import Line, statement
from tests.integration.held import desk_in, hold, instructed, profile_of
from tests.integration.prepaid import known
from tests.integration.worlds import DEBIT, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.acceptance

PATIENCE_MS = 30_000
"""What real workers take to start and to do it, on a machine that does more."""


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """Wait longer for what is expected on a page."""
    expect.set_options(timeout=PATIENCE_MS)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture
async def world(served: Served) -> World:
    """200 members on four shards, whose money a custodian holds, a platform that hands out links, and a claim."""
    world = await known(await build(served.service.engine, rules_of_preset(), *[alike(50)] * 4))
    await hold(world, profile_of())
    await world.claim(aid_minor=100_00)
    hook = {"url": "http://127.0.0.1:9/hook", "events": [Event.SHARE_REQUESTED]}
    assert (await served.admin.post("/v1/webhooks", hook)).status == 201
    return world


@pytest.fixture
def crew(served: Served, tmp_path: Path) -> Iterator[Crew]:
    """Workers of the application's servers and folder, none hired yet."""
    settings = served.service.settings
    crew = Crew(
        served.service.engine.url.render_as_string(hide_password=False),
        settings.redis_url.get_secret_value(),
        tmp_path / "workers.log",
    )
    yield crew
    crew.dismiss()


async def press(page: Page, opening: str, confirming: str, *, reason: str | None = None) -> None:
    """Open the form behind a button, and send it as it is but for the reason."""
    await page.get_by_role("button", name=opening).click()
    if reason is not None:
        await page.locator(":popover-open textarea[name=reason]").fill(reason)
    await page.get_by_role("button", name=confirming, exact=True).click()


async def plan(page: Page) -> None:
    """A scheduler finds what is due, and plans it."""
    await page.get_by_role("link", name="Runs", exact=True).first.click()
    await page.get_by_role("link", name="Plan a run").click()
    await page.locator("select[name=plan]").select_option("xianghubao")
    await page.get_by_role("button", name="Choose").click()
    await page.get_by_role("button", name=f"Plan the run of {DEBIT}").click()
    await page.wait_for_url("**/runs/1")


async def upload(page: Page, content: str) -> None:
    """Somebody of finance brings the custodian's file, and waits until it is taken."""
    await page.goto("/finance/statements")
    await page.get_by_role("button", name="Import a statement…").click()
    await page.locator("input[type=file]").set_input_files(
        {"name": "july.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    await expect(page.locator("input[name=name]")).to_have_value("july.csv")
    await page.locator("input[name=on]").fill("2019-07-20")
    await page.get_by_role("button", name="Import", exact=True).click()
    await expect(page.locator("#live")).to_contain_text("1 statement taken; 2 lines")
    await page.locator("#live").get_by_role("link", name="Statement 1").click()
    await expect(page.locator("body")).to_contain_text("it adds up")


async def propose(page: Page) -> None:
    """They look at what nobody knows, and propose what is to be done about it."""
    await page.goto("/finance/breaks")
    await page.locator("tbody th").get_by_role("link", name="1", exact=True).click()
    await page.get_by_role("button", name="Propose what is done…").click()
    form = page.locator("form[action*='propose']")
    await form.locator("input[value='write off']").check()
    await form.locator("textarea[name=reason]").fill("nobody knows it")
    await form.get_by_role("button", name="Propose", exact=True).click()
    await page.wait_for_url("**/finance/decisions/1")


async def test_a_period_from_its_plan_to_a_members_check(
    open_page: OpenPage, signed_in: OpenPage, served: Served, world: World, crew: Crew
) -> None:
    scheduler, approver, ops, finance = [
        await signed_in(each) for each in (served.scheduler, served.approver, served.ops, served.finance)
    ]
    await plan(scheduler)
    crew.hire(FENTAN_DATA_DIR=str(served.service.settings.data_dir))
    await expect(scheduler.locator("h1")).to_contain_text("previewed")
    await axe(scheduler)

    async with wall(world, 3, 4):
        await approver.goto("/runs/1")
        await press(approver, "Approve…", "Approve", reason="the aid is that of the notice")
        await expect(approver.locator("h1")).not_to_contain_text("previewed")
        await ops.goto("/runs/1")
        await expect(ops.locator("#headway")).to_contain_text("100 / 200")
        await axe(ops)
    await expect(ops.locator("h1")).to_contain_text("sealed")
    await expect(ops.locator("#equality")).to_contain_text("equal, read again from the journals")
    crew.dismiss()

    run = await world.run(1)
    folder = served.service.desk.files
    folder.mkdir(parents=True, exist_ok=True)
    await instructed(world, run, desk_in(folder))
    await world.sql("UPDATE debit_batches SET sent_at = now(), sent_on = :on", on=DEBIT)
    charged = int((await world.charged(run))[0][0])
    crew.hire(FENTAN_DATA_DIR=str(served.service.settings.data_dir))
    await upload(finance, statement((Line(charged, str(Reference(Kind.DEBIT, 1, 1, 0))), Line(3_00, "nobody we know"))))
    await axe(finance)
    await propose(finance)
    await axe(finance)

    await approver.goto("/finance/decisions/1")
    await press(approver, "Approve…", "Approve", reason="nobody asked for it back")
    await expect(approver.get_by_role("button", name="Approve…")).to_have_count(0)
    await approver.goto("/finance/breaks/1")
    await expect(approver.locator("body")).to_contain_text("written off")
    await axe(approver)

    member = await open_page()
    await member.goto("/share")
    await member.locator("select[name=plan]").select_option("xianghubao")
    await member.locator("input[name=member_ref]").fill("M7")
    await member.get_by_role("button", name="Send me a link").click()
    await member.wait_for_url("**/share/sent")
    await member.goto(await world.value("SELECT detail ->> 'path' FROM outbox WHERE detail ? 'path'"))
    await member.get_by_role("button", name="Show my shares").click()
    await member.get_by_role("button", name="Verify").click()
    await expect(member.locator(".verified")).to_contain_text("Verified: your share stands under the public seal.")
    await axe(member)
