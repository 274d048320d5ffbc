"""Somebody who is told: a real receiver of webhooks, that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = int | Callable[[web.Request], Awaitable[web.StreamResponse]]


class Heard(NamedTuple):
    """One request as it came."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers in the order given, 204 after that. `url`: where it listens."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.heard]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        async with self.news:
            self.heard.append(Heard(dict(request.headers), await request.read()))
            self.news.notify_all()
        answer = self.answers.pop(0) if self.answers else 204
        return web.Response(status=answer) if isinstance(answer, int) else await answer(request)

    async def hears(self, count: int, seconds: float = 20) -> None:
        """Wait until it was sent so much in all."""
        async with asyncio.timeout(seconds), self.news:
            await self.news.wait_for(lambda: len(self.heard) >= count)


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection is lost before anything is answered."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def receiving(*answers: Answer) -> AsyncIterator[Receiver]:
    """A receiver for the length of a block."""
    receiver = Receiver(answers=list(answers))
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", receiver.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        receiver.url = str(server.make_url("/told"))
        yield receiver
