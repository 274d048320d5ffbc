"""The specification (OpenAPI 3.1), made of the endpoints and their models: it says what is checked, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from engine import __version__
from engine.api.endpoint import Endpoint, Endpoints
from engine.api.fields import KEY, TAG
from engine.api.problems import MEDIA_TYPE
from engine.api.reading import FILE, JSON
from engine.api.service import Streamed, Upload

Named = Mapping[Any, Any]
"""By model and use, the reference to its schema."""

_REF = "#/components/schemas/{model}"
_IN_PATH = re.compile(r"{(\w+)}")
_REFUSALS = {
    400: "The request cannot be read, or moves money without an Idempotency-Key.",
    401: "No valid token came with it.",
    403: "The token's role or scopes do not allow it.",
    404: "There is no such thing.",
    408: "The body did not come.",
    409: "It was well asked and cannot be done as things stand, or its Idempotency-Key is in flight.",
    412: "What If-Match names is not there any more.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "Fields are wrong, or the Idempotency-Key was used for something else.",
    429: "The token asked too often.",
    503: "The database is away, or another request is in the way; nothing was done.",
}
_SAME = {"304": {"description": "It is what If-None-Match names."}}
_WRITES_ONLY = {408, 412, 413, 415}


class Wrong(BaseModel):
    """A field, and what is wrong with it."""

    field: str
    message: str


class ProblemBody(BaseModel):
    """Why something was not done (RFC 9457): what is wrong, where, and what to do."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str
    request_id: str
    invariant: str | None = None
    errors: Annotated[list[Wrong], Field()] = []


def specification(resources: Sequence[Endpoints]) -> dict[str, Any]:
    """The whole document. The operations carry `x-roles` and `x-scope`: who may."""
    endpoints = [endpoint for each in resources for endpoint in each.all]
    schemas, named = _schemas(endpoints)
    # Parameters are no bodies: what they have in common with them is what their types name.
    asked = {endpoint.params: schemas[_name(named, endpoint.params)] for endpoint in endpoints}
    schemas = {name: schema for name, schema in schemas.items() if name not in {_name(named, each) for each in asked}}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, endpoints, named, asked[endpoint.params])
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fentan",
            "version": __version__,
            "description": "Share runs, the ledger, custodians and their reconciliation. Money is decimal text in major"
            " units, days are ISO 8601, moments RFC 3339.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": about} for name, about in _tags(resources).items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                str(status): {
                    "description": said,
                    "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model=ProblemBody.__name__)}}},
                }
                for status, said in _REFUSALS.items()
            },
        },
    }


def _tags(resources: Iterable[Endpoints]) -> dict[str, str]:
    """What each resource is about; a large one has several modules."""
    tags: dict[str, list[str]] = {}
    for each in resources:
        tags.setdefault(each.resource, []).append(each.about)
    return {name: " ".join(about) for name, about in tags.items()}


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[dict[str, Any], Named]:
    """The schemas of all parameters, bodies and answers, and by model and use the reference to its own."""
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ProblemBody, "serialization")]
    for endpoint in endpoints:
        inputs.append((endpoint.params, "validation"))
        if endpoint.body is not None and issubclass(endpoint.body, BaseModel):
            inputs.append((endpoint.body, "validation"))
        if endpoint.answer is not Streamed:
            inputs.append((endpoint.answer, "serialization"))
    named, document = models_json_schema(list(dict.fromkeys(inputs)), ref_template=_REF)
    return _plainly(document.get("$defs", {}), named)


def _plainly(schemas: Mapping[str, Any], named: Named) -> tuple[dict[str, Any], Named]:
    """The same, where several have one name: each is told by what it belongs to, not by the path of its module."""
    plain = {name: _plain(name) if "__" in name else name.replace("-", "") for name in schemas}
    for name, schema in schemas.items():
        if "Page_" in name:  # of two that are named alike: both pages are of one module
            plain[name] = f"Page_{plain[schema['properties']['items']['items']['$ref'].rpartition('/')[2]]}_"
    assert len(set(plain.values())) == len(plain), "two schemas have one name"
    text = json.dumps([dict(schemas), list(named.values())])
    for name, is_now in plain.items():
        text = text.replace(f'"{_REF.format(model=name)}"', f'"{_REF.format(model=is_now)}"')
    said, references = json.loads(text)
    return {plain[name]: schema for name, schema in said.items()}, dict(zip(named, references, strict=True))


def _plain(name: str) -> str:
    """`engine__api__break_views__LineView` is BreakLineView, `engine__claims__states__State` ClaimsState."""
    _, *modules, own = name.split("__")
    owner = next(module for module in modules if module != "api")
    return owner.removesuffix("_views").title().replace("_", "") + own


