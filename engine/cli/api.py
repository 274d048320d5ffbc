"""`fentan api`: the HTTP API in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

from engine.api.application import application, listening, service_on
from engine.cli.options import Host, Port
from engine.cli.shell import addresses, start
from engine.console.application import with_console
from engine.custodian.desk import Desk
from engine.errors import InvalidInput
from engine.settings import Settings
from engine.store.database import engine_on, prepare


def api(
    port: Port = None,
    host: Host = None,
    tethered: Annotated[bool, typer.Option("--tethered", hidden=True, help="Stop when standard input ends.")] = False,
) -> None:
    """The HTTP API in the foreground: it prints its address. SIGTERM lets it finish the requests under way."""
    settings = start()
    with addresses(settings, serving=True) as found:
        tether = sys.stdin.fileno() if tethered else None
        at = (host or settings.api_host, settings.api_port if port is None else port)
        asyncio.run(_serve(found.database_url, found.redis_url, settings, at, tether))


async def _serve(
    database_url: str, redis_url: str, settings: Settings, at: tuple[str, int], tether: int | None
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if tether is not None:
        loop.add_reader(tether, stop.set)
    async with engine_on(database_url) as engine:
        await prepare(engine)
    try:
        async with (
            service_on(database_url, redis_url, settings, Desk.of(settings, os.environ)) as service,
            listening(with_console(application(service)), *at) as port,
        ):
            typer.echo(f"http://{f'[{at[0]}]' if ':' in at[0] else at[0]}:{port}")
            await stop.wait()
    except OSError as error:
        code = error.errno or 0
        why = os.strerror(code) if code > 0 else error.strerror
        raise InvalidInput(f"cannot listen on {at[0]}, port {at[1]}: {why}; name others with --host, --port") from None
