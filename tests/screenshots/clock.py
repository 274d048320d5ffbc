"""A clock that stands, and is set by hand: for the database, and for the API and the console in this process.

Pages show ages, days left, moments of every step. A world that is to look the same whenever it is built lives at a time
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, tzinfo
from types import ModuleType
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.api import answering
from engine.console import serving, visits
from tests.integration.api import asked

SHANGHAI = ZoneInfo("Asia/Shanghai")
READERS: tuple[ModuleType, ...] = (answering, serving, visits, asked)
"""The modules here that ask what time it is; everything below them is told."""

# Found before PostgreSQL's own, and by every default of a column, because it is made before the schema.
_MAKE = (
    "CREATE TABLE hands (moment timestamptz NOT NULL)",
    "INSERT INTO hands VALUES (pg_catalog.clock_timestamp())",
    "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT moment FROM public.hands'",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$",
)


class Clock:
    """What time it is: a day in Shanghai and an hour of it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.moment = datetime.now(SHANGHAI)

    async def make(self) -> None:
        """Be the clock of an empty database, for every connection from the next one on."""
        async with self._engine.begin() as connection:
            for statement in _MAKE:
                await connection.execute(text(statement))
        await self._engine.dispose()

    async def set(self, on: date, hour: int, minute: int = 0) -> datetime:
        """It is then, until it is set again."""
        self.moment = datetime.combine(on, time(hour, minute), SHANGHAI)
        async with self._engine.begin() as connection:
            await connection.execute(text("UPDATE hands SET moment = :moment"), {"moment": self.moment})
        return self.moment

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let this process read it, for the length of a block."""
        clock = self

        class Hands(datetime):
            """What `datetime.now` says meanwhile."""

            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no reader asks for its own class
                return clock.moment.astimezone(tz)

        for module in READERS:
            vars(module)["datetime"] = Hands
        try:
            yield
        finally:
            for module in READERS:
                vars(module)["datetime"] = datetime
