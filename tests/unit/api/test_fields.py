"""What a field takes is what its schema says: of JSON in a body, and of text in a path or a query."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from engine.access.names import actor_name
from engine.api import fields
from engine.api.reading import _plain_json
from engine.errors import FentanError
from engine.money import BIGINT_MAX

TYPES = {
    name: TypeAdapter(getattr(fields, name))
    for name in ("Id", "Seat", "Year", "Wait", "Flag", "Code", "Text", "Name", "Digest", "Amount", "Day", "Moment")
}
SCHEMAS = {name: Draft202012Validator(adapter.json_schema(), validate_formats=True) for name, adapter in TYPES.items()}

EDGES: st.SearchStrategy[Any] = st.sampled_from([
    *(-1, 0, 1, 2**31 - 1, 2**31, BIGINT_MAX, BIGINT_MAX + 1, 2019, 300, 301, 1.0, 0.5, True, False, None, [], {}),
    *("", "0", "1", "-1", "+1", " 1", "1 ", "1.0", "0x1", "١", "1_000", "true", "True", "yes", "a" * 64, "a" * 65),
    *("quark", "quark\n", "-q", "anna", "Anna B", "a  b", "a ", "李雷", "İ", "Ａ", "e\u0301", "a" * 500, "a" * 501),
    *("0.03", "00.03", "0.030", "-0.03", "9999999999999999.99", "99999999999999999", "1e3", "\0", "\x7f", "\u2028"),
    *("2019-07-14", "2019-7-14", "2019-02-30", "20190714", "2019-W28-7", "0001-01-01", "9999-12-31", "10000-01-01"),
    *("2019-07-14T09:00:00Z", "2019-07-14T09:00:00", "2019-07-14T09Z", "2019-07-14 09:00:00Z", "1563094800"),
    *("2019-07-14T09:00:00.123456+08:00", "2019-07-14T25:00:00Z", "0001-01-01T00:00:00+14:00", "f" * 64, "F" * 64),
])  # fmt: skip
UNLIKE = st.text(max_size=80) | st.integers(-(2**70), 2**70) | st.floats(-9, 9)


def is_taken(name: str, value: Any) -> bool:
    """Whether a body may hold it there."""
    try:
        TYPES[name].validate_json(_plain_json(json.dumps(value).encode()), strict=True)
    except (ValidationError, FentanError):
        return False
    return True


@pytest.mark.parametrize("name", TYPES)
@given(value=EDGES | UNLIKE)
def test_a_body_holds_what_the_schema_says(name: str, value: Any) -> None:
    assert is_taken(name, value) == SCHEMAS[name].is_valid(value)


@pytest.mark.parametrize("name", TYPES)
@given(value=st.data())
def test_what_fits_the_pattern_is_taken(name: str, value: st.DataObject) -> None:
    """Drawn to fit, as random text hardly ever does."""
    pattern = TYPES[name].json_schema().get("pattern")
    drawn = value.draw(st.from_regex(pattern, fullmatch=True) if pattern else EDGES)
    assert is_taken(name, drawn) == SCHEMAS[name].is_valid(drawn)


@pytest.mark.parametrize("name", ["Id", "Seat", "Year", "Wait"])
@given(text=st.text(max_size=30) | st.integers().map(str))
@example(text="+1")
@example(text="1_0")
@example(text="٣")
@example(text="9" * 5000)
def test_a_number_in_an_address_is_written_as_one(name: str, text: str) -> None:
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 1000 and SCHEMAS[name].is_valid(int(text))
    try:
        assert TYPES[name].validate_python(text) == int(text)
    except ValidationError:
        assert not is_number
    else:
        assert is_number


@given(name=st.from_regex(TYPES["Name"].json_schema()["pattern"], fullmatch=True).filter(lambda name: len(name) <= 64))
def test_I13_a_name_has_one_spelling(name: str) -> None:
    """What the API takes is what the command line makes of it, so that nobody is two people."""
    assert actor_name(name) == name


@given(amount=st.from_regex(TYPES["Amount"].json_schema()["pattern"], fullmatch=True))
def test_every_amount_can_be_read(amount: str) -> None:
    assert 0 <= fields.minor(amount) <= BIGINT_MAX
