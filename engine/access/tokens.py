"""Opaque bearer tokens: `fentan_<number>_<secret>`. The secret is shown once, its SHA-256 is kept."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.access.names import actor_name
from engine.access.roles import Role
from engine.access.secret import digest_of, new_secret
from engine.errors import FentanError, InvalidInput, NotFound
from engine.store.audit import record
from engine.store.tables import api_tokens

_TOKEN = re.compile(r"fentan_([1-9][0-9]{0,17})_([A-Za-z0-9_-]{43})")
_USED_EVERY = timedelta(minutes=1)
"""Noting each use would be a write for every read."""

DAYS_MAX = 3_660


class NotAuthenticated(FentanError):
    """No valid token came with the request: send `Authorization: Bearer TOKEN`, one of `fentan token issue`."""


@dataclass(frozen=True)
class Token:
    """Whose token it is and what it may; never the token itself. `scopes` None: all that the role may.

    `has_password`: its holder may sign in to the console by name.
    """

    token_id: int
    name: str
    role: Role
    scopes: Sequence[str] | None
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    has_password: bool = False

    def allows(self, scope: str) -> bool:
        """Whether its scopes have this one; `runs:write` has `runs:read` in it."""
        if self.scopes is None or scope in self.scopes:
            return True
        resource, _, does = scope.partition(":")
        return does == "read" and f"{resource}:write" in self.scopes


TOKEN_COLUMNS = [
    *(api_tokens.c[field.name] for field in fields(Token) if field.name != "has_password"),
    api_tokens.c.password_hash.is_not(None).label("has_password"),
]

_BY_NUMBER = select(api_tokens.c.digest, *TOKEN_COLUMNS).where(api_tokens.c.token_id == bindparam("number"))
"""Every request begins with it, so it is built once."""


def token_in(row: Row[Any]) -> Token:
    """The token of a row of TOKEN_COLUMNS, whatever else is in it."""
    values = {field.name: getattr(row, field.name) for field in fields(Token)}
    return Token(**values | {"role": Role(row.role)})


async def issue(
    connection: AsyncConnection,
    name: str,
    role: Role,
    *,
    days: int,
    now: datetime,
    actor: str,
    scopes: Sequence[str] | None = None,
    known_scopes: Collection[str] = (),
) -> tuple[Token, str]:
    """A new token, and its text, which can never be shown again. Raises InvalidInput, for an unknown scope too."""
    if not 1 <= days <= DAYS_MAX:
        raise InvalidInput(f"a token lives 1 to {DAYS_MAX:,} days, not {days:,}")
    if unknown := sorted(set(scopes or ()) - set(known_scopes)):
        raise InvalidInput(f"there is no scope {', '.join(unknown)}; there are {', '.join(sorted(known_scopes))}")
    name, secret = actor_name(name), new_secret()
    values = {
        "name": name,
        "role": role.value,
        "scopes": None if scopes is None else sorted(set(scopes)),
        "digest": digest_of(secret),
        "issued_by": actor,
        "expires_at": now + timedelta(days=days),
    }
    row = (await connection.execute(insert(api_tokens).values(values).returning(*TOKEN_COLUMNS))).one()
    await record(connection, actor, "issue token", f"token:{row.token_id}", {"for": name, "role": role.value})
    return token_in(row), f"fentan_{row.token_id}_{secret}"


async def token_of(connection: AsyncConnection, token_id: int) -> Token:
    """The token of a number. Raises NotFound."""
    row = (await connection.execute(select(*TOKEN_COLUMNS).where(api_tokens.c.token_id == token_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no token {token_id}; `fentan token list` shows those there are")
    return token_in(row)


async def list_tokens(connection: AsyncConnection, *, after: int = 0, limit: int = 50) -> list[Token]:
    """Tokens in the order they were issued, those after a number."""
    query = select(*TOKEN_COLUMNS).where(api_tokens.c.token_id > after).order_by(api_tokens.c.token_id).limit(limit)
    return [token_in(row) for row in await connection.execute(query)]


async def revoke(
    connection: AsyncConnection, token_id: int, *, now: datetime, actor: str, reason: str | None = None
) -> Token:
    """End a token at once; the same again changes nothing. Raises NotFound."""
    await token_of(connection, token_id)
    revoked = await connection.execute(
        update(api_tokens)
        .where(api_tokens.c.token_id == token_id, api_tokens.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=actor)
    )
    if revoked.rowcount:
        await record(connection, actor, "revoke token", f"token:{token_id}", reason=reason)
    return await token_of(connection, token_id)


async def set_expiry(connection: AsyncConnection, token_id: int, expires_at: datetime) -> None:
    """Let a token end at another moment; one that was revoked stays so."""
    token = update(api_tokens).where(api_tokens.c.token_id == token_id)
    await connection.execute(token.values(expires_at=expires_at))


async def authenticate(engine: AsyncEngine, text: str, *, now: datetime) -> Token:
    """Whose token `text` is.

    Raises NotAuthenticated for none of ours, one that is revoked, one that has expired; it does not say which.
    """
    written = _TOKEN.fullmatch(text)
    if written is None:
        raise NotAuthenticated
    async with engine.connect() as connection:
        row = (await connection.execute(_BY_NUMBER, {"number": int(written[1])})).one_or_none()
    known = row.digest if row is not None else bytes(32)
    is_it = hmac.compare_digest(digest_of(written[2]), known)
    if row is None or not is_it:
        raise NotAuthenticated
    token = token_in(row)
    if token.revoked_at is not None or token.expires_at <= now:
        raise NotAuthenticated
    await note_use(engine, token, now=now)
    return token


async def note_use(engine: AsyncEngine, token: Token, *, now: datetime) -> None:
    """Note that a token was used, once of all the times in a minute; nobody waits for another who does."""
    if token.last_used_at is not None and token.last_used_at + _USED_EVERY > now:
        return
    turn = select(api_tokens.c.token_id).where(
        api_tokens.c.token_id == token.token_id, api_tokens.c.last_used_at.is_not_distinct_from(token.last_used_at)
    )
    used = update(api_tokens).where(api_tokens.c.token_id.in_(turn.with_for_update(skip_locked=True)))
    async with engine.begin() as connection:
        await connection.execute(used.values(last_used_at=now))
