"""`fentan queue`: what waits for the workers, pausing it, trying again what failed, and letting a worker end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.answer import print_json
from engine.cli.options import As
from engine.cli.shell import in_database, notify
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX
from engine.operations.failures import Chosen, Group, Retried, failures
from engine.operations.failures import retry as retry_failures
from engine.operations.queues import Measured, measured
from engine.operations.workers import Worker, list_workers
from engine.operations.workers import drain as drain_worker
from engine.runs.conductor import due_runs
from engine.settings import Settings
from engine.store.pauses import Pause, Queue, pauses
from engine.store.pauses import pause as pause_queues
from engine.store.pauses import resume as resume_queues

app = typer.Typer(no_args_is_help=True, help="Queues and workers: look, pause, resume, retry, drain.")
console = Console(markup=False, highlight=False)

ROWS_MAX = 1_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OneQueue = Annotated[Queue, typer.Argument(metavar="QUEUE", help="measure, post, reverse, send, jobs or webhooks.")]
SomeQueue = Annotated[Queue | None, typer.Argument(metavar="[QUEUE]", help="Which; or --all.")]
Every = Annotated[bool, typer.Option("--all", help="Every queue.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks next.")]


Number = Annotated[int | None, typer.Option(metavar="NUMBER", min=1, max=BIGINT_MAX, help="Only of this.")]


def _chosen(queue: Queue | None, every: bool) -> Sequence[Queue]:
    if (queue is None) == (not every):
        raise InvalidInput(f"name one queue ({', '.join(Queue)}), or --all")
    return tuple(Queue) if queue is None else (queue,)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every queue: what waits and how long already, what is in hand, what failed, how fast it goes, who paused it."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Measured]:
        async with engine.connect() as connection:
            return await measured(connection, now=datetime.now(UTC))

    found = in_database(listed)
    if as_json:
        print_json([asdict(each) | {"done": each.done._asdict()} for each in found])
        return
    table = Table("queue", "waiting", "oldest", "in hand", "failed", "done in 1 min", "5 min", "1 h", "paused")
    for each in found:
        counts = (each.depth, each.in_flight, each.failed, *each.done)
        waiting, in_hand, failed, *done = (f"{count:,}" for count in counts)
        oldest = "" if each.oldest_seconds is None else f"{each.oldest_seconds:,} s"
        table.add_row(each.pause.queue, waiting, oldest, in_hand, failed, *done, _said(each.pause))
    console.print(table)


@app.command()
def pause(reason: Reason, actor: As, queue: SomeQueue = None, every: Every = False) -> None:
    """Let nobody take from a queue, or from all; what is in hand ends."""
    chosen = _chosen(queue, every)

    async def paused(engine: AsyncEngine, _: Settings) -> dict[Queue, Pause]:
        async with engine.begin() as connection:
            await pause_queues(connection, chosen, reason=reason, actor=actor, now=datetime.now(UTC))
            return await pauses(connection)

    found = in_database(paused)
    for each in chosen:
        console.print(f"{each} is paused: {_said(found[each])}", soft_wrap=True)


@app.command()
def resume(actor: As, queue: SomeQueue = None, every: Every = False) -> None:
    """Let a queue be worked on again, or all."""
    chosen = _chosen(queue, every)

    async def resumed(engine: AsyncEngine, settings: Settings) -> None:
        async with engine.begin() as connection:
            await resume_queues(connection, chosen, actor=actor)
            due = [run_id for run_id, _ in await due_runs(connection)]
        await _ring(settings, due, "resumed")

    in_database(resumed)
    for each in chosen:
        console.print(f"{each} is worked on")


@app.command("failures")
def failures_(queue: OneQueue, as_json: AsJson = False) -> None:
    """What failed in a queue, grouped by its error, the largest group first."""

    async def found(engine: AsyncEngine, _: Settings) -> list[Group]:
        async with engine.connect() as connection:
            return await failures(connection, queue, limit=ROWS_MAX)

    groups = in_database(found)
    if as_json:
        print_json([asdict(group) for group in groups])
        return
    for group in groups:
        console.print(f"{group.count:,} × {group.error}", soft_wrap=True)
        for item in group.samples:
            console.print("    " + ", ".join(f"{name.removesuffix('_id')} {number}" for name, number in item.items()))
    if not groups:
        console.print(f"nothing failed in {queue}")


@app.command()
def retry(
    queue: OneQueue,
    reason: Reason,
    actor: As,
    error: Annotated[str | None, typer.Option(help="Only what failed with just this error.")] = None,
    run: Number = None,
    shard: Number = None,
    batch: Number = None,
    job: Number = None,
    message: Number = None,
    webhook: Number = None,
) -> None:
    """Try again what failed in a queue: all of it, or what the options choose."""
    chosen = Chosen(error, run, shard, batch, job, message, webhook)

    async def retried(engine: AsyncEngine, settings: Settings) -> Retried:
        async with engine.begin() as connection:
            done = await retry_failures(connection, queue, chosen, reason=reason, actor=actor)
        await _ring(settings, done.runs, "retried")
        return done

    console.print(f"{in_database(retried).count:,} of {queue} are due again")


@app.command()
def workers(as_json: AsJson = False) -> None:
    """The workers that were heard of in the last hour, and what each has in hand."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Worker]:
        async with engine.connect() as connection:
            return await list_workers(connection, limit=ROWS_MAX)

    found, now = in_database(listed), datetime.now(UTC)
    if as_json:
        print_json([asdict(each) | {"is_lost": each.is_lost(now)} for each in found])
        return
    table = Table("worker", "version", "started", "last heard of", "shard", "memory", "")
    for each in found:
        heard = f"{max(int((now - each.beat_at).total_seconds()), 0):,} s ago"
        memory = "" if each.memory_mib is None else f"{each.memory_mib:,} MiB"
        how = "lost" if each.is_lost(now) else "draining" if each.draining else ""
        started = f"{each.started_at:%Y-%m-%d %H:%M}"
        table.add_row(each.worker, each.version, started, heard, str(each.shard_id or ""), memory, how)
    console.print(table)


@app.command()
def drain(
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="Its name, as `fentan queue workers` says.")],
    reason: Reason,
    actor: As,
) -> None:
    """Ask a worker to take nothing more, and to end after what is in hand."""

    async def drained(engine: AsyncEngine, _: Settings) -> None:
        async with engine.begin() as connection:
            await drain_worker(connection, worker, reason=reason, actor=actor)

    in_database(drained)
    console.print(f"{worker} ends after what it has in hand", soft_wrap=True)


def _said(pause: Pause) -> str:
    """Who paused a queue, since when, and why; nothing while it is worked on."""
    return (
        "" if pause.paused_at is None else f"by {pause.paused_by} at {pause.paused_at:%Y-%m-%d %H:%M}: {pause.reason}"
    )


async def _ring(settings: Settings, runs: Sequence[int], what: str) -> None:
    for run_id in runs:
        await notify(settings, run_id, f"{what}:{datetime.now(UTC).timestamp()}")
