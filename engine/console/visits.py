"""A visit: one request for a page, by somebody signed in or by anybody, with a connection on which nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.roles import Role
from engine.access.sessions import csrf_of, session_token
from engine.access.tokens import NotAuthenticated, Token
from engine.api.answering import REQUEST_ID, SESSION
from engine.api.endpoint import Endpoint
from engine.api.routes import ENDPOINTS
from engine.api.service import SERVICE, Call, Service
from engine.console.language import Language, language_of

OPERATIONS: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
"""What the API can be asked for, by name."""

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ANYBODY = Token(0, "anybody", Role.VIEWER, (), "nobody", _LONG_AGO, datetime.max.replace(tzinfo=UTC), None, None, None)
"""Who has not signed in: public pages ask the API's handlers in this name, and none of them decides anything."""


@dataclass
class Visit:
    """Who asks for a page, and what it is made with. `visitor`: None: nobody signed in; `secret`: of the session."""

    request: web.Request
    visitor: Token | None
    secret: str | None
    now: datetime
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
        """Where the visitor is, with the query: where forms come back to."""
        return self.request.rel_url.raw_path_qs

    @property
    def is_part(self) -> bool:
        """Whether htmx asks, which puts the answer into the page it has."""
        return self.request.headers.get("HX-Request") == "true"

    def may(self, operation: str) -> bool:
        """Whether the visitor's role and scopes allow an operation of the API."""
        endpoint = OPERATIONS[operation]
        return self.visitor is not None and self.visitor.role in endpoint.roles and self.visitor.allows(endpoint.scope)

    def begins(self, connection: AsyncConnection) -> None:
        """Have what the API's handlers are called with."""
        self.call = call_of(self.request, self.visitor or ANYBODY, connection, self.now)


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
