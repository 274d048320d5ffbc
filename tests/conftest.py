"""Real servers for the tests: one embedded pair per test process, a fresh database per test."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.dialects import registry
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.store.database import engine_on, migrate
from engine.store.embedded import Embedded, servers

_numbers = itertools.count(1)

# A commit passes everywhere or nowhere: the examples follow from the text of the test, and a busy machine fails none
# of them. `pytest --hypothesis-profile=default` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")

# Before any engine is made.
registry.register("postgresql.asyncpg", "tests.dialect", "SharedDialect")

MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made there is nobody else's
ROOMY_BYTES = 8 * 2**30


def quick_folder() -> str | None:
    """Where an fsync costs nothing: the tests hurt processes, never the machine, so no file has to outlive that."""
    return str(MEMORY) if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOMY_BYTES else None


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """A PostgreSQL and a Valkey of this test process, empty at its start."""
    with TemporaryDirectory(prefix="fentan-", dir=quick_folder()) as data_dir, servers(Path(data_dir)) as found:
        yield found


async def _run_on(database_url: str, statement: str) -> None:
    url = make_url(database_url)
    connection = await asyncpg.connect(
        host=str(url.query["host"]), port=int(str(url.query.get("port", 5432))), user=url.username, database="postgres"
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def migrated(embedded: Embedded) -> list[str]:
    """Names of databases already migrated, to be cloned; filled by the first test that needs one."""
    return []


@pytest.fixture
async def database_url(embedded: Embedded, migrated: list[str]) -> AsyncIterator[str]:
    """A fresh database with the schema, dropped after the test."""
    url = make_url(embedded.database_url)
    if not migrated:
        await _run_on(embedded.database_url, "CREATE DATABASE template_fentan")
        async with engine_on(url.set(database="template_fentan").render_as_string(hide_password=False)) as engine:
            await migrate(engine)
        migrated.append("template_fentan")
    name = f"test_{next(_numbers)}"
    await _run_on(embedded.database_url, f"CREATE DATABASE {name} TEMPLATE {migrated[0]}")
    yield url.set(database=name).render_as_string(hide_password=False)
    await _run_on(embedded.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the fresh database."""
    async with engine_on(database_url) as engine:
        yield engine
