"""From a request to its answer, the same for every endpoint: who asks, with what, in one transaction, audited.

A write is done, audited and remembered under its Idempotency-Key in one transaction; the doorbell rings after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from aiohttp import web
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.idempotency import Remembered, recall, remember
from engine.access.tokens import NotAuthenticated, Token, authenticate
from engine.api.compression import compress
from engine.api.endpoint import PREFIX, Endpoint
from engine.api.fields import KEY, TAG
from engine.api.problems import Forbidden, KeyMissing, Stale, WrongFields
from engine.api.reading import params_of, received
from engine.api.service import SERVICE, Call, Service, Streamed, Upload
from engine.store.audit import record
from engine.store.doorbell import Doorbell

WRITE_SECONDS = 15.0
"""Who does not take what is sent to them for so long has gone away."""

SERIALIZATION_FAILURE = "40001"
"""What PostgreSQL says where somebody changed what a transaction has seen."""

REQUEST_ID = web.RequestKey("request_id", str)

log = structlog.get_logger()
_is_key, _is_tag = re.compile(KEY).search, re.compile(TAG).search


def answering(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What aiohttp calls for an endpoint."""

    async def answer(request: web.Request) -> web.StreamResponse:
        service = request.app[SERVICE]
        now = datetime.now(UTC)
        token = await _admitted(service, endpoint, request, now)
        structlog.contextvars.bind_contextvars(token_id=token.token_id)
        params = params_of(endpoint, request)
        async with received(endpoint, request, service) as (body, digest):

            def call_on(connection: AsyncConnection) -> Call:
                query = list(request.query.items())
                return Call(service, connection, token, now, request[REQUEST_ID], request.rel_url.raw_path, query)

            if endpoint.writes:
                return await _write(endpoint, request, call_on, params, body, digest)
            return await _read(endpoint, request, call_on, params)

    answer.__name__ = endpoint.name
    return answer


async def _admitted(service: Service, endpoint: Endpoint, request: web.Request, now: datetime) -> Token:
    """Who asks, if they may. Raises NotAuthenticated, Forbidden, TooManyRequests."""
    scheme, _, written = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    token = await authenticate(service.engine, written.strip(), now=now)
    await service.limits.count(token.token_id, now)
    if token.role not in endpoint.roles:
        may = ", ".join(sorted(endpoint.roles))
        raise Forbidden(f"{token.role} may not {endpoint.name.replace('_', ' ')}; it takes the role {may}")
    if not token.allows(endpoint.scope):
        raise Forbidden(f"the token's scopes lack {endpoint.scope}; ask for a token that has it")
    return token


async def _read(
    endpoint: Endpoint, request: web.Request, call_on: Callable[[AsyncConnection], Call], params: BaseModel
) -> web.StreamResponse:
    async with _reading(request.app[SERVICE]) as connection:
        call = call_on(connection)
        made = await endpoint.handler(call, **endpoint.given(params, None))
    if isinstance(made, Streamed):
        return await _stream(request, made, call.headers)
    body = _json(made)
    tag = etag(body)
    if request.headers.get("If-None-Match", "").removeprefix("W/") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    return _response(Remembered(endpoint.status, call.headers | {"ETag": tag}, body))


@asynccontextmanager
async def _reading(service: Service) -> AsyncIterator[AsyncConnection]:
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
    said = (request.method, request.path, params.model_dump_json())
    asked = hashlib.sha256(b"\0".join((*(each.encode() for each in said), digest))).digest()
    service = request.app[SERVICE]
    async with _writing(service, seen) as connection:
        call = call_on(connection)
        if key is not None:
            known = await recall(connection, call.actor, key, asked)
            if known is not None:
                return _response(known, {"Idempotent-Replayed": "true"})
        answer = await _done(endpoint, request, call, params, body, seen)
        if key is not None:
            await remember(connection, call.actor, key, asked, answer)
    await _ring(service.bell, call)
    return _response(answer)


@asynccontextmanager
async def _writing(service: Service, seen: str | None) -> AsyncIterator[AsyncConnection]:
    """A transaction that commits; for who names what they saw, one under which nobody changes it. Raises Stale."""
    if seen is None:
        async with service.engine.begin() as connection:
            yield connection
        return
    try:
        async with service.engine.execution_options(isolation_level="REPEATABLE READ").begin() as connection:
            yield connection
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == SERIALIZATION_FAILURE:
            raise Stale from None
        raise


async def _ring(bell: Doorbell, call: Call) -> None:
    """Announce what was committed; where nobody hears one ring, none waits for the others: the sweep finds them all."""
    for run_id, occasion in call.rings:
        if not await bell.ring(run_id, occasion):
            return
    for job_id in call.jobs:
        if not await bell.ring_for_job(job_id, call.request_id):
            return


async def _done(
    endpoint: Endpoint,
    request: web.Request,
    call: Call,
    params: BaseModel,
    body: BaseModel | Upload | None,
    seen: str | None,
) -> Remembered:
    """Do it, if the caller has seen what is there now; written down with what was there before and after."""
    subject = request.path.removeprefix(f"{PREFIX}/")
    before = b"null"
    if endpoint.changes is not None:
        one_by_one = func.pg_advisory_xact_lock(func.hashtextextended(endpoint.names(request.match_info), 0))
        await call.connection.execute(select(one_by_one))
        before = _json(await endpoint.changes(call, params))
        if seen not in (None, etag(before)):
            raise Stale
    made = await endpoint.handler(call, **endpoint.given(params, body))
    answer = after = _json(made)
    headers = dict(call.headers)
    if endpoint.changes is not None:
        after = _json(await endpoint.changes(call, params))
        headers["ETag"] = etag(after)
    detail = {
        "before": json.loads(before),
        "after": None if endpoint.is_secret else json.loads(after),
        "request": call.request_id,
        "token": call.token.token_id,
    }
    await record(call.connection, call.actor, endpoint.name.replace("_", " "), subject, detail)
    return Remembered(endpoint.status, headers, answer)


def _key(endpoint: Endpoint, request: web.Request) -> str | None:
    """The Idempotency-Key. Raises KeyMissing where there must be one, WrongFields for what is none."""
    key = request.headers.get("Idempotency-Key")
    if endpoint.is_secret:  # what is shown once is not kept to be shown again
        return None
    if key is None:
        if endpoint.moves_money:
            raise KeyMissing
        return None
    if not _is_key(key):
        raise WrongFields([("header/Idempotency-Key", f"must match {KEY}")])
    return key


def _seen(request: web.Request) -> str | None:
    """The ETag of what the caller saw, None if that is of no matter. Raises WrongFields for what is none."""
    tag = request.headers.get("If-Match")
    if tag is not None and not _is_tag(tag := tag.removeprefix("W/")):  # a proxy that compresses makes it weak
        raise WrongFields([("header/If-Match", f"must match {TAG}")])
    return tag


def _json(made: BaseModel) -> bytes:
    return made.model_dump_json().encode()


def etag(body: bytes) -> str:
    """The ETag of an answer: of its content alone, so that whoever saw the same holds the same."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _response(answer: Remembered, more: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        content_type="application/json",
        headers={**answer.headers, **(more or {})},
    )


async def _stream(request: web.Request, streamed: Streamed, headers: dict[str, str]) -> web.StreamResponse:
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
