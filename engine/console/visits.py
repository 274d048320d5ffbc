"""A visit: one request for a page, by somebody signed in or by anybody, with a connection on which nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.roles import Role
from engine.access.sessions import csrf_of, session_token
from engine.access.tokens import NotAuthenticated, Token
from engine.api.answering import REQUEST_ID, SESSION, reading
from engine.api.endpoint import Endpoint
from engine.api.routes import ENDPOINTS
from engine.api.service import SERVICE, Call, Service
from engine.console.language import Language, language_of

OPERATIONS: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
"""What the API can be asked for, by name."""

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_PUBLIC = ("members:read", "notices:read", "periods:read", "plans:read")
ANYBODY = Token(
    0, "anybody", Role.VIEWER, _PUBLIC, "nobody", _LONG_AGO, datetime.max.replace(tzinfo=UTC), None, None, None
)
"""In whose name public pages ask the API's handlers, whoever looks at them."""


@dataclass
class Visit:
    """Who asks for a page, and what it is made with.

    `visitor`: None: nobody signed in; `secret`: of the session. `caller`: in whose name the API's handlers are called.
    """

    request: web.Request
    visitor: Token | None
    secret: str | None
    now: datetime
    caller: Token = ANYBODY
    call: Call = field(init=False)

    @property
    def service(self) -> Service:
        """What the API works with."""
        return self.request.app[SERVICE]

    @cached_property
    def language(self) -> Language:
        """What the page is written in."""
        return language_of(self.request)

    @property
    def csrf(self) -> str:
        """What each form of the page carries; nothing where nobody is signed in."""
        return csrf_of(self.secret) if self.secret is not None else ""

    @property
    def path(self) -> str:
        """Where the visitor is, with the query: where forms come back to. Empty where a form was answered."""
        return "" if self.request.path.startswith("/do/") else self.request.rel_url.raw_path_qs

    @property
    def is_part(self) -> bool:
        """Whether htmx asks, which puts the answer into the page it has."""
        return self.request.headers.get("HX-Request") == "true"

    def may(self, operation: str) -> bool:
        """Whether the visitor's role and scopes allow an operation of the API."""
        return self.visitor is not None and OPERATIONS[operation].is_open_to(self.visitor)

    def is_me(self, name: str) -> bool:
        """Whether it was the visitor who planned or proposed something, which they then do not approve (I13)."""
        return self.visitor is not None and self.visitor.name.casefold() == name.casefold()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Have `call`, with which the API's handlers read on one connection, for the length of a block."""
        async with reading(self.service) as connection:
            self.call = call_of(self.request, self.caller, connection, self.now)
            yield


def call_of(request: web.Request, token: Token, connection: AsyncConnection, now: datetime) -> Call:
    """What a handler of the API is called with for a request of the console. Pages link to pages of the console."""
    query = [(name, value) for name, value in request.query.items() if value]
    return Call(request.app[SERVICE], connection, token, now, request[REQUEST_ID], request.rel_url.raw_path, query)


async def visit_of(request: web.Request) -> Visit:
    """Who asks; whose session has ended is nobody."""
    now, secret = datetime.now(UTC), request.cookies.get(SESSION)
    if secret is None:
        return Visit(request, None, None, now)
    try:
        token = await session_token(request.app[SERVICE].engine, secret, now=now)
    except NotAuthenticated:
        return Visit(request, None, None, now)
    return Visit(request, token, secret, now)
