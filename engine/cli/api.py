"""`fentan api`: the HTTP API in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

from engine.api.application import application, listening, service_on
from engine.cli.shell import addresses, start
from engine.custodian.desk import Desk
from engine.settings import Settings
from engine.store.database import engine_on, prepare

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Where it answers; 0: any free one. [default: api_port]")
]


def api(
    port: Port = None,
    host: Annotated[str | None, typer.Option(help="The address it listens on. [default: api_host]")] = None,
    tethered: Annotated[bool, typer.Option("--tethered", hidden=True, help="Stop when standard input ends.")] = False,
) -> None:
    """The HTTP API in the foreground. SIGTERM lets it finish the requests under way."""
    settings = start()
    with addresses(settings) as found:
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
    async with (
        service_on(database_url, redis_url, settings, Desk.of(settings, os.environ)) as service,
        listening(application(service), *at) as port,
    ):
        typer.echo(f"http://{at[0]}:{port}/v1/openapi.json")
        await stop.wait()
