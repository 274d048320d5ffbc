"""An office: servers of its own, the API with the console, and people of every role."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import ClientSession
from sqlalchemy import text

from engine.access.roles import Role
from engine.access.tokens import issue
from engine.api.answering import SESSION
from engine.api.application import application, listening, service_on
from engine.api.routes import SCOPES
from engine.console.application import with_console
from engine.custodian.desk import Desk
from engine.log import configure_log
from engine.members.share_links import make_link
from engine.roster.plan import plan_of
from engine.settings import load_settings
from engine.store.database import engine_on, migrate
from engine.store.embedded import servers
from tests.conftest import quick_folder
from tests.integration.api.asked import upload, worked
from tests.screenshots.clock import Clock
from tests.serving import Answer, Caller, Served

PEOPLE = {
    "chen.ying": Role.ADMIN,
    "li.wei": Role.SCHEDULER,
    "zhao.min": Role.APPROVER,
    "wang.fang": Role.FINANCE,
    "sun.lei": Role.FINANCE,
    "zhou.tao": Role.OPS,
    "xu.jing": Role.VIEWER,
}
HIRED_ON = date(2019, 5, 20)
TOKEN_DAYS = 180
REQUESTS_PER_MINUTE = 1_000_000
"""The minute of a clock that stands never ends."""

_keys = itertools.count(1)


@dataclass(frozen=True)
class Office:
    """Who works here, by name, and with what."""

    served: Served
    clock: Clock
    people: Mapping[str, Caller]
    sessions: dict[str, str] = field(default_factory=dict)
    """By name, the cookie of who signed in to the console."""

    async def ask(self, name: str, path: str, said: object = None, **headers: str) -> Any:
        """Somebody does something; what the API says of it. A job is done before it is told of."""
        answer = await self.people[name].post(f"/v1/{path}", said, **headers)
        assert answer.status < 300, (name, path, answer.said)
        return await worked(self.served, answer) if answer.status == 202 else answer.said

    async def brings(self, name: str, path: str, content: str) -> Any:
        """Somebody brings a file, and a worker has it; what came of that."""
        answer = await upload(self.people[name], f"/v1/{path}", content)
        return await worked(self.served, answer)

    async def may(self, name: str, path: str, said: object = None) -> Any:
        """The same of what may be refused; None where it is."""
        answer = await self.people[name].post(f"/v1/{path}", said)
        return answer.said if answer.status < 300 else None

    async def decide(self, name: str, path: str, said: object = None) -> Any:
        """The same about what they have looked at."""
        seen: Answer = await self.people[name].get(f"/v1/{path.rpartition('/')[0]}")
        return await self.ask(name, path, said, If_Match=seen.headers["ETag"])

    async def see(self, path: str) -> Any:
        """What a reader finds there."""
        answer = await self.people["xu.jing"].get(f"/v1/{path}")
        assert answer.status == 200, (path, answer.said)
        return answer.said

    async def sign_in(self) -> None:
        """Everybody signs in to the console."""
        for name, caller in self.people.items():
            path, said = f"{self.served.url}/sign-in", {"token": caller.token}
            async with self.served.session.post(path, data=said, allow_redirects=False) as response:
                self.sessions[name] = response.cookies[SESSION].value

    async def link(self, plan: str, member_ref: str) -> str:
        """The path of a link by which a member of a plan sees their shares, once."""
        async with self.served.service.engine.begin() as connection:
            return await make_link(
                connection, await plan_of(connection, plan), member_ref, now=self.clock.moment, actor="zhou.tao"
            )

    async def sql(self, statement: str, **values: object) -> Any:
        """What no call can bring about."""
        async with self.served.service.engine.begin() as connection:
            return await connection.execute(text(statement), values)


@asynccontextmanager
async def open_office(port: int = 0) -> AsyncIterator[Office]:
    """An office on the day its people were hired, for the length of a block; nothing of it is left."""
    configure_log("console", "error")
    with TemporaryDirectory(prefix="fentan-screenshots-", dir=quick_folder()) as folder, servers(Path(folder)) as found:
        settings = load_settings().model_copy(
            update={"data_dir": Path(folder) / "data", "requests_per_minute": REQUESTS_PER_MINUTE}
        )
        async with engine_on(found.database_url) as engine:
            await Clock(engine).make()
            await migrate(engine)
        async with (
            service_on(found.database_url, found.redis_url, settings, Desk.of(settings, {})) as service,
            listening(with_console(application(service)), "127.0.0.1", port) as found_port,
            ClientSession() as session,
        ):
            service.desk.files.mkdir(parents=True)
            clock = Clock(service.engine)
            with clock.shown():
                served = Served(service, session, f"http://127.0.0.1:{found_port}", {})
                people = await _hire(served, clock)
                roles = {role: people[name] for name, role in reversed(PEOPLE.items())}
                yield Office(Served(service, session, served.url, roles), clock, people)


async def _hire(served: Served, clock: Clock) -> dict[str, Caller]:
    now = await clock.set(HIRED_ON, 9)
    people = {}
    async with served.service.engine.begin() as connection:
        for name, role in PEOPLE.items():
            _, token = await issue(
                connection, name, role, days=TOKEN_DAYS, now=now, actor="chen.ying", known_scopes=SCOPES
            )
            people[name] = Caller(served.session, served.url, name, token)
    return people
