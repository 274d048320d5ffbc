"""What a form of the console sends: that it is ours, its fields as a body of the API, its file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiohttp import BodyPartReader, web
from multidict import MultiDict, MultiMapping

from engine.access.sessions import is_csrf
from engine.api.problems import Forbidden, Malformed, WrongField, WrongFields
from engine.api.reading import saved
from engine.api.service import Service, Upload
from engine.console.visits import Visit

FIELD_BYTES_MAX = 1 << 16

Fields = MultiDict[str]

OURS = frozenset({"csrf", "key", "seen", "back"})
"""Fields of every form that are none of the operation's."""


class OtherSession(Forbidden):
    """This form is not from a page of this session; load the page again and send it once more."""


def is_ours(request: web.Request) -> bool:
    """Whether a page of this site has the browser send it, and no other site."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_here = origin is None or urlsplit(origin).netloc == request.host
    return is_here and site in (None, "same-origin", "none")


def check_origin(request: web.Request) -> None:
    """Refuse what another site has the browser send. Raises Forbidden."""
    if not is_ours(request):
        raise Forbidden("this form was sent from another site; open the page here and send it again")


def check_csrf(visit: Visit, fields: MultiMapping[str]) -> None:
    """Refuse a form that no page of this session held. Raises Forbidden, OtherSession.

    Who signed in anew in another tab has the new session's secret put beside the old one: either will do.
    """
    check_origin(visit.request)
    given = fields.getall("csrf", [])
    if visit.secret is None or not any(is_csrf(visit.secret, each) for each in given):
        raise OtherSession


@asynccontextmanager
async def fields_and_file(request: web.Request, service: Service) -> AsyncIterator[tuple[Fields, Upload | None]]:
    """What was sent, for the length of a block: a file lies on disk until it ends, and is the last that is sent.

    Raises Malformed, TooLarge, TooSlow.
    """
    if not request.content_type.startswith("multipart/"):
        yield MultiDict((name, str(value)) for name, value in (await request.post()).items()), None
        return
    fields: Fields = MultiDict()
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise Malformed("the form cannot be read")
        if part.filename is not None:
            async with saved(part.read_chunk, service) as upload:
                yield fields, upload
            return
        fields.add(part.name, (await part.read_chunk(FIELD_BYTES_MAX)).decode())
    yield fields, None


def body_of(fields: Fields, apart: frozenset[str]) -> dict[str, Any]:
    """The JSON that the fields of a form stand for; `apart`: names that are none of the body's.

    `breaks.custodian` is a field of an object, `breaks.ids[]` an item of a list, `seats.0.amount` a field of one object
    of a list, `json:breaks` the JSON of a field; a field that is left blank is not there. The API takes text of one
    line: where a box was broken into several there are spaces. Raises WrongFields.
    """
    body: dict[str, Any] = {}
    for name, text in fields.items():
        if name in apart or not text:
            continue
        try:
            value: Any = json.loads(text) if name.startswith("json:") else " ".join(text.splitlines())
        except ValueError:
            raise WrongFields([WrongField(name, "is no JSON")]) from None
        *objects, last = name.removeprefix("json:").split(".")
        place = body
        for each in objects:
            place = place.setdefault(each, {})
        if last.endswith("[]"):
            place.setdefault(last.removesuffix("[]"), []).append(value)
        elif last in place:
            # Neither is more meant than the other: a reference and a seat may be those of two members.
            raise WrongFields([WrongField(name.removeprefix("json:"), "is given in two ways")])
        else:
            place[last] = value
    return {name: _rows(value) for name, value in body.items()}


def _rows(value: Any) -> Any:
    """Objects that are numbered are a list; a row that is left blank is none of it."""
    is_numbered = isinstance(value, dict) and value and all(name.isdigit() for name in value)
    return list(value.values()) if is_numbered else value
