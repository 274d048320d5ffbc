"""The specification is one, and says of every operation what a caller must know."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from engine.access.roles import Role
from engine.api.openapi import specification
from engine.api.routes import ENDPOINTS, RESOURCES
from engine.api.service import Streamed
from tests.serving import Served

DOCUMENT = specification(RESOURCES)
OPERATIONS = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}


def references(found: object) -> Iterator[str]:
    """Every reference there is."""
    if isinstance(found, dict):
        if isinstance(name := found.get("$ref"), str):
            yield name
        for each in found.values():
            yield from references(each)
    elif isinstance(found, list):
        for each in found:
            yield from references(each)


def schemas_of(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each parameter and its schema, what it names put in its place."""
    for each in operation["parameters"]:
        schema = each["schema"]
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        yield each["name"], schema


def test_it_is_an_openapi_document() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_is_the_same_each_time() -> None:
    assert json.dumps(specification(RESOURCES)) == json.dumps(DOCUMENT)


@pytest.mark.integration
async def test_it_is_served(served: Served) -> None:
    async with served.session.get(f"{served.url}/v1/openapi.json") as answer:
        assert (answer.status, await answer.json()) == (200, DOCUMENT)


def test_every_operation_has_a_name_of_its_own() -> None:
    assert [name for name, times in Counter(endpoint.name for endpoint in ENDPOINTS).items() if times > 1] == []
    assert len(OPERATIONS) == len(ENDPOINTS)


def test_schemas_are_named_for_what_they_are() -> None:
    assert [
        name for name in DOCUMENT["components"]["schemas"] if not re.fullmatch(r"(Page_)?[A-Z][A-Za-z]+_?", name)
    ] == []


def test_nothing_is_defined_that_nobody_uses() -> None:
    used = {name.rpartition("/")[2] for name in references(DOCUMENT)}
    assert {*DOCUMENT["components"]["schemas"], *DOCUMENT["components"]["responses"]} == used
    assert {tag["name"] for tag in DOCUMENT["tags"]} == {tag for each in OPERATIONS.values() for tag in each["tags"]}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_operation_says_what_must_be_known(endpoint: Any) -> None:
    operation = OPERATIONS[endpoint.name]
    assert operation["summary"].endswith(".")
    assert operation["tags"] == [endpoint.resource]
    assert operation["x-roles"] == sorted(endpoint.roles)
    assert set(operation["x-roles"]) <= set(Role)
    assert operation["x-scope"] == f"{endpoint.resource}:{'write' if endpoint.writes else 'read'}"
    refusals = {"401", "403", "404", "409", "422", "429", "503"}
    assert {str(endpoint.status), *refusals} <= set(operation["responses"])
    headers = {each["name"]: each["required"] for each in operation["parameters"] if each["in"] == "header"}
    asked = {"Idempotency-Key": endpoint.moves_money} if endpoint.writes and not endpoint.is_secret else {}
    assert headers == asked | ({"If-Match": False} if endpoint.changes is not None else {})


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_parameter_has_bounds(endpoint: Any) -> None:
    """What has none lets in what cannot be stored, such as a number of a thousand digits."""
    for name, schema in schemas_of(OPERATIONS[endpoint.name]):
        if schema["type"] == "integer":
            assert {"minimum", "maximum"} <= set(schema) or "enum" in schema, name
        elif schema["type"] == "string":
            assert {"pattern", "enum", "const", "format"} & set(schema), name
        else:
            assert schema["type"] == "boolean", name


def test_every_body_has_bounds() -> None:
    """All that people send; what is answered needs none."""
    sent = [reference for each in OPERATIONS.values() for reference in references(each.get("requestBody"))]
    seen, unbounded = set[str](), list[str]()
    while sent:
        name = sent.pop().rpartition("/")[2]
        if name in seen:
            continue
        seen.add(name)
        schema = DOCUMENT["components"]["schemas"][name]
        sent += references(schema)
        if schema["type"] == "object" and "properties" in schema and schema.get("additionalProperties") is not False:
            unbounded.append(name)
        for field, said in schema.get("properties", {}).items():
            unbounded += [f"{name}.{field}" for each in [said, *said.get("anyOf", ())] if not is_bounded(each)]
    assert unbounded == []


def is_bounded(schema: dict[str, Any]) -> bool:
    """Whether a schema says how much it takes."""
    bounds = {
        "integer": [{"minimum", "maximum"}],
        "string": [{"pattern"}, {"enum"}, {"const"}, {"format"}, {"maxLength"}],
        "array": [{"maxItems"}],
        "number": [],
    }
    kind = schema.get("type")
    return kind not in bounds or any(each <= set(schema) for each in bounds[kind])


def test_money_is_text() -> None:
    """Only time and speed are numbers that are not whole; money would be one."""
    found = numbers(DOCUMENT["components"]["schemas"], "")
    assert [place for place in found if "second" not in place and "/Lately/" not in place] == []


def numbers(found: object, place: str) -> Iterator[str]:
    if isinstance(found, dict):
        if found.get("type") == "number":
            yield place
        for name, each in found.items():
            yield from numbers(each, f"{place}/{name}")
    elif isinstance(found, list):
        for each in found:
            yield from numbers(each, place)


def test_streams_are_of_the_type_they_are_declared() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.answer is Streamed:
            assert list(OPERATIONS[endpoint.name]["responses"]["200"]["content"]) == [endpoint.media_type]
