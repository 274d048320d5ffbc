"""Problems (RFC 9457): a refusal says its type, what is wrong and where, the invariant it guards, what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

import asyncpg
import structlog
from aiohttp import web
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.access.idempotency import KeyInFlight, OtherPayload
from engine.access.tokens import NotAuthenticated
from engine.errors import FentanError, NotFound

MEDIA_TYPE = "application/problem+json"
TYPES = "/v1/reference#problem-"
"""Where the reference page says more of each type."""

log = structlog.get_logger()


class Forbidden(FentanError):
    """The token's role or scopes do not allow this; ask for one that does."""


class TooManyRequests(FentanError):
    """The token has asked too often in this minute; wait as long as Retry-After says."""

    def __init__(self, message: str, wait_seconds: int) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Stale(FentanError):
    """What If-Match names is not what is there any more; read it again, look at what changed, and decide anew."""


class KeyMissing(FentanError):
    """This request moves money and has no Idempotency-Key; send one of your own, and the same when you ask again."""


class Malformed(FentanError):
    """The body cannot be read."""


class NotJson(FentanError):
    """The body is of another type than this endpoint takes; send the Content-Type that the specification names."""


class TooLarge(FentanError):
    """The body is larger than this endpoint takes."""


class TooSlow(FentanError):
    """The body does not come; nothing was done, send it again."""


class WrongField(NamedTuple):
    """A field and what is wrong with it. `where`: a JSON pointer; `rule`: by pydantic's name, with its `limits`."""

    where: str
    what: str
    rule: str = ""
    limits: Mapping[str, Any] = MappingProxyType({})


class WrongFields(FentanError):
    """Fields are missing, unknown, or not what the specification says."""

    def __init__(self, wrong: Sequence[WrongField]) -> None:
        super().__init__("; ".join(f"{each.where}: {each.what}" for each in wrong))
        self.wrong = wrong


