"""`python -m tests.screenshots`: every page in docs/screenshots; with `--stay` the world they show, to look at."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress

import typer

from engine.errors import FentanError
from tests.screenshots.camera import chromium, take_all
from tests.screenshots.month import MUTUAL, TODAY, Month, live
from tests.screenshots.office import PEOPLE, Office, open_office
from tests.screenshots.pictures import FOLDER
from tests.screenshots.shown import shown_of
from tests.screenshots.today import arrange


async def stay(port: int) -> None:
    """Build the world, say how to come in, and wait for Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_office(port) as office:
        typer.echo("building the world: some minutes")
        living = asyncio.create_task(build(office))
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


async def build(office: Office) -> Month:
    """The world: a month, and the morning after it."""
    month = await live(office)
    await arrange(month)
    return month


async def tell(office: Office) -> None:
    """Where it is, and who may come in."""
    typer.echo(f"\n{office.served.url}   {TODAY}, 10:40 in Shanghai, and no worker is there\n")
    for name, role in PEOPLE.items():
        typer.echo(f"  {role:10} {name:10} {office.people[name].token}")
    typer.echo(f"\n  a member   {office.served.url}/share, plan {MUTUAL}, or by a link that opens once:")
    for ref in ("M25", "M1", "M65539"):
        typer.echo(f"             {office.served.url}{await office.link(MUTUAL, ref)}")
    typer.echo("\nCtrl-C ends it and removes everything")


async def take() -> None:
    """Build the world, and take every picture."""
    chromium()
    async with open_office() as office:
        typer.echo("building the world: some minutes")
        shown = await shown_of(await build(office))
        changed = await take_all(office, shown)
    kibibytes = sum(file.stat().st_size for file in FOLDER.iterdir()) // 1024
    typer.echo(f"{len(list(FOLDER.iterdir()))} pictures, {kibibytes:,} KiB, {len(changed)} of them new or changed")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="serve the world until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="where it listens; 0: wherever is free")
    given = parser.parse_args()
    try:
        asyncio.run(stay(given.port) if given.stay else take())
    except FentanError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
