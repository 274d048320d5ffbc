"""What the API keeps out, keeps to itself, and keeps standing: tokens, limits, bodies, headers, logs, four eyes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector
from redis import Redis as Valkey
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from engine.access.roles import Role
from engine.access.tokens import issue, revoke
from engine.api.limits import RateLimits
from engine.api.problems import TooManyRequests
from engine.api.routes import ENDPOINTS
from engine.decisions import Kind, propose
from engine.log import configure_log
from engine.roster.plan import register_plan
from engine.store.embedded import Embedded, servers
from tests.integration.api.asked import upload, worked
from tests.integration.worlds import PLANNER, World, alike, build, rules_of_preset
from tests.serving import Answer, Caller, Served, serving, settings_in

pytestmark = pytest.mark.integration

NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)
STRICT = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "fentan",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


# Who is let in.


async def bearing(served: Served, authorization: str | None) -> Answer:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with served.session.get(f"{served.url}/v1/runs", headers=headers) as response:
        return Answer(response.status, response.headers, await response.json())


async def test_who_has_no_valid_token_is_told_the_same_whatever_is_wrong(served: Served) -> None:
    async with served.service.engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=2)
        _, expired = await issue(connection, "old", Role.ADMIN, days=1, now=long_ago, actor="tests")
        gone, revoked = await issue(connection, "gone", Role.ADMIN, days=1, now=datetime.now(UTC), actor="tests")
        await revoke(connection, gone.token_id, now=datetime.now(UTC), actor="tests")
    good = served.viewer.token
    said = []
    for wrong in (
        *(None, "", "Bearer", "Bearer ", "Basic YW5uYTphbm5h", f"Token {good}", good, "Bearer fentan_1_x"),
        *(f"Bearer {good}x", f"Bearer {good[:-1]}", f"Bearer {good.replace('fentan_1_', 'fentan_2_')}"),
        *(f"Bearer {expired}", f"Bearer {revoked}", "Bearer " + "a" * 4_000),
    ):  # fmt: skip
        answer = await bearing(served, wrong)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), wrong
        said.append({name: value for name, value in answer.said.items() if name != "request_id"})
    assert all(each == said[0] for each in said)
    assert (await bearing(served, f"Bearer {good}")).status == 200
    assert (await bearing(served, f"bearer  {good}")).status == 200


async def test_a_role_and_scopes_are_both_asked(served: Served) -> None:
    narrow = await served.caller("narrow", Role.ADMIN, ["runs:read"])
    assert (await narrow.get("/v1/runs")).status == 200
    refused = await narrow.get("/v1/claims")
    assert (refused.status, refused.said["type"]) == (403, "/v1/reference#problem-forbidden")
    assert "claims:read" in refused.said["detail"]
    assert (await narrow.post("/v1/runs", {"plan": "quark", "debit_on": "2019-07-14"})).status == 403
    wide = await served.caller("wide", Role.VIEWER, ["runs:write"])
    assert (await wide.get("/v1/runs")).status == 200
    assert (await wide.post("/v1/runs", {"plan": "quark", "debit_on": "2019-07-14"})).status == 403, (
        "no scope is a role"
    )


# How often.


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """A Valkey of this test alone; its address."""
    with servers(tmp_path / "valkey", postgres=False) as found:
        yield found.redis_url


async def test_one_token_too_often_is_told_when_to_come_back_and_others_are_not(
    database_url: str, valkey: str, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path / "data", requests_per_minute=5)
    async with serving(database_url, valkey, settings) as served:
        statuses = []
        while 429 not in statuses:
            answer = await served.viewer.get("/v1/runs")
            statuses.append(answer.status)
        assert statuses[:-1] == [200] * (len(statuses) - 1)
        assert 5 <= len(statuses) - 1 <= 10, "a minute may have ended between them"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.said["type"].endswith("#problem-too-many-requests")
        assert (await served.finance.get("/v1/runs")).status == 200


async def counted(limits: RateLimits, now: datetime) -> float:
    began = perf_counter()
    await limits.count(1, now)
    return perf_counter() - began


def process_of(redis_url: str) -> int:
    with Valkey(unix_socket_path=redis_url.removeprefix("unix://")) as client:
        found: int = client.info("server")["process_id"]
        return found


@asynccontextmanager
async def limits_on(redis_url: str, per_minute: int) -> AsyncIterator[RateLimits]:
    redis = Redis.from_url(redis_url, socket_timeout=0.25, socket_connect_timeout=0.25)
    yield RateLimits(redis, per_minute)
    await redis.aclose()


async def test_a_redis_that_does_not_answer_slows_one_request_and_refuses_none(valkey: str) -> None:
    process = process_of(valkey)
    async with limits_on(valkey, 2) as limits:
        for _ in range(2):
            await counted(limits, NOW)
        with pytest.raises(TooManyRequests) as refused:
            await counted(limits, NOW + timedelta(seconds=18))
        assert refused.value.wait_seconds == 42
        os.kill(process, signal.SIGSTOP)
        try:
            took = [await counted(limits, NOW) for _ in range(20)]
            assert sum(seconds > 0.1 for seconds in took) <= 1
            later = NOW + timedelta(seconds=6)
            took = await asyncio.gather(*[counted(limits, later) for _ in range(20)])
            assert sum(seconds > 0.1 for seconds in took) <= 1, "one asks whether it is back"
        finally:
            os.kill(process, signal.SIGCONT)
        back = NOW + timedelta(seconds=12)
        found = await asyncio.gather(*[counted(limits, back) for _ in range(3)], return_exceptions=True)
        assert any(isinstance(each, TooManyRequests) for each in found), "it counts again"


async def test_without_a_redis_everything_is_answered(database_url: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data", requests_per_minute=1)
    async with serving(database_url, f"unix://{tmp_path}/nobody.socket", settings) as served:
        assert [(await served.viewer.get("/v1/runs")).status for _ in range(10)] == [200] * 10


# What is sent.


@pytest.fixture
async def one_line(served: Served) -> AsyncIterator[Caller]:
    """An admin with one connection: what breaks it, the next request feels."""
    async with ClientSession(connector=TCPConnector(limit=1)) as session:
        yield Caller(session, served.url, "admin", served.admin.token)


async def sent(caller: Caller, data: bytes | BytesIO, content_type: str = "application/json") -> Answer:
    return await caller.send("POST", "/v1/tokens", data=data, headers={"Content-Type": content_type})


async def still_there(caller: Caller) -> None:
    async with asyncio.timeout(5):
        assert (await caller.get("/v1/me")).said["name"] == "admin"


@pytest.mark.parametrize("mebibytes", [1, 5])
async def test_json_that_is_too_large(one_line: Caller, mebibytes: int) -> None:
    answer = await sent(one_line, BytesIO(b'{"name": "' + b"a" * (mebibytes << 20) + b'"}'))
    assert (answer.status, answer.said["type"]) == (413, "/v1/reference#problem-too-large")
    await still_there(one_line)


async def test_a_file_that_is_too_large_leaves_nothing(database_url: str, embedded: Embedded, tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data", upload_mib_max=1)
    async with serving(database_url, embedded.redis_url, settings) as served:
        async with served.service.engine.begin() as connection:
            await register_plan(connection, rules_of_preset())
        async with ClientSession(connector=TCPConnector(limit=1)) as session:
            caller = Caller(session, served.url, "admin", served.admin.token)
            answer = await upload(caller, "/v1/plans/xianghubao/roster", BytesIO(b"a" * ((1 << 20) + 1)))
            assert (answer.status, answer.said["type"]) == (413, "/v1/reference#problem-too-large")
            await still_there(caller)
        assert [path for path in settings.data_dir.rglob("*") if path.is_file()] == []
        assert (await served.admin.get("/v1/jobs")).said["items"] == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_a_body_of_another_type(one_line: Caller, content_type: str) -> None:
    answer = await sent(one_line, b'{"name": "carol", "role": "viewer"}', content_type)
    assert (answer.status, answer.said["type"]) == (415, "/v1/reference#problem-not-json")
    await still_there(one_line)


MALFORMED = {
    "nothing": b"",
    "cut off": b'{"name": ',
    "two": b'{"name": "carol"} {}',
    "no text": b"\xff\xfe{}",
    "deep": b"[" * 100_000,
    "deep in a field": b'{"name": ' + b'{"a":' * 50_000,
    "NaN": b'{"name": "carol", "role": "viewer", "days": NaN}',
    "Infinity": b'{"name": "carol", "role": "viewer", "days": -Infinity}',
    "a field twice": b'{"name": "carol", "role": "viewer", "role": "admin"}',
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_no_json(one_line: Caller, what: str) -> None:
    answer = await sent(one_line, MALFORMED[what])
    assert (answer.status, answer.said["type"]) == (400, "/v1/reference#problem-malformed")
    await still_there(one_line)


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"null", b'"carol"', b'{"name": "carol", "role": "viewer", "days": 1e400}',
        b'{"name": "carol", "role": "viewer", "days": 1' + b"0" * 5_000 + b"}",
        b'{"name": "a\\u0000b", "role": "viewer"}', b'{"name": "\\ud800", "role": "viewer"}',
        b'{"name": "carol", "role": "viewer", "days": 7.5}',
        b'{"name": "carol", "role": "viewer", "__proto__": {}}',
    ],
)  # fmt: skip
async def test_json_that_is_no_token(one_line: Caller, body: bytes) -> None:
    assert (await sent(one_line, body)).status in (400, 422)
    await still_there(one_line)
    assert len((await one_line.get("/v1/tokens")).said["items"]) == len(Role), "nothing was issued"


# What every answer says beside itself.


async def test_every_answer_is_strict(served: Served) -> None:
    async def raw(method: str, path: str, **headers: str) -> tuple[int, Any]:
        async with served.session.request(method, served.url + path, headers=headers) as response:
            return response.status, response.headers

    admin = {"Authorization": f"Bearer {served.admin.token}"}
    seen = set()
    for method, path, headers in (
        ("GET", "/v1/runs", admin),
        ("GET", "/v1/runs", {}),
        ("GET", "/v1/openapi.json", {}),
        ("GET", "/v1/runs/7", admin),
        ("GET", "/v1/runs?limit=x", admin),
        ("GET", "/v1/nowhere", admin),
        ("PUT", "/v1/runs", admin),
        ("POST", "/v1/runs", admin | {"Content-Type": "text/plain"}),
        ("POST", "/v1/runs", admin | {"Content-Type": "application/json"}),
    ):
        status, found = await raw(method, path, **headers)
        seen.add(status)
        assert {name: found.get(name) for name in STRICT} == STRICT, (method, path)
        assert re.fullmatch(r"[0-9a-f]{16}", found["X-Request-Id"])
        assert "Set-Cookie" not in found
        assert not [name for name in found if name.startswith("Access-Control-")], "no page of elsewhere may read it"
    assert {200, 401, 404, 405, 415, 422} <= seen


# What is kept to itself.

REFS = ("REF-OF-ADA-77", "REF-OF-BOB-78")
ACCOUNTS = ("6222000099887766", "6222000099887755")
ROSTER = "member_ref,born_on,joined_on,account\n" + "".join(
    f"{ref},1985-05-05,2019-01-01,{account}\n" for ref, account in zip(REFS, ACCOUNTS, strict=True)
)
NAMED = {
    "plan": "xianghubao", "custodian": "generic-csv", "day": "2019-07-14", "queue": "webhooks", "worker": "w",
    "name": "a.csv", "seat": "0",
}  # fmt: skip


async def busy(served: Served) -> tuple[list[str], list[Answer]]:
    """A session of many calls, of all kinds and to every address: what nobody may find, and all that was answered."""
    async with served.service.engine.begin() as connection:
        await register_plan(connection, rules_of_preset())
    plan, keys = "/v1/plans/xianghubao", {"Idempotency_Key": "the-key-of-a-test"}
    issued = await served.admin.post("/v1/tokens", {"name": "carol", "role": "viewer"})
    webhook = await served.admin.post("/v1/webhooks", {"url": "https://r.example/", "events": ["run.sealed"]})
    carol = Caller(served.session, served.url, "carol", issued.said["token"])
    answers = []
    for path, content in (
        (f"{plan}/roster", ROSTER),
        (f"{plan}/roster", ROSTER.replace("1985-05-05", "soon", 1)),
        (f"{plan}/roster", ROSTER.replace(REFS[1], REFS[0])),
        (f"{plan}/roster?kind=changes", f"kind,member_ref,from\nexit,{REFS[0]}-unknown,2019-03-01\n"),
        (f"{plan}/roster?kind=accounts", f"member_ref,account\n{REFS[0]},{ACCOUNTS[1]}\n{REFS[0]},{ACCOUNTS[0]}\n"),
    ):
        answers.append(await upload(served.scheduler, path, content))
        await worked(served, answers[-1])
    claim = {"plan": "xianghubao", "member": REFS[0], "diagnosed_on": "2019-06-01", "aid": "1.00", "on": "2019-07-01"}
    for caller, path, said in (
        (served.viewer, f"{plan}/members/find", {"member_ref": REFS[0]}),
        (served.viewer, f"{plan}/members/find", {"member_ref": REFS[0] + "-unknown"}),
        (served.viewer, f"{plan}/members/find", {"ref": REFS[0]}),
        (served.viewer, f"{plan}/members/find", {"member_ref": [REFS[0]]}),
        (served.scheduler, "/v1/claims", claim),
        (served.scheduler, "/v1/claims", {**claim, "diagnosed_on": "2001-01-01"}),
        (served.scheduler, "/v1/claims", {**claim, "diagnosed_on": REFS[0]}),
        (served.scheduler, "/v1/claims", {**claim, "member": REFS[0] + "-unknown"}),
        (served.scheduler, "/v1/claims", {**claim, "plan": "nowhere"}),
    ):
        answers.append(await caller.post(path, said))
    answers.append(await served.viewer.post(f"{plan}/members/find", {"member_ref": REFS[1]}, **keys))
    answers.append(await served.scheduler.get(f"{plan}/members/find?member_ref={REFS[0]}"))
    answers.append(await carol.get(f"/v1/me?access_token={carol.token}"))
    await served.admin.post(f"/v1/tokens/{issued.said['token_id']}/revoke")
    answers.append(await carol.get("/v1/me"))
    for endpoint in ENDPOINTS:
        if endpoint.name == "show_reference":  # the one answer that says it
            continue
        path = re.sub(r"{(\w+)}", lambda found: NAMED.get(found[1], "1"), endpoint.path)
        path += "?wait_seconds=0" if endpoint.media_type == "text/event-stream" else ""
        answers.append(await served.admin.send(endpoint.method, path))
    secrets = [issued.said["token"], webhook.said["secret"], *[each.token for each in served.callers.values()]]
    return [*REFS, *ACCOUNTS, *secrets, *[each.split("_", 2)[2] for each in secrets if each[:7] == "fentan_"]], answers


async def test_no_member_no_account_and_no_secret_is_logged_stored_or_told(
    served: Served, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    configure_log("json", "debug")
    secrets, answers = await busy(served)
    out, err = capfd.readouterr()
    said = [each for answer in answers for each in (str(answer.said), str(dict(answer.headers)))]
    assert {200, 201, 202, 400, 401, 404, 405, 409, 422} <= {answer.status for answer in answers}
    assert not [answer for answer in answers if answer.status >= 500]
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert sum(line["event"] == "request answered" for line in lines) > len(ENDPOINTS)
    stored: list[str] = []
    async with served.service.engine.connect() as connection:
        for table in (
            "audit_log",
            "outbox",
            "deliveries",
            "jobs",
            "api_tokens",
            "webhooks",
            "decisions",
            "claim_events",
        ):
            stored += (await connection.scalars(text(f"SELECT t::text FROM {table} t"))).all()
        kept = await connection.execute(
            text("SELECT actor, key, headers, convert_from(body, 'UTF8') FROM idempotency_keys")
        )
        stored += [str(row) for row in kept]
    for where, texts in {"logs": [out, err, caplog.text], "answers": said, "tables": stored}.items():
        found = [(secret, each[:300]) for secret in secrets for each in texts if secret in each]
        assert found == [], where


@pytest.mark.parametrize("wrong", [b"\0", b"\r\nno header", b"\r\nContent-Length: many"])
async def test_what_is_no_http_is_not_logged_with_the_token_in_it(
    served: Served, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, wrong: bytes
) -> None:
    caplog.set_level("DEBUG")
    configure_log("json", "debug")
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = served.admin.token.encode()
    writer.write(b"GET /v1/runs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + wrong + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.0 400 "), answer
    out, err = capfd.readouterr()
    for said in (out, err, caplog.text):
        assert served.admin.token not in said


async def test_the_log_of_a_request_names_its_route_and_its_token_by_number(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_log("json", "info")
    await served.ops.get("/v1/runs/123456789", **{"X-Request-Id": "request-of-a-test"})
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "request answered" in line]
    assert (line["route"], line["status"], line["request_id"]) == ("/v1/runs/{run_id}", 404, "request-of-a-test")
    assert isinstance(line["token_id"], int)
    assert "123456789" not in str(line)


# Who did it, and that it takes two.


async def test_I13_what_is_written_is_audited_with_what_was_there_before_and_after(served: Served) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(3))
    await world.claim()
    run = await world.previewed()
    assert run.preview_digest is not None
    said = {"digest": run.preview_digest.hex()}
    path = f"/v1/runs/{run.run_id}"
    assert (await served.approver.post(f"{path}/approve", {"digest": "0" * 64})).status == 409
    seen = await served.viewer.get(path)
    approved = await served.approver.post(f"{path}/approve", said, X_Request_Id="the-approval")
    acts = (await served.viewer.get("/v1/audit")).said["items"]
    (row,) = [each for each in acts if each["act"] == "approve run" and each["request"]]
    assert (row["actor"], row["subject"], row["request"]) == ("approver", f"runs/{run.run_id}/approve", "the-approval")
    assert (row["before"], row["after"]) == (seen.said, approved.said)
    assert (row["before"]["approved_by"], row["after"]["approved_by"]) == (None, "approver")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE share_runs SET approved_by = planned_by",
        "UPDATE share_runs SET approved_by = upper(planned_by), approved_digest = preview_digest, state = 'approved'",
        "UPDATE share_runs SET approved_by = initcap(planned_by)",
        "UPDATE share_runs SET approved_by = ''",
        "UPDATE share_runs SET approved_by = '  '",
        "UPDATE share_runs SET approved_digest = preview_digest, state = 'approved'",
        (
            "INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by, approved_by)"
            " VALUES (1, 1, '2019-07-28', 'approved', 'anna', 'ANNA')"
        ),
    ],
)
async def test_I13_the_database_refuses_a_run_that_one_person_planned_and_approved(served: Served, change: str) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(3))
    await world.claim()
    run = await world.previewed()
    with pytest.raises(IntegrityError, match=r"share_runs_(four_eyes|approved_by)_check"):
        await world.sql(change)
    assert (await world.run(run.run_id)).approved_by is None
    await world.sql("UPDATE share_runs SET approved_by = 'bo', approved_digest = preview_digest, state = 'approved'")


@pytest.fixture
async def proposed(served: Served) -> World:
    """A world with a decision that waits for somebody else than PLANNER."""
    world = await build(served.service.engine, rules_of_preset(), alike(3))
    async with world.engine.begin() as connection:
        await propose(connection, 1, Kind.PERIOD_LOCK, "plan:xianghubao", {}, on=NOW.date(), actor=PLANNER)
    return world


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE decisions SET state = 'done', decided_by = proposed_by",
        "UPDATE decisions SET state = 'done', decided_by = upper(proposed_by)",
        "UPDATE decisions SET state = 'done', decided_by = ' '",
        "UPDATE decisions SET state = 'done'",
        (
            "INSERT INTO decisions (plan_id, kind, subject, detail, effective_on, state, proposed_by, decided_by)"
            " VALUES (1, 'refund', 'run:1', '{}', '2019-07-16', 'done', 'anna', 'Anna')"
        ),
    ],
)
async def test_I13_the_database_refuses_a_decision_that_one_person_proposed_and_made(
    proposed: World, change: str
) -> None:
    with pytest.raises(IntegrityError, match=r"decisions_(four_eyes|decided)_check"):
        await proposed.sql(change)
    assert await proposed.rows("SELECT state FROM decisions") == [("proposed",)]
    await proposed.sql("UPDATE decisions SET state = 'done', decided_by = 'bo'")


async def test_I13_two_tokens_of_one_name_are_one_person(served: Served) -> None:
    world = await build(served.service.engine, rules_of_preset(), alike(3))
    await world.claim()
    planner = await served.caller("Anna", Role.SCHEDULER)
    planned = await planner.post("/v1/runs", {"plan": "xianghubao", "debit_on": "2019-07-14"})
    assert planned.status == 202
    run = await world.worked(await world.run(planned.said["run_id"]))
    assert run.preview_digest is not None
    said = {"digest": run.preview_digest.hex()}
    for name in ("anna", " ANNA "):
        same = await served.caller(name, Role.APPROVER)
        answer = await same.post(f"/v1/runs/{run.run_id}/approve", said)
        assert (answer.status, answer.said["invariant"]) == (409, "I13")
    assert (await served.approver.post(f"/v1/runs/{run.run_id}/approve", said)).status == 200
