"""Operations: queues paused and what failed retried, workers drained, slots skipped, who did what, who may come in."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, text

from engine.access.passwords import set_password
from engine.access.roles import Role
from engine.console.pages.audit import url_of
from engine.store.audit import record
from engine.store.outbox import Event, announce
from engine.store.tables import workers
from tests.integration.console.browsing import Browser, Leaf
from tests.integration.worlds import DEBIT, World, alike, build, rules_of_preset
from tests.serving import Caller, Served

pytestmark = pytest.mark.integration

WHY = "the bank asked us to wait"
MULTILINE = "it broke\nat the second line"


@pytest.fixture
async def world(served: Served) -> World:
    """A plan of three shards with a claim that waits."""
    world = await build(served.service.engine, rules_of_preset(), alike(30), alike(20), alike(10))
    await world.claim()
    return world


@pytest.fixture
async def failed(served: Served) -> list[int]:
    """Five jobs that failed for two reasons."""
    of = "INSERT INTO jobs (kind, subject, detail, asked_by, state, error, asked_at, started_at, ended_at, tries)"
    async with served.service.engine.begin() as connection:
        for number in range(1, 6):
            error = MULTILINE if number == 5 else "disk full"
            values = "('export', 'run:1', '{}', 'finance', 'failed', :error, now(), now(), now(), 3)"
            await connection.execute(text(f"{of} VALUES {values}"), {"error": error})
        return list(await connection.scalars(text("SELECT job_id FROM jobs ORDER BY job_id")))


async def jobs_in(served: Served, state: str) -> list[int]:
    answer = await served.viewer.get(f"/v1/jobs?state={state}")
    return sorted(each["job_id"] for each in answer.said["items"])


def row(leaf: Leaf, head: str) -> list[str]:
    """The cells of the row that begins with this."""
    (found,) = leaf.page.xpath(f"//tr[th[normalize-space()='{head}']]")
    return [re.sub(r"\s+", " ", cell.text_content()).strip() for cell in found.xpath("td")]


def heads(leaf: Leaf) -> list[str]:
    """What the rows of the page's tables begin with."""
    return [re.sub(r"\s+", " ", head.text_content()).strip() for head in leaf.page.xpath("//tbody/tr/th")]


