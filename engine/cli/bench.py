"""`fentan bench`: a share run as the engine does it, against row tables, in one database of one server."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
import typer
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.claims import claims_of, file, pass_due, publish
from engine.cli import report_file
from engine.cli.alternatives import ALTERNATIVES, Amounts, Measured, load_sources, measure
from engine.cli.api_bench import api_table, measure_api
from engine.cli.custodian_bench import bring_accounts, custodian_table, measure_custodian
from engine.cli.list_bench import BUDGET_MS, Sizes, lists_table, measure_lists
from engine.cli.processes import worker_processes
from engine.cli.run import follow
from engine.cli.shell import Addresses, addresses, start
from engine.errors import FentanError
from engine.ledger.accounts import Account, account_id, open_accounts
from engine.ledger.journals import Segment
from engine.money import to_major
from engine.plans import NEVER, PlanRules, day_number
from engine.plans.calendar import next_debit_day, notice_end
from engine.roster.columns import Columns, Membership, Version, write_columns
from engine.roster.plan import Plan, register_plan
from engine.roster.presets import load_plan
from engine.roster.tags import TAG_BYTES
from engine.runs.planning import plan_run
from engine.runs.preview import approve
from engine.runs.report import phase_seconds, phase_table
from engine.runs.run import Run
from engine.runs.slots import SlotState, skip, slots_due
from engine.runs.states import RunState
from engine.store.arrays import copy_in, copy_out
from engine.store.database import engine_on, migrate
from engine.store.doorbell import doorbell
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, member_columns, posting_segments, shards, workers

DATABASE = "fentan_bench"
PLANNER, APPROVER = "bench planner", "bench approver"
COUNTED = ("measure", "solve", "post", "seal")
"""Phases whose seconds are ours; freezing pins versions and waits for nobody, an approval is a person's time."""

GATES = ((date(2019, 3, 7), 1), (date(2019, 6, 7), 20), (date(2019, 6, 21), 10))
"""Notice days and how many cases of 300,000 begin on each. One seat in ten had joined by the first, so of 20 million
few enough share its case for the plan's cap per case to bind."""
DIAGNOSED_ON, FILED_ON = date(2019, 3, 1), date(2019, 3, 2)
DEBIT_ON = date(2019, 6, 28)
CASES_UNDER_LOAD = 20

console = Console()


class BenchFailed(FentanError):
    """The bench's run did not end as it should."""


@dataclass(frozen=True)
class Budget:
    """What DESIGN §8 asks of one figure: what must be, what is aimed at, and which side of it is good."""

    key: str
    title: str
    must: float
    aim: float
    good: Literal["above", "below"] = "above"

    def verdict(self, measured: float) -> str:
        """In a word."""
        met = [measured >= bound if self.good == "above" else measured <= bound for bound in (self.must, self.aim)]
        return "aim" if met[1] else "must" if met[0] else "missed"


BUDGETS = (
    Budget("members_per_second", "members/s, measure to seal", 3e6, 10e6),
    Budget("ratio_insert_select", "× bare INSERT … SELECT", 2.5, 8),
    Budget("ratio_row_ledger", "× row ledger", 10, 30),
    Budget("bytes_per_entry", "bytes per entry", 10, 4, "below"),
    Budget("worker_peak_mib", "memory of a worker, MiB", 400, 200, "below"),
    Budget("instructions_per_second", "debits asked for/s (CSV)", 2e6, 8e6),
    Budget("statement_lines_per_second", "statement lines/s, posted (CSV)", 1.5e6, 4e6),
    Budget("camt_entries_per_second", "camt.053 entries/s, one core", 1e5, 2.5e5),
    Budget("slowest_list_p95_ms", "p95 of the slowest list, ms", BUDGET_MS, 100, "below"),
)


@dataclass(frozen=True)
class Ours:
    """The engine's own run: its phases' seconds, bytes per entry, a worker's peak, and int64[n] charges by seat."""

    run: Run
    seconds: dict[str, float]
    bytes_per_entry: float
    worker_peak_mib: int
    amounts: Amounts

    @property
    def members_per_second(self) -> float:
        """Members over the seconds of the counted phases."""
        return self.amounts.size / sum(self.seconds[phase] for phase in COUNTED)


