"""From a request to its answer, the same for every endpoint: who asks, with what, what came of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.idempotency import Remembered
from engine.access.sessions import session_token
from engine.access.tokens import NotAuthenticated, Token, authenticate
from engine.api.compression import compress
from engine.api.endpoint import Endpoint
from engine.api.fields import KEY, TAG
from engine.api.problems import KeyMissing, WrongField, WrongFields
from engine.api.reading import params_of, received
from engine.api.service import SERVICE, Call, Service, Streamed, Upload
from engine.api.writing import Write, as_json, etag, write

WRITE_SECONDS = 15.0
"""Who does not take what is sent to them for so long has gone away."""

SESSION = "fentan_session"
"""The cookie of who signed in to the console. It reads; a write takes a token, or a form of the console."""

REQUEST_ID = web.RequestKey("request_id", str)

log = structlog.get_logger()
is_key, _is_tag = re.compile(KEY).search, re.compile(TAG).search


def answering(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What aiohttp calls for an endpoint."""

    async def answer(request: web.Request) -> web.StreamResponse:
        service = request.app[SERVICE]
        now = datetime.now(UTC)
        token = await _caller(request, now)
        await service.limits.count(token.token_id, now)
        endpoint.admit(token)
        structlog.contextvars.bind_contextvars(token_id=token.token_id)
        params = params_of(endpoint.params, request)
        async with received(endpoint, request, service) as (body, digest):

            def call_on(connection: AsyncConnection) -> Call:
                query = list(request.query.items())
                return Call(service, connection, token, now, request[REQUEST_ID], request.rel_url.raw_path, query)

            if endpoint.writes:
                return await _write(endpoint, request, call_on, params, body, digest)
            return await _read(endpoint, request, call_on, params)

    answer.__name__ = endpoint.name
    return answer


async def _caller(request: web.Request, now: datetime) -> Token:
    """Who asks: who holds the token that came with it or, for what is read, the session. Raises NotAuthenticated."""
    engine, session = request.app[SERVICE].engine, request.cookies.get(SESSION)
    if session is not None and "Authorization" not in request.headers and request.method in ("GET", "HEAD"):
        return await session_token(engine, session, now=now)
    scheme, _, written = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    return await authenticate(engine, written.strip(), now=now)


async def _read(
    endpoint: Endpoint, request: web.Request, call_on: Callable[[AsyncConnection], Call], params: BaseModel
) -> web.StreamResponse:
    async with reading(request.app[SERVICE]) as connection:
        call = call_on(connection)
        made = await endpoint.handler(call, **endpoint.given(params, None))
    if isinstance(made, Streamed):
        return await stream(request, made, call.headers)
    body = as_json(made)
    tag = etag(body)
    if request.headers.get("If-None-Match", "").removeprefix("W/") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    return _response(Remembered(endpoint.status, call.headers | {"ETag": tag}, body))


@asynccontextmanager
async def reading(service: Service) -> AsyncIterator[AsyncConnection]:
    """A connection on which nothing can be changed, for the length of a block."""
    async with service.engine.connect() as connection:
        yield await connection.execution_options(postgresql_readonly=True)


async def _write(
    endpoint: Endpoint,
    request: web.Request,
    call_on: Callable[[AsyncConnection], Call],
    params: BaseModel,
    body: BaseModel | Upload | None,
    digest: bytes,
) -> web.StreamResponse:
    key, seen = _key(endpoint, request), _seen(request)
    asked = Write(endpoint, request.path, request.match_info, params, body, digest, key, seen)
    answer, is_replayed = await write(request.app[SERVICE], call_on, asked)
    return _response(answer, {"Idempotent-Replayed": "true"} if is_replayed else None)


def _key(endpoint: Endpoint, request: web.Request) -> str | None:
    """The Idempotency-Key. Raises KeyMissing where there must be one, WrongFields for what is none."""
    key = request.headers.get("Idempotency-Key")
    if endpoint.is_secret:  # what is shown once is not kept to be shown again
        return None
    if key is None:
        if endpoint.moves_money:
            raise KeyMissing
        return None
    if not is_key(key):
        raise WrongFields([WrongField("header/Idempotency-Key", f"must match {KEY}")])
    return key


def _seen(request: web.Request) -> str | None:
    """The ETag of what the caller saw, None if that is of no matter. Raises WrongFields for what is none."""
    tag = request.headers.get("If-Match")
    if tag is not None and not _is_tag(tag := tag.removeprefix("W/")):  # a proxy that compresses makes it weak
        raise WrongFields([WrongField("header/If-Match", f"must match {TAG}")])
    return tag


def _response(answer: Remembered, more: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        content_type="application/json",
        headers={**answer.headers, **(more or {})},
    )


async def stream(request: web.Request, streamed: Streamed, headers: dict[str, str]) -> web.StreamResponse:
    """Write as it is made; who stops taking is let go, and what makes it is closed."""
    headers = {**headers, "Content-Type": streamed.media_type}
    if streamed.name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{streamed.name}"'
    if request.method == "HEAD":
        return web.Response(headers=headers)
    response = web.StreamResponse(headers=headers)
    if streamed.name is not None:
        compress(request, response)
    await response.prepare(request)
    try:
        async for chunk in streamed.chunks:
            await asyncio.wait_for(response.write(chunk), WRITE_SECONDS)
        await asyncio.wait_for(response.write_eof(), WRITE_SECONDS)
    except Exception as error:  # the answer has begun: all that can be said is that it breaks off
        if not isinstance(error, TimeoutError | ConnectionError):
            log.exception("stream broke off")
        if request.transport is not None:
            request.transport.abort()
    finally:
        if (close := getattr(streamed.chunks, "aclose", None)) is not None:
            await close()
    return response
