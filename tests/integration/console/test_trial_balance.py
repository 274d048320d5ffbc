"""The trial balance on the console: of which plan, as of which day, and that both sides are the same."""

from __future__ import annotations

import pytest

from tests.integration.console.browsing import Browser
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration


async def test_every_account_stands_on_its_side(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    assert "No plan is registered" in (await browser.open("/finance/trial-balance")).text
    world = await build(served.service.engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    await world.sealed()
    said = (await served.viewer.get(f"/v1/plans/{world.plan.code}/trial-balance")).said
    leaf = await browser.open("/finance/trial-balance")
    rows = leaf.page.xpath("//tbody/tr")
    assert [row.xpath("string(td[1])") for row in rows] == [str(line["code"]) for line in said["lines"]]
    sides = [[cell.text_content().strip() for cell in row.xpath("td[@class='num']")] for row in rows]
    nothing = {"0.00": ""}
    assert sides == [[nothing.get(line[side], line[side]) for side in ("debit", "credit")] for line in said["lines"]]
    assert "the same" in leaf.text
    await browser.open("/language?to=zh&back=/")
    assert "试算平衡" in (await browser.open("/finance/trial-balance")).text
    assert "应付互助金" in (await browser.open("/finance/trial-balance")).text


async def test_it_is_as_of_a_day_of_a_plan(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    await world.sealed()
    await browser.sign_in(served.viewer)
    path = f"/finance/trial-balance?plan={world.plan.code}"
    assert (await browser.open(path)).page.xpath("//tbody/tr")
    assert "Nothing is posted" in (await browser.open(f"{path}&as_of=2019-01-01")).text
    assert (await browser.open(f"{path}&as_of=soon")).status == 422
    assert (await browser.open("/finance/trial-balance?plan=none")).status == 404
