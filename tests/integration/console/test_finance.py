"""Finance on the console: proofs by day, a custodian and its files, where a run's money is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.integration.api.asked import worked
from tests.integration.api.test_custodians import folder, world_of
from tests.integration.api.test_reconciliation import sealed as sealed_run
from tests.integration.api.test_reconciliation import told
from tests.integration.bank_statement import Line
from tests.integration.console.browsing import Browser
from tests.integration.held import profile_of, sealed
from tests.integration.reconciling import Asked
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

BANK = "/finance/custodians/generic-csv"


async def mixed(served: Served) -> Asked:
    """Two days: one paid twice, one came back, two are out, one line that nobody knows."""
    return await told(served, folder(served))


def states(browser: Browser) -> dict[str, str]:
    """Of the days of the strip."""
    assert browser.leaf is not None
    cells = browser.leaf.page.xpath("//*[contains(@class, 'strip')]//a[starts-with(@class, 'day ')]")
    return {cell.get("title")[:10]: cell.get("class").removeprefix("day ") for cell in cells}


async def test_nothing_is_registered(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/finance")
    for said in ("No custodian is registered", "No decision waits"):
        assert said in leaf.text, said
    leaf = await browser.press("/v1/custodians", custodian="generic-csv")
    assert (leaf.status, leaf.url) == (200, BANK)
    assert "It holds no plan's money" in leaf.text


async def test_a_custodian_takes_a_plan(served: Served, browser: Browser) -> None:
    await build(served.service.engine, rules_of_preset(), alike(1))
    await served.finance.post("/v1/custodians", {"custodian": "generic-csv"})
    await browser.sign_in(served.finance)
    await browser.open(BANK)
    leaf = await browser.press("/assign", plan="xianghubao", reason="it holds its money")
    assert leaf.page.xpath("//a[@href='/finance/trial-balance?plan=xianghubao']")
    assert not browser.offers("/assign"), "no plan is left"


async def test_each_day_is_proved_open_or_missing(served: Served, browser: Browser) -> None:
    found = await world_of(served)
    await found.takes(*[Line(10, found.reference(seat)) for seat in range(4)])
    await browser.sign_in(served.viewer)
    await browser.open("/finance")
    assert states(browser)["2019-07-15"] == "ok"
    await browser.open("/finance?until=2019-07-18")
    shown = states(browser)
    assert (len(shown), min(shown), max(shown)) == (30, "2019-06-19", "2019-07-18")
    assert [shown[f"2019-07-{day}"] for day in (14, 15, 16, 17)] == ["none", "ok", "gap", "gap"]


async def test_what_is_only_older_stands_apart(served: Served, browser: Browser) -> None:
    found = await world_of(served)
    await found.takes(Line(10, found.reference(0)), Line(9, "nobody knows"))
    await found.takes(Line(10, found.reference(1), on=date(2019, 7, 17)), opening=19)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance?until=2019-07-18")
    shown = states(browser)
    assert [shown[f"2019-07-{day}"] for day in (14, 15, 16, 17, 18)] == ["none", "open", "carried", "carried", "gap"]
    assert "1 day to look at 2019-07-15" in leaf.text
    missing = leaf.page.xpath("//p[@class='coverage']//a[contains(@href, '?day=')]/@href")
    assert missing[1] == f"{BANK}?day=2019-07-18#proof", "what a later statement follows on is no gap"
    assert "No statement speaks of this day." in (await browser.open(f"{BANK}?day=2019-07-18")).text
    assert "No statement speaks of this day." not in (await browser.open(f"{BANK}?day=2019-07-16")).text


async def test_open_items_and_severities_are_seen(served: Served, browser: Browser) -> None:
    await mixed(served)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance")
    assert (states(browser)["2019-07-15"], states(browser)["2019-07-16"]) == ("open", "open")
    severities = leaf.page.xpath("//div[@class='stats']//p[@class='label']")
    assert [each.text_content().strip() for each in severities] == ["Critical", "High", "Medium", "Low"]
    assert sum(int(each.getnext().text_content()) for each in severities) == 2
    (proved,) = leaf.page.xpath("//li/a[contains(@href, 'day=2019-07-16')]/@href")
    leaf = await browser.open(proved.partition("#")[0])
    for said in (
        "Proof of 2019-07-16",
        "= closing balance 0.29",
        "Cash by the books 0.29",
        "Debits on their way20.20",
        "Missing in ledger10.090.09",
    ):
        assert said in leaf.text, said
    leaf = await browser.open(f"{BANK}?day=2019-07-15")
    assert "= closing balance 0.30" in leaf.text
    for path, status in ((f"{BANK}?day=2999-01-01", 409), ("/finance/custodians/nobody", 404), (f"{BANK}?day=x", 422)):
        assert (await browser.open(path)).status == status, path


async def test_a_decision_waits(served: Served, browser: Browser) -> None:
    await mixed(served)
    said = {"action": "write off", "reason": "nobody knows it"}
    assert (await served.finance.post("/v1/breaks/1/propose", said)).status == 201
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/finance")
    assert leaf.page.xpath("//a[@href='/finance/decisions/1']")


async def files_of(served: Served) -> Any:
    """Two files that wait."""
    profile = profile_of(limits={"max_items_per_file": 2})
    world, run, _ = await sealed(served.service.engine, alike(4), profile=profile)
    await worked(served, await served.scheduler.post(f"/v1/runs/{run.run_id}/instruct", {"on": "2019-07-13"}))
    return world


async def test_files_are_listed_and_sent(served: Served, browser: Browser) -> None:
    await files_of(served)
    await browser.sign_in(served.finance)
    for query, number in (("", 2), ("?state=waiting", 2), ("?state=sent", 0), ("?kind=debit&run_id=1&limit=1", 1)):
        leaf = await browser.open(BANK + query)
        assert len(leaf.page.xpath("//a[starts-with(@href, '/v1/batches/')]")) == number, query
    (onward,) = leaf.page.xpath("//a[@rel='next']/@href")
    leaf = await browser.open(onward)
    assert leaf.page.xpath("//a[starts-with(@href, '/v1/batches/')]/@href") == ["/v1/batches/1/file"]
    leaf = await browser.open(BANK)
    leaf = await browser.press("/send", on="2019-07-13")
    assert leaf.status == 200
    assert leaf.page.xpath("//section[@id='live']/@hx-get") == [BANK]


async def test_files_are_withdrawn(served: Served, browser: Browser) -> None:
    await files_of(served)
    await browser.sign_in(served.finance)
    await browser.open(BANK)
    await browser.press("/withdraw", reason="the cut-off was missed")
    leaf = await browser.open(f"{BANK}?state=withdrawn")
    assert len(leaf.page.xpath("//a[starts-with(@href, '/v1/batches/')]")) == 2


async def test_a_day_is_done_by_a_worker(served: Served, browser: Browser) -> None:
    world = await world_of(served)
    await browser.sign_in(served.finance)
    await browser.open(BANK)
    leaf = await browser.press("/day", on="2019-07-20")
    assert "Its day" in leaf.text
    await worked(served, await served.finance.post("/v1/custodians/generic-csv/day", {"on": "2019-07-20"}))
    leaf = await browser.open(BANK)
    assert "0 statements taken; 0 files sent" in leaf.text
    assert leaf.page.xpath("//section[@id='live']/@hx-get") == []
    assert world.custodian.code == "generic-csv"


async def test_who_only_looks_does_nothing(served: Served, browser: Browser) -> None:
    await files_of(served)
    await browser.sign_in(served.viewer)
    leaf = await browser.open(BANK)
    assert not leaf.page.xpath("//a[starts-with(@href, '/v1/batches/')]")
    for operation in ("send", "day", "withdraw", "assign"):
        assert not browser.offers(f"/{operation}"), operation
    csrf = (await browser.open("/runs")).page.xpath("//input[@name='csrf']/@value")[0]
    for path in ("custodians/generic-csv/send", "custodians/generic-csv/withdraw", "runs/1/payouts", "runs/1/close"):
        refused = await browser.send(f"/do/v1/{path}", {"csrf": csrf, "key": "0123456789abcdef"})
        assert refused.status == 403, path
    await browser.open("/runs/1/settlement")
    for operation in ("instruct", "payouts", "corrections", "close"):
        assert not browser.offers(f"/{operation}"), operation


async def test_I12_each_share_is_in_one_place(served: Served, browser: Browser) -> None:
    await mixed(served)
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/runs/1/settlement")
    for said in (
        "4 0.40",
        "2 0.20",
        "its debits are not all through",
        "Duplicate at bank",
        "collecting",
    ):
        assert said.lower() in leaf.text.lower(), said
    assert leaf.page.xpath("//a[@href='/finance/breaks?run_id=1&code=DUPLICATE_AT_BANK']")
    assert leaf.page.xpath("//a[@href='/finance/custodians/generic-csv?run_id=1#files']")
    assert (await browser.open("/runs/9/settlement")).status == 404


async def test_the_latest_day_of_a_settlement_is_today_where_the_plan_is(served: Served, browser: Browser) -> None:
    # One of the two is on another day than the server at any hour.
    zone = ZoneInfo("Pacific/Kiritimati" if datetime.now(UTC).hour >= 11 else "Pacific/Niue")
    await sealed(served.service.engine, alike(4), time_zone=zone.key)
    await browser.sign_in(served.finance)
    leaf = await browser.open("/runs/1/settlement")
    assert set(leaf.page.xpath("//input[@name='on']/@max")) == {datetime.now(zone).date().isoformat()}


async def test_aid_is_proposed_to_be_paid(served: Served, browser: Browser) -> None:
    world = await sealed_run(served)
    await browser.sign_in(served.finance)
    await browser.open("/runs/1/settlement")
    await browser.press("/payouts", on="2019-07-15")
    detail = await world.value("SELECT detail FROM decisions")
    assert (detail["claimants"], detail["amount_minor"]) == (2, 200_00)
    leaf = await browser.open("/runs/1/settlement")
    assert leaf.page.xpath("//a[@href='/finance/decisions/1']")


async def test_a_few_seats_are_corrected(served: Served, browser: Browser) -> None:
    await sealed_run(served)
    await browser.sign_in(served.finance)
    await browser.open("/runs/1/settlement")
    leaf = await browser.press(
        "/corrections",
        reason="charged twice",
        against="sponsor",
        seats__0__seat=3,
        seats__0__amount="-0.50",
        seats__2__seat=5,
        seats__2__amount="-0.25",
    )
    assert leaf.status == 200, leaf.text
    parts = (await served.viewer.get("/v1/decisions/1/parts")).said["items"]
    assert [(each["seat"], each["amount"]) for each in parts] == [(3, "-0.50"), (5, "-0.25")]


async def test_it_is_said_in_chinese(served: Served, browser: Browser) -> None:
    await mixed(served)
    await browser.sign_in(served.finance)
    await browser.open("/language?to=zh&back=/finance")
    for path, words in (
        ("/finance", ("待决的资金决定", "核证")),
        (BANK, ("指令文件", "账面现金")),
        ("/runs/1/settlement", ("应收总额", "退回", "扣款尚未全部完成")),
    ):
        leaf = await browser.open(path)
        for word in words:
            assert word in leaf.text, (path, word)