def bench(
    members: Annotated[int, typer.Option(min=1_000, help="Members of the plan.")] = 20_000_000,
    report: Annotated[Path | None, typer.Option(help="Where the JSON report goes.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    breaks: Annotated[int, typer.Option(min=1_000, help="Breaks in the lists.")] = Sizes.breaks,
    runs: Annotated[int, typer.Option(min=100, help="Runs in the lists.")] = Sizes.runs,
    requests: Annotated[int, typer.Option(min=1, help="How often each list is asked for.")] = Sizes.requests,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database fentan_bench.")] = False,
) -> None:
    """Measure a share run and its custodian's statement beside other ways to do the same, and then long lists."""
    report_file.prepare(report)
    settings = start()
    with addresses(settings) as found:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="bench-", dir=settings.data_dir) as folder:
            sizes = Sizes(breaks, runs, requests)
            outcome = asyncio.run(_bench(found, Path(folder).resolve(), members, workers, sizes, keep=keep))
    if report is not None:
        report_file.write(report, outcome)
        console.print(f"report: {report}")


async def _bench(
    found: Addresses, folder: Path, members_count: int, workers_count: int, sizes: Sizes, *, keep: bool
) -> dict[str, Any]:
    here = Addresses(
        make_url(found.database_url).set(database=DATABASE).render_as_string(hide_password=False), found.redis_url
    )
    async with engine_on(found.database_url) as server:
        await _outside_transaction(
            server, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}"
        )
        try:
            async with engine_on(here.database_url) as engine:
                return await _measured(engine, here, folder, members_count, workers_count, sizes)
        finally:
            if not keep:
                await _outside_transaction(server, f"DROP DATABASE {DATABASE} WITH (FORCE)")


async def _measured(
    engine: AsyncEngine, here: Addresses, folder: Path, members_count: int, workers_count: int, sizes: Sizes
) -> dict[str, Any]:
    await migrate(engine)
    machine = await _machine(engine, here)
    rules = load_plan("xianghubao")
    console.print(f"{rules.name}: {members_count:,} members, {workers_count} workers")
    plan = await _bring_roster(engine, rules, members_count)
    for notice_on, cases in GATES:
        await _bring_claims(engine, plan, rules, notice_on, cases)
    await _skip_missed(engine, plan, rules)
    ours = await _ours(engine, here, plan, workers_count)
    custodian = await measure_custodian(engine, here, ours.run, ours.amounts, folder)

    async def play(notice_on: date, ready: Callable[[], Awaitable[None]]) -> Run:
        await _bring_claims(engine, plan, rules, notice_on, CASES_UNDER_LOAD)
        debit_on = next_debit_day(rules, notice_end(rules, notice_on))
        return (await _run(engine, here, plan, workers_count, debit_on, ready))[0]

    api = await measure_api(engine, here, plan, members_count, play)
    await load_sources(engine, ours.amounts)
    theirs = {}
    for alternative in ALTERNATIVES:
        theirs[alternative.name] = await measure(engine, alternative, ours.amounts)
        console.print(f"{alternative.title}: {theirs[alternative.name].members_per_second:,.0f} members/s")
    lists = await measure_lists(engine, here, ours.run, rules, sizes)
    outcome = _report(ours, theirs) | custodian | api | lists | {"machine": machine}
    _print(outcome)
    return outcome


async def _bring_roster(engine: AsyncEngine, rules: PlanRules, members_count: int) -> Plan:
    """The plan and its roster, column by column; references and their index are no part of a run and left out."""
    async with engine.begin() as connection:
        plan = await register_plan(connection, rules)
        await open_accounts(connection, plan.plan_id)
        for number, first_seat in enumerate(range(0, members_count, SHARD_SEATS), start=1):
            shard_id, seats = plan.plan_id * PLAN_STRIDE + number, min(SHARD_SEATS, members_count - first_seat)
            rng = np.random.Generator(np.random.PCG64([1, number]))
            row = {"shard_id": shard_id, "plan_id": plan.plan_id, "number": number, "first_seat": first_seat}
            await connection.execute(insert(shards).values(**row, seats=seats))
            identity = (shard_id, bytes(4 * seats), "", rng.bytes(seats * TAG_BYTES))
            await copy_in(connection, member_columns, ["shard_id", "born_on", "member_refs", "tags"], [identity])
            await write_columns(connection, shard_id, Version(1, 0), _columns(rng, seats, rules))
            await bring_accounts(connection, shard_id, first_seat, seats)
    await _outside_transaction(engine, "CHECKPOINT")
    return plan


