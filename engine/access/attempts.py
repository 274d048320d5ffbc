"""A brake on whoever tries again and again: after a few tries in vain each waits, twice as long each time.

Guesses of a password count by name and network together. By the name alone a stranger could keep its holder out by
failing again and again; so they only keep out others of their own network, for a minute at most, and never whoever has
the token.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from math import ceil

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import FentanError
from engine.store.tables import sign_in_attempts

BRAKED_FROM = 3
"""Whoever failed so often in a row waits before the next try."""

_WAIT_MOST = timedelta(minutes=1)
_FORGOTTEN_AFTER = timedelta(hours=1)
_IPV6_SITE_BITS = 48
"""What one site is usually given; it has every address in it."""


class TooManyFailures(FentanError):
    """Too many tries to sign in failed; wait before the next one, or sign in with the token."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"too many tries to sign in failed; wait {wait_seconds} s, or sign in with the token")
        self.wait_seconds = wait_seconds


def wait_after(failures: int) -> timedelta:
    """How long nothing is tried after so many failures in a row: 0 at first, then 1 s, 2 s, 4 s … a minute."""
    if failures < BRAKED_FROM:
        return timedelta()
    return min(timedelta(seconds=1 << min(failures - BRAKED_FROM, 6)), _WAIT_MOST)


def who_tries(name: str, address: str) -> bytes:
    """What tries of a name from an IP address are counted under: 32 bytes. `address`: may be empty."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        network = ""
    else:
        of_site = known.version == 6 and getattr(known, "ipv4_mapped", None) is None
        network = str(ip_network((known, _IPV6_SITE_BITS if of_site else known.max_prefixlen), strict=False))
    return hashlib.sha256(f"{network}\n{name}".encode("utf-8", "replace")).digest()


async def count_try(engine: AsyncEngine, digest: bytes, *, now: datetime) -> None:
    """Let somebody try, counted as a failure before it is known to be none: tries side by side count each.

    Raises TooManyFailures while they have to wait; such a try is not counted. An hour without any is a new beginning.
    """
    of = sign_in_attempts.c
    old = select(of.digest).where(of.last_failed_at <= now - _FORGOTTEN_AFTER).with_for_update(skip_locked=True)
    first = insert_or_update(sign_in_attempts).values(digest=digest, failures=0, last_failed_at=now)
    held = first.on_conflict_do_update(index_elements=[of.digest], set_={"failures": of.failures})
    async with engine.begin() as connection:
        await connection.execute(delete(sign_in_attempts).where(of.digest.in_(old)))
        row = (await connection.execute(held.returning(of.failures, of.last_failed_at))).one()
        wait = wait_after(row.failures)
        if wait and row.last_failed_at + wait > now:
            raise TooManyFailures(ceil((row.last_failed_at + wait - now).total_seconds()))
        counted = update(sign_in_attempts).where(of.digest == digest)
        await connection.execute(counted.values(failures=of.failures + 1, last_failed_at=now))


async def forget_failures(connection: AsyncConnection, digest: bytes) -> None:
    """Whoever it was has signed in."""
    await connection.execute(delete(sign_in_attempts).where(sign_in_attempts.c.digest == digest))
