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
from engine.api.problems import Forbidden, Malformed, TooLarge, WrongField, WrongFields
from engine.api.reading import piece_of, saved
from engine.api.service import Upload
from engine.console.visits import Visit

FIELDS_BYTES_MAX = 1 << 20
"""Of all fields of a form together; a file has its own measure."""

Fields = MultiDict[str]

OURS = frozenset({"csrf", "key", "seen", "back"})
"""Fields of every form that are none of the operation's."""


class OtherSession(Forbidden):
    """This form is not from a page of this session; load the page again and send it once more."""


def is_ours(request: web.Request) -> bool:
    """Whether a page of this site has the browser send it, and no other site.

    A browser that says so itself is believed: no page can have it say so, and behind a proxy that names another host
    the origin is not the host's that we see.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc == request.host


def check_origin(request: web.Request) -> None:
    """Refuse what another site has the browser send. Raises Forbidden."""
    if not is_ours(request):
        raise Forbidden("this form was sent from another site; open the page here and send it again")


def check_csrf(visit: Visit, fields: MultiMapping[str]) -> None:
    """Refuse a form that no page of this session held. Raises OtherSession.

    Who signed in anew in another tab has the new session's secret put beside the old one: either will do.
    """
    given = fields.getall("csrf", [])
    if visit.secret is None or not any(is_csrf(visit.secret, each) for each in given):
        raise OtherSession


@asynccontextmanager
async def fields_and_file(visit: Visit) -> AsyncIterator[tuple[Fields, Upload | None]]:
    """What a page of this session sent, for the length of a block: a file lies on disk until it ends.

    The file is the last that is sent, and nothing of it is kept before the fields show whose form it is. Raises
    Forbidden, OtherSession, Malformed, TooLarge, TooSlow.
    """
    request = visit.request
    check_origin(request)
    if not request.content_type.startswith("multipart/"):
        fields = MultiDict((name, str(value)) for name, value in (await request.post()).items())
        check_csrf(visit, fields)
        yield fields, None
        return
    fields, file = await _fields_before_file(request)
    check_csrf(visit, fields)
    if file is None:
        yield fields, None
        return
    async with saved(file.read_chunk, visit.service) as upload:
        yield fields, upload


async def _fields_before_file(request: web.Request) -> tuple[Fields, BodyPartReader | None]:
    """The fields, and the file if one comes, of which nothing is read. Raises Malformed, TooLarge, TooSlow."""
    fields: Fields = MultiDict()
    left = FIELDS_BYTES_MAX
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise Malformed("the form cannot be read")
            if part.filename is not None:
                return fields, part
            value = b""
            while piece := await piece_of(part.read_chunk):
                value += piece
                left -= len(piece)
                if left < 0:
                    raise TooLarge(f"the fields of a form have {FIELDS_BYTES_MAX >> 10:,} KiB at most")
            fields.add(part.name, value.decode())
    except ValueError as error:
        raise Malformed("the form cannot be read") from error
    return fields, None


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
        path = name.removeprefix("json:")
        try:
            value: Any = json.loads(text) if path != name else " ".join(text.splitlines())
        except (ValueError, RecursionError):
            raise WrongFields([WrongField(name, "is no JSON")]) from None
        if not _is_put(body, path, value):
            # Neither is more meant than the other: a reference and a seat may be those of two members.
            raise WrongFields([WrongField(path, "is given in two ways")])
    return {name: _rows(value) for name, value in body.items()}


def _is_put(body: dict[str, Any], path: str, value: Any) -> bool:
    """Put a value where its name says; False where something else is there."""
    *objects, last = path.split(".")
    place: Any = body
    for each in objects:
        place = place.setdefault(each, {})
        if not isinstance(place, dict):
            return False
    if last.endswith("[]"):
        items = place.setdefault(last.removesuffix("[]"), [])
        if not isinstance(items, list):
            return False
        items.append(value)
        return True
    if last in place:
        return False
    place[last] = value
    return True


def _rows(value: Any) -> Any:
    """Objects that are numbered are a list; a row that is left blank is none of it."""
    is_numbered = isinstance(value, dict) and value and all(name.isdigit() for name in value)
    return list(value.values()) if is_numbered else value
