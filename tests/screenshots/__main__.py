"""`python -m tests.screenshots --stay`: the office on a day of its life, to look at and to click through."""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress

import typer

from tests.screenshots.month import MUTUAL, TODAY, live
from tests.screenshots.office import PEOPLE, Office, open_office


async def stay(port: int) -> None:
    """Build the world, say how to come in, and wait for Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_office(port) as office:
        typer.echo("building the world: some minutes")
        living = asyncio.create_task(live(office))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not living.done():
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living
            return
        await living
        await tell(office)
        await stopping


async def tell(office: Office) -> None:
    """Where it is, and who may come in."""
    typer.echo(f"\n{office.served.url}   {TODAY}, 10:40 in Shanghai, and no worker is there\n")
    for name, role in PEOPLE.items():
        typer.echo(f"  {role:10} {name:10} {office.people[name].token}")
    typer.echo(f"\n  a member   {office.served.url}/share, plan {MUTUAL}, or by a link that opens once:")
    for ref in ("M25", "M1", "M65539"):
        typer.echo(f"             {office.served.url}{await office.link(MUTUAL, ref)}")
    typer.echo("\nCtrl-C ends it and removes everything")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="serve the world until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="where it listens; 0: wherever is free")
    given = parser.parse_args()
    asyncio.run(stay(given.port))


if __name__ == "__main__":
    main()
