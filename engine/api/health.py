"""Whether this process answers, whether it can do its work, and what it measures: for those who watch it.

Without a token: keep these three inside, where only balancers and Prometheus reach them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.api.answering import REQUEST_ID
from engine.api.metrics import METRICS, Metrics
from engine.api.problems import Problem
from engine.api.service import SERVICE
from engine.store.database import AWAY, SchemaDiffers, check_schema, open_engine

READY_SECONDS_MAX = 2.0
_PATIENCE = {"statement_timeout": "5s", "lock_timeout": "1s", "default_transaction_read_only": "on"}
_WATCHING: web.AppKey[AsyncEngine] = web.AppKey("watching", AsyncEngine)


def add_health(app: web.Application) -> None:
    """Serve the three, on connections of their own: requests that wait for one must not look like an end."""
    url = app[SERVICE].engine.url.render_as_string(hide_password=False)
    app[_WATCHING] = open_engine(url, pool_size=2, server_settings=_PATIENCE)
    app[METRICS] = Metrics(app[_WATCHING])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", app[METRICS].answer)
    app.cleanup_ctx.append(_let_go)


async def _let_go(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[_WATCHING].dispose()


async def healthz(_: web.Request) -> web.Response:
    """The process answers; whatever else is away."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """The database answers with this version's schema: 200, 503 otherwise. Without the doorbell runs alone wait."""
    service = request.app[SERVICE]
    if why := "this process is about to end" if service.closing.is_set() else await _unready(request.app[_WATCHING]):
        return _not_ready(why, request)
    is_heard = await service.bell.answers()
    said = {"status": "ready" if is_heard else "degraded", "database": "ok", "doorbell": "ok" if is_heard else "away"}
    return web.json_response(said)


async def _unready(watching: AsyncEngine) -> str | None:
    """Why the database cannot be worked with; None: it can."""
    for _ in range(2):  # a connection from before the database was away is let go at the first
        try:
            async with asyncio.timeout(READY_SECONDS_MAX / 2), watching.connect() as connection:
                await check_schema(connection)
                return None
        except SchemaDiffers as error:
            return str(error)
        except AWAY:
            continue
    return "the database does not answer"


def _not_ready(why: str, request: web.Request) -> web.Response:
    problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Not ready", why, {"Retry-After": "2"})
    return problem.response(request[REQUEST_ID], request.path)