def _columns(rng: np.random.Generator, seats: int, rules: PlanRules) -> Columns:
    """Seats in no order, each sharing at least one case: a tenth joined by the first gate, a tenth after the second."""
    start, first, second, third = (day_number(day) for day in (rules.starts_on, *(day for day, _ in GATES)))
    when = rng.random(seats)
    shares_from = np.select(
        [when < 0.1, when < 0.9], [rng.integers(start, first + 1, seats), rng.integers(first + 1, second + 1, seats)],
        rng.integers(second + 1, third + 1, seats),
    ).astype(np.int32)  # fmt: skip
    leaves = (rng.random(seats) < 0.02) & (shares_from <= second)
    ended_on = np.where(leaves, rng.integers(second + 1, third + 1, seats), NEVER).astype(np.int32)
    return Columns(shares_from, shares_from + np.int32(rules.claims.waiting_days), ended_on, np.zeros(seats, np.int16))


async def _bring_claims(engine: AsyncEngine, plan: Plan, rules: PlanRules, notice_on: date, cases: int) -> None:
    """Cases of 300,000 that passed a notice, of members who had none before."""
    since = day_number(rules.starts_on)
    async with engine.begin() as connection:
        first = len(await claims_of(connection, plan.plan_id))
        for seat in range(first, first + cases):
            cover = Membership(
                plan.plan_id * PLAN_STRIDE + 1, seat, date(1990, 1, 1), since, since + rules.claims.waiting_days, NEVER
            )
            claim = await file(
                connection, plan.plan_id, rules, cover, diagnosed_on=DIAGNOSED_ON, on=FILED_ON, actor=PLANNER
            )
            await publish(connection, claim.claim_id, rules, on=notice_on, actor=PLANNER)
        await pass_due(connection, plan.plan_id, on=notice_end(rules, notice_on), actor=PLANNER)


async def _skip_missed(engine: AsyncEngine, plan: Plan, rules: PlanRules) -> None:
    async with engine.begin() as connection:
        for slot in await slots_due(connection, plan, rules, on=DEBIT_ON):
            if slot.state is SlotState.MISSED:
                reason = "the bench shares the cases of three gates in one run"
                await skip(connection, plan, rules, slot.debit_on, reason=reason, actor=PLANNER, on=DEBIT_ON)


async def _ours(engine: AsyncEngine, here: Addresses, plan: Plan, workers_count: int) -> Ours:
    """The run whose seconds are compared, and what it left behind. Raises BenchFailed."""
    sealed, peak_mib = await _run(engine, here, plan, workers_count, DEBIT_ON)
    async with engine.connect() as connection:
        amounts = await _charged(connection, plan)
        stored = await connection.scalar(
            text("SELECT pg_total_relation_size('posting_segments') + pg_total_relation_size('journals')")
        )
    entries = int(np.count_nonzero(amounts))
    return Ours(sealed, phase_seconds(sealed.moments), int(stored or 0) / entries, peak_mib, amounts)


async def _at_once() -> None:
    """There is nothing to wait for."""


async def _run(
    engine: AsyncEngine,
    here: Addresses,
    plan: Plan,
    workers_count: int,
    debit_on: date,
    ready: Callable[[], Awaitable[None]] = _at_once,
) -> tuple[Run, int]:
    """Plan, preview, approve by another once all is `ready`, post and seal, with real workers; a worker's peak in MiB.

    Raises BenchFailed.
    """
    async with engine.begin() as connection:
        run = await plan_run(connection, plan, debit_on, actor=PLANNER)
    async with doorbell(here.redis_url) as bell:
        with worker_processes(workers_count, here, quiet=True) as processes:
            await _until_beating(engine, len(processes))
            await bell.ring(run.run_id, "planned", times=workers_count)
            await _reach(engine, run, RunState.PREVIEWED)
            await ready()
            async with engine.begin() as connection:
                await approve(connection, run.run_id, actor=APPROVER)
            await bell.ring(run.run_id, "approved", times=workers_count)
            sealed = await _reach(engine, run, RunState.SEALED)
            return sealed, await _worker_peak_mib(engine)


async def _reach(engine: AsyncEngine, run: Run, state: RunState) -> Run:
    reached = await follow(engine, run.run_id, console)
    if reached.state is not state:
        raise BenchFailed(f"run {run.run_id} is {reached.state}, not {state}: {reached.failure}")
    return reached


async def _until_beating(engine: AsyncEngine, count: int) -> None:
    """Wait until every worker has said that it lives: starting an interpreter is no part of a run."""
    for _ in range(600):
        async with engine.connect() as connection:
            if await connection.scalar(select(func.count()).select_from(workers)) == count:
                return
        await asyncio.sleep(0.1)
    raise BenchFailed(f"{count} workers did not start within a minute")


