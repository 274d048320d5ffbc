"""Processes of the service: started as children, watched, and stopped with whoever started them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.roles import Role
from engine.access.tokens import issue, revoke, set_expiry
from engine.cli.options import Host, Port
from engine.cli.shell import Addresses, addresses, child_environment, start
from engine.errors import FentanError
from engine.store.database import AWAY, engine_on, prepare
from engine.store.database import migrate as migrate_schema
from engine.store.embedded import Embedded
from workers.supervisor import run_worker

LOOK_SECONDS = 1.0
STOP_SECONDS = 30.0
"""How long a worker may take to finish the shard in hand; then it is killed, which loses nothing."""

ADMIN_LIFE = timedelta(minutes=5)
"""How long the token that `up` prints may outlive an `up` that was killed; one that lives extends it all the time."""

EXTEND_SECONDS = 20.0

Child = subprocess.Popen[bytes]

log = structlog.get_logger()


class ChildEnded(FentanError):
    """A process that the others cannot do without has ended."""


@contextmanager
def worker_processes(count: int, found: Addresses, *, quiet: bool = False) -> Iterator[list[Child]]:
    """`count` workers for the length of a block; `quiet` ones log only what goes wrong."""
    quietly = {"FENTAN_LOG_LEVEL": "error"} if quiet else {}
    with _children([["worker"]] * count, child_environment(found) | quietly) as processes:
        yield processes


@contextmanager
def api_process(found: Addresses, settings: Mapping[str, str]) -> Iterator[str]:
    """An API on a free port for the length of a block; its address. Raises ChildEnded when it does not start."""
    with _children([["api", "--port", "0"]], {**child_environment(found), **settings}, subprocess.PIPE) as [api]:
        assert api.stdout is not None
        if not (address := api.stdout.readline().decode().strip()):
            raise ChildEnded("the API did not start")
        yield address


@contextmanager
def _children(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], stdout: int | None = None
) -> Iterator[list[Child]]:
    """More processes of `fentan` for the length of a block; they end with this one, however that ends."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "engine.cli.main", *command, "--tethered"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=stdout,
            start_new_session=True,
        )
        for command in commands
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
            if process.stdout is not None:
                process.stdout.close()


def worker(
    tethered: Annotated[bool, typer.Option("--tethered", hidden=True, help="Stop when standard input ends.")] = False,
) -> None:
    """One worker in the foreground: it answers the doorbell and sweeps. SIGTERM lets it finish the shard in hand."""
    settings = start()
    with addresses(settings, serving=True) as found:
        asyncio.run(_prepared(found))
        # The other end of its standard input is held by whoever started it: that ends however they do.
        tether = sys.stdin.fileno() if tethered else None
        asyncio.run(run_worker(found.database_url, found.redis_url, settings, tether))


def up(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    port: Port = None,
    host: Host = None,
) -> None:
    """Servers, the HTTP API and workers in the foreground; Ctrl-C stops all of them. Prints a first admin's token."""
    settings = start()
    at = ["--port", str(settings.api_port if port is None else port), "--host", host or settings.api_host]
    with addresses(settings, serving=True) as found:
        asyncio.run(_up(found, workers, at))


async def _up(found: Addresses, workers: int, at: Sequence[str]) -> None:
    """Raises ChildEnded when the API ends by itself, EmbeddedServerError when a server did and does not start again."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await _prepared(found)
    with (
        worker_processes(workers, found) as processes,
        _children([["api", *at]], child_environment(found), subprocess.PIPE) as [api],
    ):
        assert api.stdout is not None
        async with AsyncExitStack() as while_up:
            # It says where it listens, or ends and has said why not.
            if address := (await asyncio.to_thread(api.stdout.readline)).decode().strip():
                _welcome(address, await while_up.enter_async_context(_admin_token(found.database_url)), workers)
            await _watch(processes, api, found.embedded, stop)


@asynccontextmanager
async def _admin_token(database_url: str) -> AsyncIterator[str]:
    """A new admin's token for the length of a block. Of each `up` its own: another one neither has it nor ends it."""
    async with engine_on(database_url) as engine:
        async with engine.begin() as connection:
            now = datetime.now(UTC)
            token, text = await issue(connection, "admin", Role.ADMIN, days=1, now=now, actor="fentan up")
            await set_expiry(connection, token.token_id, now + ADMIN_LIFE)
        extending = asyncio.create_task(_extend(engine, token.token_id))
        try:
            yield text
        finally:
            extending.cancel()
            with suppress(asyncio.CancelledError):
                await extending
            try:
                async with engine.begin() as connection:
                    await revoke(connection, token.token_id, now=datetime.now(UTC), actor="fentan up")
            except AWAY as error:
                log.warning("token not revoked; it expires in minutes", error=type(error).__name__)


async def _extend(engine: AsyncEngine, token_id: int) -> None:
    """Keep a token from expiring for as long as this process lives."""
    while True:
        await asyncio.sleep(EXTEND_SECONDS)
        try:
            async with engine.begin() as connection:
                await set_expiry(connection, token_id, datetime.now(UTC) + ADMIN_LIFE)
        except AWAY as error:
            log.warning("token not extended", error=type(error).__name__)


def _welcome(address: str, text: str, workers: int) -> None:
    """Where the console and the API are and a token for both, as a shell takes them."""
    crew = f"{workers} worker{'' if workers == 1 else 's'}"
    typer.echo(f"the console, the API and {crew} are up at {address}; sign in with this token. Ctrl-C stops them all")
    typer.echo(f"export FENTAN_API_URL={address}")
    typer.echo(f"export FENTAN_API_TOKEN={text}")


async def _watch(processes: Sequence[Child], api: Child, embedded: Embedded | None, stop: asyncio.Event) -> None:
    up_still = list(processes)
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        if stop.is_set():
            return
        if api.poll() is not None:
            raise ChildEnded(f"the API has ended by itself (exit code {api.returncode}); the workers stop as well")
        for process in [each for each in up_still if each.poll() is not None]:
            up_still.remove(process)
            # Asked by nobody here, a worker ends well only where somebody drained it.
            how = "has ended" if process.returncode else "was drained"
            typer.echo(f"a worker {how}; {len(up_still)} go on until Ctrl-C", err=True)
        if embedded is not None:
            await _bring_back(embedded)


async def _bring_back(embedded: Embedded) -> None:
    """Start again the servers that have ended. Raises EmbeddedServerError."""
    for name in embedded.lost():
        typer.echo(f"{name} has ended by itself; it is started again", err=True)
        await asyncio.to_thread(embedded.bring_back, name)
        typer.echo(f"{name} runs again", err=True)


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
