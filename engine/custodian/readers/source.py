"""A statement file as bytes: plain, gzip or zip, within limits."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.errors import InvalidInput

BLOCK_BYTES = 1 << 20

FILE_BYTES_MAX = 64 << 30
"""Of one statement, unpacked."""

RATIO_MAX = 500
"""Unpacked to packed bytes; statements reach some 50, and what is packed tighter is no statement."""


def blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, unpacked. Raises InvalidInput beyond a limit, or where a package is damaged."""
    with path.open("rb") as file:
        start = file.read(4)
    packed = path.stat().st_size
    try:
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                yield from _within(unpacked, path.name, packed * RATIO_MAX)
        elif start == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                members = [each for each in archive.infolist() if not each.is_dir()]
                if len(members) != 1:
                    raise InvalidInput(f"{path.name}: holds {len(members)} files; unpack it and give one at a time")
                with archive.open(members[0]) as unpacked:
                    yield from _within(unpacked, path.name, packed * RATIO_MAX)
        else:
            with path.open("rb") as plain:
                yield from _within(plain, path.name, FILE_BYTES_MAX)
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InvalidInput(f"{path.name}: is packed, and damaged or locked: {error}") from None


def _within(file: IO[bytes] | gzip.GzipFile, name: str, most: int) -> Iterator[bytes]:
    taken = 0
    while block := file.read(BLOCK_BYTES):
        taken += len(block)
        if taken > min(most, FILE_BYTES_MAX):
            raise InvalidInput(
                f"{name}: unpacks to more than {min(most, FILE_BYTES_MAX):,} bytes; that is no statement"
            )
        yield block
