"""Files that are handed out as they lie on disk, a piece in memory at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from engine.api.service import Call, Service, Streamed
from engine.errors import InvalidInput
from engine.store.audit import record

MEDIA_TYPE = "application/octet-stream"
DIGEST = "X-Content-SHA256"
"""The header that says the SHA-256 of the file, in hex, as it is before anything packs it for the way."""

_PIECE_BYTES = 1 << 18


async def download(call: Call, path: Path, name: str, *, sha256: str, size_bytes: int, subject: str = "") -> Streamed:
    """A file; who took it is written down before its first byte leaves, under `subject` where there is one.

    Raises InvalidInput where the file is not the one on record.
    """
    if await asyncio.to_thread(_size, path) != size_bytes:
        raise InvalidInput(f"{name}: is not as it is on record, or gone; restore it from a backup")
    call.headers[DIGEST] = sha256
    return Streamed(MEDIA_TYPE, _pieces(call.service, path, _Taken(call, subject) if subject else None), name)


class _Taken:
    """Who takes what."""

    def __init__(self, call: Call, subject: str) -> None:
        self._actor, self._subject = call.actor, subject
        self._detail = {"request": call.request_id, "token": call.token.token_id}

    async def note(self, service: Service) -> None:
        async with service.engine.begin() as connection:
            await record(connection, self._actor, "download file", self._subject, self._detail)


async def _pieces(service: Service, path: Path, taken: _Taken | None) -> AsyncIterator[bytes]:
    """Raises ConnectionAbortedError when the service ends: half a file is not to look like a whole one."""
    if taken is not None:
        await taken.note(service)
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            if service.closing.is_set():
                raise ConnectionAbortedError
            yield piece
    finally:
        file.close()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
