"""Tokens on real PostgreSQL: kept as digests, known by them alone, and used no longer than they live."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.roles import Role
from engine.access.tokens import (
    DAYS_MAX,
    NotAuthenticated,
    Token,
    authenticate,
    issue,
    list_tokens,
    revoke,
    set_expiry,
    token_of,
)
from engine.errors import InvalidInput, NotFound

pytestmark = pytest.mark.integration

NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


async def issued(engine: AsyncEngine, name: str = "anna", **terms: Any) -> tuple[Token, str]:
    async with engine.begin() as connection:
        given: dict[str, Any] = {"days": 30, "now": NOW, "actor": "olga"} | terms
        return await issue(connection, name, Role.FINANCE, **given)


async def test_the_token_is_nowhere_but_with_who_holds_it(engine: AsyncEngine) -> None:
    token, written = await issued(engine)
    assert written.startswith(f"fentan_{token.token_id}_")
    secret = written.split("_", 2)[2]
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT t::text FROM api_tokens t"))).scalars().all()
        acts = (await connection.execute(text("SELECT a::text FROM audit_log a"))).scalars().all()
        assert (
            await connection.scalar(text("SELECT digest FROM api_tokens")) == hashlib.sha256(secret.encode()).digest()
        )
    assert not any(secret in each for each in (*rows, *acts))
    assert repr(token).count(secret) == 0
    found = await authenticate(engine, written, now=NOW)
    assert (found.name, found.role, found.expires_at) == ("anna", Role.FINANCE, NOW + 30 * DAY)


async def test_what_is_no_valid_token_is_refused_in_the_same_words(engine: AsyncEngine) -> None:
    token, written = await issued(engine)
    gone, revoked = await issued(engine)
    async with engine.begin() as connection:
        await revoke(connection, gone.token_id, now=NOW, actor="olga")
    other = written[:-1] + ("A" if written[-1] != "A" else "B")
    tries = {
        "nothing": ("", NOW),
        "garbled": ("fentan_x", NOW),
        "another secret": (other, NOW),
        "another number": (written.replace(f"_{token.token_id}_", "_99_"), NOW),
        "the number of another": (written.replace(f"_{token.token_id}_", f"_{gone.token_id}_"), NOW),
        "beyond any number": (f"fentan_{10**17}_{'a' * 43}", NOW),
        "too long": (written + "a", NOW),
        "with a line": (written + "\n", NOW),
        "revoked": (revoked, NOW),
        "expired": (written, token.expires_at),
    }
    said = set()
    for name, (given, at) in tries.items():
        with pytest.raises(NotAuthenticated) as refused:
            await authenticate(engine, given, now=at)
        said.add(str(refused.value))
        assert given == "" or given not in str(refused.value), name
    assert len(said) == 1
    assert (await authenticate(engine, written, now=token.expires_at - MINUTE)).name == "anna"


async def test_digests_are_compared_in_constant_time_whether_the_number_is_known_or_not(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    _, written = await issued(engine)
    monkeypatch.setattr(hmac, "compare_digest", noted)
    await authenticate(engine, written, now=NOW)
    with pytest.raises(NotAuthenticated):
        await authenticate(engine, written.replace("fentan_1_", "fentan_7_"), now=NOW)
    assert compared == [(32, 32), (32, 32)]


async def test_the_last_use_is_noted_once_a_minute(engine: AsyncEngine) -> None:
    token, written = await issued(engine)

    async def used_at(*moments: datetime) -> datetime | None:
        await asyncio.gather(*[authenticate(engine, written, now=each) for each in moments])
        async with engine.connect() as connection:
            return (await token_of(connection, token.token_id)).last_used_at

    assert token.last_used_at is None
    assert await used_at(NOW, NOW, NOW) == NOW
    assert await used_at(NOW + MINUTE / 2) == NOW
    assert await used_at(NOW + MINUTE) == NOW + MINUTE


async def test_a_use_is_not_noted_over_who_holds_the_row_and_nobody_waits(engine: AsyncEngine) -> None:
    _, written = await issued(engine)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1 FROM api_tokens FOR UPDATE"))
        async with asyncio.timeout(5):
            assert (await authenticate(engine, written, now=NOW)).name == "anna"


@pytest.mark.parametrize("days", [0, -1, DAYS_MAX + 1, 10**9])
async def test_how_long_a_token_may_live(engine: AsyncEngine, days: int) -> None:
    with pytest.raises(InvalidInput, match="a token lives 1 to 3,660 days"):
        await issued(engine, days=days)


async def test_scopes_are_those_there_are(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidInput, match="there is no scope cats:read; there are runs:read, runs:write"):
        await issued(engine, scopes=["runs:read", "cats:read"], known_scopes={"runs:read", "runs:write"})
    token, _ = await issued(
        engine, scopes=["runs:write", "runs:read", "runs:read"], known_scopes={"runs:read", "runs:write"}
    )
    assert token.scopes == ["runs:read", "runs:write"]


async def test_one_spelling_of_a_name(engine: AsyncEngine) -> None:
    assert (await issued(engine, " anna  maria "))[0].name == "anna maria"


async def test_revoking_again_changes_nothing(engine: AsyncEngine) -> None:
    token, _ = await issued(engine)
    async with engine.begin() as connection:
        first = await revoke(connection, token.token_id, now=NOW, actor="olga")
        assert await revoke(connection, token.token_id, now=NOW + DAY, actor="otto") == first
        assert (first.revoked_at, first.revoked_by) == (NOW, "olga")
        acts = (await connection.scalars(text("SELECT act FROM audit_log ORDER BY audit_id"))).all()
        with pytest.raises(NotFound, match="there is no token 99"):
            await revoke(connection, 99, now=NOW, actor="olga")
    assert acts == ["issue token", "revoke token"]


async def test_another_expiry_brings_none_back_that_was_revoked(engine: AsyncEngine) -> None:
    (token, text), (gone, revoked) = await issued(engine, days=1), await issued(engine, days=1)
    async with engine.begin() as connection:
        await revoke(connection, gone.token_id, now=NOW, actor="olga")
        for each in (token, gone):
            await set_expiry(connection, each.token_id, NOW + 2 * DAY)
    assert (await authenticate(engine, text, now=NOW + 2 * DAY - MINUTE)).expires_at == NOW + 2 * DAY
    for over, at in ((text, NOW + 2 * DAY), (revoked, NOW)):
        with pytest.raises(NotAuthenticated):
            await authenticate(engine, over, now=at)


async def test_pages_hold_each_token_once(engine: AsyncEngine) -> None:
    for number in range(5):
        await issued(engine, f"caller {number}")
    async with engine.connect() as connection:
        found, after = [], 0
        while page := await list_tokens(connection, after=after, limit=2):
            found += [each.token_id for each in page]
            after = found[-1]
    assert found == [1, 2, 3, 4, 5]
