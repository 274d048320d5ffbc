"""What holds for every endpoint, tried on a few that are made for it: one number that is read, raised and streamed."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
import structlog
from aiohttp import ClientError, ClientSession
from pydantic import Field
from sqlalchemy import text

from engine.access.roles import EVERYONE, SCHEDULERS
from engine.api import application as app
from engine.api import reading
from engine.api.endpoint import Endpoints
from engine.api.fields import Id, Model, Page, Paged
from engine.api.service import Call, Streamed
from engine.errors import InvalidInput, NotFound
from engine.store.embedded import Embedded
from tests.integration.worlds import until
from tests.serving import Served, serving, settings_in

pytestmark = pytest.mark.integration

counts = Endpoints("counts", "Numbers that go up.")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class OfCount(Model):
    """One number."""

    count_id: Id


class Raise(Model):
    """By how much."""

    by: Annotated[int, Field(ge=1, le=100)]
    seconds: Annotated[float, Field(ge=0, le=10)] = 0


class Query(Model):
    """What the database is asked."""

    sql: Annotated[str, Field(max_length=200)]


class Count(Model):
    """A number."""

    count_id: int
    count: int


@counts.get("/counts", EVERYONE)
async def list_counts(call: Call, params: Paged) -> Page[Count]:
    """All numbers."""
    rows = await call.connection.execute(
        text("SELECT number, count FROM counts WHERE number > :after ORDER BY number LIMIT :limit"),
        {"after": int(params.after or 0), "limit": params.limit + 1},
    )
    found = [Count(count_id=row.number, count=row.count) for row in rows]
    return call.page(found, params.limit, lambda each: each, lambda each: each.count_id)


@counts.get("/counts/{count_id}", EVERYONE)
async def show_count(call: Call, params: OfCount) -> Count:
    """One number."""
    query = text("SELECT count FROM counts WHERE number = :number")
    count = await call.connection.scalar(query, {"number": params.count_id})
    if count is None:
        raise NotFound(f"there is no count {params.count_id}")
    return Count(count_id=params.count_id, count=count)


@counts.get("/counts/top", EVERYONE)
async def show_top(call: Call) -> Count:
    """The largest number: a word where others have a number."""
    return Count(count_id=0, count=await call.connection.scalar(text("SELECT max(count) FROM counts")))


@counts.get("/counts/{count_id}/ticks", EVERYONE, media_type="text/plain")
async def stream_count(call: Call, params: OfCount) -> Streamed:
    """As many lines as the number says, and a fault after the tenth."""
    count = (await show_count(call, params)).count

    async def ticks() -> AsyncIterator[bytes]:
        for tick in range(count):
            if tick == 10:
                raise RuntimeError("a fault in the middle of a stream")
            yield b"tick %d\n" % tick

    return Streamed("text/plain", ticks(), "ticks.txt")


@counts.post("/counts/{count_id}/raise", SCHEDULERS, moves_money=True, changes=show_count)
async def raise_count(call: Call, params: OfCount, body: Raise) -> Count:
    """Raise a number, by what was read before a while."""
    before = await show_count(call, params)
    await asyncio.sleep(body.seconds)
    if before.count + body.by > 1000:
        raise InvalidInput("1,000 is the most")
    await call.connection.execute(
        text("UPDATE counts SET count = :count WHERE number = :number"),
        {"count": before.count + body.by, "number": params.count_id},
    )
    return await show_count(call, params)


@counts.post("/counts/ask", SCHEDULERS)
async def ask_database(call: Call, body: Query) -> Count:
    """Whatever the database answers."""
    return Count(count_id=0, count=await call.connection.scalar(text(body.sql)) or 0)


@counts.post("/counts/reset", SCHEDULERS)
async def reset_counts(call: Call) -> Count:
    """All to zero."""
    await call.connection.execute(text("UPDATE counts SET count = 0"))
    return Count(count_id=0, count=0)


@counts.post("/counts/announce", SCHEDULERS)
async def announce_counts(call: Call) -> Count:
    """Ring for five runs and a job."""
    for run_id in range(1, 6):
        call.ring(run_id, "counted")
    call.ring_for_job(1)
    return Count(count_id=0, count=0)


@pytest.fixture
async def served(database_url: str, embedded: Embedded, tmp_path: Path) -> AsyncIterator[Served]:
    """An API of just these, with the numbers 1 to 60 at 7."""
    async with serving(database_url, embedded.redis_url, settings_in(tmp_path), [counts]) as found:
        async with found.service.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE counts (number bigint PRIMARY KEY, count bigint)"))
            await connection.execute(text("INSERT INTO counts SELECT n, 7 FROM generate_series(1, 60) n"))
        yield found


async def test_a_doorbell_that_nobody_answers_is_rung_once(database_url: str, tmp_path: Path) -> None:
    connections = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        redis_url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        async with serving(database_url, redis_url, settings_in(tmp_path), [counts]) as served:
            assert (await served.scheduler.post("/v1/counts/announce")).status == 200
    assert len(connections) == 2, "one to count the request, one to ring"


async def count(served: Served, number: int = 1) -> int:
    return int((await served.viewer.get(f"/v1/counts/{number}")).said["count"])


async def raw(served: Served, *pieces: bytes) -> bytes:
    """What is answered to these bytes, sent as they are; then the line is closed by whoever answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


