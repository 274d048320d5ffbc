"""Public pages: for everybody, with nothing of a member, of sealed runs alone, and kept for some seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from engine.console.kept import PAGES_MAX, KeptPages, Key
from tests.integration.console.browsing import Browser
from tests.integration.prepaid import known
from tests.integration.test_credit_runs import classes, sealed, surplus
from tests.integration.worlds import LATE_DEBIT, LATE_JULY, World, alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration


@pytest.fixture
async def world(served: Served) -> World:
    """Two sealed periods, a third whose claim waits, and two claims whose notice is over."""
    world = await known(await build(served.service.engine, rules_of_preset(), alike(5), alike(4)))
    await world.claim(aid_minor=60)
    await world.sealed()
    await world.claim(aid_minor=30, notice_on=LATE_JULY)
    await world.sealed(LATE_DEBIT)
    for member in ("M3", "M4"):
        said = {"plan": "xianghubao", "diagnosed_on": "2019-08-01", "on": "2019-08-02", "member": member}
        claim = (await served.scheduler.post("/v1/claims", said)).said["claim_id"]
        await served.scheduler.post(f"/v1/claims/{claim}/publish", {"on": "2019-08-07"})
    await served.scheduler.post("/v1/claims/3/objections", {"reason": "two papers differ", "on": "2019-08-08"})
    return world


async def test_nothing_is_there_yet(browser: Browser) -> None:
    leaf = await browser.open("/")
    assert (leaf.url, leaf.status) == ("/public", 200)
    assert "There is no plan yet." in leaf.text


async def test_the_first_page_says_what_is_asked_for_and_what_was_shared(browser: Browser, world: World) -> None:
    leaf = await browser.open("/public")
    assert leaf.status == 200
    notices = [" ".join(each.text_content().split()) for each in leaf.page.xpath("//ul[@class='notices']/li")]
    assert notices == [
        f"相互宝 · Claim no. {number} under notice from 2019-08-07 to 2019-08-09 300,000.00 yuan aid applied for {left}"
        for number, left in ((3, "being decided 1 objection"), (4, "being decided"))
    ]
    cells = [[cell.text_content().strip() for cell in row] for row in leaf.page.xpath("//main//tbody/tr")]
    assert cells == [
        ["2019-07-28", "相互宝", "9", "1", "0.03", "0.27", "0.30"],
        ["2019-07-14", "相互宝", "9", "1", "0.08", "0.72", "0.60"],
    ]
    figures = [" ".join(each.text_content().split()) for each in leaf.page.xpath("//div[@class='stat']")]
    assert figures == [
        "Aid paid so far 0.90 yuan",
        "Cases helped 2",
        "Under notice now 0 2 more are being decided",
        "Plans 1",
    ]


async def test_a_plan_explains_itself(browser: Browser, world: World) -> None:
    leaf = await browser.open("/public/xianghubao")
    for sentence in (
        "Claims are published on day 7, 21 of the month, for 3 days.",
        "All members alike.",
        "8 % of the aid, on top of it.",
        "0.10 yuan per case. 188.00 yuan per year from 2019 on. The rest is paid by the platform.",
        "A diagnosis counts 90 days after joining.",
        "claims are published on days 7 and 21 of the month, for 3 days",
    ):
        assert sentence in leaf.text, sentence
    assert [link.text for link in leaf.page.xpath("//main//tbody//th/a")] == ["2019-07-28", "2019-07-14"]
    assert (await browser.open("/public/nowhere")).status == 404


@pytest.mark.parametrize("preset", [
    "jd-hubao", "meituan", "qingsong", "quark-driving", "quark", "waterdrop", "xianghubao-2018", "xianghubao-chronic",
    "xianghubao-senior", "zhonghui-surplus",
])  # fmt: skip
async def test_every_kind_of_plan_explains_itself(served: Served, browser: Browser, preset: str) -> None:
    await build(served.service.engine, rules_of_preset(preset, exits=None), alike(1))
    for language in ("en", "zh"):
        leaf = await browser.open(f"/public/{preset}", **{"Accept-Language": language})
        assert leaf.status == 200, leaf.text


async def test_a_period_ties_and_shows_its_seal(browser: Browser, world: World) -> None:
    first, second = await world.run(1), await world.run(2)
    assert first.root is not None
    assert second.root is not None
    leaf = await browser.open("/public/runs/2")
    (tie,) = leaf.page.xpath("//div[contains(@class, 'tie')]")
    assert "good" in tie.get("class")
    sums = [each.text_content().replace("=", "").replace("money in", "").strip() for each in tie.xpath(".//dd")]
    assert sums == ["0.27", "0.00", "0.07", "0.34", "0.30", "0.02", "0.02", "0.34"]
    (seal,) = leaf.page.xpath("//*[@data-root]")
    assert (seal.get("data-root"), seal.get("data-previous-root")) == (second.root.hex(), first.root.hex())
    assert [row.text_content() for row in leaf.page.xpath("//tbody/tr/th")] == ["2"]
    leaf = await browser.open("/public/runs/1")
    assert leaf.page.xpath("//@data-previous-root") == [""]


async def test_what_is_not_sealed_is_not_public(browser: Browser, world: World) -> None:
    await world.claim(notice_on=LATE_JULY)
    run = await world.previewed(LATE_DEBIT.replace(month=8))
    leaf = await browser.open(f"/public/runs/{run.run_id}")
    assert (leaf.status, "there is no sealed run" in leaf.text) == (404, True)
    assert f"/public/runs/{run.run_id}" not in (await browser.open("/public")).source


async def test_nothing_of_a_member_is_public(served: Served, browser: Browser, world: World) -> None:
    for path in ("/public", "/public/xianghubao", "/public/runs/1", "/share", "/share/sent"):
        source = (await browser.open(path)).source
        for secret in ("M3", "M4", "seat 3", "two papers differ", "intake", "anna"):
            assert secret not in source, (path, secret)
    for path in ("/claims", "/claims/1", "/runs/1", "/ops"):
        assert (await browser.open(path)).url.startswith("/sign-in"), path
    for path in ("/v1/periods", "/v1/notices", "/v1/claims/1", "/v1/plans/xianghubao/members/1/proofs/1"):
        assert (await browser.open(path)).status == 401, path


async def test_cases_come_in_parts(browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.console.pages.public.PERIODS_OF_PLAN", 1)
    leaf = await browser.open("/public/xianghubao")
    (onward,) = leaf.page.xpath("//nav[@class='pager']//a")
    leaf = await browser.open(onward.get("href"))
    assert [link.text for link in leaf.page.xpath("//main//tbody//th/a")] == ["2019-07-14"]


async def test_a_surplus_is_explained_as_one(served: Served, browser: Browser) -> None:
    world = await build(served.service.engine, surplus(), classes(0, 1))
    await sealed(world, premiums=100_00)
    leaf = await browser.open("/public/runs/1")
    assert "Given to members" in leaf.text
    assert "The cases" not in leaf.text
    assert (await browser.open("/public/zhonghui-surplus")).status == 200
    assert "given back" in (await browser.open("/public")).text


async def test_pages_are_kept_for_who_has_not_signed_in(served: Served, browser: Browser, world: World) -> None:
    asked: list[str] = []

    @event.listens_for(served.service.engine.sync_engine, "before_cursor_execute")
    def _(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    first = await browser.open("/public")
    assert asked
    asked.clear()
    again = await browser.open("/public")
    assert (asked, again.source) == ([], first.source)
    assert (await browser.open("/public", **{"Accept-Language": "zh"})).page.get("lang") == "zh-CN"
    assert asked
    asked.clear()
    assert (await browser.open("/public?after=1")).status == 200
    assert asked
    await browser.sign_in(served.viewer)
    asked.clear()
    await browser.open("/public")
    assert asked, "who works here sees what is there now"


def test_what_is_kept_ends_and_is_bounded() -> None:
    kept, now = KeptPages(), datetime(2019, 7, 16, tzinfo=UTC)
    key = Key("/public", "en", "auto")
    kept.keep(key, "page", now, 10)
    assert kept.get(key, now + timedelta(seconds=9)) == "page"
    assert kept.get(key, now + timedelta(seconds=10)) is None
    for number in range(PAGES_MAX):
        kept.keep(Key(f"/public?after={number}", "en", "auto"), "page", now, 10)
    assert kept.get(key, now) is None


async def test_public_pages_in_chinese(browser: Browser, world: World) -> None:
    for path, says in (
        ("/public", "谁在申请互助，大家分摊了多少"),
        ("/public/xianghubao", "每月 7、21 日公示"),
        ("/public/runs/1", "收入 = 支出"),
    ):
        assert says in (await browser.open(path, **{"Accept-Language": "zh"})).text, path
