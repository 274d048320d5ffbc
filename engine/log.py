"""Structured logs: a verb, ids and counts; never names, member references, account references or secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Literal, TextIO, cast

import structlog

_DETAIL = re.compile(r"\nDETAIL:.*?(?=\nHINT:|\n\[SQL|\n\(Background|\n\n|\Z)", re.DOTALL)


class StandardError:
    """Standard error as it is when something is written, not as it was when logging was set up."""

    def write(self, text: str) -> int:
        """As a stream does."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """As a stream does."""
        sys.stderr.flush()


def configure_log(log_format: Literal["auto", "console", "json"], level: str) -> None:
    """Log to standard error, so that standard output stays what the command prints."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _discreet,
            structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", StandardError())),
        # A logger that was cached would keep the level of the first command that this process ran.
        cache_logger_on_first_use=False,
    )


def without_detail(text: str) -> str:
    """What PostgreSQL says of an error, without the row or the key that it quotes: they may name a member."""
    return _DETAIL.sub("", text)


def _discreet(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if "exception" in event:
        event["exception"] = without_detail(event["exception"])
    return event