def head(served: Served, *lines: str, path: str = "/v1/counts/1/raise") -> bytes:
    given = [f"POST {path} HTTP/1.1", "Host: tests", f"Authorization: Bearer {served.admin.token}", *lines]
    return "\r\n".join([*given, "Idempotency-Key: raw-request", "Connection: close", "", ""]).encode()


async def test_an_answer_has_a_tag_and_is_not_sent_again_to_who_has_it(served: Served) -> None:
    first = await served.viewer.get("/v1/counts/1")
    same = await served.viewer.get("/v1/counts/1", **{"If-None-Match": first.headers["ETag"]})
    assert (same.status, same.said) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    await served.scheduler.post("/v1/counts/1/raise", {"by": 1})
    other = await served.viewer.get("/v1/counts/1", **{"If-None-Match": first.headers["ETag"]})
    assert (other.status, other.said) == (200, {"count_id": 1, "count": 8})
    assert other.headers["ETag"] != first.headers["ETag"]


async def test_head_is_get_without_the_body(served: Served) -> None:
    got = await served.viewer.get("/v1/counts")
    for path, length in (("/v1/counts", got.headers["Content-Length"]), ("/v1/counts/1/ticks", None)):
        answer = await served.viewer.send("HEAD", path)
        assert (answer.status, answer.said if answer.said is not None else b"") == (200, b"")
        assert length is None or answer.headers["Content-Length"] == length


async def test_a_change_is_made_to_what_was_seen(served: Served) -> None:
    seen = (await served.viewer.get("/v1/counts/1")).headers["ETag"]
    raised = await served.scheduler.post("/v1/counts/1/raise", {"by": 1}, if_match=seen)
    assert (raised.status, raised.said["count"]) == (200, 8)
    stale = await served.scheduler.post("/v1/counts/1/raise", {"by": 1}, if_match=seen)
    assert (stale.status, stale.said["type"]) == (412, "/v1/reference#problem-stale")
    assert raised.headers["ETag"] == (await served.viewer.get("/v1/counts/1")).headers["ETag"]
    weak = await served.scheduler.post("/v1/counts/1/raise", {"by": 1}, if_match="W/" + raised.headers["ETag"])
    assert (weak.status, await count(served)) == (200, 9)
    assert (await served.scheduler.post("/v1/counts/1/raise", {"by": 1}, if_match="8")).status == 422


async def test_of_two_who_saw_the_same_one_changes_it(served: Served) -> None:
    """And who saw nothing changes what the other left."""
    seen = (await served.viewer.get("/v1/counts/1")).headers["ETag"]
    slow = {"by": 1, "seconds": 0.2}
    answers = await asyncio.gather(
        *(served.scheduler.post("/v1/counts/1/raise", slow, if_match=seen) for _ in range(4)),
        served.scheduler.post("/v1/counts/2/raise", slow, if_match=seen),
    )
    assert sorted(answer.status for answer in answers[:4]) == [200, 412, 412, 412]
    assert answers[4].status == 412  # another thing, that looks otherwise
    await asyncio.gather(*(served.scheduler.post("/v1/counts/2/raise", slow) for _ in range(4)))
    assert (await count(served, 1), await count(served, 2)) == (8, 11)