async def test_queues_are_paused_and_resumed_and_everybody_sees_it(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    await browser.open("/ops")
    leaf = await browser.press("queues/send/pause", reason=WHY)
    assert leaf.url == "/ops"
    assert row(leaf, "send")[0] == "paused"
    what, why, who = (part.text_content() for part in leaf.page.xpath("//div[@class='banner']//li/*"))
    assert (what, why, who.partition(" · ")[0]) == ("Paused: send", WHY, "ops")
    assert not browser.offers("queues/send/pause")
    await browser.press("queues/send/resume")
    assert browser.offers("queues/send/pause")

    part = await browser.open("/ops/paused", **{"HX-Request": "true"})
    assert part.page.get("id") == "paused"
    assert not part.page.xpath("//li")

    await browser.open("/ops")
    leaf = await browser.press("queues/pause", reason="a new version")
    assert leaf.source.count("a new version") == 6
    assert not browser.offers("queues/pause")
    leaf = await browser.press("queues/resume")
    assert not leaf.page.xpath("//div[@class='banner']")


async def test_who_may_not_pause_sees_no_button_and_is_refused(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.finance)
    leaf = await browser.open("/ops")
    assert not any(browser.offers(f"queues/{path}") for path in ("pause", "send/pause", "resume"))
    csrf = leaf.page.xpath("string(//input[@name='csrf']/@value)")
    refused = await browser.send("/do/v1/queues/send/pause", {"csrf": csrf, "reason": WHY})
    assert refused.status == 403
    assert (await served.ops.get("/v1/queues/send/pause")).said["is_paused"] is False


async def test_who_decides_on_what_is_no_longer_so_is_told(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.ops)
    await browser.open("/ops/queues/send")
    await served.admin.post("/v1/queues/send/pause", {"reason": "mine"})
    assert (await browser.press("queues/send/pause", reason=WHY)).status == 412
    assert (await served.ops.get("/v1/queues/send/pause")).said["reason"] == "mine"


async def test_a_queue_says_what_waits_and_how_fast_it_goes(served: Served, browser: Browser, world: World) -> None:
    await world.worked(await world.planned())
    await browser.sign_in(served.viewer)
    assert row(await browser.open("/ops"), "measure") == ["nothing waits", "0", "–", "0", "0", "3.00", "0.60", "0.05"]
    leaf = await browser.open("/ops/queues/measure")
    assert "Last minute 3 3.00 a minute" in leaf.text
    assert "Nothing failed here." in leaf.text
    assert (await browser.open("/ops/queues/nothing")).status == 422


async def test_what_failed_is_grouped_by_its_reason(served: Served, browser: Browser, failed: list[int]) -> None:
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/ops/queues/jobs?limit=2")
    assert row(leaf, "disk full")[0] == "4"
    (following,) = leaf.page.xpath("//a[@rel='next']/@href")
    leaf = await browser.open(following)
    assert heads(leaf)[-2:] == [f"job {failed[2]}", f"job {failed[3]}"]
    (of_group,) = leaf.page.xpath("//a[starts-with(normalize-space(), 'it broke')]/@href")
    leaf = await browser.open(of_group.partition("#")[0])
    assert heads(leaf)[2:] == [f"job {failed[4]}"]
    assert not browser.offers("retry")


async def test_one_some_of_a_reason_and_all_are_tried_again(
    served: Served, browser: Browser, failed: list[int]
) -> None:
    await browser.sign_in(served.ops)
    leaf = await browser.open("/ops/queues/jobs")
    one = next(
        number
        for number, form in enumerate(retries(leaf))
        if form.fields.get("json:items[]") == json.dumps({"job_id": failed[0]})
    )
    await browser.press("queues/jobs/retry", nth=one, reason="one")
    assert await jobs_in(served, "queued") == failed[:1]

    leaf = await browser.open("/ops/queues/jobs")
    assert leaf.page.xpath("count(//input[@type='checkbox'][@form='retry-picked'])") == 4
    csrf = leaf.page.xpath("string(//form[@id='retry-picked']/input[@name='csrf']/@value)")
    ticked = [("json:items[]", json.dumps({"job_id": job_id})) for job_id in failed[1:3]]
    await browser.send("/do/v1/queues/jobs/retry", MultiFields([("csrf", csrf), ("reason", "two"), *ticked]))
    assert await jobs_in(served, "queued") == failed[:3]

    leaf = await browser.open("/ops/queues/jobs")
    of_reason = next(
        number for number, form in enumerate(retries(leaf)) if form.fields.get("json:error") == json.dumps(MULTILINE)
    )
    await browser.press("queues/jobs/retry", nth=of_reason, reason="of a reason")
    assert await jobs_in(served, "failed") == [failed[3]]

    await browser.press("queues/jobs/retry", nth=0, reason="all")
    assert await jobs_in(served, "failed") == []
    assert "Nothing failed here." in (await browser.open("/ops/queues/jobs")).text


async def test_nothing_ticked_tries_nothing_again(served: Served, browser: Browser, failed: list[int]) -> None:
    await browser.sign_in(served.ops)
    leaf = await browser.open("/ops/queues/jobs")
    picked = leaf.page.xpath("//form[@id='retry-picked']//input[@type='hidden'] | //input[@form='retry-picked']")
    fields = [(field.get("name"), field.get("value")) for field in picked]
    none = [(name, value) for name, value in fields if name != "json:items[]"] + [("reason", "ticked none")]
    leaf = await browser.send("/do/v1/queues/jobs/retry", MultiFields(none))
    assert (leaf.status, "Choose at least 1." in leaf.text) == (422, True)
    assert await jobs_in(served, "failed") == failed

    await browser.send("/do/v1/queues/jobs/retry", MultiFields([*fields, ("reason", "ticked all that are shown")]))
    assert await jobs_in(served, "failed") == []


class MultiFields(dict[str, object]):
    """Fields of which several have the same name."""

    def __init__(self, fields: list[tuple[str, object]]) -> None:
        self.fields = fields

    def items(self):  # type: ignore[no-untyped-def]  # of a dict, but for the names
        return self.fields


def retries(leaf: Leaf):  # type: ignore[no-untyped-def]  # lxml's own forms
    """The forms that retry, in the order of the page."""
    return [form for form in leaf.page.forms if (form.get("action") or "").endswith("queues/jobs/retry")]


async def test_workers_live_are_silent_and_are_drained(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.viewer)
    assert "No worker was heard of" in (await browser.open("/ops/workers")).text
    async with served.service.engine.begin() as connection:
        for name in ("one", "two"):
            values = {"worker": name, "host": "node", "pid": 7, "version": "0", "shard_id": 9, "memory_mib": 90}
            await connection.execute(insert(workers).values(values))
        await connection.execute(text("UPDATE workers SET beat_at = now() - interval '1 minute' WHERE worker = 'two'"))
    leaf = await browser.open("/ops/workers")
    assert row(leaf, "one")[:3] == ["running", "node", "7"]
    assert row(leaf, "one")[4:6] == ["9", "90 MiB"]
    assert row(leaf, "two")[0] == "silent"
    assert "Of 1 nothing was heard" in leaf.text
    assert not browser.offers("one/drain")

    await browser.sign_in(served.ops)
    await browser.open("/ops/workers")
    assert not browser.offers("two/drain")
    leaf = await browser.press("one/drain", reason="the machine is renewed")
    assert row(leaf, "one")[0] == "draining"
    assert not browser.offers("one/drain")


async def test_a_schedule_is_set_changed_and_ended(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.scheduler)
    leaf = await browser.open("/ops/schedules")
    assert "The clock plans no runs." in leaf.text
    leaf = await browser.press("schedules/xianghubao", plans_at="09:30")
    assert row(leaf, "xianghubao")[0] == "09:30"
    leaf = await browser.press("schedules/xianghubao", plans_at="10:00")
    assert row(leaf, "xianghubao")[0] == "10:00"
    leaf = await browser.press("schedules/xianghubao/end")
    assert "The clock plans no runs." in leaf.text
    await browser.sign_in(served.ops)
    await browser.open("/ops/schedules")
    assert not browser.offers("schedules/xianghubao")


async def test_a_missed_slot_is_skipped_or_run_late(served: Served, browser: Browser, world: World) -> None:
    await browser.sign_in(served.scheduler)
    path = "/ops/schedules?plan=xianghubao&limit=500"
    await browser.open(path)
    leaf = await browser.press("xianghubao/skip", nth=-1, reason="the bank was closed")
    assert leaf.url == path
    assert row(leaf, str(DEBIT))[0::3] == ["skipped", "the bank was closed scheduler"]
    leaf = await browser.press("/do/v1/runs", nth=-1)
    assert re.fullmatch(r"/runs/\d+", leaf.url)
    (run,) = (await served.viewer.get("/v1/runs")).said["items"]
    assert (run["planned_by"], run["debit_on"]) == ("scheduler", "2019-07-28")
    await browser.sign_in(served.finance)
    leaf = await browser.open("/ops/schedules?plan=xianghubao")
    assert not browser.offers("xianghubao/skip")
    (following,) = leaf.page.xpath("//a[@rel='next']/@href")
    leaf = await browser.open(following)
    assert (await browser.open(leaf.page.xpath("//a[text()='First page']/@href")[0])).status == 200
    assert (await browser.open("/ops/schedules?plan=nowhere")).status == 404


async def test_the_audit_log_says_who_did_what_with_before_and_after(served: Served, browser: Browser) -> None:
    await served.ops.post("/v1/queues/send/pause", {"reason": WHY})
    async with served.service.engine.begin() as connection:
        await record(connection, "ann", "approve run", "run:7", {"digest": "ab", "cases": [1, 2]})
        await record(connection, "tom & co", "comment on break", "break:3", {"reason": "<b>why</b>"})
    await browser.sign_in(served.viewer)
    leaf = await browser.open("/ops/audit?actor=ops&subject=queues/send/pause")
    (changed,) = leaf.page.xpath("//table[contains(@class, 'diff')]/tbody/tr[th[normalize-space()='is_paused']]")
    assert [cell.text_content().strip() for cell in changed.xpath("td")] == ["False", "True"]
    leaf = await browser.open("/ops/audit?act=approve+run")
    assert leaf.page.xpath("//td/a[text()='run:7']/@href") == ["/runs/7"]
    assert "[1, 2]" in leaf.text
    leaf = await browser.open("/ops/audit")
    assert "<b>why" not in leaf.source
    assert leaf.page.xpath("//td/a[text()='break:3']/@href") == ["/finance/breaks/3"]
    assert (await browser.open(leaf.page.xpath("//td/a[text()='tom & co']/@href")[0])).text.count(
        "comment on break"
    ) > 0


@pytest.mark.parametrize(
    ("subject", "url"),
    [
        ("run:7", "/runs/7"),
        ("runs/7/approve", "/runs/7"),
        ("custodian:generic-csv", "/finance/custodians/generic-csv"),
        ("claims/3", "/claims/3"),
        ("queues/post/pause", "/ops/queues/post"),
        ("queues/pause", None),
        ("breaks/selection/assign", None),
        ("webhooks", None),
        ("plan:xianghubao", None),
        ("run:7'><b>", None),
    ],
)
def test_what_an_act_was_done_to_is_a_link_away(subject: str, url: str | None) -> None:
    assert url_of(subject) == url


async def test_the_audit_log_goes_by_days_in_parts(served: Served, browser: Browser) -> None:
    async with served.service.engine.begin() as connection:
        for number in range(5):
            await record(connection, "ann", "count", f"run:{number}")
        day = await connection.scalar(text("SELECT (now() AT TIME ZONE 'Asia/Shanghai')::date"))
    await browser.sign_in(served.viewer)
    leaf = await browser.open(f"/ops/audit?actor=ann&since={day}&until={day}&limit=2")
    found = []
    while following := leaf.page.xpath("//a[@rel='next']/@href"):
        found += leaf.page.xpath("//td/a[starts-with(text(), 'run:')]/text()")
        leaf = await browser.open(following[0])
    found += leaf.page.xpath("//td/a[starts-with(text(), 'run:')]/text()")
    assert found == [f"run:{number}" for number in (4, 3, 2, 1, 0)]
    assert "Nothing that fits was done." in (await browser.open("/ops/audit?since=2199-01-01")).text
    assert (await browser.open("/ops/audit?since=yesterday")).status == 422


async def test_a_token_is_issued_shown_once_and_revoked(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.admin)
    await browser.open("/ops/tokens")
    leaf = await browser.press("/v1/tokens", name="cara", role="finance", days=30)
    (token,) = re.findall(r"fentan_\d+_[\w-]+", leaf.text)
    cara = Caller(served.session, served.url, "cara", token)
    assert (await cara.get("/v1/me")).said["name"] == "cara"
    leaf = await browser.open("/ops/tokens")
    assert token not in leaf.source
    assert row(leaf, "cara")[1:5] == ["finance", "active", "all of the role", "none"]
    token_id = row(leaf, "cara")[0]
    async with served.service.engine.begin() as connection:
        await set_password(connection, int(token_id), "nine plain teacups", now=datetime.now(UTC), actor="admin")
    assert row(await browser.open("/ops/tokens"), "cara")[4] == "set"
    leaf = await browser.press(f"tokens/{token_id}/revoke", reason="she left")
    assert row(leaf, "cara")[2].startswith("revoked admin ·")
    assert not browser.offers(f"tokens/{token_id}/revoke")
    assert (await cara.get("/v1/me")).status == 401


async def test_a_token_may_be_of_some_scopes_only(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.admin)
    leaf = await browser.open("/ops/tokens")
    assert leaf.page.xpath("count(//input[@name='scopes[]'])") > 10
    csrf = leaf.page.xpath("string(//input[@name='csrf']/@value)")
    fields = {"csrf": csrf, "name": "robot", "role": "ops", "days": "7", "scopes[]": "queues:read"}
    assert (await browser.send("/do/v1/tokens", fields)).status == 200
    assert row(await browser.open("/ops/tokens"), "robot")[3] == "queues:read"
    refused = await browser.send("/do/v1/tokens", fields | {"scopes[]": "nothing:read"})
    assert refused.status == 409


async def test_a_webhook_is_registered_watched_and_ended(served: Served, browser: Browser) -> None:
    await browser.sign_in(served.admin)
    leaf = await browser.open("/ops/webhooks")
    assert "Nobody is told of anything." in leaf.text
    csrf = leaf.page.xpath("string(//input[@name='csrf']/@value)")
    told = [("events[]", "run.sealed"), ("events[]", "run.closed")]
    url = "https://receiver.example/fentan"
    leaf = await browser.send("/do/v1/webhooks", MultiFields([("csrf", csrf), ("url", url), *told]))
    assert "shown this once" in leaf.text
    async with served.service.engine.begin() as connection:
        for number in (1, 2):
            await announce(connection, Event.RUN_SEALED, f"run:{number}", {"run_id": number})
        failed = "UPDATE deliveries SET state = 'failed', tries = 12, ended_at = now(), error = 'answered 500'"
        await connection.execute(text(f"{failed} WHERE message_id = 2"))
    assert row(await browser.open("/ops/webhooks"), url)[1] == "active"

    await browser.sign_in(served.ops)
    await browser.open("/ops/webhooks")
    assert not browser.offers("webhooks")
    assert not browser.offers("webhooks/1/end")
    leaf = await browser.open("/ops/webhooks/1?state=failed")
    assert "run:2" in leaf.text
    assert "run:1" not in leaf.text
    leaf = await browser.press("deliveries/2/retry")
    assert "No message fits." in leaf.text
    assert leaf.status == 200

    await browser.sign_in(served.admin)
    await browser.open("/ops/webhooks")
    leaf = await browser.press("webhooks/1/end", reason="it moved")
    assert row(leaf, url)[1].startswith("ended")


async def test_who_sees_what(served: Served, browser: Browser) -> None:
    everybody = ("/ops", "/ops/queues/post", "/ops/workers", "/ops/schedules", "/ops/audit")
    for role, caller in served.callers.items():
        await browser.sign_in(caller)
        assert {(await browser.open(path)).status for path in everybody} == {200}, role
        of_admins = 200 if role is Role.ADMIN else 403
        of_ops = 200 if role in (Role.ADMIN, Role.OPS) else 403
        assert (await browser.open("/ops/tokens")).status == of_admins, role
        assert (await browser.open("/ops/webhooks")).status == of_ops, role
        tabs = (await browser.open("/ops")).page.xpath("//nav[@class='tabs']//a/@href")
        assert ("/ops/tokens" in tabs, "/ops/webhooks" in tabs) == (of_admins == 200, of_ops == 200)


async def test_it_is_said_in_chinese(served: Served, browser: Browser, failed: list[int]) -> None:
    await browser.sign_in(served.admin)
    await browser.open("/language?to=zh&back=/")
    for path, said in (
        ("/ops", "待处理"),
        ("/ops/queues/jobs", "按原因归类的失败"),
        ("/ops/workers", "工作进程"),
        ("/ops/schedules", "没有自动排期"),
        ("/ops/audit", "审计日志"),
        ("/ops/tokens", "签发令牌"),
        ("/ops/webhooks", "登记 Webhook"),
    ):
        assert said in (await browser.open(path)).text, path


async def test_what_was_done_outlives_redis(served: Served, browser: Browser, world: World, failed: list[int]) -> None:
    await world.worked(await world.planned())
    await served.ops.post("/v1/queues/send/pause", {"reason": WHY})
    await browser.sign_in(served.ops)

    async def told() -> list[object]:
        queues, jobs, audit = [await browser.open(f"/ops{path}") for path in ("", "/queues/jobs", "/audit")]
        return [row(queues, "measure"), row(queues, "jobs"), row(jobs, "disk full")[0], heads(audit)]

    before = await told()
    await served.service.bell._redis.flushall()
    assert await told() == before
    assert "Paused: send" in (await browser.open("/")).text
