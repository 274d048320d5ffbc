"""The folder transport: files are put where a program or a person takes them from, and found where they were put."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from engine.custodian.debit_files.manifest import SUFFIX
from engine.custodian.flushed import flush
from engine.custodian.private import new_file


class Folder:
    """Files in `out`, each with its manifest, which comes last: a file without one is not finished."""

    def __init__(self, out: Path) -> None:
        self._out = out

    async def put(self, file: Path) -> None:
        """See `Transport.put`."""
        await asyncio.to_thread(self._put, file)

    async def fetch(self, into: Path, known: frozenset[str]) -> None:
        """What came lies there already."""

    def _put(self, file: Path) -> None:
        for each in (file, file.with_name(file.stem + SUFFIX)):
            passing = self._out / f"{each.name}.part"
            with each.open("rb") as source, new_file(passing) as copy:
                shutil.copyfileobj(source, copy, 2**20)
            flush(passing)
            passing.replace(self._out / each.name)
        flush(self._out)
