"""The JSON that the fields of a form stand for."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import MultiDict

from engine.api.problems import WrongFields
from engine.console.forms import body_of


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([("reason", "two\nlines"), ("note", "")], {"reason": "two lines"}),
        (
            [("breaks.custodian", "abc"), ("breaks.kind", "missing")],
            {"breaks": {"custodian": "abc", "kind": "missing"}},
        ),
        ([("ids[]", "1"), ("ids[]", "2")], {"ids": ["1", "2"]}),
        ([("breaks.ids[]", "1")], {"breaks": {"ids": ["1"]}}),
        ([("json:items", "[]"), ("items[]", "1")], {"items": ["1"]}),
        ([("json:breaks", '{"ids": [1]}')], {"breaks": {"ids": [1]}}),
        (
            [("seats.0.amount", "1"), ("seats.2.amount", "3"), ("seats.1.amount", "")],
            {"seats": [{"amount": "1"}, {"amount": "3"}]},
        ),
        ([("csrf", "x"), ("run_id", "7")], {}),
    ],
    ids=["text", "object", "list", "list of an object", "list that may be empty", "JSON", "rows", "what is ours"],
)
def test_fields_are_a_body(fields: list[tuple[str, str]], body: dict[str, Any]) -> None:
    assert body_of(MultiDict(fields), frozenset({"csrf", "run_id"})) == body


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("a", "a.b"),
        ("a.b", "a"),
        ("a[]", "a"),
        ("a", "a[]"),
        ("a[]", "a.b"),
        ("a.b", "a[]"),
        ("a.b", "a.b.c"),
    ],
)
def test_what_is_said_in_two_ways_is_refused(names: tuple[str, str]) -> None:
    with pytest.raises(WrongFields, match="is given in two ways"):
        body_of(MultiDict([(name, "1") for name in names]), frozenset())


@pytest.mark.parametrize("text", ["{", "[" * 100_000], ids=["half", "deep"])
def test_json_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WrongFields, match="is no JSON"):
        body_of(MultiDict([("json:a", text)]), frozenset())
