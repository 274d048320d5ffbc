"""A page, declared once beside its handler: where it is, who may see it, what it takes of the address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel

from engine.access.roles import Role
from engine.api.fields import Nothing

ANYONE: frozenset[Role] | None = None
"""Who sees a public page: no sign-in is asked for."""

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True)
class Shown:
    """A template and what it shows."""

    template: str
    context: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True)
class Cookie:
    """What the browser keeps for a part of the console, from its scripts and from other sites; forgotten after 0 s."""

    name: str
    value: str
    path: str
    seconds: int


@dataclass(frozen=True)
class Elsewhere:
    """Another address to look at, of this console. `cookie`: what the browser is to keep."""

    path: str
    cookie: Cookie | None = None


@dataclass(frozen=True)
class Data:
    """A view of the API as JSON, for a script of a page. `file`: its name, where it is one to keep."""

    view: BaseModel
    file: str | None = None


@dataclass(frozen=True)
class Page:
    """What is shown at a path. `params`: of path and query; a field of the query that is left blank is not there.

    `method`: POST for a form that is no operation of the API. What it writes has a transaction of its own, so it holds
    no connection meanwhile, and reads within `visit.reading()`: whoever waits for a second one keeps others waiting.
    `kept_seconds`: so long it is shown again to whoever has not signed in, without asking the database.
    """

    path: str
    roles: frozenset[Role] | None
    handler: Callable[..., Awaitable[Shown | Elsewhere | Data]]
    params: type[BaseModel]
    method: str
    kept_seconds: int = 0


@dataclass(frozen=True)
class Pages:
    """The pages of one area. `area`: where it begins, by which the navigation knows it; "" for public pages."""

    area: str
    all: list[Page] = field(default_factory=list)

    def get(self, path: str, roles: frozenset[Role] | None, *, kept_seconds: int = 0) -> Callable[[Handler], Handler]:
        """Declare what is shown at a path."""
        return self._declare("GET", path, roles, kept_seconds)

    def post(self, path: str, roles: frozenset[Role] | None) -> Callable[[Handler], Handler]:
        """Declare what answers a form that is no operation of the API."""
        return self._declare("POST", path, roles)

    def _declare(
        self, method: str, path: str, roles: frozenset[Role] | None, kept_seconds: int = 0
    ) -> Callable[[Handler], Handler]:
        def declared(handler: Handler) -> Handler:
            params = get_type_hints(handler, include_extras=True).get("params", Nothing)
            self.all.append(Page(path, roles, handler, params, method, kept_seconds))
            return handler

        return declared