_STATUSES: tuple[tuple[type[FentanError], HTTPStatus], ...] = (
    (NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (Stale, HTTPStatus.PRECONDITION_FAILED),
    (KeyMissing, HTTPStatus.BAD_REQUEST),
    (Malformed, HTTPStatus.BAD_REQUEST),
    (NotJson, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (TooSlow, HTTPStatus.REQUEST_TIMEOUT),
    (WrongFields, HTTPStatus.UNPROCESSABLE_ENTITY),
    (OtherPayload, HTTPStatus.UNPROCESSABLE_ENTITY),
    (KeyInFlight, HTTPStatus.CONFLICT),
    (NotFound, HTTPStatus.NOT_FOUND),
    (FentanError, HTTPStatus.CONFLICT),
)
"""The first that fits. What the engine refuses was well said and cannot be done as things stand: a conflict."""


@dataclass(frozen=True)
class Problem:
    """What is answered instead of what was asked for."""

    status: HTTPStatus
    kind: str
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def response(self, request_id: str, instance: str) -> web.Response:
        """The answer."""
        body = {
            "type": TYPES + self.kind,
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            **self.more,
        }
        text = json.dumps(body, ensure_ascii=False)
        return web.Response(status=self.status, text=text, content_type=MEDIA_TYPE, headers=self.headers)


def problem_of(error: Exception) -> Problem:
    """What to answer for an error; what is our own fault is logged with its traceback, and not told."""
    if isinstance(error, FentanError):
        return _refusal(error)
    if isinstance(error, web.HTTPNotFound):
        return _refusal(NotFound("nothing is at this address; /v1/reference shows what there is"))
    if isinstance(error, web.HTTPException):
        kept = {name: value for name, value in error.headers.items() if name == "Allow"}
        status = HTTPStatus(error.status)
        return Problem(status, _of_status(status), status.phrase, _TO_DO.get(status, status.description), kept)
    if isinstance(error, OverflowError) and str(error) == "date value out of range":
        said = "what is asked leads to a day after the year 9999; correct the dates given"
        return Problem(HTTPStatus.CONFLICT, "out-of-range", "A day out of range", said)
    if isinstance(error, IntegrityError) and (name := _guard(error)) is not None:
        more = {"invariant": "I13"} if "four_eyes" in name else {}
        said = f"the database refused it ({name}); nothing was done, read again what is there"
        return Problem(HTTPStatus.CONFLICT, "refused-by-database", "The database refused it", said, more=more)
    if (why := _why_later(error)) is not None:
        log.warning("try again", why=why, error=type(error).__name__)
        status, said = HTTPStatus.SERVICE_UNAVAILABLE, f"{why}; nothing was done, ask again in a moment"
        return Problem(status, "unavailable", "Ask again later", said, {"Retry-After": "2"})
    log.error("request failed", exc_info=error)
    said = "this is a fault of ours; nothing was done. The request id finds it in the log"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "A fault of ours", said)


_TO_DO = {HTTPStatus.METHOD_NOT_ALLOWED: "this address is not asked so; ask as the header Allow says"}
_LATER = {
    "08": "the database does not answer",
    "40": "another request was in the way",
    "53": "the database has no room for more",
    "55": "another request was in the way",
    "57": "the database is stopped or starts",
    "57014": "it took longer than a request may",
}
"""By SQLSTATE, or its class: what asking again may mend."""


def _why_later(error: Exception) -> str | None:
    """Why asking again may help, None where it does not."""
    if isinstance(error, PoolTimeout):
        return "too many ask at once"
    if not isinstance(error, DBAPIError):
        # No file but the socket of a server on this machine is looked for without a name.
        is_away = isinstance(error, FileNotFoundError) and error.filename is None
        is_away |= isinstance(error, ConnectionError | TimeoutError | asyncpg.InterfaceError)
        return _LATER["08"] if is_away else None
    cause = getattr(error.orig, "__cause__", None)
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return _LATER.get(state) or _LATER.get(state[:2])
    is_away = error.connection_invalidated or isinstance(cause, OSError | asyncpg.InterfaceError)
    # A ValueError is a value that the driver cannot write down: no other try will.
    return _LATER["08"] if is_away and not isinstance(cause, ValueError) else None


def of_fields(error: ValidationError, place: str) -> WrongFields:
    """Every wrong field of a body or of the parameters, as a JSON pointer."""
    return WrongFields(
        [
            WrongField(
                "/".join((place, *map(str, each["loc"]))),
                each["msg"].removeprefix("Value error, "),
                each["type"],
                each.get("ctx", {}),
            )
            for each in error.errors(include_url=False, include_input=False)
        ]
    )


def _refusal(error: FentanError) -> Problem:
    status = status_of(type(error))
    headers, more = dict[str, str](), dict[str, Any]()
    if error.invariant:
        more["invariant"] = error.invariant
    if isinstance(error, WrongFields):
        more["errors"] = [{"field": each.where, "message": each.what} for each in error.wrong]
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.wait_seconds)
    if isinstance(error, KeyInFlight):
        headers["Retry-After"] = "1"
    return Problem(status, kind_of(type(error)), title_of(type(error)), str(error), headers, more)


def _guard(error: IntegrityError) -> str | None:
    """What of the database refused it: its guards are named for what they guard. None: a column had nothing in it."""
    name: str | None = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return name


def status_of(error: type[FentanError]) -> HTTPStatus:
    """What a refusal of ours is answered with."""
    return next(status for kind, status in _STATUSES if issubclass(error, kind))


def title_of(error: type[FentanError]) -> str:
    """What any refusal by an error is: the first line of its docstring."""
    return (error.__doc__ or "").strip().partition("\n")[0]


def kind_of(error: type[FentanError]) -> str:
    """The end of the type of a refusal of ours: its class, as in `not-found`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", error.__name__).lower()


def _of_status(status: HTTPStatus) -> str:
    return status.phrase.lower().replace(" ", "-")


KINDS_OF_OTHERS: Mapping[str, tuple[HTTPStatus, str]] = {
    "out-of-range": (
        HTTPStatus.CONFLICT,
        "What is asked leads to a day that no calendar has; correct the dates given.",
    ),
    "refused-by-database": (HTTPStatus.CONFLICT, "A guard of the database refused it; read again what is there."),
    "unavailable": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database is away or busy; ask again after Retry-After seconds.",
    ),
    "internal": (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "A fault of ours; nothing was done. Its request id finds it in the log.",
    ),
    **{
        _of_status(status): (status, f"{status.phrase}: {status.description or 'the request cannot be served so'}.")
        for status in (HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED)
    },
}
"""Kinds of problems that no refusal of ours stands for."""
