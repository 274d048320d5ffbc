"""Sessions: somebody who signed in to the console acts under their token until they sign out, half a day at most.

The cookie holds a secret, the table its SHA-256. What a form proves to come from our own page is made from the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.access.secret import digest_of, new_secret
from engine.access.tokens import TOKEN_COLUMNS, NotAuthenticated, Token, note_use, token_in
from engine.store.audit import record
from engine.store.tables import api_tokens, sessions

SESSION_LASTS = timedelta(hours=12)

_BY_DIGEST = (
    select(sessions.c.expires_at.label("ends_at"), *TOKEN_COLUMNS)
    .join(api_tokens, api_tokens.c.token_id == sessions.c.token_id)
    .where(sessions.c.digest == bindparam("digest"))
)
"""Every page begins with it, so it is built once."""


async def open_session(connection: AsyncConnection, token: Token, *, now: datetime) -> tuple[str, datetime]:
    """Sign the holder of a token in: the secret for the cookie, and when it ends at the latest.

    It ends with its token, whose own end may yet be put off: so that is looked at each time.
    """
    await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    secret, ends_at = new_secret(), now + SESSION_LASTS
    values = {"digest": digest_of(secret), "token_id": token.token_id, "opened_at": now, "expires_at": ends_at}
    await connection.execute(insert(sessions).values(values))
    await record(connection, token.name, "sign in", f"token:{token.token_id}")
    return secret, ends_at


async def session_token(engine: AsyncEngine, secret: str, *, now: datetime) -> Token:
    """The token under which a session acts. Raises NotAuthenticated when the session or its token has ended."""
    async with engine.connect() as connection:
        row = (await connection.execute(_BY_DIGEST, {"digest": digest_of(secret)})).one_or_none()
    if row is None or row.ends_at <= now or row.revoked_at is not None or row.expires_at <= now:
        raise NotAuthenticated("you are not signed in any more; sign in again")
    token = token_in(row)
    await note_use(engine, token, now=now)
    return token


async def end_session(connection: AsyncConnection, secret: str) -> None:
    """Sign somebody out; where they are not signed in nothing changes."""
    this = sessions.c.digest == digest_of(secret), sessions.c.token_id == api_tokens.c.token_id
    ended = await connection.execute(delete(sessions).where(*this).returning(api_tokens.c.token_id, api_tokens.c.name))
    if (row := ended.one_or_none()) is not None:
        await record(connection, row.name, "sign out", f"token:{row.token_id}")


def csrf_of(secret: str) -> str:
    """What each form of a session carries: 43 characters that nobody makes without the secret. Not stored."""
    made = hmac.digest(secret.encode("utf-8", "replace"), b"fentan form", hashlib.sha256)
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def is_csrf(secret: str, given: str) -> bool:
    """Whether a form comes from a page of this session, told in constant time."""
    return hmac.compare_digest(csrf_of(secret).encode(), given.encode("utf-8", "replace"))
