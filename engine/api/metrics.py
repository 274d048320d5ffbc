"""`/metrics`: the figures of operations and those of HTTP, as Prometheus reads them (docs/metrics.md)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import __version__
from engine.operations.figures import FIGURES, PARTS, Reading
from engine.store.database import AWAY

SECONDS_MAX = 5.0
"""How long a part may take to be read."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()
disable_created_metrics()  # type: ignore[no-untyped-call]  # when each counter began to count is of no use, and doubles what is scraped


class _Read(NamedTuple):
    """A part as it was last read; None where it could not be."""

    at: datetime
    readings: list[Reading] | None


class Metrics(Collector):
    """What this process knows of its requests, and what the database says when it is asked."""

    def __init__(self, engine: AsyncEngine) -> None:
        """`engine`: the watchers' own, so that whoever looks is not kept waiting by what they look at."""
        self._engine, self._turn = engine, asyncio.Lock()
        self._read: dict[str, _Read] = {}
        self._is_up = False
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ["method", "route"]
        self._requests = Counter(
            "fentan_http_requests", "Requests answered.", [*labels, "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "fentan_http_request_seconds", "How long an answer took.", labels, buckets=_BUCKETS, registry=self._registry
        )
        self._in_flight = Gauge(
            "fentan_http_requests_in_flight", "Requests being answered; streams among them.", labels,
            registry=self._registry,
        )  # fmt: skip

    def began(self, method: str, route: str) -> None:
        """A request came for a route."""
        self._in_flight.labels(_known(method), route).inc()

    def ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """It was answered."""
        labels = _known(method), route
        self._in_flight.labels(*labels).dec()
        self._seconds.labels(*labels).observe(seconds)
        self._requests.labels(*labels, str(status)).inc()

    async def answer(self, request: web.Request) -> web.Response:
        """Everything, in the format that is asked for."""
        async with self._turn:  # whoever scrapes at the same time waits, and costs one connection
            await self._read_all(datetime.now(UTC))
            try:
                encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            except (TypeError, ValueError):  # a version that is none
                encode, content_type = choose_encoder("")
            return web.Response(body=encode(self), headers={"Content-Type": content_type})

    def collect(self) -> Iterator[Metric]:
        """What was read last, for the encoder."""
        build = GaugeMetricFamily("fentan_build_info", "The version of this process.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield GaugeMetricFamily("fentan_up", "1: the database answered this scrape.", value=self._is_up)
        failed = GaugeMetricFamily("fentan_figures_failed", "1: these figures could not be read.", labels=["part"])
        for name, read in self._read.items():
            failed.add_metric([name], read.readings is None)
        yield failed
        readings = defaultdict[str, list[Reading]](list)
        for read in self._read.values():
            for reading in read.readings or ():
                readings[reading.name].append(reading)
        for name, figure in FIGURES.items():
            family = GaugeMetricFamily(name, figure.says, labels=figure.labels)
            for reading in readings[name]:
                family.add_metric(reading.labels, reading.value)
            yield family
        yield from self._registry.collect()

    async def _read_all(self, now: datetime) -> None:
        self._is_up = await self._database_answers()
        if not self._is_up:
            self._read = {}
            return
        for name, part in PARTS.items():
            known = self._read.get(name)
            if known is None or now - known.at >= part.every:
                self._read[name] = _Read(now, await self._read_part(name, now))

    async def _database_answers(self) -> bool:
        for _ in range(2):  # a connection from before the database was away is let go at the first
            try:
                async with asyncio.timeout(SECONDS_MAX), self._engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
                    return True
            except AWAY as error:
                log.warning("nothing to measure: the database is away", error=type(error).__name__)
        return False

    async def _read_part(self, name: str, now: datetime) -> list[Reading] | None:
        try:
            async with asyncio.timeout(SECONDS_MAX), self._engine.connect() as connection:
                return [reading async for reading in PARTS[name].read(connection, now)]
        except AWAY as error:
            log.warning("figures not read", part=name, error=type(error).__name__)
            return None


METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)


def _known(method: str) -> str:
    return method if method in _METHODS else "other"
