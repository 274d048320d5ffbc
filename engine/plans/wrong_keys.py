"""A TOML file of settings on its way to its model, and what is wrong in it, key by key, in words for who wrote it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from engine.errors import InvalidInput

_WORDS = {
    "bool_type": "write true or false",
    "date_parsing": "write a day like 2019-01-21",
    "date_type": "write a day like 2019-01-21",
    "dict_type": "write a table of keys",
    "int_type": "write a whole number",
    "model_type": "write a table of keys",
    "string_type": "write text in quotes",
    "time_parsing": "write a time of day like 16:30:00",
    "time_type": "write a time of day like 16:30:00",
    "too_short": "give at least one",
    "tuple_type": "write a list",
    "union_tag_not_found": "format: missing",
}
"""By the type of error, where pydantic's own words are those of programmers."""


NO_WORDS: Mapping[str, str] = {}


def as_json(text: str, source: str) -> str:
    """The TOML `text` of the file `source` as JSON, so that there is one strict reading. Raises InvalidInput."""
    try:
        return json.dumps(tomllib.loads(text), default=str)
    except RecursionError:
        raise InvalidInput(f"{source}: tables or lists lie too deep in each other") from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of thousands of digits
        raise InvalidInput(f"{source}: not TOML: {error}") from None


def lines_of(error: ValidationError, model: type[BaseModel], words: Mapping[str, str] = NO_WORDS) -> list[str]:
    """A line for everything wrong in a file read as `model`, each beginning with its key.

    `words`: the model's own, by type of error.
    """
    return [line for each in error.errors(include_url=False) for line in _explained(each, model, words)]


def _explained(error: Any, model: type[BaseModel], words: Mapping[str, str]) -> Iterator[str]:
    place, within = _place(error["loc"], model)
    if error["type"] == "extra_forbidden":
        yield f"{place}: unknown key; known here: {', '.join(sorted(within.model_fields))}"
    elif error["type"] == "missing":
        yield f"{place}: missing"
    else:
        message = words.get(error["type"]) or _WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
        for line in message.splitlines():
            yield f"{place}: {line}" if place else line


def _place(way: Sequence[int | str], model: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """The key as the file has it, and the innermost table that it lies in, or should."""
    shown, inside, last = [], _tables(model), model
    for part in way:
        tagged = [
            table for table in inside if part in get_args(getattr(table.model_fields.get("format"), "annotation", 0))
        ]
        if len(inside) > 1 and tagged:  # not a key: which of several tables it was taken for
            inside = tagged
            continue
        if part == "[key]":
            continue
        shown.append(str(part))
        if len(inside) == 1:
            last = inside[0]
        if isinstance(part, str) and len(inside) == 1 and part in last.model_fields:
            inside = _tables(last.model_fields[part].annotation)
    return ".".join(shown), last


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a field holds: alone, in a list, by a key, or one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for each in get_args(annotation) for table in _tables(each)]
