"""Workers over HTTP: who lives, who is lost, who is asked to end."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, text

from engine.store.tables import workers
from tests.serving import Served

pytestmark = pytest.mark.integration

WHY = {"reason": "the machine is renewed"}


@pytest.fixture
async def crew(served: Served) -> list[str]:
    """Three workers; of the second nothing was heard for a minute."""
    names = [f"host-{number}:{number}:ab" for number in (1, 2, 3)]
    async with served.service.engine.begin() as connection:
        for number, name in enumerate(names, start=1):
            row = {"worker": name, "host": "host", "pid": number, "version": "1", "shard_id": 7, "memory_mib": 90}
            await connection.execute(insert(workers).values(row))
        await connection.execute(
            text("UPDATE workers SET beat_at = beat_at - interval '1 minute' WHERE worker = :lost"), {"lost": names[1]}
        )
    return names


async def test_who_lives(served: Served, crew: list[str]) -> None:
    first = await served.viewer.get("/v1/workers?limit=2")
    rest = await served.viewer.get(first.said["next"])
    assert first.headers["Link"] == f'<{first.said["next"]}>; rel="next"'
    found = first.said["items"] + rest.said["items"]
    assert [each["worker"] for each in found] == crew
    assert [each["is_lost"] for each in found] == [False, True, False]
    assert found[1]["beat_age_seconds"] in range(60, 90)
    one = (await served.viewer.get(f"/v1/workers/{crew[0]}")).said
    assert (one["host"], one["pid"], one["version"], one["shard_id"], one["memory_mib"]) == ("host", 1, "1", 7, 90)
    missing = await served.viewer.get("/v1/workers/nobody")
    assert (missing.status, missing.said["detail"].partition(";")[0]) == (404, "there is no worker nobody")


async def test_a_worker_is_drained_by_operations(served: Served, crew: list[str]) -> None:
    path = f"/v1/workers/{crew[2]}"
    assert (await served.finance.post(f"{path}/drain", WHY)).status == 403
    drained = await served.ops.post(f"{path}/drain", WHY)
    assert (drained.status, drained.said) == (200, {"worker": crew[2], "is_draining": True})
    assert (await served.viewer.get(path)).said["is_draining"]
    assert not (await served.viewer.get(f"/v1/workers/{crew[0]}")).said["is_draining"]
    core, own = (await served.viewer.get("/v1/audit?limit=2")).said["items"]
    assert (core["before"]["is_draining"], core["after"]["is_draining"]) == (False, True)
    assert (own["act"], own["subject"], own["detail"]) == ("drain worker", f"worker:{crew[2]}", WHY)
