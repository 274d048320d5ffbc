"""The API's side of the bench: what people read, under many callers, while a run posts; and what that costs the run.

The same plan shares three more sets of cases: alone, with callers who each ask once a second, and with callers who ask
again as soon as they are answered. What is compared is the seconds of posting.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.roles import Role
from engine.access.tokens import issue
from engine.cli.processes import api_process
from engine.cli.shell import Addresses
from engine.errors import FentanError
from engine.roster.plan import Plan
from engine.runs.report import phase_seconds
from engine.runs.run import Run

CLIENTS = 200
ASKED = ("member_statement", "trial_balance", "queue_overview")
_WARM_UP_SECONDS = 1.0
_SETTINGS = {"FENTAN_REQUESTS_PER_MINUTE": "1000000", "FENTAN_LOG_LEVEL": "warning"}

NOTICES = {
    "alone": date(2019, 7, 7),
    "paced": date(2019, 7, 21),
    "pressed": date(2019, 8, 7),
}
"""When the cases of each run are published; a week later the plan debits."""

Play = Callable[[date, Callable[[], Awaitable[None]]], Awaitable[Run]]
"""Share the cases of a notice day; called back when all is ready to be approved."""


class NotAnswered(FentanError):
    """The API answered a caller of the bench with something else than what was asked for."""


@dataclass(frozen=True)
class Load:
    """What callers saw of each thing asked: seconds from asking to the whole answer, and how long they asked."""

    seconds: dict[str, list[float]]
    lasted: float


async def measure_api(
    engine: AsyncEngine, here: Addresses, plan: Plan, members_count: int, play: Play
) -> dict[str, Any]:
    """Latencies of what 200 callers read while a run posts, and how much longer its posting takes. Raises NotAnswered.

    `play` shares the cases of one notice day in a run of its own.
    """
    async with engine.begin() as connection:
        _, token = await issue(connection, "bench", Role.VIEWER, days=1, now=datetime.now(UTC), actor="bench")
    posted: dict[str, float] = {}
    loads: dict[str, Load] = {}
    with api_process(here, _SETTINGS) as address:
        paths = _paths(plan, members_count)
        for name, notice_on in NOTICES.items():
            async with _callers(address, token, paths, pause=1.0 if name == "paced" else 0.0) as callers:
                begin = callers.begin if name != "alone" else _nobody
                run = await play(notice_on, begin)
            posted[name] = phase_seconds(run.moments)["post"]
            if name != "alone":
                loads[name] = callers.load
    return {
        "api": {
            "clients": CLIENTS,
            "post_seconds": {name: round(seconds, 4) for name, seconds in posted.items()},
            "slowdown": {name: round(posted[name] / posted["alone"], 2) for name in loads},
            "requests_per_second": {
                name: round(sum(map(len, load.seconds.values())) / load.lasted, 1) for name, load in loads.items()
            },
            "milliseconds": {name: _percentiles(load) for name, load in loads.items()},
        }
    }


def api_table(figures: dict[str, Any]) -> Table:
    """What `measure_api` found, for eyes."""
    of = figures["api"]
    table = Table(
        "asked", "callers", "p50, ms", "p99, ms", "answers", title=f"{of['clients']} callers while a run posts"
    )
    for name, rows in of["milliseconds"].items():
        for asked, row in rows.items():
            table.add_row(
                asked.replace("_", " "), name, f"{row['p50']:,.1f}", f"{row['p99']:,.1f}", f"{row['count']:,}"
            )
    for name, times in of["slowdown"].items():
        table.add_row("the run's posting", name, "", "", f"{times:.2f}× the seconds")
    return table


async def _nobody() -> None:
    """Nobody calls."""


def _paths(plan: Plan, members_count: int) -> dict[str, Callable[[Random], str]]:
    """What is asked for, by name."""
    of_plan = f"/v1/plans/{plan.code}"
    return {
        "member_statement": lambda random: f"{of_plan}/members/{random.randrange(members_count)}/statement",
        "trial_balance": lambda _: f"{of_plan}/trial-balance",
        "queue_overview": lambda _: "/v1/queues",
    }


class _Callers:
    """Callers who each ask for one thing after the other, from when they begin until they are stopped."""

    def __init__(self, session: ClientSession, paths: dict[str, Callable[[Random], str]], pause: float) -> None:
        self._session, self._paths, self._pause = session, paths, pause
        self._tasks: list[asyncio.Task[None]] = []
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._began = 0.0
        self.load = Load({}, 0.0)

    async def begin(self) -> None:
        """Begin, and return once they are under way."""
        seeded = [Random(number) for number in range(CLIENTS)]  # noqa: S311 - who asks for what, alike each time
        self._tasks = [asyncio.create_task(self._ask(random)) for random in seeded]
        await asyncio.sleep(_WARM_UP_SECONDS)
        for seconds in self._seconds.values():
            seconds.clear()
        self._began = perf_counter()

    async def stop(self) -> None:
        """Stop all; raises what any of them met."""
        lasted = perf_counter() - self._began
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        self.load = Load(dict(self._seconds), lasted)

    async def _ask(self, random: Random) -> None:
        names = list(ASKED)
        await asyncio.sleep(random.random() * self._pause)
        while True:
            name = random.choice(names)
            began = perf_counter()
            async with self._session.get(self._paths[name](random)) as response:
                said = await response.read()
            if response.status != 200:
                raise NotAnswered(f"{name}: {response.status} {said[:200].decode(errors='replace')}")
            took = perf_counter() - began
            self._seconds[name].append(took)
            await asyncio.sleep(max(self._pause - took, 0.0))


@asynccontextmanager
async def _callers(
    address: str, token: str, paths: dict[str, Callable[[Random], str]], *, pause: float
) -> AsyncIterator[_Callers]:
    async with ClientSession(
        address,
        headers={"Authorization": f"Bearer {token}"},
        connector=TCPConnector(limit=CLIENTS),
        timeout=ClientTimeout(total=120),
    ) as session:
        callers = _Callers(session, paths, pause)
        try:
            yield callers
        finally:
            await callers.stop()


def _percentiles(load: Load) -> dict[str, dict[str, float]]:
    return {
        name: {
            "p50": round(float(np.percentile(load.seconds[name], 50)) * 1000, 2),
            "p99": round(float(np.percentile(load.seconds[name], 99)) * 1000, 2),
            "count": len(load.seconds[name]),
        }
        for name in ASKED
        if load.seconds.get(name)
    }
