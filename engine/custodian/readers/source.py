"""A statement file as bytes: plain, gzip or zip, within limits."""

from __future__ import annotations

import gzip
import lzma
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


_DAMAGED = (
    *(zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, NotImplementedError, OSError, ValueError),
)
"""What the readers of packages raise over bytes that are none."""


def blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, unpacked. Raises InvalidInput beyond a limit, or where a package is damaged."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b" or start == b"PK\x03\x04":
        try:
            yield from _unpacked(path, is_zip=start[:2] == b"PK")
        except _DAMAGED as error:
            raise InvalidInput(f"{path.name}: is packed, and damaged or locked: {error}") from None
    else:
        with path.open("rb") as plain:
            yield from _within(plain, path.name, FILE_BYTES_MAX)


def _unpacked(path: Path, *, is_zip: bool) -> Iterator[bytes]:
    most = path.stat().st_size * RATIO_MAX
    if not is_zip:
        with gzip.open(path) as unpacked:
            yield from _within(unpacked, path.name, most)
        return
    with zipfile.ZipFile(path) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        if len(members) != 1:
            raise InvalidInput(f"{path.name}: holds {len(members)} files; unpack it and give one at a time")
        with archive.open(members[0]) as unpacked:
            yield from _within(unpacked, path.name, most)


def _within(file: IO[bytes] | gzip.GzipFile, name: str, most: int) -> Iterator[bytes]:
    taken = 0
    while block := file.read(BLOCK_BYTES):
        taken += len(block)
        if taken > min(most, FILE_BYTES_MAX):
            raise InvalidInput(
                f"{name}: unpacks to more than {min(most, FILE_BYTES_MAX):,} bytes; that is no statement"
            )
        yield block
