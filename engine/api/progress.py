"""Server-sent events of a run: all who follow it share one poll, and nobody who is slow holds anybody up.

There is no queue: a listener is told what is newest when it asks again, and misses what came and went meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.api.run_views import progress_view
from engine.runs.headway import Headway, headway_of

if TYPE_CHECKING:
    from engine.api.service import Service

POLL_SECONDS = 0.25
"""The database is asked about a run so often, however many follow it; and not at all while nobody does."""

KEEP_ALIVE_SECONDS = 15.0
"""Something is sent at least so often: proxies close what is silent, and who has gone away is found out."""

_KEEP_ALIVE = b": still here\n\n"

log = structlog.get_logger()


class End(StrEnum):
    """Why a stream ended."""

    RESTS = "rests"
    """Nothing of the run moves until a person does something, or at all."""

    QUIET = "quiet"
    """There was no news for as long as the listener wanted to wait."""

    CLOSING = "closing"
    """This process ends; another one will answer."""


class Followed:
    """A run that somebody follows."""

    def __init__(self, engine: AsyncEngine, first: Headway, closing: asyncio.Event) -> None:
        """`first`: where it stood a moment ago."""
        self.newest = first
        self.listeners = 0
        self._engine = engine
        self._closing = closing
        self._told = asyncio.Event()
        self._poll: asyncio.Task[None] | None = None
        self._left = asyncio.Event()

    def join(self) -> None:
        """One listener more."""
        self.listeners += 1
        if self._poll is None:
            self._poll = asyncio.create_task(self._ask_again())

    async def leave(self) -> None:
        """One less; with the last one the poll ends."""
        self.listeners -= 1
        if self.listeners == 0 and self._poll is not None:
            self._left.set()
            await self._poll

    async def news_after(self, seen: Headway, seconds: float) -> Headway | None:
        """What is newer than what was seen; None when nothing is for so long, or the process ends."""
        until = monotonic() + seconds
        while self.newest == seen and not self._closing.is_set():
            told = self._told
            try:
                await asyncio.wait_for(told.wait(), until - monotonic())
            except TimeoutError:
                return None
        return None if self._closing.is_set() else self.newest

    async def _ask_again(self) -> None:
        ended = [asyncio.create_task(event.wait()) for event in (self._closing, self._left)]
        try:
            while not (await asyncio.wait(ended, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
                try:
                    async with self._engine.connect() as connection:
                        self._tell(await headway_of(connection, self.newest.run_id))
                except Exception as error:  # noqa: BLE001 - a server that starts or stops raises the driver's own
                    log.warning("progress unknown", run_id=self.newest.run_id, error=type(error).__name__)
        finally:
            for task in ended:
                task.cancel()
            self._tell(self.newest)

    def _tell(self, headway: Headway) -> None:
        self.newest = headway
        self._told.set()
        self._told = asyncio.Event()


@asynccontextmanager
async def following(service: Service, first: Headway) -> AsyncIterator[Followed]:
    """Follow a run for the length of a block, together with whoever else does."""
    followed = service.followed.get(first.run_id)
    if followed is None:
        followed = service.followed[first.run_id] = Followed(service.engine, first, service.closing)
    followed.join()
    try:
        yield followed
    finally:
        if followed.listeners == 1:  # who comes now begins a new poll: this one ends
            del service.followed[first.run_id]
        await followed.leave()


async def events_of(service: Service, first: Headway, wait_seconds: int) -> AsyncIterator[bytes]:
    """The run as it stands, then each news of it, until it rests or nothing is new for `wait_seconds`."""
    async with following(service, first) as followed:
        headway = followed.newest
        yield _event("state", headway)
        yield _event("progress", headway)
        silent_since = monotonic()
        while not headway.is_resting:
            left = silent_since + wait_seconds - monotonic()
            newer = await followed.news_after(headway, min(left, KEEP_ALIVE_SECONDS))
            if newer is not None:
                if _situation(newer) != _situation(headway):
                    yield _event("state", newer)
                if newer.shards != headway.shards:
                    yield _event("progress", newer)
                headway, silent_since = newer, monotonic()
            elif service.closing.is_set() or monotonic() >= silent_since + wait_seconds:
                break
            else:
                yield _KEEP_ALIVE
        reason = End.RESTS if headway.is_resting else End.CLOSING if service.closing.is_set() else End.QUIET
        yield _event("end", headway, reason)


def _situation(headway: Headway) -> tuple[object, ...]:
    """What a `state` event tells of."""
    return headway.state, headway.is_paused, headway.failure


def _event(name: str, headway: Headway, reason: End | None = None) -> bytes:
    """One event. Its id names what it shows: whoever comes back with it is sent what is newest, whatever it was."""
    shown = progress_view(headway).model_dump_json()
    data = shown if reason is None else json.dumps({"reason": reason, "state": headway.state, "run_id": headway.run_id})
    identity = f"{headway.state}-{headway.shards.seats_done}"
    return f"event: {name}\nid: {identity}\ndata: {data}\n\n".encode()
