"""What the API works with: the database, the doorbell, the desk, the settings; and what one call is given of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.access.tokens import Token
from engine.api.fields import Page
from engine.api.limits import RateLimits
from engine.api.progress import Followed
from engine.custodian.desk import Desk
from engine.ledger.daily_sums import DailySums
from engine.settings import Settings
from engine.store.doorbell import Doorbell

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Service:
    """One API process. `bell` may ring in vain: what is due is found by the workers' sweep. `closing`: streams end.

    `followed`: by its number, each run that somebody follows. `daily_sums`: of the ledger, as far as it was read.
    """

    engine: AsyncEngine
    bell: Doorbell
    desk: Desk
    settings: Settings
    limits: RateLimits
    closing: asyncio.Event
    followed: dict[int, Followed] = field(default_factory=dict)
    daily_sums: DailySums = field(default_factory=DailySums)


SERVICE: web.AppKey[Service] = web.AppKey("service", Service)


@dataclass(frozen=True)
class Upload:
    """The file of a request, received whole. `path`: where it lies until the request ends."""

    path: Path
    sha256: bytes
    size_bytes: int


@dataclass(frozen=True)
class Streamed:
    """An answer that is written as it is made. `name`: of the file, where it is one to keep."""

    media_type: str
    chunks: AsyncIterator[bytes]
    name: str | None = None


@dataclass
class Call:
    """One request as a handler sees it: who asks, when, and a transaction that commits if all goes well."""

    service: Service
    connection: AsyncConnection
    token: Token
    now: datetime
    request_id: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: dict[str, str] = field(default_factory=dict)
    rings: list[tuple[int, str]] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)

    @property
    def actor(self) -> str:
        """Who decides, for the audit log."""
        return self.token.name

    def today(self, time_zone: str) -> date:
        """The day it is there."""
        return self.now.astimezone(ZoneInfo(time_zone)).date()

    def created(self, path: str) -> None:
        """Say in the header Location where what was made is found."""
        self.headers["Location"] = path

    def ring(self, run_id: int, occasion: str) -> None:
        """Announce a run to the workers once the transaction has committed."""
        self.rings.append((run_id, occasion))

    def ring_for_job(self, job_id: int) -> None:
        """Announce a job likewise."""
        self.jobs.append(job_id)

    def page(self, rows: Sequence[T], limit: int, view: Callable[[T], V], after: Callable[[T], object]) -> Page[V]:
        """A page of `limit` of the rows, of which one more was read if there is one: `after` names the last shown."""
        shown = rows[:limit]
        following: str | None = None
        if len(rows) > limit:
            kept = [(name, value) for name, value in self.query if name != "after"]
            following = f"{self.path}?{urlencode([*kept, ('after', str(after(shown[-1])))])}"
            self.headers["Link"] = f'<{following}>; rel="next"'
        return Page[Any](items=[view(row) for row in shown], next=following)
