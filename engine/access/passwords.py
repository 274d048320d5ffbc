"""Passwords of tokens, for people who sign in to the console by name: argon2id hashes, one password a name."""

from __future__ import annotations

import asyncio
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.access.attempts import count_try, forget_failures, who_tries
from engine.access.names import actor_name
from engine.access.tokens import TOKEN_COLUMNS, NotAuthenticated, Token, token_in, token_of
from engine.errors import FentanError, InvalidInput
from engine.store.audit import record
from engine.store.tables import api_tokens, sessions

LENGTH_MIN, LENGTH_MAX = 12, 128

T = TypeVar("T")

_HASHER = PasswordHasher()
_WORKERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")
"""A hash takes 64 MiB while it is made: however many sign in at once, two are."""

AT_ONCE, AT_ONCE_OF_A_NETWORK = 32, 8
"""So many sign in, or wait for it; whoever floods us from one network leaves room for the others."""

_signing_in = Counter[bytes]()
"""How many do now, of each network."""


class TooManyAtOnce(FentanError):
    """Too many people sign in at this moment; try again in a few seconds, or sign in with the token."""


class NoPassword(FentanError):
    """This token can have no password."""


async def set_password(connection: AsyncConnection, token_id: int, password: str, *, now: datetime, actor: str) -> None:
    """Let the holder of a token sign in by name and password; whoever is signed in with the token is not any more.

    Raises NotFound; InvalidInput for a password that is too short, too long, or has the name in it; NoPassword for a
    token that has ended, and where another live token of the same name has a password.
    """
    token = await token_of(connection, token_id)
    if token.revoked_at is not None or token.expires_at <= now:
        raise NoPassword(f"token {token_id} has ended; issue another one for {token.name}")
    _check(password, token.name)
    of = api_tokens.c
    others = (of.name == token.name, of.token_id != token_id, of.password_hash.is_not(None), of.revoked_at.is_(None))
    await connection.execute(update(api_tokens).where(*others, of.expires_at <= now).values(password_hash=None))
    if (other := await connection.scalar(select(of.token_id).where(*others))) is not None:
        raise NoPassword(f"{token.name} has a password by token {other}; remove that one first, or revoke the token")
    hashed = await _in_thread(lambda: _HASHER.hash(_typed(password)))
    await _put(connection, token_id, hashed)
    await record(connection, actor, "set password", f"token:{token_id}", {"for": token.name})


async def remove_password(connection: AsyncConnection, token_id: int, *, actor: str) -> None:
    """Let a token be known by itself alone; where it had no password nothing changes. Raises NotFound."""
    token = await token_of(connection, token_id)
    held = select(api_tokens.c.password_hash).where(api_tokens.c.token_id == token_id).with_for_update()
    if await connection.scalar(held) is None:
        return
    await _put(connection, token_id, None)
    await record(connection, actor, "remove password", f"token:{token_id}", {"for": token.name})


async def token_by_password(
    engine: AsyncEngine, name: str, password: str, *, now: datetime, address: str = ""
) -> Token:
    """The live token that a name and its password stand for. `address`: the IP address that it is tried from.

    Raises NotAuthenticated, in the same words and after the same work whether the name is known or not,
    TooManyFailures, and TooManyAtOnce, before any work.
    """
    with _in_turn(address):
        return await _token_by_password(engine, name, password, now=now, address=address)


@contextmanager
def _in_turn(address: str) -> Iterator[None]:
    network = who_tries("", address)
    if _signing_in.total() >= AT_ONCE or _signing_in[network] >= AT_ONCE_OF_A_NETWORK:
        raise TooManyAtOnce
    _signing_in[network] += 1
    try:
        yield
    finally:
        _signing_in[network] -= 1
        if not _signing_in[network]:
            del _signing_in[network]


async def _token_by_password(engine: AsyncEngine, name: str, password: str, *, now: datetime, address: str) -> Token:
    try:
        name = actor_name(name)
    except InvalidInput:
        name = ""  # nobody's, and takes as long
    tries = who_tries(name, address)
    await count_try(engine, tries, now=now)
    of = api_tokens.c
    live = (of.name == name, of.password_hash.is_not(None), of.revoked_at.is_(None), of.expires_at > now)
    async with engine.connect() as connection:
        row = (await connection.execute(select(of.password_hash, *TOKEN_COLUMNS).where(*live))).one_or_none()
    known = None if row is None else row.password_hash
    is_it, better = await _in_thread(lambda: _verified(known, _typed(password)))
    if row is None or not is_it:
        raise NotAuthenticated("no one of this name has this password")
    async with engine.begin() as connection:
        await forget_failures(connection, tries)
        if better is not None:
            same = of.token_id == row.token_id, of.password_hash == known
            await connection.execute(update(api_tokens).where(*same).values(password_hash=better))
    return token_in(row)


def _verified(known: str | None, password: bytes) -> tuple[bool, str | None]:
    """Whether a hash is of a password; its new hash where today's parameters are others."""
    nobodys = _nobodys_hash()
    try:
        _HASHER.verify(known or nobodys, password)
    except (VerificationError, InvalidHashError):
        return False, None
    better = known is not None and _HASHER.check_needs_rehash(known)
    return known is not None, _HASHER.hash(password) if better else None


@cache
def _nobodys_hash() -> str:
    """What a password is held against where nobody has the name."""
    return _HASHER.hash(b"")


def _typed(password: str) -> bytes:
    """One spelling of what looks the same, whatever keyboard it is typed on."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")


def _check(password: str, name: str) -> None:
    spelled = unicodedata.normalize("NFKC", password)
    if not spelled.isprintable():
        raise InvalidInput("the password holds what cannot be typed; use letters, digits, signs and spaces")
    if not LENGTH_MIN <= len(spelled) <= LENGTH_MAX:
        raise InvalidInput(f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters, not {len(spelled):,}")
    if name.casefold() in spelled.casefold():
        raise InvalidInput("the password has the name in it; choose one that does not")


async def _put(connection: AsyncConnection, token_id: int, hashed: str | None) -> None:
    """Another password, or none, ends what was opened with the one before."""
    await connection.execute(update(api_tokens).where(api_tokens.c.token_id == token_id).values(password_hash=hashed))
    await connection.execute(delete(sessions).where(sessions.c.token_id == token_id))


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_WORKERS, work)
