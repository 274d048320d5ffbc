"""Webhooks over HTTP: registered by admins, looked after by ops, the secret shown once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from engine.access.roles import Role
from engine.store.outbox import Event, announce
from engine.webhooks.signing import secret_of
from tests.serving import Answer, Served

pytestmark = pytest.mark.integration

NEW = {"url": "https://receiver.example/fentan", "events": ["run.sealed", "run.closed"]}


async def happened(served: Served, *runs: int) -> None:
    async with served.service.engine.begin() as connection:
        for run_id in runs:
            await announce(connection, Event.RUN_SEALED, f"run:{run_id}", {"run_id": run_id})


async def failed(served: Served, message_id: int) -> None:
    async with served.service.engine.begin() as connection:
        was = "state = 'failed', tries = 12, ended_at = now(), error = 'answered 500'"
        await connection.execute(text(f"UPDATE deliveries SET {was} WHERE message_id = :id"), {"id": message_id})


async def registered(served: Served, **changes: Any) -> Answer:
    answer = await served.admin.post("/v1/webhooks", NEW | changes)
    assert answer.status == 201, answer.said
    return answer


async def test_a_webhook_from_its_registration_to_its_end(served: Served) -> None:
    made = await registered(served)
    assert made.headers["Location"] == "/v1/webhooks/1"
    assert made.said["secret"] == secret_of(served.service.settings.signing_key, 1)
    shown = await served.ops.get("/v1/webhooks/1")
    assert shown.said == {name: value for name, value in made.said.items() if name != "secret"}
    assert (shown.said["events"], shown.said["made_by"], shown.said["ended_at"]) == (
        sorted(NEW["events"]),
        "admin",
        None,
    )
    assert (await served.ops.get("/v1/webhooks")).said["items"] == [shown.said]

    assert (await served.admin.post("/v1/webhooks/1/end", If_Match=f'"{"0" * 32}"')).status == 412
    ended = await served.admin.post("/v1/webhooks/1/end", If_Match=shown.headers["ETag"])
    assert ended.status == 200
    assert ended.said["ended_at"] is not None
    assert (await served.admin.post("/v1/webhooks/1/end")).said == ended.said
    await happened(served, 7)
    assert (await served.ops.get("/v1/webhooks/1/deliveries")).said["items"] == []


async def test_its_secret_is_nowhere_else(served: Served) -> None:
    secret = (await registered(served)).said["secret"]
    await served.admin.post("/v1/webhooks/1/end")
    everything = [(await served.admin.get(path)).said for path in ("/v1/audit", "/v1/webhooks", "/v1/webhooks/1")]
    assert secret not in str(everything)
    (row,) = [each for each in everything[0]["items"] if each["subject"] == "webhooks/1/end"]
    assert (row["before"]["ended_at"], row["actor"]) == (None, "admin")
    assert row["after"]["ended_at"] is not None


async def test_deliveries_newest_first_in_pages(served: Served) -> None:
    await registered(served)
    await happened(served, *range(1, 6))
    await failed(served, 2)
    seen, following = [], "/v1/webhooks/1/deliveries?limit=2"
    while following:
        page = await served.ops.get(following)
        seen += [each["message_id"] for each in page.said["items"]]
        following = page.said["next"]
    assert seen == [5, 4, 3, 2, 1]
    (one,) = (await served.ops.get("/v1/webhooks/1/deliveries?state=failed")).said["items"]
    assert (one["message_id"], one["subject"], one["event"]) == (2, "run:2", "run.sealed")
    assert (one["tries"], one["error"]) == (12, "answered 500")
    assert (await served.ops.get("/v1/webhooks/1/deliveries/2")).said == one
    assert (await served.ops.get("/v1/webhooks/1/deliveries?state=lost")).status == 422
    for path in ("/v1/webhooks/9/deliveries", "/v1/webhooks/9/deliveries/1", "/v1/webhooks/1/deliveries/9"):
        assert (await served.ops.get(path)).status == 404


async def test_what_failed_is_tried_again_on_request(served: Served) -> None:
    await registered(served)
    await happened(served, 1)
    await failed(served, 1)
    again = await served.ops.post("/v1/webhooks/1/deliveries/1/retry")
    assert again.status == 200
    assert (again.said["state"], again.said["tries"], again.said["ended_at"]) == ("waiting", 0, None)
    (row,) = [each for each in (await served.admin.get("/v1/audit")).said["items"] if each["act"] == "retry delivery"][
        :1
    ]
    assert row["actor"] == "ops"
    async with served.service.engine.begin() as connection:
        await connection.execute(text("UPDATE deliveries SET state = 'delivered', ended_at = now()"))
    refused = await served.ops.post("/v1/webhooks/1/deliveries/1/retry")
    assert (refused.status, refused.said["detail"]) == (409, "message 1 was delivered; it is not sent again")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"url": "http://receiver.example/"}, 422),
        ({"url": "https://anna:secret@receiver.example/"}, 422),
        ({"url": "ftp://receiver.example/"}, 422),
        ({"url": "https://receiver.example/" + "a" * 500}, 422),
        ({"url": "https://receiver.example:65536/"}, 409),
        ({"events": []}, 422),
        ({"events": ["run.lost"]}, 422),
        ({"secret": "mine"}, 422),
    ],
)
async def test_what_is_no_webhook(served: Served, changes: dict[str, Any], status: int) -> None:
    answer = await served.admin.post("/v1/webhooks", NEW | changes)
    assert answer.status == status
    assert "secret@" not in str(answer.said)


async def test_who_may(served: Served) -> None:
    await registered(served)
    await happened(served, 1)
    await failed(served, 1)
    reads = ("/v1/webhooks", "/v1/webhooks/1", "/v1/webhooks/1/deliveries", "/v1/webhooks/1/deliveries/1")
    for role, caller in served.callers.items():
        may = role in (Role.OPS, Role.ADMIN)
        assert {(await caller.get(path)).status for path in reads} == {200 if may else 403}
        assert (await caller.post("/v1/webhooks/1/deliveries/1/retry")).status == (200 if may else 403)
        assert (await caller.post("/v1/webhooks", NEW)).status == (201 if role is Role.ADMIN else 403)
    assert (await served.ops.post("/v1/webhooks/1/end")).status == 403
