"""Sessions on real PostgreSQL: opened, used no longer than they or their token live, and ended."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.roles import Role
from engine.access.sessions import SESSION_LASTS, end_session, open_session, session_token
from engine.access.tokens import NotAuthenticated, Token, issue, revoke, set_expiry, token_of

pytestmark = pytest.mark.integration

NOW = datetime(2019, 7, 16, 8, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


async def opened(engine: AsyncEngine, at: datetime = NOW, token: Token | None = None) -> tuple[Token, str, datetime]:
    async with engine.begin() as connection:
        if token is None:
            token, _ = await issue(connection, "anna", Role.FINANCE, days=1, now=NOW, actor="olga")
        return token, *await open_session(connection, token, now=at)


async def refused(engine: AsyncEngine, secret: str, at: datetime = NOW) -> str:
    with pytest.raises(NotAuthenticated) as error:
        await session_token(engine, secret, now=at)
    return str(error.value)


async def test_a_session_is_its_token(engine: AsyncEngine) -> None:
    token, secret, _ = await opened(engine)
    found = await session_token(engine, secret, now=NOW)
    assert found == token
    async with engine.connect() as connection:
        assert (await token_of(connection, token.token_id)).last_used_at == NOW
        kept = (await connection.execute(text("SELECT digest, s::text FROM sessions s"))).one()
    assert kept.digest == hashlib.sha256(secret.encode()).digest()
    assert secret not in kept.s


async def test_it_ends_with_the_half_day_or_with_the_token(engine: AsyncEngine) -> None:
    token, secret, ends_at = await opened(engine)
    assert ends_at == NOW + SESSION_LASTS == NOW + timedelta(hours=12)
    late = await opened(engine, NOW + DAY - 2 * SECOND, token)
    assert token.expires_at == NOW + DAY
    assert (await session_token(engine, late[1], now=NOW + DAY - SECOND)).name == "anna"
    assert len({await refused(engine, late[1], NOW + DAY), await refused(engine, secret, ends_at)}) == 1
    # As that of the first admin, whose token lives as long as the process that made it.
    async with engine.begin() as connection:
        await set_expiry(connection, token.token_id, NOW + 2 * DAY)
    assert (await session_token(engine, late[1], now=NOW + DAY)).name == "anna"
    await refused(engine, late[1], late[2])
    _, again, _ = await opened(engine, NOW, token)
    assert (await session_token(engine, again, now=ends_at - SECOND)).name == "anna"


async def test_what_opens_nothing(engine: AsyncEngine) -> None:
    token, secret, _ = await opened(engine)
    said = {await refused(engine, each) for each in ("", secret[:-1], secret + "a", "\0", "\ud800", "会话")}
    async with engine.begin() as connection:
        await revoke(connection, token.token_id, now=NOW, actor="olga")
    assert said == {await refused(engine, secret)}


async def test_an_expiry_that_comes_sooner_counts(engine: AsyncEngine) -> None:
    _, secret, _ = await opened(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE api_tokens SET expires_at = :at"), {"at": NOW + SECOND})
    assert (await session_token(engine, secret, now=NOW)).name == "anna"
    await refused(engine, secret, NOW + SECOND)


async def test_signing_in_and_out_are_in_the_audit_log(engine: AsyncEngine) -> None:
    token, secret, _ = await opened(engine)
    _, other, _ = await opened(engine, NOW, token)
    for _ in range(2):
        async with engine.begin() as connection:
            await end_session(connection, secret)
    await refused(engine, secret)
    assert (await session_token(engine, other, now=NOW)).name == "anna"
    async with engine.connect() as connection:
        acts = await connection.execute(text("SELECT actor, act, subject FROM audit_log ORDER BY audit_id OFFSET 1"))
        assert [tuple(each) for each in acts] == [
            ("anna", "sign in", "token:1"),
            ("anna", "sign in", "token:1"),
            ("anna", "sign out", "token:1"),
        ]


async def test_opening_one_clears_away_what_has_ended(engine: AsyncEngine) -> None:
    token, _, ends_at = await opened(engine)
    await opened(engine, ends_at - SECOND, token)
    await opened(engine, ends_at, token)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM sessions")) == 2
