"""Locked periods: what was proved stays as it was, and what comes late is posted in the open one."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store.tables import plans


async def first_open_day(connection: AsyncConnection, plan_id: int, on: date) -> date:
    """The day on which what happened `on` is posted: the same or, where it is locked, the first one after the lock."""
    locked_through = await connection.scalar(select(plans.c.locked_through).where(plans.c.plan_id == plan_id))
    return on if locked_through is None or on > locked_through else locked_through + timedelta(days=1)
