"""Who may do what: every role at every endpoint, and by hand what each desk must and must never do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from engine.access.roles import Role
from engine.access.tokens import issue, revoke
from engine.api.endpoint import Endpoint
from engine.api.routes import ENDPOINTS
from engine.store.tables import metadata
from tests.integration.api.furnished import furnish
from tests.serving import Answer, Caller, Served

pytestmark = pytest.mark.integration

ADMIN = {Role.ADMIN}
SCHEDULERS, FINANCE = ADMIN | {Role.SCHEDULER}, ADMIN | {Role.FINANCE}
OPS, APPROVERS = ADMIN | {Role.OPS}, ADMIN | {Role.APPROVER}

WHO = {
    "POST /v1/runs": SCHEDULERS,
    "POST /v1/runs/{run_id}/approve": APPROVERS,
    "POST /v1/runs/{run_id}/pause": SCHEDULERS | OPS,
    "POST /v1/runs/{run_id}/instruct": SCHEDULERS | FINANCE,
    "POST /v1/runs/{run_id}/close": FINANCE,
    "POST /v1/runs/{run_id}/payouts": FINANCE,
    "POST /v1/runs/{run_id}/corrections": FINANCE,
    "POST /v1/decisions/{decision_id}/approve": APPROVERS,
    "POST /v1/claims": SCHEDULERS,
    "POST /v1/claims/{claim_id}/pass": SCHEDULERS,
    "POST /v1/schedules/{plan}": SCHEDULERS,
    "POST /v1/plans": ADMIN,
    "POST /v1/plans/{plan}/levies": FINANCE,
    "POST /v1/plans/{plan}/wind-down": FINANCE,
    "POST /v1/plans/{plan}/roster": SCHEDULERS,
    "POST /v1/plans/{plan}/top-ups": FINANCE,
    "POST /v1/custodians/{custodian}/statements": FINANCE,
    "GET /v1/batches/{batch_id}/file": FINANCE,
    "POST /v1/breaks/{break_id}/propose": FINANCE,
    "POST /v1/queues/{queue}/pause": OPS,
    "POST /v1/queues/{queue}/retry": OPS,
    "POST /v1/workers/{worker}/drain": OPS,
    "GET /v1/tokens": ADMIN,
    "POST /v1/tokens": ADMIN,
    "POST /v1/tokens/{token_id}/revoke": ADMIN,
    "POST /v1/webhooks": ADMIN,
    "GET /v1/audit": set(Role),
    "GET /v1/runs/{run_id}": set(Role),
    "GET /v1/plans/{plan}/trial-balance": set(Role),
    "GET /v1/breaks": set(Role),
}
"""Written by hand, so that a declaration that is wrong is not taken for what is meant."""

DESKS = {Role.SCHEDULER, Role.FINANCE, Role.OPS, Role.APPROVER}


async def asks(caller: Caller, endpoint: Endpoint) -> Answer:
    """A request that says nothing, of what is not there: enough to be let in or not."""
    path = re.sub(r"{\w+}", "999999", endpoint.path)
    return await (caller.post(path) if endpoint.writes else caller.get(path))


async def rows(served: Served) -> dict[str, str]:
    """By table, a digest of all that it holds; but when tokens were last used."""
    found = {}
    async with served.service.engine.connect() as connection:
        for table in metadata.tables:
            row = "to_jsonb(t) - 'last_used_at'"
            query = f"SELECT md5(coalesce(string_agg(({row})::text, '' ORDER BY ({row})::text), '')) FROM {table} t"
            found[table] = str(await connection.scalar(text(query)))
    return found


def name(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


async def test_every_role_at_every_endpoint(served: Served) -> None:
    """Denied is 403 whatever is asked, and nothing is another for it; allowed is anything but 401 and 403."""
    await furnish(served)
    before, wrong = await rows(served), []
    for endpoint in ENDPOINTS:
        for role in set(Role) - endpoint.roles:
            answer = await asks(served.callers[role], endpoint)
            if answer.status != 403 or not answer.said["type"].endswith("#problem-forbidden"):
                wrong.append((name(endpoint), role, answer.status))
    assert wrong == []
    assert await rows(served) == before


async def test_who_is_allowed_is_let_in(served: Served) -> None:
    wrong = []
    for endpoint in ENDPOINTS:
        for role in endpoint.roles:
            answer = await asks(served.callers[role], endpoint)
            if answer.status in (401, 403) or answer.status >= 500:
                wrong.append((name(endpoint), role, answer.status))
    assert wrong == []


async def test_nobody_without_a_token_that_counts(served: Served) -> None:
    now = datetime.now(UTC)
    async with served.service.engine.begin() as connection:
        _, expired = await issue(connection, "late", Role.ADMIN, days=1, now=now - timedelta(days=2), actor="tests")
        token, ended = await issue(connection, "gone", Role.ADMIN, days=1, now=now, actor="tests")
        await revoke(connection, token.token_id, now=now, actor="tests")
    other = served.admin.token[:-1] + ("A" if served.admin.token[-1] != "A" else "B")
    before, wrong = await rows(served), []
    for endpoint in ENDPOINTS:
        for written in ("", expired, ended, other):
            answer = await asks(Caller(served.session, served.url, "nobody", written), endpoint)
            if answer.status != 401 or answer.headers["WWW-Authenticate"] != "Bearer":
                wrong.append((name(endpoint), written, answer.status))
    assert wrong == []
    assert await rows(served) == before


async def test_scopes_narrow_a_role(served: Served) -> None:
    """Of a resource's two scopes, write has read in it; neither says anything of another resource."""
    wrong = []
    resources = list(dict.fromkeys(endpoint.resource for endpoint in ENDPOINTS))
    for resource, other in zip(resources, [*resources[1:], resources[0]], strict=True):
        for scope in sorted({endpoint.scope for endpoint in ENDPOINTS if endpoint.resource == resource}):
            caller = await served.caller(f"only {scope.replace(':', ' ')}", Role.ADMIN, [scope])
            for endpoint in [each for each in ENDPOINTS if each.resource in (resource, other)]:
                allowed = endpoint.resource == resource and (scope.endswith(":write") or not endpoint.writes)
                is_in = (await asks(caller, endpoint)).status not in (401, 403)
                if is_in != allowed:
                    wrong.append((name(endpoint), scope, is_in))
    assert wrong == []


@pytest.mark.parametrize("what", WHO)
def test_desks_do_what_they_are_for(what: str) -> None:
    (endpoint,) = [each for each in ENDPOINTS if name(each) == what]
    assert endpoint.roles == WHO[what]


def test_no_desk_may_all() -> None:
    """Four eyes are more than one desk: whoever asks for money to move is of another than who lets it."""
    for desk in DESKS:
        refused = [name(each) for each in ENDPOINTS if desk not in each.roles]
        assert refused, desk
    of_both = [name(each) for each in ENDPOINTS if each.writes and {Role.VIEWER} & each.roles]
    assert of_both == ["POST /v1/plans/{plan}/members/find"]  # which finds, and changes nothing


def test_an_admin_may_all() -> None:
    assert [name(each) for each in ENDPOINTS if Role.ADMIN not in each.roles] == []
