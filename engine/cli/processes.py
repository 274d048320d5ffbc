"""Worker processes: started as children, watched, and stopped with whoever started them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from engine.cli.shell import Addresses, addresses, child_environment, start
from engine.store.database import engine_on, prepare
from engine.store.database import migrate as migrate_schema
from workers.supervisor import run_worker

LOOK_SECONDS = 1.0
STOP_SECONDS = 30.0
"""How long a worker may take to finish the shard in hand; then it is killed, which loses nothing."""


@contextmanager
def worker_processes(count: int, found: Addresses, *, quiet: bool = False) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`count` workers for the length of a block; `quiet` ones log only what goes wrong."""
    environment = child_environment(found)
    if quiet:
        environment["FENTAN_LOG_LEVEL"] = "error"
    command = [sys.executable, "-m", "engine.cli.main", "worker", "--tethered"]
    processes = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True) for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            if process.stdin is not None:
                process.stdin.close()
        for process in processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def worker(
    tethered: Annotated[bool, typer.Option("--tethered", hidden=True, help="Stop when standard input ends.")] = False,
) -> None:
    """One worker in the foreground: it answers the doorbell and sweeps. SIGTERM lets it finish the shard in hand."""
    settings = start()
    with addresses(settings) as found:
        asyncio.run(_prepared(found))
        # The other end of its standard input is held by whoever started it: that ends however they do.
        tether = sys.stdin.fileno() if tethered else None
        asyncio.run(run_worker(found.database_url, found.redis_url, settings, tether))


def up(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
) -> None:
    """Servers and workers in the foreground; Ctrl-C stops all of them."""
    settings = start()
    with addresses(settings) as found:
        asyncio.run(_up(found, workers))


async def _up(found: Addresses, workers: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await _prepared(found)
    with worker_processes(workers, found) as processes:
        typer.echo(f"{workers} workers are up; Ctrl-C stops them")
        up_still = len(processes)
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
            alive = sum(process.poll() is None for process in processes)
            if alive < up_still and not stop.is_set():
                typer.echo(f"a worker has ended; {alive} go on until Ctrl-C", err=True)
            up_still = alive


def migrate() -> None:
    """Bring the schema of the database up to date."""
    settings = start()
    with addresses(settings, redis=False) as found:
        asyncio.run(_migrated(found))
    typer.echo("the schema is up to date")


async def _prepared(found: Addresses) -> None:
    async with engine_on(found.database_url) as engine:
        await prepare(engine)


async def _migrated(found: Addresses) -> None:
    async with engine_on(found.database_url) as engine:
        await migrate_schema(engine)
