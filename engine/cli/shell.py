"""What every command shares: settings, logs, servers, a database, and one way to fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, TypeVar

import typer
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.log import configure_log
from engine.settings import Settings, load_settings
from engine.store.database import engine_on, prepare
from engine.store.doorbell import doorbell
from engine.store.embedded import Embedded, servers, status

T = TypeVar("T")


class Addresses(NamedTuple):
    """Where PostgreSQL and Valkey answer."""

    database_url: str
    redis_url: str
    embedded: Embedded | None = None
    """Of those, the servers in use by this process, if any."""


@contextmanager
def addresses(settings: Settings, *, redis: bool = True, serving: bool = False) -> Iterator[Addresses]:
    """Real servers where settings name them, embedded ones otherwise, for the length of a block.

    `serving`: the caller is one of the service's own processes. Raises InvalidInput for another command where
    FENTAN_API_URL says that commands go through an API: what is here may be another database than the API's.
    """
    if settings.api_url and not serving:
        raise InvalidInput(
            f"this works on the database itself, and FENTAN_API_URL says to go through {settings.api_url}; "
            "unset FENTAN_API_URL on the machine that reaches the database, and ask there"
        )
    database_url, redis_url = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    launch_postgres, launch_valkey = not database_url, redis and not redis_url
    if not (launch_postgres or launch_valkey):
        yield Addresses(database_url, redis_url)
        return
    with servers(settings.data_dir, postgres=launch_postgres, valkey=launch_valkey) as embedded:
        yield Addresses(database_url or embedded.database_url, redis_url or embedded.redis_url, embedded)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine on the database, its schema made if there was none."""
    with addresses(settings, redis=False) as found:
        async with engine_on(found.database_url) as engine:
            await prepare(engine)
            yield engine


def in_database(command: Callable[[AsyncEngine, Settings], Awaitable[T]]) -> T:
    """Run `command` with an engine on the database and the settings; what most commands are."""
    settings = start()

    async def opened() -> T:
        async with database(settings) as engine:
            return await command(engine, settings)

    return asyncio.run(opened())


def start() -> Settings:
    """Settings, with logging set up from them."""
    settings = load_settings()
    configure_log(settings.log_format, settings.log_level)
    return settings


async def notify(settings: Settings, run_id: int, occasion: str) -> None:
    """Ring for a run if anybody can hear; where nobody does, a worker's sweeper finds it."""
    if not settings.redis_url.get_secret_value() and not status(settings.data_dir)["valkey"]:
        return
    with addresses(settings) as found:
        try:
            async with doorbell(found.redis_url, patient=False) as bell:
                await bell.ring(run_id, occasion)
        except (RedisError, OSError):
            typer.echo("the doorbell does not answer; workers find the run by themselves within a sweep", err=True)


def child_environment(found: Addresses) -> dict[str, str]:
    """The environment of a worker process: the same settings, and the servers that answer here."""
    return os.environ | {"FENTAN_DATABASE_URL": found.database_url, "FENTAN_REDIS_URL": found.redis_url}
