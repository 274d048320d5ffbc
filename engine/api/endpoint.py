"""An endpoint, declared once beside its handler: the route, the specification and the roles are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from inspect import unwrap
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel

from engine.access.roles import Role
from engine.access.tokens import Token
from engine.api.fields import Nothing
from engine.api.problems import Forbidden
from engine.api.service import Call, Streamed, Upload

PREFIX = "/v1"

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])
View = Callable[[Call, Any], Awaitable[BaseModel]]


@dataclass(frozen=True)
class Endpoint:
    """What may be asked for and by whom.

    `path`: with its prefix, names of parameters in braces. `params`: of path and query. `body`: a model in JSON, Upload
    for a file, None. `answer`: a model in JSON, or Streamed. `moves_money`: an Idempotency-Key is a must. `changes`:
    the view of what a call changes, whose ETag If-Match names, and which is audited before and after. `is_secret`: the
    answer holds a secret, which is neither remembered nor audited. `media_type`: of what is streamed.
    """

    name: str
    resource: str
    method: str
    path: str
    roles: frozenset[Role]
    handler: Callable[..., Awaitable[Any]]
    params: type[BaseModel]
    body: type[BaseModel | Upload] | None
    answer: Any
    status: int
    moves_money: bool
    changes: View | None
    is_secret: bool
    media_type: str

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def needs_body(self) -> bool:
        """Whether something must be sent: a body of which every field may be left out may be left out."""
        body = self.body
        if body is None or not issubclass(body, BaseModel):
            return body is not None
        return any(field.is_required() for field in body.model_fields.values())

    @property
    def scope(self) -> str:
        """What a token with scopes must have."""
        return f"{self.resource}:{'write' if self.writes else 'read'}"

    def is_open_to(self, token: Token) -> bool:
        """Whether a token's role and scopes allow it."""
        return token.role in self.roles and token.allows(self.scope)

    def admit(self, token: Token) -> None:
        """Let a token in. Raises Forbidden."""
        if token.role not in self.roles:
            may = ", ".join(sorted(self.roles))
            raise Forbidden(f"{token.role} may not {self.name.replace('_', ' ')}; it takes the role {may}")
        if not token.allows(self.scope):
            raise Forbidden(f"the token's scopes lack {self.scope}; ask for a token that has it")

    def names(self, in_path: Mapping[str, str]) -> str:
        """What `changes` shows of a path, by name: the same for every endpoint that changes it."""
        assert self.changes is not None
        asked = get_type_hints(self.changes).get("params", Nothing).model_fields
        return ":".join((self.changes.__name__, *(in_path[name] for name in sorted(asked) if name in in_path)))

    def given(self, params: BaseModel, body: BaseModel | Upload | None) -> dict[str, BaseModel | Upload | None]:
        """What the handler is called with beside the call."""
        declared: dict[str, BaseModel | Upload | None] = {} if self.params is Nothing else {"params": params}
        return declared if self.body is None else {**declared, "body": body}

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of one resource, in the order they are declared."""

    resource: str
    about: str
    all: list[Endpoint] = field(default_factory=list)

    def get(
        self, path: str, roles: frozenset[Role], *, media_type: str = "application/json"
    ) -> Callable[[Handler], Handler]:
        """Declare what is read at a path."""
        return self._declare("GET", path, roles, media_type=media_type)

    def post(
        self,
        path: str,
        roles: frozenset[Role],
        *,
        status: int = 200,
        moves_money: bool = False,
        changes: View | None = None,
        is_secret: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare what is done at a path."""
        return self._declare(
            "POST", path, roles, status=status, moves_money=moves_money, changes=changes, is_secret=is_secret
        )

    def _declare(
        self,
        method: str,
        path: str,
        roles: frozenset[Role],
        *,
        status: int = 200,
        moves_money: bool = False,
        changes: View | None = None,
        is_secret: bool = False,
        media_type: str = "application/json",
    ) -> Callable[[Handler], Handler]:
        def declared(handler: Handler) -> Handler:
            hints = get_type_hints(handler, include_extras=True)
            endpoint = Endpoint(
                name=handler.__name__,
                resource=self.resource,
                method=method,
                path=PREFIX + path,
                roles=roles,
                handler=handler,
                params=hints.get("params", Nothing),
                body=hints.get("body"),
                answer=hints["return"],
                status=status,
                moves_money=moves_money,
                changes=changes and unwrap(changes),
                is_secret=is_secret,
                media_type=media_type,
            )
            assert (endpoint.answer is Streamed) == (media_type != "application/json"), endpoint.name
            assert not (moves_money and is_secret), endpoint.name
            self.all.append(endpoint)

            @wraps(handler)
            async def admitted(call: Call, *given: Any, **named: Any) -> Any:
                # Whoever else calls it, as pages do, does so in the name of somebody who may.
                endpoint.admit(call.token)
                return await handler(call, *given, **named)

            return cast(Handler, admitted)

        return declared