async def _worker_peak_mib(engine: AsyncEngine) -> int:
    """The most memory a worker ever held, once every worker has said so since now."""
    async with engine.connect() as connection:
        now = await connection.scalar(select(func.clock_timestamp()))
    for _ in range(100):
        async with engine.connect() as connection:
            oldest, peak = (
                await connection.execute(select(func.min(workers.c.beat_at), func.max(workers.c.memory_mib)))
            ).one()
        if oldest is not None and oldest > now:
            return int(peak)
        await asyncio.sleep(0.1)
    raise BenchFailed("a worker's heartbeat stopped")


async def _charged(connection: AsyncConnection, plan: Plan) -> Amounts:
    """int64[members]: what the run's segments charge each seat, in seat order."""
    receivable = account_id(plan.plan_id, Account.CONTRIBUTIONS_RECEIVABLE)
    found = await connection.execute(
        select(shards.c.shard_id, shards.c.seats)
        .where(shards.c.plan_id == plan.plan_id, shards.c.number > 0)
        .order_by(shards.c.number)
    )
    columns = (posting_segments.c.amounts.type, posting_segments.c.positions.type)
    parts = []
    for shard_id, seats in found.tuples():
        ((amounts, positions),) = await copy_out(
            connection,
            "SELECT amounts, positions FROM posting_segments WHERE shard_id = $1 AND account_id = $2",
            [shard_id, receivable],
            columns,
        )
        parts.append(Segment(receivable, amounts, positions).dense(seats))
    return np.concatenate(parts)


async def _machine(engine: AsyncEngine, here: Addresses) -> dict[str, Any]:
    async with engine.connect() as connection:
        postgres = await connection.scalar(select(func.current_setting("server_version")))
        fsync = await connection.scalar(select(func.current_setting("fsync")))
    redis = Redis.from_url(here.redis_url)
    try:
        server = await redis.info("server")
    finally:
        await redis.aclose()
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "python": platform.python_version(),
        "postgres": postgres,
        "valkey": server.get("valkey_version", server["redis_version"]),
        "fsync": fsync,
    }


async def _outside_transaction(engine: AsyncEngine, *statements: str) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))


def _report(ours: Ours, theirs: dict[str, Measured]) -> dict[str, Any]:
    def ratio(name: str) -> float:
        return round(ours.members_per_second / theirs[name].members_per_second, 2)

    return {
        "members": ours.amounts.size,
        "members_per_second": round(ours.members_per_second),
        **{f"ratio_{name}": ratio(name) for name in theirs},
        "bytes_per_entry": round(ours.bytes_per_entry, 2),
        "worker_peak_mib": ours.worker_peak_mib,
        "total": to_major(int(ours.amounts.sum())),
        "phases": phase_table(ours.seconds, ours.amounts.size),
        "alternatives": {name: _measured_json(measured) for name, measured in theirs.items()},
    }


def _measured_json(measured: Measured) -> dict[str, Any]:
    return {
        "members": measured.members,
        "seconds": round(measured.seconds, 4),
        "members_per_second": round(measured.members_per_second),
        "bytes_per_entry": round(measured.bytes_per_entry, 2),
        "total": to_major(measured.total_minor),
    }


def _print(outcome: dict[str, Any]) -> None:
    phases = Table("phase", "seconds", "members/s", title="Ours")
    for phase, row in outcome["phases"].items():
        phases.add_row(phase, f"{row['seconds']:.2f}", f"{row['members_per_second']:,.0f}")
    layouts = Table("layout", "members", "seconds", "members/s", "bytes/entry", "ours is", title="Other layouts")
    for alternative in ALTERNATIVES:
        row = outcome["alternatives"][alternative.name]
        layouts.add_row(
            alternative.title,
            f"{row['members']:,}",
            f"{row['seconds']:.2f}",
            f"{row['members_per_second']:,.0f}",
            f"{row['bytes_per_entry']:.1f}",
            f"{outcome[f'ratio_{alternative.name}']:.1f}×",
        )
    budgets = Table("budget", "must", "aim", "measured", "met", title=f"Budgets, {outcome['members']:,} members")
    for budget in BUDGETS:
        measured = outcome[budget.key]
        sign = "≥" if budget.good == "above" else "≤"
        budgets.add_row(
            budget.title, f"{sign} {budget.must:,.10g}", f"{sign} {budget.aim:,.10g}", f"{measured:,.10g}",
            budget.verdict(measured),
        )  # fmt: skip
    for table in (phases, layouts, custodian_table(outcome), api_table(outcome), lists_table(outcome), budgets):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)
