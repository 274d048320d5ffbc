"""Tokens over HTTP: issued by admins alone, shown once, ended at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from engine.access.roles import Role
from engine.access.tokens import DAYS_MAX
from engine.api.routes import SCOPES
from tests.serving import Answer, Caller, Served

pytestmark = pytest.mark.integration

NEW: dict[str, Any] = {"name": "carol", "role": "finance", "days": 7, "scopes": ["runs:read", "me:read"]}


def holding(served: Served, answer: Answer) -> Caller:
    """Whoever holds the token of an answer."""
    return Caller(served.session, served.url, answer.said["name"], answer.said["token"])


async def audited(served: Served, act: str) -> list[Any]:
    found = await served.admin.get(f"/v1/audit?act={act.replace(' ', '%20')}")
    assert found.status == 200
    return list(found.said["items"])


async def test_a_token_from_its_issue_to_its_end(served: Served) -> None:
    issued = await served.admin.post("/v1/tokens", NEW)
    assert issued.status == 201
    token_id = issued.said["token_id"]
    assert issued.headers["Location"] == f"/v1/tokens/{token_id}"
    assert issued.said["token"].startswith(f"fentan_{token_id}_")
    lives = datetime.fromisoformat(issued.said["expires_at"]) - datetime.fromisoformat(issued.said["issued_at"])
    assert abs(lives - timedelta(days=7)) < timedelta(minutes=1)

    carol = holding(served, issued)
    me = await carol.get("/v1/me")
    assert me.said == {
        "token_id": token_id,
        "name": "carol",
        "role": "finance",
        "scopes": ["me:read", "runs:read"],
        "expires_at": issued.said["expires_at"],
    }
    assert (await carol.get("/v1/runs")).status == 200
    assert (await carol.get("/v1/breaks")).status == 403

    shown = await served.admin.get(f"/v1/tokens/{token_id}")
    assert shown.said == {name: value for name, value in issued.said.items() if name != "token"}
    (listed,) = [each for each in await all_of(served, "/v1/tokens?limit=2") if each["token_id"] == token_id]
    assert datetime.fromisoformat(listed.pop("last_used_at")).tzinfo is not None
    assert listed == shown.said

    stale = await served.admin.post(f"/v1/tokens/{token_id}/revoke", If_Match=f'"{"0" * 32}"')
    assert stale.status == 412
    assert (await carol.get("/v1/me")).status == 200
    revoked = await served.admin.post(f"/v1/tokens/{token_id}/revoke", If_Match=shown.headers["ETag"])
    assert (revoked.status, revoked.said["revoked_by"]) == (200, "admin")
    assert (await carol.get("/v1/me")).status == 401
    again = await served.admin.post(f"/v1/tokens/{token_id}/revoke")
    assert again.said == revoked.said


async def all_of(served: Served, path: str) -> list[Any]:
    """The items of every page."""
    items: list[Any] = []
    following: str | None = path
    while following is not None:
        page = await served.admin.get(following)
        items += page.said["items"]
        following = page.said["next"]
    return items


async def test_each_page_leads_to_the_next(served: Served) -> None:
    ids = [each["token_id"] for each in await all_of(served, "/v1/tokens?limit=4")]
    assert ids == [1, 2, 3, 4, 5, 6]
    page = await served.admin.get("/v1/tokens?limit=4")
    assert page.headers["Link"] == f'<{page.said["next"]}>; rel="next"'


async def test_the_audit_log_knows_who_and_what_and_never_the_token(served: Served) -> None:
    issued = await served.admin.post("/v1/tokens", NEW)
    await served.admin.post(f"/v1/tokens/{issued.said['token_id']}/revoke")
    secret = issued.said["token"].split("_", 2)[2]
    rows = [*await audited(served, "issue token"), *await audited(served, "revoke token")]
    assert secret not in str(rows)
    (over_http,) = [row for row in rows if row["subject"] == f"tokens/{issued.said['token_id']}/revoke"]
    before, after = over_http["before"], over_http["after"]
    assert (before["revoked_by"], after["revoked_by"]) == (None, "admin")
    assert {**before, "revoked_by": 0, "revoked_at": 0} == {**after, "revoked_by": 0, "revoked_at": 0}


async def test_a_token_with_scopes_issues_no_more_than_it_has(served: Served) -> None:
    deputy = await served.caller("deputy", Role.ADMIN, ["tokens:write", "runs:write"])
    assert (await deputy.post("/v1/tokens", NEW)).status == 403
    assert (await deputy.post("/v1/tokens", {**NEW, "scopes": None})).status == 403
    assert (await deputy.post("/v1/tokens", {**NEW, "scopes": ["runs:read"]})).status == 201


async def test_only_scopes_that_there_are(served: Served) -> None:
    answer = await served.admin.post("/v1/tokens", {**NEW, "scopes": ["runs:read", "cats:write"]})
    assert answer.status == 409
    assert answer.said["detail"].startswith("there is no scope cats:write; there are ")
    assert (await served.admin.post("/v1/tokens", {**NEW, "scopes": sorted(SCOPES)})).status == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 0}, {"days": DAYS_MAX + 1}, {"days": "7"}, {"days": True}, {"role": "king"}, {"name": ""},
        {"name": "a\nb"}, {"scopes": []}, {"scopes": ["runs"]}, {"expires_at": "2030-01-01"},
    ],
)  # fmt: skip
async def test_what_is_no_token(served: Served, wrong: dict[str, Any]) -> None:
    answer = await served.admin.post("/v1/tokens", NEW | wrong)
    assert answer.status == 422
    (field,) = {each["field"].split("/")[1] for each in answer.said["errors"]}
    assert field in wrong


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
async def test_nobody_but_an_admin(served: Served, role: Role) -> None:
    caller = served.callers[role]
    for method, path in (("GET", "/v1/tokens"), ("GET", "/v1/tokens/1"), ("POST", "/v1/tokens/1/revoke")):
        assert (await caller.send(method, path)).status == 403
    assert (await caller.post("/v1/tokens", NEW)).status == 403
    assert (await caller.get("/v1/me")).said["role"] == role


async def test_a_secret_is_not_remembered_under_a_key(served: Served) -> None:
    first, second = [await served.admin.post("/v1/tokens", NEW, Idempotency_Key="the-same-key") for _ in range(2)]
    assert first.said["token_id"] != second.said["token_id"]
    assert first.said["token"] != second.said["token"]