async def test_what_a_worker_changes_meanwhile_is_not_written_over(served: Served) -> None:
    seen = (await served.viewer.get("/v1/counts/1")).headers["ETag"]
    async with served.service.engine.begin() as worker:
        await worker.execute(text("UPDATE counts SET count = 100 WHERE number = 1"))
        raising = asyncio.create_task(served.scheduler.post("/v1/counts/1/raise", {"by": 1}, if_match=seen))

        async def it_waits() -> bool:
            return bool(await worker.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

        await until(it_waits, "the request waits for the worker")
    assert ((await raising).status, await count(served)) == (412, 100)


async def test_a_page_names_the_next(served: Served) -> None:
    seen, path = [], "/v1/counts?limit=25"
    while path:
        answer = await served.viewer.get(path)
        seen.append([each["count_id"] for each in answer.said["items"]])
        path = answer.said["next"]
        assert answer.headers.get("Link") == (f'<{path}>; rel="next"' if path else None)
        assert not path or "limit=25" in path
    assert [len(page) for page in seen] == [25, 25, 10]
    assert [*itertools.chain(*seen)] == list(range(1, 61))


async def test_long_answers_are_compressed_for_who_can_read_them(served: Served) -> None:
    plain = await served.viewer.get("/v1/counts", **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    authorised = {"Authorization": f"Bearer {served.viewer.token}", "Accept-Encoding": "gzip"}
    url = f"{served.url}/v1/counts"
    async with served.session.get(url, headers=authorised, auto_decompress=False) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        body = await packed.read()
    assert json.loads(gzip.decompress(body)) == plain.said
    assert len(body) < len(json.dumps(plain.said)) / 4
    short = await served.viewer.get("/v1/counts/1", **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in short.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/counts/1", "GET,HEAD"),
        ("PUT", "/v1/counts", "GET,HEAD"),
        ("GET", "/v1/counts/1/raise", "POST"),
        ("GET", "/v1/counts/reset", "POST"),  # and no number of that name
        ("OPTIONS", "/v1/counts/top", "GET,HEAD"),
    ],
)
async def test_other_methods_are_refused(served: Served, method: str, path: str, allowed: str) -> None:
    answer = await served.admin.send(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert answer.said["type"] == "/v1/reference#problem-method-not-allowed"


async def test_a_word_is_no_number(served: Served) -> None:
    assert (await served.viewer.get("/v1/counts/top")).said["count"] == 7
    answer = await served.viewer.get("/v1/counts/bottom")
    assert (answer.status, answer.said["errors"]) == (
        422,
        [{"field": "parameters/count_id", "message": "is no whole number"}],
    )


async def test_what_is_nowhere_is_a_problem(served: Served) -> None:
    answer = await served.viewer.get("/v1/nothing/here?ref=M17")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json; charset=utf-8")
    assert {key: answer.said[key] for key in ("type", "status", "instance")} == {
        "type": "/v1/reference#problem-not-found",
        "status": 404,
        "instance": "/v1/nothing/here",
    }


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/counts?limit=+5", "parameters/limit"),
        ("/v1/counts?limit=5&limit=6", "parameters/limit"),
        ("/v1/counts?limit=5.0", "parameters/limit"),
        ("/v1/counts?limit=", "parameters/limit"),
        ("/v1/counts?limits=5", "parameters/limits"),
        ("/v1/counts/1?count_id=2", "query/count_id"),
        ("/v1/counts/99999999999999999999", "parameters/count_id"),
    ],
)
async def test_parameters_are_written_as_they_are_specified(served: Served, path: str, field: str) -> None:
    answer = await served.viewer.get(path.replace("+", "%2B"))
    assert (answer.status, [each["field"] for each in answer.said["errors"]]) == (422, [field])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"by": 5}', 200),
        ('{"by": 5.0}', 200),  # which is a whole number in JSON
        ('{"by": "5"}', 422),
        ('{"by": true}', 422),
        ('{"by": 0}', 422),
        ('{"by": 5, "of": 1}', 422),
        ('{"by": 5, "by": 6}', 400),
        ('{"by": NaN}', 400),
        ("[5]", 422),
        ("", 400),
        ('{"by": 1e400}', 422),
        ('{"by": ' + "9" * 5000 + "}", 400),
        ("[" * 100_000, 400),
    ],
    ids=range(13),
)
async def test_bodies_are_written_as_they_are_specified(served: Served, body: str, status: int) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "one-body"}
    answer = await served.scheduler.send("POST", "/v1/counts/1/raise", data=body, headers=headers)
    assert answer.status == status
    assert await count(served) == (12 if status == 200 else 7)


