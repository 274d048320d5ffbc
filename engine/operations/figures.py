"""The figures that are watched: numbers by their labels, read cheaply and in parts, so that one may fail alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import Selection, weigh_breaks
from engine.custodian.breaks import Severity
from engine.custodian.registered import Custodian, list_custodians
from engine.operations.queues import WINDOWS, measured
from engine.operations.workers import list_workers
from engine.reconcile.proof_rows import is_parked
from engine.runs.shards import Phase, ShardState
from engine.runs.states import AT_WORK, RunState
from engine.store.tables import (
    PLAN_STRIDE,
    plans,
    run_shards,
    shards,
    share_runs,
    statement_lines,
    statements,
)
from engine.store.views import journal_lines

WORKERS_MAX = 1_000
"""Workers that are watched one by one."""


class Figure(NamedTuple):
    """What a number says, and what its labels are called."""

    says: str
    labels: tuple[str, ...] = ()


FIGURES: Mapping[str, Figure] = {
    "fentan_runs": Figure("Share runs by state.", ("state",)),
    "fentan_runs_paused": Figure("Runs that workers could move on and somebody paused, or that a refusal holds."),
    "fentan_run_shards": Figure("Shards of runs under way.", ("phase", "state")),
    "fentan_queue_depth": Figure("What waits for a worker.", ("queue",)),
    "fentan_queue_oldest_seconds": Figure("How long the first of what waits has waited; 0: nothing waits.", ("queue",)),
    "fentan_queue_in_flight": Figure("What is in a worker's hand.", ("queue",)),
    "fentan_queue_failed": Figure("What failed; of files those whose last try did.", ("queue",)),
    "fentan_queue_done": Figure("What was done in the last minute, five minutes, hour.", ("queue", "window")),
    "fentan_queue_paused": Figure("1: somebody paused the queue.", ("queue",)),
    "fentan_workers": Figure("Workers heard of in the last hour: alive, draining, lost.", ("state",)),
    "fentan_worker_beat_age_seconds": Figure("Since the worker's last heartbeat.", ("worker",)),
    "fentan_worker_memory_mebibytes": Figure("The most memory the worker ever held.", ("worker",)),
    "fentan_journals": Figure("Journals posted.", ("plan",)),
    "fentan_trial_balance_difference_minor": Figure(
        "Debit less credit over all journals, in minor units: 0, or the ledger is broken (I1).", ("plan",)
    ),
    "fentan_breaks": Figure("Breaks that still want somebody.", ("custodian", "severity")),
    "fentan_suspense_minor": Figure("What stands on suspense for open breaks, in minor units.", ("custodian",)),
    "fentan_statement_days_behind": Figure(
        "Days from the last one that a taken statement speaks of to today; none: no statement was taken.",
        ("custodian",),
    ),
    "fentan_statements_parked": Figure("Statements that wait for a person.", ("custodian",)),
    "fentan_lines_pending": Figure("Statement lines that wait for the next statement.", ("custodian",)),
}
"""All of them, by name. All are gauges."""


class Reading(NamedTuple):
    """One number: the name of its figure, the values of its labels, how much."""

    name: str
    labels: tuple[str, ...]
    value: float


Readings = AsyncIterator[Reading]


class Part(NamedTuple):
    """Figures that are read together, in a transaction of their own, no more often than they change or cost."""

    read: Callable[[AsyncConnection, datetime], Readings]
    every: timedelta = timedelta(0)


async def _runs(connection: AsyncConnection, _: datetime) -> Readings:
    of = share_runs.c
    held = func.count().filter(of.paused, of.state.in_(AT_WORK))
    found = {row.state: row for row in await connection.execute(
        select(of.state, func.count().label("runs"), held.label("held")).group_by(of.state)
    )}  # fmt: skip
    for state in RunState:
        yield Reading("fentan_runs", (state,), found[state].runs if state in found else 0)
    yield Reading("fentan_runs_paused", (), sum(row.held for row in found.values()))


async def _run_shards(connection: AsyncConnection, _: datetime) -> Readings:
    of = run_shards.c
    under_way = select(share_runs.c.run_id).where(share_runs.c.state.in_(AT_WORK))
    counted = select(of.phase, of.state, func.count()).where(of.run_id.in_(under_way)).group_by(of.phase, of.state)
    found = {(phase, state): count for phase, state, count in await connection.execute(counted)}
    for phase in Phase:
        for state in ShardState:
            yield Reading("fentan_run_shards", (phase, state), found.get((phase, state), 0))


async def _queues(connection: AsyncConnection, now: datetime) -> Readings:
    windows = [f"{int(window.total_seconds())}s" for window in WINDOWS]
    for each in await measured(connection, now=now):
        labels = (str(each.pause.queue),)
        yield Reading("fentan_queue_depth", labels, each.depth)
        yield Reading("fentan_queue_oldest_seconds", labels, each.oldest_seconds or 0)
        yield Reading("fentan_queue_in_flight", labels, each.in_flight)
        yield Reading("fentan_queue_failed", labels, each.failed)
        yield Reading("fentan_queue_paused", labels, each.pause.paused_at is not None)
        for window, done in zip(windows, each.done, strict=True):
            yield Reading("fentan_queue_done", (*labels, window), done)


async def _workers(connection: AsyncConnection, now: datetime) -> Readings:
    found = await list_workers(connection, limit=WORKERS_MAX)
    states = Counter("lost" if each.is_lost(now) else "draining" if each.draining else "alive" for each in found)
    for state in ("alive", "draining", "lost"):
        yield Reading("fentan_workers", (state,), states[state])
    for each in found:
        age = max((now - each.beat_at).total_seconds(), 0)
        yield Reading("fentan_worker_beat_age_seconds", (each.worker,), age)
        yield Reading("fentan_worker_memory_mebibytes", (each.worker,), each.memory_mib or 0)


async def _ledger(connection: AsyncConnection, _: datetime) -> Readings:
    posted = select(plans.c.code, func.sum(shards.c.seq)).join(shards, shards.c.plan_id == plans.c.plan_id)
    for plan, count in await connection.execute(posted.group_by(plans.c.code)):
        yield Reading("fentan_journals", (plan,), float(count))
    plan_id = (journal_lines.c.shard_id // literal(PLAN_STRIDE)).label("plan_id")
    sums = select(plan_id, func.sum(journal_lines.c.amount).label("difference")).group_by(plan_id).subquery()
    differences = select(plans.c.code, func.coalesce(sums.c.difference, 0)).outerjoin(
        sums, sums.c.plan_id == plans.c.plan_id
    )
    for plan, difference in await connection.execute(differences):
        yield Reading("fentan_trial_balance_difference_minor", (plan,), float(difference))


async def _breaks(connection: AsyncConnection, now: datetime) -> Readings:
    custodians = await list_custodians(connection)
    for custodian in custodians:
        on = _today(custodian, now)
        weighed = await weigh_breaks(connection, Selection(custodian=custodian.code), custodians, on=on)
        numbers = {each.severity: each.number for each in weighed}
        for severity in Severity:
            yield Reading("fentan_breaks", (custodian.code, severity.name.lower()), numbers.get(severity, 0))
        yield Reading("fentan_suspense_minor", (custodian.code,), sum(each.suspense_minor for each in weighed))


async def _statements(connection: AsyncConnection, now: datetime) -> Readings:
    of = statements.c
    counted = select(
        of.custodian_id,
        func.max(of.to_on).filter(of.books, of.state == "taken").label("through"),
        func.count().filter(is_parked()).label("parked"),
    ).group_by(of.custodian_id)
    waiting = (
        select(of.custodian_id, func.count().label("lines"))
        .join(statement_lines, statement_lines.c.statement_id == of.statement_id)
        .where(statement_lines.c.outcome == "pending")
        .group_by(of.custodian_id)
    )
    found = {row.custodian_id: row for row in await connection.execute(counted)}
    pending = {row.custodian_id: row.lines for row in await connection.execute(waiting)}
    for custodian in await list_custodians(connection):
        labels, row = (custodian.code,), found.get(custodian.custodian_id)
        if row is not None and row.through is not None:
            behind = max((_today(custodian, now) - row.through).days, 0)
            yield Reading("fentan_statement_days_behind", labels, behind)
        yield Reading("fentan_statements_parked", labels, row.parked if row is not None else 0)
        yield Reading("fentan_lines_pending", labels, pending.get(custodian.custodian_id, 0))


def _today(custodian: Custodian, now: datetime) -> date:
    return now.astimezone(ZoneInfo(custodian.profile.time_zone)).date()


PARTS: Mapping[str, Part] = {
    "runs": Part(_runs),
    "shards": Part(_run_shards),
    "queues": Part(_queues),
    "workers": Part(_workers),
    # It reads every journal there is.
    "ledger": Part(_ledger, every=timedelta(minutes=5)),
    "breaks": Part(_breaks),
    "statements": Part(_statements),
}
"""The figures by what they are about."""
