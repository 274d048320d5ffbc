"""The audit log over HTTP, and that nobody changes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from engine.access.roles import Role
from engine.store.audit import record
from tests.serving import Served

pytestmark = pytest.mark.integration


@pytest.fixture
async def acts(served: Served) -> None:
    """Five acts of two people, after the tokens that were issued to begin with."""
    async with served.service.engine.begin() as connection:
        for number in range(5):
            actor = "ann" if number % 2 else "ben"
            await record(connection, actor, "count", f"run:{number}", {"number": number})


@pytest.mark.usefixtures("acts")
async def test_newest_first_a_part_at_a_time(served: Served) -> None:
    seen, path = [], "/v1/audit?act=count&limit=2"
    while path:
        answer = await served.viewer.get(path)
        seen += answer.said["items"]
        path = answer.said["next"]
    assert [each["detail"]["number"] for each in seen] == [4, 3, 2, 1, 0]
    assert seen[0] | {"audit_id": 1, "recorded_at": ""} == {
        "audit_id": 1, "recorded_at": "", "actor": "ben", "act": "count", "subject": "run:4",
        "before": None, "after": None, "request": None, "token_id": None, "detail": {"number": 4},
    }  # fmt: skip


@pytest.mark.usefixtures("acts")
async def test_who_what_on_what_and_when(served: Served) -> None:
    async def numbers(query: str) -> list[int]:
        found = (await served.viewer.get(f"/v1/audit?act=count&{query}")).said["items"]
        return [each["detail"]["number"] for each in found]

    soon = quote((datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    assert await numbers("actor=ann") == [3, 1]
    assert await numbers("subject=run:2") == [2]
    assert await numbers("actor=ann&subject=run:2") == []
    assert await numbers(f"since={soon}") == []
    assert await numbers(f"until={soon}") == [4, 3, 2, 1, 0]
    third = (await served.viewer.get("/v1/audit?act=count")).said["items"][2]["recorded_at"]
    assert await numbers(f"since={quote(third)}") == [4, 3, 2]
    assert await numbers(f"until={quote(third)}") == [1, 0]
    assert (await served.viewer.get("/v1/audit?since=yesterday")).status == 422
    assert (await served.viewer.get("/v1/audit?after=x")).status == 422


async def test_the_reason_for_what_cannot_be_undone_is_there_where_one_is_given(served: Served) -> None:
    for name in ("cara", "dora", "eve"):
        await served.caller(name, Role.VIEWER)
    listed = (await served.admin.get("/v1/tokens")).said["items"]
    cara, dora, eve = (f"tokens/{each['token_id']}" for each in listed[-3:])
    for path, body in ((cara, {"reason": "she left"}), (dora, {}), (eve, None)):
        assert (await served.admin.post(f"/v1/{path}/revoke", body)).status == 200, path
    assert (await served.admin.post(f"/v1/{cara}/revoke", {"reason": ""})).status == 422
    found = (await served.viewer.get("/v1/audit?act=revoke token")).said["items"]
    reasons = {each["subject"]: each["detail"] for each in found if each["subject"].startswith("token:")}
    assert list(reasons.values()) == [{}, {}, {"reason": "she left"}]


async def test_a_write_is_there_with_what_was_before_and_after_and_by_whom(served: Served) -> None:
    answer = await served.ops.post("/v1/queues/send/pause", {"reason": "why not"}, X_Request_Id="mine")
    (act,) = (await served.viewer.get("/v1/audit?subject=queues/send/pause")).said["items"]
    assert (act["actor"], act["act"], act["request"]) == ("ops", "pause queue", "mine")
    assert act["before"]["is_paused"] is False
    assert act["after"] == answer.said
    token = (await served.admin.get(f"/v1/tokens/{act['token_id']}")).said
    assert (token["name"], token["role"]) == ("ops", "ops")
    # What is refused leaves nothing behind.
    await served.viewer.post("/v1/queues/send/resume")
    assert (await served.viewer.get("/v1/audit?subject=queues/send/resume")).said["items"] == []


@pytest.mark.usefixtures("acts")
@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_nobody_changes_it(served: Served, statement: str) -> None:
    async with served.service.engine.connect() as connection:
        with pytest.raises(DBAPIError, match="audit_log"):
            await connection.execute(text(statement))
    assert len((await served.viewer.get("/v1/audit?act=count")).said["items"]) == 5
