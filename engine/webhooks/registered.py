"""Webhooks as they are registered: an address, and what it is told of."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput, NotFound
from engine.store.audit import record
from engine.store.outbox import Event
from engine.store.tables import webhooks
from engine.webhooks.signing import secret_of

ADDRESS = (
    r"^(https://[A-Za-z0-9.-]{1,253}|http://(localhost|127\.0\.0\.1|\[::1\]))(:[1-9][0-9]{0,4})?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?$"
)
"""https, or http to this machine alone; no user, no password, no fragment."""

ADDRESS_LENGTH_MAX = 500


@dataclass(frozen=True)
class Webhook:
    """Who is told of what; its secret is made when it is needed. `ended_at`: from then on it is told of nothing."""

    webhook_id: int
    url: str
    events: Sequence[Event]
    made_by: str
    made_at: datetime
    ended_at: datetime | None


def _webhook(row: Row[Any]) -> Webhook:
    values = row._asdict()
    return Webhook(**values | {"events": [Event(each) for each in values["events"]]})


async def register(
    connection: AsyncConnection, url: str, events: Collection[Event], *, signing_key: SecretStr, actor: str
) -> tuple[Webhook, str]:
    """A new webhook, and its secret. Raises InvalidInput for an address that nothing is sent to."""
    _check(url)
    if not events:
        raise InvalidInput(f"a webhook is told of something: name one of {', '.join(Event)}")
    values = {"url": url, "events": sorted(set(events)), "made_by": actor}
    row = (await connection.execute(insert(webhooks).values(values).returning(webhooks))).one()
    await record(connection, actor, "register webhook", f"webhook:{row.webhook_id}", {"events": values["events"]})
    return _webhook(row), secret_of(signing_key, row.webhook_id)


async def webhook_of(connection: AsyncConnection, webhook_id: int) -> Webhook:
    """The webhook of a number. Raises NotFound."""
    row = (await connection.execute(select(webhooks).where(webhooks.c.webhook_id == webhook_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    return _webhook(row)


async def list_webhooks(connection: AsyncConnection, *, after: int = 0, limit: int = 50) -> list[Webhook]:
    """Webhooks in the order they were registered, those after a number; the ended ones too."""
    query = select(webhooks).where(webhooks.c.webhook_id > after).order_by(webhooks.c.webhook_id).limit(limit)
    return [_webhook(row) for row in await connection.execute(query)]


async def end(
    connection: AsyncConnection, webhook_id: int, *, now: datetime, actor: str, reason: str | None = None
) -> Webhook:
    """Tell a webhook nothing more; the same again changes nothing. Raises NotFound."""
    await webhook_of(connection, webhook_id)
    live = webhooks.c.webhook_id == webhook_id, webhooks.c.ended_at.is_(None)
    ended = await connection.execute(update(webhooks).where(*live).values(ended_at=now))
    if ended.rowcount:
        await record(connection, actor, "end webhook", f"webhook:{webhook_id}", reason=reason)
    return await webhook_of(connection, webhook_id)


def _check(url: str) -> None:
    if len(url) > ADDRESS_LENGTH_MAX or not re.fullmatch(ADDRESS, url):
        raise InvalidInput(
            "the address is none that anything is sent to: write it like https://host/path, without a user or a"
            " password; plain http is for receivers on this machine (http://127.0.0.1:9000/path)"
        )
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise InvalidInput("the address names a port that there cannot be; correct it") from None
