"""How the client asks: once done however often asked, patient, and not for ever. Against a server of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from engine.client import ApiProblem, Client, Event, JobFailed, Unreachable, WrongField
from engine.errors import FentanError, InvalidInput

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
RUN = {"run_id": 7, "state": "planned"}


def problem(status: int, kind: str, *, after: int | None = None, **more: Any) -> web.Response:
    said = {"type": f"/v1/reference#problem-{kind}", "title": kind, "status": status, "detail": f"it is {kind}"} | more
    headers = {} if after is None else {"Retry-After": str(after)}
    body = json.dumps(said)
    return web.Response(status=status, text=body, content_type="application/problem+json", headers=headers)


class Served:
    """A server that answers one request after another as it is told, and keeps what was asked."""

    def __init__(self, *answers: Answering | web.Response | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.path_qs, dict(request.headers), body))
        answer = self.answers.pop(0)
        if answer is None:  # the connection breaks
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer if isinstance(answer, web.Response) else await answer(request)

    def headers(self, name: str) -> list[str | None]:
        return [headers.get(name) for _, _, headers, _ in self.asked]


@asynccontextmanager
async def client_of(served: Served, patience_seconds: float = 10.0) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Client(url, "fentan_1_token", patience_seconds=patience_seconds) as client:
            yield client
    finally:
        await runner.cleanup()


def said(answer: object) -> web.Response:
    return web.json_response(answer)


async def test_what_is_done_again_has_the_key_it_had() -> None:
    in_flight, busy = problem(409, "key-in-flight", after=0), problem(503, "unavailable", after=0)
    served = Served(None, in_flight, busy, problem(429, "too-many-requests", after=0), said(RUN), said(RUN))
    async with client_of(served) as client:
        assert await client.plan_run("xianghubao", "2019-07-14") == RUN
        assert len(set(served.headers("Idempotency-Key"))) == 1
        await client.plan_run("xianghubao", "2019-07-14")
    *first, last = served.headers("Idempotency-Key")
    assert len(first) == 5
    assert last not in first
    assert served.headers("Authorization") == ["Bearer fentan_1_token"] * 6
    assert {body for _, _, _, body in served.asked} == {b'{"plan": "xianghubao", "debit_on": "2019-07-14"}'}


async def test_a_refusal_says_all_that_the_problem_said() -> None:
    wrong = [{"field": "body/debit_on", "message": "is no day"}]
    refusal = problem(409, "four-eyes", invariant="I13", request_id="abc", errors=wrong)
    async with client_of(Served(refusal)) as client:
        with pytest.raises(ApiProblem, match="it is four-eyes") as refused:
            await client.approve_run(7, "0" * 64)
    error = refused.value
    assert isinstance(error, FentanError)
    assert (error.status, error.kind, error.invariant) == (409, "four-eyes", "I13")
    assert (error.type, error.detail) == ("/v1/reference#problem-four-eyes", "it is four-eyes")
    assert (error.request_id, error.errors) == ("abc", [WrongField("body/debit_on", "is no day")])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.Response(status=502, text="<h1>Bad gateway</h1>"), "the API answered 502"),
        (web.Response(status=302, headers={"Location": "http://elsewhere.example/"}), "the API answered 302"),
        (problem(503, "unavailable", after=3600), "it is unavailable"),
    ],
)
async def test_patience_ends(answer: web.Response, words: str) -> None:
    async with client_of(Served(answer), patience_seconds=0.1) as client:
        with pytest.raises(ApiProblem, match=words):
            await client.show_me()


async def test_nobody_there() -> None:
    served = Served(*[None] * 20)
    async with client_of(served, patience_seconds=0.3) as client:
        with pytest.raises(Unreachable, match=r"http://127.0.0.1:\d+ does not answer .*; is `fentan api` running"):
            await client.show_me()
    assert 1 < len(served.asked) < 20


async def test_pages_are_read_as_they_are_wanted() -> None:
    first = {"items": [{"run_id": 3}, {"run_id": 2}], "next": "/v1/runs?plan=x&after=2"}
    served = Served(said(first), said({"items": [{"run_id": 1}], "next": None}))
    async with client_of(served) as client:
        numbers = [(run["run_id"], len(served.asked)) async for run in client.list_of_runs(plan="x")]
    assert numbers == [(3, 1), (2, 1), (1, 2)]
    assert [path for _, path, _, _ in served.asked] == ["/v1/runs?plan=x", "/v1/runs?plan=x&after=2"]


def stream(*events: tuple[str, str, object], breaks: bool = False) -> Answering:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": still here\n\n")
        for name, number, data in events:
            await response.write(f"event: {name}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode())
        if breaks:
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


async def test_events_go_on_where_they_broke_off() -> None:
    one, two, three = ({"seats_done": done} for done in (1, 2, 3))
    quiet, rests = ("end", "2", {"reason": "quiet"}), ("end", "3", {"reason": "rests"})
    served = Served(
        stream(("progress", "1", one), breaks=True),
        stream(("progress", "1", one), ("progress", "2", two), quiet),
        None,
        stream(("progress", "2", two), ("progress", "3", three), rests),
    )
    async with client_of(served) as client:
        seen = [event async for event in client.follow_run(7)]
    assert seen == [Event("progress", "1", one), Event("progress", "2", two), Event("progress", "3", three)]
    assert served.headers("Last-Event-ID") == [None, "1", "2", "2"]


async def test_a_run_that_is_not_there_has_no_events() -> None:
    async with client_of(Served(problem(404, "not-found"))) as client:
        with pytest.raises(ApiProblem, match="it is not-found"):
            _ = [event async for event in client.follow_run(7)]


async def test_a_file_is_sent_again_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "statement.xml"
    file.write_bytes(b"<Document/>" * 1000)
    served = Served(None, said({"job_id": 3}))
    async with client_of(served) as client:
        assert (await client.upload_statement("wallet", file))["job_id"] == 3
    assert [body for _, _, _, body in served.asked] == [file.read_bytes()] * 2
    assert served.asked[0][1] == "/v1/custodians/wallet/statements?name=statement.xml"
    assert served.headers("Content-Type") == ["application/octet-stream"] * 2
    assert len(set(served.headers("Idempotency-Key"))) == 1


async def test_a_job_is_waited_for() -> None:
    queued, done = {"state": "queued"}, {"state": "done", "outcome": {"lines": 3}}
    async with client_of(Served(said(queued), said(done), said({"state": "failed", "error": "line 7"}))) as client:
        assert (await client.wait_for_job(1))["outcome"] == {"lines": 3}
        with pytest.raises(JobFailed, match="job 1 failed: line 7"):
            await client.wait_for_job(1)
    async with client_of(Served(said(queued))) as client:
        with pytest.raises(TimeoutError, match="job 1 is queued"):
            await client.wait_for_job(1, seconds=-1)


async def test_a_download_comes_in_pieces() -> None:
    async with client_of(Served(web.Response(body=b"a,b\n" * 100_000))) as client:
        pieces = [piece async for piece in client.download("/v1/plans/x/entries.csv")]
    assert b"".join(pieces) == b"a,b\n" * 100_000
    assert len(pieces) > 1


@pytest.mark.parametrize(
    ("url", "token"), [("localhost:8080", "x"), ("", "x"), ("http://localhost:8080", ""), ("http://x", "fentan\n1")]
)
def test_what_is_no_address_or_no_token(url: str, token: str) -> None:
    with pytest.raises(InvalidInput):
        Client(url, token)


async def test_a_client_is_opened_first() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await asyncio.create_task(Client("http://127.0.0.1:1", "x").show_me())
