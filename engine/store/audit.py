"""The audit log: who decided what, appended in the transaction of the decision (I13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store.tables import audit_log


@dataclass(frozen=True)
class Act:
    """What somebody did. `detail`: ids and counts; of what came over HTTP what was there before and after."""

    audit_id: int
    actor: str
    act: str
    subject: str
    detail: Mapping[str, Any]
    recorded_at: datetime


async def record(
    connection: AsyncConnection,
    actor: str,
    act: str,
    subject: str,
    detail: Mapping[str, object] | None = None,
    *,
    reason: str | None = None,
) -> None:
    """Append one act on one subject (`run:7`, `claim:12`); `detail` holds ids and counts, never people.

    `reason`: why, where somebody says so; it stands in the detail.
    """
    said = dict(detail or {}) if reason is None else {**(detail or {}), "reason": reason}
    await connection.execute(insert(audit_log).values(actor=actor, act=act, subject=subject, detail=said))


async def list_acts(
    connection: AsyncConnection,
    *,
    actor: str | None = None,
    act: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Act]:
    """What was done, newest first: by whom, what, on what, from a moment on, before another; before a number."""
    of = audit_log.c
    query = select(*[of[field.name] for field in fields(Act)]).order_by(of.audit_id.desc()).limit(limit)
    for column, wanted in ((of.actor, actor), (of.act, act), (of.subject, subject)):
        query = query if wanted is None else query.where(column == wanted)
    query = query if since is None else query.where(of.recorded_at >= since)
    query = query if until is None else query.where(of.recorded_at < until)
    query = query if before is None else query.where(of.audit_id < before)
    return [Act(**row._asdict()) for row in await connection.execute(query)]
