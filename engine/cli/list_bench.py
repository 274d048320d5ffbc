"""The lists' side of the bench: how long the pages people work from take once there are very many breaks and runs.

Asked over HTTP of the API and the console as they are served, one request after the other: first pages, pages far into
a list by the address of what comes next, and each filter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import unescape
from itertools import cycle
from time import perf_counter
from typing import Any

import numpy as np
from aiohttp import ClientResponse, ClientSession, ClientTimeout, CookieJar
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from engine.access.roles import Role
from engine.access.tokens import issue
from engine.cli.api_bench import NotAnswered
from engine.cli.list_rows import CUSTODIANS, PEOPLE, Rows, bring_rows
from engine.cli.processes import api_process
from engine.cli.shell import Addresses
from engine.custodian.breaks import Code, SeverityName, State
from engine.custodian.reference import Kind, Reference
from engine.plans import PlanRules
from engine.runs.run import Run
from engine.runs.states import RunState


@dataclass(frozen=True)
class Sizes:
    """How many breaks and runs there are, and how often each list is asked for."""

    breaks: int = 100_000
    runs: int = 10_000
    requests: int = 200


BUDGET_MS = 200
"""95 of 100 answers come within it (issue 6)."""

_SETTINGS = {"FENTAN_REQUESTS_PER_MINUTE": "1000000", "FENTAN_LOG_LEVEL": "warning"}
_NEXT = re.compile(r'rel="next" href="([^"]+)"')


@dataclass(frozen=True)
class Asked:
    """Addresses that are asked for in turn. `onward`: instead the page that comes next, up to the end of the list.

    `is_list`: whether the budget is for it; the pages where areas begin ask for a little of everything.
    """

    name: str
    paths: Sequence[str]
    onward: bool = False
    is_list: bool = True


async def measure_lists(
    engine: AsyncEngine,
    here: Addresses,
    like: Run,
    rules: PlanRules,
    sizes: Sizes,
) -> dict[str, Any]:
    """Milliseconds until each list is answered whole, once there are so many breaks, and runs `like` one.

    Raises NotAnswered.
    """
    now = datetime.now(UTC)
    began = perf_counter()
    await bring_rows(engine, Rows(sizes.breaks, sizes.runs, like.run_id, now.date()), rules)
    brought_seconds = perf_counter() - began
    async with engine.begin() as connection:
        _, token = await issue(connection, "lists", Role.ADMIN, days=1, now=now, actor="bench")
    lists = await _lists(engine, now)
    with api_process(here, _SETTINGS) as address:
        async with ClientSession(
            address, cookie_jar=CookieJar(unsafe=True), timeout=ClientTimeout(total=120)
        ) as session:
            await _sign_in(session, token)
            seconds = {asked.name: await _ask(session, token, asked, sizes.requests) for asked in lists}
    times = {name: _percentiles(of_list) for name, of_list in seconds.items()}
    return {
        "slowest_list_p95_ms": max(times[asked.name]["p95"] for asked in lists if asked.is_list),
        "lists": {
            **asdict(sizes),
            "brought_seconds": round(brought_seconds, 2),
            "milliseconds": times,
        },
    }


def lists_table(figures: dict[str, Any]) -> Table:
    """What `measure_lists` found, for eyes."""
    of = figures["lists"]
    title = f"Lists of {of['breaks']:,} breaks and {of['runs']:,} runs, {of['requests']:,} requests each"
    table = Table("list", "p50, ms", "p95, ms", "max, ms", f"≤ {BUDGET_MS}", title=title)
    for name, row in of["milliseconds"].items():
        table.add_row(
            name, *(f"{row[each]:,.1f}" for each in ("p50", "p95", "max")), "yes" if row["p95"] <= BUDGET_MS else "no"
        )
    return table


async def _sign_in(session: ClientSession, token: str) -> None:
    async with session.post("/sign-in", data={"token": token}) as response:
        if response.status != 200 or response.url.path != "/":
            raise NotAnswered(f"signing in: {response.status} at {response.url.path}")


async def _ask(session: ClientSession, token: str, asked: Asked, requests: int) -> list[float]:
    """Seconds from asking to the whole answer, each. The first answer of all is not counted: plans are made then."""
    seconds, paths, onward = [], cycle(asked.paths), None
    for _ in range(1 + requests):
        path = onward or next(paths)
        headers = {"Authorization": f"Bearer {token}"} if path.startswith("/v1/") else {}
        began = perf_counter()
        async with session.get(path, headers=headers) as response:
            said = await response.text()
        seconds.append(perf_counter() - began)
        if response.status != 200 or response.url.path != path.partition("?")[0]:
            raise NotAnswered(f"{path}: {response.status} {said[:200]}")
        onward = _next(response, said) if asked.onward else None
    return seconds[1:]


def _next(response: ClientResponse, said: str) -> str | None:
    """The address of what comes next in the list; None at its end."""
    if (link := response.links.get("next")) is not None:
        return URL(link["url"]).path_qs
    found = _NEXT.search(said)
    return unescape(found[1]) if found else None


async def _lists(engine: AsyncEngine, now: datetime) -> list[Asked]:
    """What is asked for: the lists of breaks and runs, in the console and the API, and the pages that sum them up."""
    async with engine.connect() as connection:
        found = (await connection.execute(text(_KNOWN))).one()._asdict()
    deep_break, deep_run = found["last_break"] * 4 // 5, found["last_run"] // 5
    ours = Reference(Kind.DEBIT, found["run_id"], found["attempt"], found["seat"])
    of_breaks = [
        *(f"state={each}" for each in (State.OPEN, State.ASSIGNED, State.PROPOSED, State.RESOLVED)),
        *(f"severity={each}" for each in SeverityName),
        *(f"age={each}" for each in ("0-1", "2-3", "4-7", "8-30", "%3E30")),
        *(f"code={each}" for each in (Code.MISSING_AT_BANK, Code.FEE_UNEXPECTED)),
        *(f"custodian={each}" for each in CUSTODIANS),
        *(f"assigned_to={each}" for each in PEOPLE),
        *(f"{each}={found[each]}" for each in ("plan", "run_id")),
        f"custodian={CUSTODIANS[0]}&severity={SeverityName.HIGH}&age=8-30&state={State.OPEN}",
    ]
    of_texts = [f"text={each}" for each in (deep_break, found["amount"], f"%23{found['reference'][1:]}", str(ours))]
    of_runs = [
        *(f"state={each}" for each in (RunState.PREVIEWED, RunState.COLLECTING, RunState.CLOSED, RunState.VOIDED)),
        *(f"plan={found['plan']}", "kind=share", "kind=credit"),
        f"first={now.year - 2}-01-01&last={now.year - 2}-12-31",
    ]
    lists = []
    for name, breaks, runs in (("console", "/finance/breaks", "/runs"), ("API", "/v1/breaks", "/v1/runs")):
        lists += [
            Asked(f"{name}: breaks", [breaks]),
            Asked(f"{name}: breaks, pages far in", [f"{breaks}?after={deep_break}"], onward=True),
            Asked(f"{name}: breaks, filtered", [f"{breaks}?{each}" for each in of_breaks]),
            Asked(f"{name}: breaks, searched", [f"{breaks}?{each}" for each in of_texts]),
            Asked(f"{name}: runs", [runs]),
            Asked(f"{name}: runs, pages far in", [f"{runs}?after={found['last_run'] - deep_run}"], onward=True),
            Asked(f"{name}: runs, filtered", [f"{runs}?{each}" for each in of_runs]),
        ]
    return [
        Asked("console: overview", ["/"], is_list=False),
        Asked("console: finance", ["/finance"], is_list=False),
        Asked("console: breaks to settle together", [f"/finance/breaks/matching?{each}" for each in of_breaks]),
        Asked("console: claims", ["/claims"]),
        Asked("console: claims, page by page", ["/claims?state=shared"], onward=True),
        *lists,
        Asked("API: breaks, counted", ["/v1/breaks/counts", "/v1/breaks/severities", "/v1/runs/counts"]),
    ]


# A break about one of our debits and on a statement, with a reference of another; a plan.
_KNOWN = """
SELECT run_id, attempt, seat, (breaks.amount_minor / 100.0)::numeric(18, 2) AS amount, reference, plans.code AS plan,
    (SELECT max(break_id) FROM breaks) AS last_break, (SELECT max(run_id) FROM share_runs) AS last_run
FROM breaks JOIN statement_lines USING (statement_id, ordinal) JOIN plans USING (plan_id)
WHERE run_id IS NOT NULL AND state = 'open' ORDER BY break_id DESC LIMIT 1
"""


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    at = {"p50": 50, "p95": 95, "max": 100}
    return {name: round(float(np.percentile(seconds, place)) * 1000, 2) for name, place in at.items()}
