"""The application: every endpoint at its route, request ids, strict headers, problems, and a clean end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from time import perf_counter

import structlog
from aiohttp import web
from redis.asyncio import Redis

from engine.api.answering import REQUEST_ID, answering
from engine.api.compression import compress
from engine.api.endpoint import PREFIX, Endpoint, Endpoints
from engine.api.health import add_health
from engine.api.limits import RateLimits
from engine.api.metrics import METRICS
from engine.api.openapi import specification
from engine.api.problems import problem_of
from engine.api.reference import add_reference
from engine.api.routes import RESOURCES
from engine.api.service import SERVICE, Service
from engine.custodian.desk import Desk
from engine.settings import Settings
from engine.store.database import engine_on
from engine.store.doorbell import quiet_doorbell

POOL_SIZE = 16
"""Connections to the database: what more requests wait for."""

JSON_BYTES_MAX = 1 << 20
NOWHERE = "/{nowhere}"
"""The route of pages that say that there is no such page: to the log and the metrics, none."""
SHUTDOWN_SECONDS = 20.0
"""How long a request under way may take once the process is asked to end."""

_PATIENCE = {"lock_timeout": "20s", "statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s"}
"""What no request may take longer for: it is answered 503, and what it holds is free again."""

_REDIS_SECONDS = 0.25
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _Wire(logging.Filter):
    """What aiohttp says of requests that are no HTTP, and to no handler the lines of theirs that it quotes."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        log.warning("request not understood", error=error.__name__ if error is not None else None)
        return False


_wire = logging.getLogger("engine.api.wire")
_wire.addFilter(_Wire())

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger()


@asynccontextmanager
async def service_on(
    database_url: str, redis_url: str, settings: Settings, desk: Desk, *, pool_size: int = POOL_SIZE
) -> AsyncIterator[Service]:
    """What the API works with, for the length of a block; it does not ask whether Redis answers."""
    async with (
        engine_on(database_url, pool_size=pool_size, server_settings=_PATIENCE) as engine,
        quiet_doorbell(redis_url) as bell,
    ):
        redis = Redis.from_url(redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
        try:
            limits = RateLimits(redis, settings.requests_per_minute)
            yield Service(engine, bell, desk, settings, limits, asyncio.Event())
        finally:
            await redis.aclose()


def application(service: Service, resources: Sequence[Endpoints] = RESOURCES) -> web.Application:
    """The application on a service."""
    app = web.Application(middlewares=[_noted, _explained], client_max_size=JSON_BYTES_MAX)
    app[SERVICE] = service
    # Whole words come first: `/claims/due` is no claim, whichever way it is asked for.
    endpoints = [endpoint for each in resources for endpoint in each.all]
    for path in sorted({endpoint.path for endpoint in endpoints}, key=lambda path: path.replace("{", "~")):
        _add(app, [endpoint for endpoint in endpoints if endpoint.path == path])
    # Written when somebody first asks, in a thread: it takes a second for which nobody else should wait.
    described = cache(partial(specification, resources))
    written = cache(lambda: json.dumps(described(), ensure_ascii=False))

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(text=await asyncio.to_thread(written))

    app.router.add_get(f"{PREFIX}/openapi.json", openapi)
    add_reference(app, described)
    add_health(app)
    app.on_response_prepare.append(_strict)
    app.on_shutdown.append(_close)
    return app


def _add(app: web.Application, endpoints: Sequence[Endpoint]) -> None:
    """Serve a path by its methods, and refuse all others there."""
    resource = app.router.add_resource(endpoints[0].path)
    handlers = {endpoint.method: answering(endpoint) for endpoint in endpoints}
    if "GET" in handlers:
        handlers["HEAD"] = handlers["GET"]

    async def refuse(request: web.Request) -> web.Response:
        raise web.HTTPMethodNotAllowed(request.method, sorted(handlers))

    for method, handler in handlers.items():
        resource.add_route(method, handler)
    resource.add_route("*", refuse)


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Answer on a port, of the system's choice for 0, for the length of a block; which one it is.

    Then nobody new is let in, streams end, and requests under way are finished.
    """
    runner = web.AppRunner(app, access_log=None, logger=_wire, shutdown_timeout=SHUTDOWN_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@web.middleware
async def _noted(request: web.Request, handler: Answering) -> web.StreamResponse:
    """One line of log a request: never its address, which may name somebody, but its route."""
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _ID.fullmatch(given) else secrets.token_hex(8)
    traced = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request[REQUEST_ID])
    if traced:
        structlog.contextvars.bind_contextvars(trace_id=traced[1])
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None and resource.canonical != NOWHERE else "(none)"
    metrics = request.app[METRICS]
    metrics.began(request.method, route)
    began = perf_counter()
    status = 499  # whoever asked went away
    try:
        response = await handler(request)
        status = response.status
    finally:
        took = perf_counter() - began
        metrics.ended(request.method, route, status, took)
        log.info("request answered", method=request.method, route=route, status=status, seconds=round(took, 4))
    return response


@web.middleware
async def _explained(request: web.Request, handler: Answering) -> web.StreamResponse:
    """What goes wrong is a problem; what is long is compressed."""
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - what nobody foresaw is answered too, and logged
        response = problem_of(error).response(request[REQUEST_ID], request.path)
    if not response.prepared:
        compress(request, response)
    return response


async def _strict(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = request.get(REQUEST_ID, "")
    response.headers["Server"] = "fentan"


async def _close(app: web.Application) -> None:
    app[SERVICE].closing.set()