def _name(named: Named, params: type[BaseModel]) -> str:
    return str(named[params, "validation"]["$ref"]).rpartition("/")[2]


def _operation(
    endpoint: Endpoint, endpoints: Sequence[Endpoint], named: Named, asked: Mapping[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.resource],
        "summary": endpoint.summary,
        "x-roles": sorted(endpoint.roles),
        "x-scope": endpoint.scope,
        "parameters": [*_parameters(endpoint, asked), *_headers(endpoint)],
        "responses": {
            str(endpoint.status): _answer(endpoint, endpoints, named),
            **({} if endpoint.writes or endpoint.answer is Streamed else _SAME),
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in _REFUSALS
                if endpoint.writes or status not in _WRITES_ONLY
            },
        },
    }
    if endpoint.body is Upload:
        content = {FILE: {"schema": {"type": "string", "format": "binary", "minLength": 1}}}
        operation["requestBody"] = {"required": True, "content": content}
    elif endpoint.body is not None:
        content = {JSON: {"schema": named[endpoint.body, "validation"]}}
        operation["requestBody"] = {"required": endpoint.needs_body, "content": content}
    return operation


def _parameters(endpoint: Endpoint, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those of path and query."""
    in_path = set(_IN_PATH.findall(endpoint.path))
    assert in_path <= set(asked.get("properties", {})), endpoint.path
    for name, schema in asked.get("properties", {}).items():
        shown = {key: value for key, value in schema.items() if key not in ("title", "default", "anyOf")}
        # What may be left out is not there; it is never null.
        for choice in schema.get("anyOf", ()):
            shown |= {} if choice == {"type": "null"} else choice
        if (default := schema.get("default")) is not None:
            shown["default"] = default
        where = "path" if name in in_path else "query"
        yield {"name": name, "in": where, "required": name in asked.get("required", ()), "schema": shown}


def _headers(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    if endpoint.writes and not endpoint.is_secret:
        said = "Yours, a new one for each thing to be done: asked again with the same, it is done once."
        schema = {"type": "string", "pattern": KEY}
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": endpoint.moves_money,
            "description": said,
            "schema": schema,
        }
    if endpoint.changes is not None:
        said = "The ETag of what you saw: nothing is done if it is another by now."
        schema = {"type": "string", "format": "etag", "pattern": TAG}
        yield {"name": "If-Match", "in": "header", "required": False, "description": said, "schema": schema}


def _answer(endpoint: Endpoint, endpoints: Sequence[Endpoint], named: Named) -> dict[str, Any]:
    if endpoint.answer is Streamed:
        return {"description": endpoint.summary, "content": {endpoint.media_type: {}}}
    schema = named[endpoint.answer, "serialization"]
    answer: dict[str, Any] = {"description": endpoint.summary, "content": {JSON: {"schema": schema}}}
    if headers := dict(_answered_headers(endpoint)):
        answer["headers"] = headers
    if links := dict(_links(endpoint, endpoints)):
        answer["links"] = links
    return answer


def _answered_headers(endpoint: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    text = {"type": "string"}
    if not endpoint.writes or endpoint.changes is not None:
        said = "Of this state, for If-None-Match and If-Match."
        yield "ETag", {"description": said, "required": True, "schema": text}
    if endpoint.status in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
        yield "Location", {"description": "Where to find what was made.", "required": True, "schema": text}
    if "next" in endpoint.answer.model_fields:
        yield "Link", {"description": 'The next page, rel="next"; without it, this is the last.', "schema": text}


def _links(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> Iterator[tuple[str, dict[str, Any]]]:
    """To what may be asked next with a number of this answer, or with what its own resource goes by.

    What changes a thing leads where showing it does, and says so once.
    """
    of_page = endpoint.answer.model_fields.get("items")
    held = get_args(of_page.annotation)[0] if of_page is not None else endpoint.answer
    place = "$response.body#/items/0/" if of_page is not None else "$response.body#/"
    answered = {name: f"{place}{name}" for name in getattr(held, "model_fields", {})}
    asked = {name: f"$request.path.{name}" for name in _IN_PATH.findall(endpoint.path)}
    for other in endpoints:
        needed = {name: answered.get(name) or asked.get(name) for name in _IN_PATH.findall(other.path)}
        is_next = any(
            name.endswith("_id") or other.resource == endpoint.resource for name in needed if name in answered
        )
        if other is not endpoint and endpoint.changes is None and is_next and all(needed.values()):
            yield other.name, {"operationId": other.name, "parameters": needed}