async def test_a_body_that_nobody_asked_for_is_refused(served: Served) -> None:
    answer = await served.scheduler.post("/v1/counts/reset", {"only": 3})
    assert (answer.status, answer.said["detail"], await count(served)) == (400, "this endpoint takes no body", 7)
    assert ((await served.scheduler.post("/v1/counts/reset")).status, await count(served)) == (200, 0)


async def test_a_request_is_known_by_its_id_and_its_trace(served: Served) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        answer = await served.viewer.get("/v1/counts/1", **{"X-Request-Id": "mine-7", "traceparent": TRACE})
        other = await served.viewer.get("/v1/counts/1?x=M17", **{"X-Request-Id": "not one\tat all"})
    assert answer.headers["X-Request-Id"] == "mine-7"
    assert other.headers["X-Request-Id"] == other.said["request_id"] != "not one\tat all"
    first, second = [each for each in logs if each["event"] == "request answered"]
    assert (first["request_id"], first["trace_id"]) == ("mine-7", TRACE.split("-")[1])
    assert (second["route"], second["status"], second["method"]) == ("/v1/counts/{count_id}", 422, "GET")
    assert "trace_id" not in second
    assert "M17" not in str(logs)


async def test_what_was_there_before_and_after_is_audited(served: Served) -> None:
    await served.scheduler.post("/v1/counts/1/raise", {"by": 2}, x_request_id="mine")
    async with served.service.engine.connect() as connection:
        query = text("SELECT actor, act, subject, detail FROM audit_log ORDER BY audit_id DESC LIMIT 1")
        row = (await connection.execute(query)).one()
    assert tuple(row[:3]) == ("scheduler", "raise count", "counts/1/raise")
    assert row.detail["before"] == {"count_id": 1, "count": 7}
    assert row.detail["after"] == {"count_id": 1, "count": 9}
    assert row.detail["request"] == "mine"


async def test_what_is_refused_leaves_nothing(served: Served) -> None:
    async def audited() -> int:
        async with served.service.engine.connect() as connection:
            return int(await connection.scalar(text("SELECT count(*) FROM audit_log")) or 0)

    before = await audited()
    await served.scheduler.post("/v1/counts/1/raise", {"by": 100})
    for _ in range(9):
        answer = await served.scheduler.post("/v1/counts/1/raise", {"by": 100}, idempotency_key="the-same-key")
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert (await count(served), await audited()) == (207, before + 2)
    for _ in range(9):
        answer = await served.scheduler.post("/v1/counts/1/raise", {"by": 100})
    assert (answer.status, answer.said["detail"]) == (409, "1,000 is the most")
    assert (await count(served), await audited()) == (907, before + 9)


async def test_a_body_that_breaks_off_does_nothing(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    with structlog.testing.capture_logs() as logs:
        for cut in ("Content-Length: 10", "Transfer-Encoding: chunked"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                head(served, "Content-Type: application/json", cut) + (b'{"by"' if "Le" in cut else b'9\r\n{"by"')
            )
            await writer.drain()
            writer.close()

        async def are_answered() -> bool:
            return len([each for each in logs if each["event"] == "request answered"]) == 2

        await until(are_answered, "both answers")
    assert {each["status"] for each in logs if each["event"] == "request answered"} == {400}
    assert not [each for each in logs if each["log_level"] in ("warning", "error")]
    assert await count(served) == 7


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        (("Content-Type: application/json", "Transfer-Encoding: chunked"), b"nonsense\r\n", 400),
        (("Content-Type: application/json", "Content-Encoding: gzip", "Content-Length: 9"), b'{"by": 1}', 400),
        (("Content-Type: application/json", "Content-Length: -9"), b'{"by": 1}', 400),
        (("Content-Type: application/json", "Content-Length: 9"), b'{"by": 1}', 200),
    ],
)
async def test_bodies_come_as_their_headers_say(
    served: Served, lines: tuple[str, ...], body: bytes, status: int
) -> None:
    answer = await raw(served, head(served, *lines), body)
    assert int(answer.split()[1]) == status
    assert await count(served) == (8 if status == 200 else 7)


