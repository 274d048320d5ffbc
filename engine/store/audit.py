"""The audit log: who decided what, appended in the transaction of the decision (I13)."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store.tables import audit_log


async def record(
    connection: AsyncConnection, actor: str, act: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """Append one act on one subject (`run:7`, `claim:12`); `detail` holds ids and counts, never people."""
    await connection.execute(insert(audit_log).values(actor=actor, act=act, subject=subject, detail=dict(detail or {})))
