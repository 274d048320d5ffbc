"""The trial balance on the console: of which plan, as of which day; down to its journals; and the lock on its books."""

from __future__ import annotations

import pytest

from tests.integration.api.test_custodians import world_of
from tests.integration.bank_statement import Line
from tests.integration.console.browsing import Browser
from tests.integration.worlds import DEBIT, alike, build, rules_of_preset
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


def places(browser: Browser) -> list[str]:
    """The journals that a page lists, by where they stand."""
    assert browser.leaf is not None
    return [each.rpartition("/journals/")[2] for each in browser.leaf.page.xpath("//th[@scope='rowgroup']/a/@href")]


async def test_each_account_leads_to_its_journals_and_those_to_their_detail(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    run = await world.sealed()
    plan = world.plan.code
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"/finance/trial-balance?plan={plan}&as_of={DEBIT}")
    addresses = leaf.page.xpath("//tbody//th/a/@href")
    assert addresses[0] == f"/finance/journals/{plan}?account=1210&last={DEBIT}"
    listed = set()
    for address in addresses:
        assert (await browser.open(address)).status == 200, address
        listed |= set(places(browser))
    (everything,) = leaf.page.xpath("//section//p/a[contains(@href, '/journals/')]/@href")
    leaf = await browser.open(everything)
    assert set(places(browser)) == listed == {f"{plan}/{world.shard(0)}/1", f"{plan}/{world.shard(1)}/1"}
    leaf = await browser.open(addresses[0])
    assert (places(browser), "Debit" in leaf.text) == ([f"{plan}/{world.shard(1)}/1"], True)
    assert leaf.page.xpath("string(//div[@class='stat']/p[@class='value'])") == "0.32"
    leaf = await browser.open(leaf.page.xpath("//th[@scope='rowgroup']/a/@href")[0])
    for said in (f"run:{run.run_id}:charge", "What lies under them"):
        assert said in leaf.text, said
    (under,) = leaf.page.xpath("//tr[count(td[@class='num'])=3]")
    assert [each.text_content() for each in under][:4] == ["contributions receivable", "4", "4", "0.32"]
    assert leaf.page.xpath(f"//dd/a[@href='/runs/{run.run_id}']")


async def test_journals_are_filtered_and_paged(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(4))
    await world.claim(aid_minor=30)
    run = await world.sealed()
    path = f"/finance/journals/{world.plan.code}"
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"{path}?limit=1&run_id={run.run_id}")
    (onward,) = leaf.page.xpath("//a[@rel='next']/@href")
    leaf = await browser.open(onward)
    assert places(browser) == [f"{world.plan.code}/{world.shard(1)}/1"]
    assert leaf.page.xpath("//nav[@class='pager']//a/@href") == [f"{path}?unit=currency&run_id={run.run_id}"]
    leaf = await browser.open(f"{path}?account=1210&first={DEBIT}")
    stats = leaf.page.xpath("//div[@class='stat']")
    assert [each.xpath("string(p[@class='value'])") for each in stats] == ["0.00", "0.32"]
    assert "No journal is so." in (await browser.open(f"{path}?first=2030-01-01")).text
    for address, status in ((f"{path}?account=7", 422), (f"{path}/1/1", 404), ("/finance/journals/none", 404)):
        assert (await browser.open(address)).status == status, address
    await browser.open("/language?to=zh&back=/")
    assert "分片顺序" in (await browser.open(path)).text


async def test_the_books_are_locked_by_two(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    await world.takes(*[Line(10, world.reference(seat)) for seat in range(4)])
    path = f"/finance/trial-balance?plan={world.world.plan.code}&as_of=2019-07-15"
    await browser.sign_in(served.finance)
    assert "Locked throughno day yet" in (await browser.open(path)).text
    leaf = await browser.press("/periods/lock", through="2019-07-16")
    assert (leaf.status, "no statement" in leaf.text) == (409, True)
    await browser.open(path)
    leaf = await browser.press("/periods/lock")
    assert (leaf.status, leaf.url) == (200, "/finance/decisions/1")
    leaf = await browser.open(path)
    assert "Locking the books through 2019-07-15 is proposed" in leaf.text
    assert leaf.page.xpath("//a[@href='/finance/decisions/1']")
    assert (await served.approver.post("/v1/decisions/1/approve")).status == 200
    leaf = await browser.open(path)
    assert "Locked through2019-07-15" in leaf.text
    assert "is proposed" not in leaf.text


async def test_who_only_looks_locks_and_pays_nothing(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(1))
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance/trial-balance")
    csrf = leaf.page.xpath("//input[@name='csrf']/@value")[0]
    for operation, field in (("periods/lock", "through"), ("refunds", "on")):
        assert not browser.offers(operation), operation
        path = f"/do/v1/plans/{world.plan.code}/{operation}"
        refused = await browser.send(path, {"csrf": csrf, "key": "0123456789abcdef", field: "2019-07-15"})
        assert refused.status == 403, operation
