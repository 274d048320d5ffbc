"""The client against the specification: each method asks for the operation of its name, and says what it answers."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import AsyncIterator, Coroutine, Mapping
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from engine.api.openapi import specification
from engine.api.routes import RESOURCES
from engine.client import Client
from engine.client.transport import Transport

SPECIFICATION = specification(RESOURCES)
SCHEMAS: Mapping[str, Any] = SPECIFICATION["components"]["schemas"]
OPERATIONS = {
    said["operationId"]: (method.upper(), path, said)
    for path, methods in SPECIFICATION["paths"].items()
    for method, said in methods.items()
}
BY_HAND = {"wait_for_job"}
METHODS = sorted(
    name for name in vars(Client) if not name.startswith("_") and name not in vars(Transport) and name not in BY_HAND
)
STREAMS = {"follow_run"}


def asked(name: str) -> tuple[str, str]:
    """What a method of the client asks for: GET or POST, and the path with its parameters in braces."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(Client, name))))
    (path,) = {
        re.sub(r"f?'|\{(\w+)\}", lambda found: f"{{{found[1]}}}" if found[1] else "", ast.unparse(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant) and "/v1/" in ast.unparse(node).strip("f'\"")[:4]
        if not any(node in getattr(other, "values", ()) for other in ast.walk(tree))
    }
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    (verb,) = called & {"get", "post", "pages", "events", "upload"}
    return ("POST" if verb in {"post", "upload"} else "GET"), path


def sent(name: str) -> set[str]:
    """The names of fields and parameters in dictionaries that a method sends."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(Client, name))))
    keys = {key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if key is not None}
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_asks_for_the_operation_of_its_name(name: str) -> None:
    method, path, said = OPERATIONS[name]
    assert asked(name) == (method, path)
    known = {parameter["name"] for parameter in said["parameters"]}
    body = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    known |= set(SCHEMAS[body["$ref"].rpartition("/")[2]]["properties"]) if body else set()
    assert sent(name) - known == set()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_answers_what_the_operation_does(name: str) -> None:
    _, _, said = OPERATIONS[name]
    if name in STREAMS:
        assert "text/event-stream" in said["responses"]["200"]["content"]
        return
    (content,) = [answer["content"] for answer in said["responses"].values() if "content" in answer]
    schema, answer = content["application/json"]["schema"], get_type_hints(getattr(Client, name))["return"]
    if get_origin(answer) is AsyncIterator:
        schema, (answer,) = resolved(schema)["properties"]["items"]["items"], get_args(answer)
    elif get_origin(answer) is Coroutine:
        *_, answer = get_args(answer)
    assert differences(answer, schema, name) == []


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def differences(found: Any, schema: Mapping[str, Any], place: str) -> list[str]:
    """Where a type and a schema differ."""
    schema = resolved(schema)
    if "anyOf" in schema:
        choices = get_args(found) if get_origin(found) is UnionType else (found,)
        if len(choices) != len(schema["anyOf"]):
            return [f"{place}: {found} against {schema['anyOf']}"]
        return [
            each
            for choice, other in zip(choices, schema["anyOf"], strict=True)
            for each in differences(choice, other, place)
        ]
    if is_typeddict(found):
        hints, fields = get_type_hints(found), schema.get("properties", {})
        if set(hints) != set(fields):
            return [f"{place}: {sorted(set(hints) ^ set(fields))} in one of {found.__name__} and the schema alone"]
        return [each for name in hints for each in differences(hints[name], fields[name], f"{place}.{name}")]
    kind = schema.get("type")
    if get_origin(found) is list:
        return differences(get_args(found)[0], schema.get("items", {}), f"{place}[]") if kind == "array" else [place]
    if get_origin(found) is dict:
        of = schema.get("additionalProperties")
        return differences(get_args(found)[1], of if isinstance(of, Mapping) else {}, f"{place}{{}}")
    plain = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null", Any: None}
    return [] if plain[found] == kind else [f"{place}: {found} against {kind}"]


def test_differences_are_found() -> None:
    assert differences(str, {"type": "integer"}, "x") == ["x: <class 'str'> against integer"]
    assert differences(str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "x") == []
    assert differences(list[str], {"type": "array", "items": {"type": "integer"}}, "x") != []
