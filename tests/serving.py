"""An API that answers on a port of its own, and callers of every role."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import ClientSession

from engine.access.roles import Role
from engine.access.tokens import issue
from engine.api.application import application, listening, service_on
from engine.api.endpoint import Endpoints
from engine.api.routes import RESOURCES, SCOPES
from engine.api.service import Service
from engine.console.application import with_console
from engine.custodian.desk import Desk
from engine.settings import Settings, load_settings

_keys = itertools.count(1)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    said: Any
    """Its JSON, or its bytes."""


@dataclass(frozen=True)
class Caller:
    """Somebody with a token. `get` and `post` send what they are given; a post has a new Idempotency-Key each time."""

    session: ClientSession
    url: str
    name: str
    token: str

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, headers=headers)

    async def post(self, path: str, said: object = None, **headers: str) -> Answer:
        key = {"Idempotency-Key": f"test-key-{next(_keys)}"}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("POST", path, json=said, headers=key | names)

    async def send(self, method: str, path: str, **options: Any) -> Answer:
        options["headers"] = {"Authorization": f"Bearer {self.token}"} | (options.get("headers") or {})
        if options.get("json") is None:
            options.pop("json", None)
        async with self.session.request(method, self.url + path, **options) as response:
            is_json = response.content_type.endswith("json")
            return Answer(response.status, response.headers, await (response.json() if is_json else response.read()))


@dataclass(frozen=True)
class Served:
    """An API, and somebody of each role, named like it: `served.finance.post(…)`."""

    service: Service
    session: ClientSession
    url: str
    callers: Mapping[Role, Caller]

    def __getattr__(self, role: str) -> Caller:
        return self.callers[Role(role)]

    async def caller(self, name: str, role: Role, scopes: list[str] | None = None) -> Caller:
        """Somebody more."""
        async with self.service.engine.begin() as connection:
            now = datetime.now(UTC)
            _, text = await issue(
                connection, name, role, days=1, now=now, actor="tests", scopes=scopes, known_scopes=SCOPES
            )
        return Caller(self.session, self.url, name, text)


@asynccontextmanager
async def serving(
    database_url: str, redis_url: str, settings: Settings, resources: Sequence[Endpoints] = RESOURCES
) -> AsyncIterator[Served]:
    """An API for the length of a block."""
    async with (
        service_on(database_url, redis_url, settings, Desk.of(settings, {})) as service,
        listening(with_console(application(service, resources)), "127.0.0.1", 0) as port,
        ClientSession() as session,
    ):
        served = Served(service, session, f"http://127.0.0.1:{port}", {})
        callers = {role: await served.caller(str(role), role) for role in Role}
        yield Served(service, session, served.url, callers)


def settings_in(data_dir: object, **changes: object) -> Settings:
    """Settings whose files lie in a folder of the test's."""
    return load_settings().model_copy(update={"data_dir": data_dir, **changes})
