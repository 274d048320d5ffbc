"""What a request says: its parameters, its JSON, its file. What is wrong is said of every field at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from engine.api.endpoint import Endpoint
from engine.api.problems import Malformed, NotJson, TooLarge, TooSlow, WrongField, WrongFields, of_fields
from engine.api.service import Service, Upload

JSON = "application/json"
FILE = "application/octet-stream"
SILENCE_SECONDS = 30.0
"""Who sends nothing of a body for so long is not waited for."""

_PIECE_BYTES = 1 << 20
_NO_BODY = hashlib.sha256(b"").digest()


def params_of(params: type[BaseModel], request: web.Request) -> BaseModel:
    """The parameters of path and query. Raises WrongFields."""
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        given[name] = values[0] if len(values) == 1 else values
    if doubled := [name for name in request.match_info if name in given]:
        raise WrongFields([WrongField(f"query/{name}", "stands in the path already") for name in doubled])
    given |= request.match_info
    try:
        return params.model_validate(given)
    except ValidationError as error:
        raise of_fields(error, "parameters") from None


@asynccontextmanager
async def received(
    endpoint: Endpoint, request: web.Request, service: Service
) -> AsyncIterator[tuple[BaseModel | Upload | None, bytes]]:
    """The body and its SHA-256, for the length of a block: a file lies on disk until it ends.

    Raises NotJson, Malformed, TooLarge, TooSlow, WrongFields.
    """
    if endpoint.body is None:
        if endpoint.writes and await _whole(request):
            raise Malformed("this endpoint takes no body")
        yield None, _NO_BODY
    elif issubclass(endpoint.body, Upload):
        async with _file(request, service) as upload:
            yield upload, upload.sha256
    elif not endpoint.needs_body and not await _whole(request):
        yield endpoint.body(), _NO_BODY
    else:
        raw = await _json_text(request)
        try:
            # Strictly: a number in quotes is a mistake, not a number.
            body = endpoint.body.model_validate_json(_plain_json(raw), strict=True)
        except ValidationError as error:
            raise of_fields(error, "body") from None
        yield body, hashlib.sha256(raw).digest()


async def _json_text(request: web.Request) -> bytes:
    if request.content_type != JSON:
        raise NotJson(f"this endpoint takes {JSON}, not {request.content_type}")
    return await _whole(request)


async def _whole(request: web.Request) -> bytes:
    with _coming():
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise TooLarge(error.text) from None


@contextmanager
def _coming() -> Iterator[None]:
    """What goes wrong with a body on its way. Raises Malformed, TooSlow."""
    try:
        yield
    except TimeoutError:
        raise TooSlow from None
    except (ClientError, ConnectionError, HttpProcessingError, web.RequestPayloadError) as error:
        raise Malformed(f"the body broke off or is not encoded as its headers say ({type(error).__name__})") from None


def _plain_json(raw: bytes) -> str:
    """The same JSON with whole numbers written as such: 1.0 is an integer in JSON Schema. Raises Malformed."""

    def number(text: str) -> float | int:
        value = float(text)
        return int(value) if value.is_integer() else value

    def refused(name: str) -> None:
        raise ValueError(f"{name} is no number")

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise ValueError("an object has a field twice")
        return fields

    try:
        read = json.loads(raw, parse_float=number, parse_constant=refused, object_pairs_hook=whole)
        return json.dumps(read, ensure_ascii=True)
    except (ValueError, RecursionError, OverflowError) as error:
        raise Malformed(f"the body is no JSON: {error}") from None


@asynccontextmanager
async def _file(request: web.Request, service: Service) -> AsyncIterator[Upload]:
    """The body as a file of data_dir, which all processes share; gone when the block ends unless it was moved away."""
    if request.content_type != FILE:
        raise NotJson(f"this endpoint takes a file as {FILE}, not {request.content_type}")
    async with saved(request.content.read, service) as upload:
        yield upload


@asynccontextmanager
async def saved(read: Callable[[int], Awaitable[bytes]], service: Service) -> AsyncIterator[Upload]:
    """What is read, a piece at a time, as a file of data_dir. Raises Malformed, TooLarge, TooSlow."""
    folder = service.settings.data_dir / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    bytes_max = service.settings.upload_mib_max << 20
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=folder, prefix="upload-", delete=False) as file:
        path = Path(file.name)
        try:
            while piece := await piece_of(read):
                size += len(piece)
                if size > bytes_max:
                    raise TooLarge(f"the file is larger than {service.settings.upload_mib_max:,} MiB")
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
            if size == 0:
                raise Malformed("the file is empty")
            file.flush()
            yield Upload(path, digest.digest(), size)
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - one name in a folder


async def piece_of(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """The next of what comes, nothing at its end. Raises Malformed, TooSlow."""
    with _coming():
        async with asyncio.timeout(SILENCE_SECONDS):
            return await read(_PIECE_BYTES)
