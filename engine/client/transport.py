"""Requests as the API wants them: with a token, keys that make asking again safe, and patience that ends.

A POST carries an Idempotency-Key of its own and keeps it when it is sent again: because the connection broke, because
the first is still being worked on, or because the API asked for a pause. It is done once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from aiohttp import ClientConnectionError, ClientPayloadError, ClientResponse, ClientSession, ClientTimeout

from engine.client.problems import ApiProblem, Unreachable
from engine.errors import InvalidInput

PATIENCE_SECONDS = 30.0
"""How long one call is tried before it is given up."""

CONNECT_SECONDS, SILENCE_SECONDS = 10.0, 60.0
"""How long an API may take to answer the door, and to say anything at all."""

_PAUSES = 0.2, 5.0
"""Seconds between tries: the first pause, which doubles, and the longest."""

_LOST = (ClientConnectionError, ClientPayloadError, ConnectionError, TimeoutError)
_COME_BACK = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY}

Params = Mapping[str, str | int | bool | None]


class Event(NamedTuple):
    """A server-sent event: its name, its id, what it says."""

    name: str
    id: str
    data: dict[str, Any]


class Again(Exception):
    """What was asked may be asked again, after so many seconds if the API said so."""

    def __init__(self, because: Exception, after_seconds: float | None = None) -> None:
        super().__init__(str(because))
        self.because = because
        self.after_seconds = after_seconds


class Transport:
    """One API and one token. `patience_seconds`: how long a call that gets no answer is tried again."""

    def __init__(self, url: str, token: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Raises InvalidInput for what is no address or no token. Nothing is connected yet."""
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is no address of an API; write it like http://127.0.0.1:8080")
        if not token or not token.isascii() or not token.isprintable():
            raise InvalidInput("the API wants a token; `fentan token issue` makes one")
        self._url, self._token, self._patience = url.rstrip("/"), token, patience_seconds
        self._session: ClientSession | None = None

    async def open(self) -> None:
        """Make the session; the first request connects."""
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._session = ClientSession(headers={"Authorization": f"Bearer {self._token}"}, timeout=timeout)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, params: Params | None = None) -> Any:
        """What stands at a path. Raises ApiProblem, Unreachable."""
        return await self._patiently("GET", path, params=_written(params))

    async def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Params | None = None,
        key: str | None = None,
    ) -> Any:
        """Do something, once. `key`: an Idempotency-Key to use instead of a new one.

        Raises ApiProblem, Unreachable: then it may have been done, and the same key finds out.
        """
        headers = {"Idempotency-Key": key or secrets.token_urlsafe(24)}
        said = None if body is None else {name: value for name, value in body.items() if value is not None}
        return await self._patiently("POST", path, params=_written(params), headers=headers, json=said)

    async def upload(self, path: str, file: Path, params: Params | None = None) -> Any:
        """Send a file, a piece at a time. Raises ApiProblem, Unreachable, OSError when it cannot be read."""
        headers = {"Idempotency-Key": secrets.token_urlsafe(24), "Content-Type": "application/octet-stream"}
        return await self._patiently("POST", path, file, params=_written(params), headers=headers)

    async def pages(self, path: str, params: Params | None = None) -> AsyncIterator[Any]:
        """Every item of a list, page after page as they are wanted."""
        page = await self.get(path, params)
        while True:
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            page = await self.get(page["next"])

    async def download(self, path: str, *, method: str = "GET") -> AsyncIterator[bytes]:
        """A file, a piece at a time; who breaks off is not asked again. Raises ApiProblem, Unreachable."""
        headers = {} if method == "GET" else {"Idempotency-Key": secrets.token_urlsafe(24)}
        try:
            async with self._asked(method, path, headers=headers) as response:
                async for piece in response.content.iter_chunked(1 << 16):
                    yield piece
        except Again as again:
            raise self._given_up(again) from again.because
        except _LOST as error:
            raise self._given_up(Again(error)) from error

    async def events(self, path: str, *, until: str) -> AsyncGenerator[Event, None]:
        """Server-sent events until an `end` whose `reason` is `until`; a stream that breaks off is taken up again.

        Raises ApiProblem, Unreachable when nothing comes for as long as there is patience.
        """
        seen, newest, tried = "", dict[str, Event](), _Tries(self._patience)
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": seen} if seen else {})
            ended = ""
            try:
                async with self._asked("GET", path, headers=headers) as response:
                    async for event in _read(response):
                        seen, tried = event.id or seen, _Tries(self._patience)
                        if event.name == "end":
                            ended = event.data.get("reason", "")
                        elif newest.get(event.name) != event:  # a stream taken up again begins with what is known
                            newest[event.name] = event
                            yield event
            except Again as again:
                await self._pause(tried, again)
            except _LOST as error:
                await self._pause(tried, Again(error))
            else:
                if ended == until:
                    return
                if ended != "quiet":
                    await self._pause(tried, Again(ConnectionError("the stream of events broke off")))

    async def _patiently(self, method: str, path: str, file: Path | None = None, **options: Any) -> Any:
        """The JSON of an answer, asked for until there is one."""
        tried = _Tries(self._patience)
        while True:
            try:
                if file is None:
                    return await self._answer(method, path, **options)
                with file.open("rb") as data:
                    return await self._answer(method, path, data=data, **options)
            except Again as again:
                await self._pause(tried, again)

    async def _answer(self, method: str, path: str, **options: Any) -> Any:
        try:
            async with self._asked(method, path, **options) as response:
                return await response.json()
        except _LOST as error:
            raise Again(error) from error

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **options: Any) -> AsyncIterator[ClientResponse]:
        """An answer that is none of the refusals. Raises ApiProblem, and Again where asking again may help."""
        if self._session is None:
            raise RuntimeError("open the client first: async with Client(url, token) as client")
        async with self._session.request(method, self._url + path, allow_redirects=False, **options) as response:
            if not response.ok or response.status >= HTTPStatus.MULTIPLE_CHOICES:
                problem = await _problem(response)
                if response.status in _COME_BACK or problem.kind == "key-in-flight":
                    raise Again(problem, _seconds(response.headers.get("Retry-After")))
                raise problem
            yield response

    async def _pause(self, tried: _Tries, again: Again) -> None:
        """Wait until the next try is due. Raises what the last one said once there is no patience left for another."""
        seconds = tried.pause() if again.after_seconds is None else again.after_seconds
        if monotonic() + seconds > tried.until:
            raise self._given_up(again) from again.because
        await asyncio.sleep(seconds)

    def _given_up(self, again: Again) -> Exception:
        if isinstance(again.because, ApiProblem):
            return again.because
        said = str(again.because) or type(again.because).__name__
        return Unreachable(f"{self._url} does not answer ({said}); is `fentan api` running there?")


class _Tries:
    """How patient to be still."""

    def __init__(self, patience_seconds: float) -> None:
        self.until = monotonic() + patience_seconds
        self._next = _PAUSES[0]

    def pause(self) -> float:
        """Seconds to the next try; each longer than the one before."""
        now, self._next = self._next, min(2 * self._next, _PAUSES[1])
        return now


async def _problem(response: ClientResponse) -> ApiProblem:
    try:
        said = json.loads(await response.read())
    except ValueError:  # a proxy's page
        said = {}
    return ApiProblem(response.status, said if isinstance(said, dict) else {})


def _seconds(written: str | None) -> float | None:
    return float(written) if written is not None and written.isascii() and written.isdigit() else None


def _written(params: Params | None) -> dict[str, str]:
    """Parameters as a query has them; what is None is not there."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (params or {}).items()
        if value is not None
    }


async def _read(response: ClientResponse) -> AsyncIterator[Event]:
    """The events of a stream (WHATWG, server-sent events), as far as this API writes them."""
    fields: dict[str, str] = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
