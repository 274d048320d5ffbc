"""On which day what a statement says is posted, plan by plan."""

from __future__ import annotations

from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.plans.days import date_of
from engine.reconcile.locking import first_open_day


class OpenDays:
    """The days on which things are posted: their own or, where that is locked, the first one after the lock."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._known: dict[tuple[int, int], date] = {}

    async def of(self, plan_id: int, day: int) -> date:
        """The day on which a plan's books take what happened on a day number."""
        if (plan_id, day) not in self._known:
            self._known[plan_id, day] = await first_open_day(self._connection, plan_id, date_of(day))
        return self._known[plan_id, day]
