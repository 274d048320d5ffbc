"""The reference page: all of the specification, and a place for every type of problem."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from aiohttp import web

from engine.access.idempotency import KeyInFlight
from engine.access.tokens import NotAuthenticated
from engine.api.application import application  # noqa: F401 - every refusal there is has been imported with it
from engine.api.endpoint import PREFIX
from engine.api.openapi import specification
from engine.api.problems import TYPES, WrongField, WrongFields, problem_of
from engine.api.reference import bounds_of, is_page, page_of, type_of
from engine.api.routes import RESOURCES
from engine.errors import FentanError, InvalidInput, NotFound

SPECIFICATION = specification(RESOURCES)
SCHEMAS = SPECIFICATION["components"]["schemas"]
PAGE = page_of(SPECIFICATION)


def _refusals(error: type[FentanError]) -> set[str]:
    ours = not error.__module__.startswith(("engine.cli", "engine.client", "engine.console", "tests"))
    return {error.__name__ for _ in [error] if ours}.union(*map(_refusals, error.__subclasses__()))


REFUSALS = _refusals(FentanError)
"""Now: other tests import what the API does without."""


class Read(HTMLParser):
    """What a page's elements are, are called, and lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.add(value or "")


@pytest.fixture(scope="module")
def read() -> Read:
    found = Read()
    found.feed(PAGE)
    return found


def test_every_operation_and_schema_has_its_place(read: Read) -> None:
    operations = {said["operationId"] for methods in SPECIFICATION["paths"].values() for said in methods.values()}
    schemas = {f"schema-{name}" for name, schema in SCHEMAS.items() if not is_page(schema)}
    assert (operations | schemas) - set(read.ids) == set()
    assert len(read.ids) == len(set(read.ids))


def test_every_link_leads_somewhere(read: Read) -> None:
    places = {f"#{place}" for place in read.ids} | {f"{PREFIX}/openapi.json", f"{PREFIX}/reference.css"}
    assert read.links - places == set()


def test_nothing_on_it_runs_or_is_styled_in_place(read: Read) -> None:
    assert read.tags & {"script", "style", "iframe", "img", "form"} == set()
    assert {name for name in read.attributes if name == "style" or name.startswith("on")} == set()


@pytest.mark.parametrize(
    "error",
    [
        FentanError(), InvalidInput("x"), NotFound("x"), NotAuthenticated(), KeyInFlight(),
        WrongFields([WrongField("a", "b")]),
        web.HTTPNotFound(), web.HTTPMethodNotAllowed("PUT", ["GET"]), web.HTTPBadRequest(),
        OverflowError("date value out of range"), ConnectionError(), ValueError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_every_type_of_problem_has_its_place(error: Exception, read: Read) -> None:
    kind = problem_of(error).kind
    assert TYPES + kind == f"{PREFIX}/reference#problem-{kind}"
    assert f"problem-{kind}" in read.ids


def test_every_refusal_of_the_engine_has_its_place(read: Read) -> None:
    kinds = {re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower() for name in REFUSALS}
    assert {f"problem-{kind}" for kind in kinds} - set(read.ids) == set()


@pytest.mark.parametrize(
    ("schema", "words", "bounds"),
    [
        ({"$ref": "#/components/schemas/engine__api__Run"}, "[Run]", ""),
        ({"$ref": "#/x/Runs"}, "page of [Run]", ""),
        ({"type": "array", "items": {"$ref": "#/x/Run"}, "maxItems": 3}, "list of [Run]", "at most 3 items"),
        ({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}, "integer or null", "at least 0"),
        ({"type": "string", "format": "date"}, "day", ""),
        ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "integer", "at least 1"),
        ({"type": "integer", "maximum": 65535, "default": 8080}, "integer", "at most 65,535, unless given 8,080"),
        ({"enum": ["a", "b"]}, "a · b", ""),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "by name: integer", ""),
        ({"type": "boolean", "default": False}, "boolean", "unless given False"),
    ],
)
def test_a_value_in_words(schema: dict[str, object], words: str, bounds: str) -> None:
    runs = {"properties": {"items": {"type": "array", "items": {"$ref": "#/x/Run"}}, "next": {"type": "string"}}}
    schemas = {"Runs": runs, "Run": {}, "engine__api__Run": {}}
    assert "".join(f"[{text}]" if name else text for text, name in type_of(schema, schemas)) == words
    assert ", ".join(bounds_of(schema)) == bounds
