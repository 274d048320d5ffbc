"""What was answered under an idempotency key, kept with the effect it had, as long as that stands.

The key is taken by a lock of the transaction that does the work, so that nobody else does it meanwhile; the answer is
written in that transaction. What failed left nothing behind, and may be asked again under the same key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import FentanError
from engine.store.tables import idempotency_keys


class KeyInFlight(FentanError):
    """A request with this Idempotency-Key is being worked on; ask again in a moment to see what it came to."""


class OtherPayload(FentanError):
    """This Idempotency-Key was used for another request; choose a new key for what is new."""

    invariant = "I3"


class SecretShown(FentanError):
    """This was done already, and its secret was shown that once; if it is lost, revoke it and ask for another."""


@dataclass(frozen=True)
class Remembered:
    """An answer as it was given."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def recall(connection: AsyncConnection, actor: str, key: str, request: bytes) -> Remembered | None:
    """Take the key until the transaction ends; what was answered under it, None: nothing yet.

    `request`: the digest of what is asked. Raises KeyInFlight while another transaction holds the key, OtherPayload.
    """
    lock = select(func.pg_try_advisory_xact_lock(func.hashtextextended(f"idempotency:{actor}:{key}", 0)))
    if not await connection.scalar(lock):
        raise KeyInFlight
    found = idempotency_keys.c
    query = select(found.request, found.status, found.headers, found.body)
    row = (await connection.execute(query.where(found.actor == actor, found.key == key))).one_or_none()
    if row is None:
        return None
    if row.request != request:
        raise OtherPayload
    return Remembered(row.status, row.headers, row.body)


async def remember(connection: AsyncConnection, actor: str, key: str, request: bytes, answer: Remembered) -> None:
    """Keep an answer under a key, in the transaction that took it and did the work."""
    values = {
        "actor": actor,
        "key": key,
        "request": request,
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": answer.body,
    }
    await connection.execute(insert(idempotency_keys).values(values))
