"""Whether it answers, whether it can work: with everything there, without the doorbell, without the database."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.serving import Served, serving, settings_in

pytestmark = pytest.mark.integration

NOBODY = "redis://127.0.0.1:1/0"


async def shut(database_url: str, *, shut: bool) -> None:
    """Let nobody into the test's database, and put out who is in; or let them in again."""
    url = make_url(database_url)
    host, port = str(url.query["host"]), int(str(url.query.get("port", 5432)))
    connection = await asyncpg.connect(host=host, port=port, user=url.username, database="postgres")
    try:
        await connection.execute(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS {'false' if shut else 'true'}")
        if shut:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
            await connection.execute(query, url.database)
    finally:
        await connection.close()


async def get(served: Served, path: str) -> tuple[int, dict[str, object]]:
    """What somebody without a token is told."""
    async with served.session.get(served.url + path) as answer:
        return answer.status, await answer.json()


async def test_with_everything_there(served: Served) -> None:
    assert await get(served, "/healthz") == (200, {"status": "ok"})
    assert await get(served, "/readyz") == (200, {"status": "ready", "database": "ok", "doorbell": "ok"})


async def test_without_the_doorbell_it_is_degraded_and_ready(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, NOBODY, settings_in(tmp_path)) as served:
        assert await get(served, "/readyz") == (200, {"status": "degraded", "database": "ok", "doorbell": "away"})
        assert (await served.ops.post("/v1/queues/send/pause", {"reason": "away"})).status == 200


async def test_without_the_database_it_answers_and_is_not_ready(served: Served, database_url: str) -> None:
    await get(served, "/readyz")  # so that there is a connection to lose
    await shut(database_url, shut=True)
    try:
        assert await get(served, "/healthz") == (200, {"status": "ok"})
        status, said = await get(served, "/readyz")
        assert (status, said["title"], said["detail"]) == (503, "Not ready", "the database does not answer")
        assert (await served.viewer.get("/v1/queues")).status == 503
    finally:
        await shut(database_url, shut=False)
    assert (await get(served, "/readyz"))[0] == 200


async def test_with_the_schema_of_another_version(served: Served) -> None:
    async with served.service.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0003'")
    status, said = await get(served, "/readyz")
    assert status == 503
    assert "the schema is at 0003" in str(said["detail"])


async def test_who_is_about_to_end_is_not_ready(served: Served) -> None:
    served.service.closing.set()
    assert (await get(served, "/readyz"))[0] == 503
    assert (await get(served, "/healthz"))[0] == 200
