"""Every button: a form that asks for an operation of the API, done as a request of the API's is, in the visitor's name.

`/do/v1/runs/7/approve` approves run 7. Fields of the form are the operation's parameters and body; `key` its
Idempotency-Key, made with the page, so that sending it twice does it once; `seen` the ETag of what the page showed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.idempotency import Remembered
from engine.access.tokens import NotAuthenticated
from engine.api.answering import is_key
from engine.api.endpoint import Endpoint
from engine.api.fields import Reasoned
from engine.api.problems import Malformed, WrongField, WrongFields, of_fields
from engine.api.service import Call, Upload
from engine.api.writing import Write, write
from engine.console.flash import say
from engine.console.forms import OURS, Fields, body_of, fields_and_file
from engine.console.rendering import SECURITY, render
from engine.console.serving import explained, to, within
from engine.console.visits import Visit, call_of


def doing(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What aiohttp calls for the form of an operation."""

    async def do(visit: Visit) -> web.StreamResponse:
        if visit.visitor is None:
            raise NotAuthenticated
        endpoint.admit(visit.visitor)
        async with fields_and_file(visit) as (fields, upload):
            answer = await _done(endpoint, visit, fields, upload)
        return _after(endpoint, visit, fields, answer)

    return explained(do)


async def _done(endpoint: Endpoint, visit: Visit, fields: Fields, upload: Upload | None) -> Remembered:
    request, visitor = visit.request, visit.visitor
    assert visitor is not None
    in_query = {name: fields[name] for name in endpoint.params.model_fields if fields.get(name)}
    try:
        params = endpoint.params.model_validate(in_query | request.match_info)
        body, digest = _body(endpoint, fields, frozenset(endpoint.params.model_fields), upload)
    except ValidationError as error:
        raise of_fields(error, "form") from None

    def call_on(connection: AsyncConnection) -> Call:
        return call_of(request, visitor, connection, visit.now)

    path = request.path.removeprefix("/do")
    # The key is the visitor's: what one session does twice is done once.
    key = fields.get("key") or None
    if key is not None and not is_key(key):
        raise Malformed("the key of the form is none")
    asked = Write(endpoint, path, request.match_info, params, body, digest, key, fields.get("seen") or None)
    return (await write(visit.service, call_on, asked))[0]


def _body(
    endpoint: Endpoint, fields: Fields, in_address: frozenset[str], upload: Upload | None
) -> tuple[BaseModel | Upload | None, bytes]:
    """The body and its SHA-256. Raises ValidationError, WrongFields."""
    if endpoint.body is None:
        return None, hashlib.sha256(b"").digest()
    if issubclass(endpoint.body, Upload):
        if upload is None:
            raise WrongFields([WrongField("form/file", "choose a file")])
        return upload, upload.sha256
    body = endpoint.body.model_validate(body_of(fields, OURS | in_address))
    if isinstance(body, Reasoned) and body.reason is None:
        raise WrongFields([WrongField("form/reason", "say why: it cannot be undone", "missing")])
    return body, hashlib.sha256(body.model_dump_json().encode()).digest()


def _after(endpoint: Endpoint, visit: Visit, fields: Fields, answer: Remembered) -> web.Response:
    """Back to where the visitor was, or to what was made: `back` may hold names of the answer's as `/runs/{run_id}`."""
    said = json.loads(answer.body)
    if endpoint.is_secret:
        return render(visit, "secret.html", {"operation": endpoint.name, "answer": said})
    back = fields.get("back", "/")
    for name, value in said.items() if isinstance(said, dict) else ():
        if isinstance(value, int | str):
            back = back.replace(f"{{{name}}}", str(value))
    path = within(back)
    response = web.Response(headers={"HX-Redirect": path, **SECURITY}) if visit.is_part else to(path)
    say(response, endpoint.name)
    return response
