"""How files go to a custodian and come back: one way in for all kinds of transport."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from engine.custodian.desk import Desk
from engine.custodian.profile import Profile
from engine.custodian.registered import Custodian
from engine.custodian.routes import HttpRoute, SftpRoute
from engine.custodian.transports.folder import Folder
from engine.custodian.transports.http import opened as over_http
from engine.custodian.transports.passing import UNFINISHED
from engine.custodian.transports.refused import NotTaken, Unsure
from engine.custodian.transports.sftp import opened as over_sftp

__all__ = ["NotTaken", "Transport", "Unsure", "fetch_new", "set_aside", "transport_of"]

_TAKEN = "taken"


class Transport(Protocol):
    """A custodian as it is reached. Both raise NotTaken where it is not, or OSError for what is wrong with our disk."""

    async def put(self, file: Path) -> None:
        """Give it a file, under the file's name; the same file again changes nothing there.

        Raises Unsure where it may have it.
        """
        ...

    async def fetch(self, into: Path, known: frozenset[str]) -> None:
        """Bring what it has ready into a folder, each whole or not at all, but what is `known` by its name."""
        ...


@asynccontextmanager
async def transport_of(profile: Profile, desk: Desk) -> AsyncIterator[Transport]:
    """The way to a custodian, for the length of a block.

    Raises InvalidInput where a variable of the environment or an extra is missing, NotTaken when nobody answers.
    """
    route = profile.transport
    if isinstance(route, HttpRoute):
        async with over_http(route, desk.environment) as http:
            yield http
    elif isinstance(route, SftpRoute):
        async with over_sftp(route, desk.environment) as sftp:
            yield sftp
    else:
        yield Folder(desk.folder(profile.code, "out"))


async def fetch_new(custodian: Custodian, desk: Desk) -> list[Path]:
    """What the custodian sent that was not set aside yet, brought into its folder `in`, in the order of names.

    Killed anywhere it is as if it had not begun, or is whole: a file is new until `set_aside`. Raises NotTaken, and
    InvalidInput as `transport_of`.
    """
    folder = desk.folder(custodian.code, "in")
    known = frozenset(path.name for path in (*folder.glob("*"), *(folder / _TAKEN).glob("*")))
    async with transport_of(custodian.profile, desk) as transport:
        await transport.fetch(folder, known)
    return sorted((path for path in folder.iterdir() if path.is_file() and _is_whole(path)), key=_in_order)


def set_aside(file: Path) -> Path:
    """Put a file away that was taken, so that it is not new any more; where it lies then."""
    folder = file.parent / _TAKEN
    folder.mkdir(mode=0o700, exist_ok=True)
    return file.replace(folder / file.name)


def _in_order(path: Path) -> list[tuple[int, str]]:
    """By name, its numbers as numbers: statement-10 comes after statement-9."""
    return [(int(each), "") if each.isdecimal() else (0, each) for each in re.split("([0-9]+)", path.name)]


def _is_whole(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.name.endswith((*UNFINISHED, ".manifest.json"))
    return not hidden and os.access(path, os.R_OK)
