"""One approved run, made once; each test gets a database that is a copy of it, and a crew to work on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.runs.run import Run
from engine.store.database import engine_on, migrate
from engine.store.embedded import Embedded
from tests.faults.crew import AIDS, RULES, SEATS, Crew
from tests.integration.worlds import LATE_DEBIT, World, build, motley


class Undisturbed(NamedTuple):
    """What the run comes to when nobody hurts anybody, and the database to begin from."""

    template: str
    world: World
    run: Run
    root: bytes


def _url(embedded: Embedded, database: str) -> str:
    return make_url(embedded.database_url).set(database=database).render_as_string(hide_password=False)


async def _clone(embedded: Embedded, template: str, name: str) -> str:
    async with engine_on(_url(embedded, "postgres")) as engine, engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        await connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    return _url(embedded, name)


@pytest.fixture(scope="module")
async def undisturbed(embedded: Embedded) -> Undisturbed:
    async with engine_on(await _clone(embedded, "template0", "approved")) as engine:
        await migrate(engine)
        world = await build(engine, RULES, *(motley(count, seed) for seed, count in enumerate(SEATS, 1)))
        for aid_minor, notice_on in AIDS:
            await world.claim(aid_minor, notice_on)
        run = await world.approved(await world.previewed(LATE_DEBIT))
    async with engine_on(await _clone(embedded, "approved", "undisturbed")) as engine:
        sealed = await World(engine, world.plan, RULES).worked(run)
        assert sealed.root is not None
    return Undisturbed("approved", world, run, sealed.root)


@pytest.fixture
async def hurt_url(embedded: Embedded, undisturbed: Undisturbed) -> str:
    """A database with the approved run in it."""
    return await _clone(embedded, undisturbed.template, "hurt")


@pytest.fixture
async def embedded_engine(embedded: Embedded) -> AsyncIterator[AsyncEngine]:
    """An engine that is not on the database of the test."""
    async with engine_on(_url(embedded, "postgres")) as engine:
        yield engine


@pytest.fixture
async def engine(hurt_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_on(hurt_url) as engine:
        yield engine


@pytest.fixture
def world(engine: AsyncEngine, undisturbed: Undisturbed) -> World:
    return World(engine, undisturbed.world.plan, RULES)


@pytest.fixture
def run(undisturbed: Undisturbed) -> Run:
    return undisturbed.run


@pytest.fixture
def crew(hurt_url: str, embedded: Embedded, tmp_path: Path, run: Run) -> Iterator[Crew]:
    """Workers to be; nobody rings for the run, so that each test also shows that the sweeper does."""
    crew = Crew(hurt_url, embedded.redis_url, tmp_path / "workers.log")
    yield crew
    crew.dismiss()