async def test_who_does_not_send_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SILENCE_SECONDS", 0.1)
    answer = await raw(served, head(served, "Content-Type: application/json", "Content-Length: 10"), b'{"by"')
    assert int(answer.split()[1]) == 408
    assert b"problem-too-slow" in answer


async def test_what_is_no_http_is_refused_and_not_quoted(served: Served) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await raw(served, b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\0\r\n\r\n")
    assert int(answer.split()[1]) == 400
    assert [each["event"] for each in logs] == ["request not understood"]
    assert "secret" not in str(logs)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1 FROM pg_sleep(3)", "it took longer than a request may"),
        ("LOCK TABLE counts IN EXCLUSIVE MODE", "another request was in the way"),
        ("SELECT pg_terminate_backend(pg_backend_pid())::int", "the database"),
    ],
)
async def test_who_asks_for_too_much_may_come_back(
    database_url: str, embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, why: str
) -> None:
    monkeypatch.setattr(app, "_PATIENCE", {"lock_timeout": "200ms", "statement_timeout": "400ms"})
    async with serving(database_url, embedded.redis_url, settings_in(tmp_path), [counts]) as served:
        async with served.service.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE counts (number bigint, count bigint)"))
        async with served.service.engine.begin() as other:
            await other.execute(text("LOCK TABLE counts IN SHARE MODE"))
            answer = await served.scheduler.post("/v1/counts/ask", {"sql": sql})
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            assert answer.said["detail"].startswith(why)
        assert (await served.scheduler.post("/v1/counts/ask", {"sql": "SELECT 5"})).said["count"] == 5


async def test_a_fault_of_ours_is_told_without_its_cause(served: Served) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await served.scheduler.post("/v1/counts/ask", {"sql": "SELECT 1 / 0 AS secret"})
    assert (answer.status, "secret" in str(answer.said)) == (500, False)
    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["request failed"]


async def test_a_stream_that_fails_does_not_end_well(served: Served) -> None:
    """Who reads it must not take what came for all there is."""
    whole = await served.viewer.get("/v1/counts/1/ticks")
    assert whole.said.splitlines()[-1] == b"tick 6"
    assert whole.headers["Content-Disposition"] == 'attachment; filename="ticks.txt"'
    await served.scheduler.post("/v1/counts/1/raise", {"by": 10})
    with structlog.testing.capture_logs() as logs, pytest.raises(ClientError):
        await served.viewer.get("/v1/counts/1/ticks")
    assert "stream broke off" in [each["event"] for each in logs]


async def test_two_hundred_at_once_are_all_answered(served: Served) -> None:
    """Of whom sixteen have a connection to the database at a time."""
    asked = [served.viewer.get(f"/v1/counts/{1 + number % 60}") for number in range(150)]
    raised = [served.scheduler.post("/v1/counts/1/raise", {"by": 1}) for _ in range(50)]
    answers = await asyncio.gather(*asked, *raised)
    assert {answer.status for answer in answers} == {200}
    assert await count(served) == 57


async def test_who_is_being_answered_is_answered_before_the_end(
    database_url: str, embedded: Embedded, tmp_path: Path
) -> None:
    """And nobody new is let in meanwhile."""
    async with ClientSession() as session:
        async with serving(database_url, embedded.redis_url, settings_in(tmp_path), [counts]) as served:
            async with served.service.engine.begin() as connection:
                await connection.execute(text("CREATE TABLE counts AS SELECT 1 AS number, 7 AS count"))
            caller = replace(served.scheduler, session=session)
            asked = asyncio.ensure_future(caller.post("/v1/counts/1/raise", {"by": 1, "seconds": 0.5}))
            refused = asyncio.ensure_future(_refused(served.url))
            await asyncio.sleep(0.2)
            assert not refused.done()
        assert await refused
        assert ((await asked).status, (await asked).said["count"]) == (200, 8)


async def _refused(url: str) -> bool:
    """Until nobody listens there any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        except ConnectionError:
            return True
        writer.close()
        await asyncio.sleep(0.02)
