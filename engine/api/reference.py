"""The reference page: the specification as people read it, and every type of problem with what to do. No script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any, NamedTuple

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from engine.access.roles import Role
from engine.api.endpoint import PREFIX
from engine.api.problems import KINDS_OF_OTHERS, kind_of, status_of, title_of
from engine.errors import FentanError
from engine.money import BIGINT_MAX

PAGE = f"{PREFIX}/reference"
STYLE = f"{PAGE}.css"

Schema = Mapping[str, Any]

Schemas = Mapping[str, Schema]

_OTHER_FACES = ("engine.cli", "engine.client", "engine.console")
"""What they refuse is never answered here, though a process may know of it."""

_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "default": "unless given {}",
}


class Kind(NamedTuple):
    """A type of problem: its anchor, what it says, the statuses it has, the invariant it guards."""

    name: str
    title: str
    status: HTTPStatus
    invariant: str | None


class Operation(NamedTuple):
    """One operation as the page shows it."""

    method: str
    path: str
    said: Schema

    @property
    def body(self) -> Schema | None:
        """The schema of what is sent; None where nothing is."""
        content = self.said.get("requestBody", {}).get("content", {})
        return next((kind["schema"] for kind in content.values()), None)

    @property
    def media_type(self) -> str:
        """Of what is sent."""
        return str(next(iter(self.said["requestBody"]["content"])))

    @property
    def answers(self) -> list[tuple[str, str, Schema]]:
        """Status, media type and schema of what is answered when it is done."""
        return [
            (status, media_type, content.get("schema", {"type": "text"}))
            for status, answer in self.said["responses"].items()
            for media_type, content in answer.get("content", {}).items()
        ]

    @property
    def refusals(self) -> list[str]:
        """The statuses it is refused with."""
        return [status for status, answer in self.said["responses"].items() if "$ref" in answer]


def add_reference(app: web.Application, described: Callable[[], Mapping[str, Any]]) -> None:
    """Serve the page and its stylesheet. `described`: the specification, for which the page waits in a thread."""
    page = cache(lambda: page_of(described()))
    style = (files("engine.api") / "pages" / "reference.css").read_text("utf-8")

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(page), content_type="text/html")

    async def show_style(_: web.Request) -> web.Response:
        return web.Response(text=style, content_type="text/css")

    app.router.add_get(PAGE, show)
    app.router.add_get(STYLE, show_style)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("engine.api", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_of(specification: Mapping[str, Any]) -> str:
    """The page, in HTML."""
    schemas = specification["components"]["schemas"]
    operations = [
        Operation(method.upper(), path, said)
        for path, methods in specification["paths"].items()
        for method, said in methods.items()
    ]
    return (
        _environment()
        .get_template("reference.html")
        .render(
            info=specification["info"],
            resources={tag["name"]: _of_resource(tag, operations) for tag in specification["tags"]},
            schemas={name: schema for name, schema in schemas.items() if not is_page(schema)},
            refusals=specification["components"]["responses"],
            kinds=kinds(),
            everyone=sorted(Role),
            style=STYLE,
            called=called,
            type_of=lambda schema: type_of(schema, schemas),
            bounds_of=lambda schema: ", ".join(bounds_of(schema)),
        )
    )


def _of_resource(tag: Schema, operations: Sequence[Operation]) -> tuple[str, list[Operation]]:
    return tag.get("description", ""), [each for each in operations if tag["name"] in each.said["tags"]]


def kinds() -> list[Kind]:
    """Every type of problem there is, by name."""
    ours = [
        Kind(kind_of(error), title_of(error), status_of(error), error.invariant) for error in _refusals(FentanError)
    ]
    others = [Kind(name, title, status, None) for name, (status, title) in KINDS_OF_OTHERS.items()]
    return sorted({kind.name: kind for kind in (*ours, *others)}.values())


def _refusals(error: type[FentanError]) -> Iterator[type[FentanError]]:
    if error.__module__.startswith("engine.") and not error.__module__.startswith(_OTHER_FACES):
        yield error
    for more in error.__subclasses__():
        yield from _refusals(more)


def type_of(schema: Schema, schemas: Schemas) -> list[tuple[str, str | None]]:
    """What a value is, in words: pieces, and of each that names a schema of its own which it is."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if is_page(schemas[name]):
            return [("page of ", None), *type_of(schemas[name]["properties"]["items"]["items"], schemas)]
        return [(called(name), name)]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        pieces = [type_of(choice, schemas) for choice in choices]
        return [*pieces[0], *(part for piece in pieces[1:] for part in [(" or ", None), *piece])]
    if schema.get("type") == "array":
        return [("list of ", None), *type_of(schema.get("items", {}), schemas)]
    if schema.get("type") == "object" and isinstance(of := schema.get("additionalProperties"), dict):
        return [("by name: ", None), *type_of(of, schemas)]
    if "enum" in schema or "const" in schema:
        return [(" · ".join(map(str, schema.get("enum", [schema.get("const")]))), None)]
    kind = schema.get("type", "anything")
    return [({"date": "day", "date-time": "moment", "binary": "file"}.get(schema.get("format", ""), str(kind)), None)]


def bounds_of(schema: Schema) -> Iterator[str]:
    """What a value must hold to, in words."""
    for choice in schema.get("anyOf", ()):
        yield from bounds_of(choice)
    for name, words in _BOUNDS.items():
        value = schema.get(name)
        if value is not None and value != BIGINT_MAX:
            is_number = isinstance(value, int) and not isinstance(value, bool)
            yield words.format(f"{value:,}" if is_number else value)


def is_page(schema: Schema) -> bool:
    """Whether it is a part of a list."""
    return set(schema.get("properties", ())) == {"items", "next"}


def called(name: str) -> str:
    """A schema's name as people read it: without the module that tells it from one of the same name."""
    return name.rpartition("__")[2]
