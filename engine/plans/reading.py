"""From the text of a plan file to its rules, with everything that is wrong said at once."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from engine.errors import InvalidInput
from engine.plans.rules import PlanRules


def parse(text: str, source: str) -> PlanRules:
    """The rules in the TOML `text` of the file `source`. Raises InvalidInput, a line for every wrong key."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{source}: not TOML: {error}") from None
    # By way of JSON there is one strict reading, whether rules come from a file or from a run that pinned them.
    return from_json(json.dumps(tables, default=str), source)


def from_json(text: str, source: str) -> PlanRules:
    """The rules that `to_json` wrote, or `parse` made of TOML. Raises InvalidInput like `parse`."""
    try:
        return PlanRules.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        lines = [line for each in wrong for line in _explained(each).splitlines()]
        lines += _contradictions(text, [each["loc"] for each in wrong])
        raise InvalidInput("\n".join(f"{source}: {line}" for line in lines)) from None


def to_json(rules: PlanRules) -> str:
    """Canonical JSON: equal rules are equal text, however their file was written."""
    return json.dumps(rules.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def digest(rules: PlanRules) -> bytes:
    """SHA-256 of the canonical JSON: what a version of a plan's rules is known by."""
    return hashlib.sha256(to_json(rules).encode()).digest()


def _contradictions(text: str, places: Sequence[tuple[int | str, ...]]) -> list[str]:
    """What contradicts in the rest of a file once its wrong keys are left out; nothing where the rest needs them.

    Rules are held against each other only when each is right by itself, so this takes a second look.
    """
    if not all(places):
        return []
    tables = json.loads(text)
    for place in reversed(places):
        _leave_out(tables, place)
    try:
        PlanRules.model_validate_json(json.dumps(tables))
    except ValidationError as error:
        found = error.errors(include_url=False)
        if any(each["loc"] for each in found):
            return []
        left_out = {part for place in places for part in place[-1:] if isinstance(part, str)}
        lines = [line for each in found for line in _explained(each).splitlines()]
        return [line for line in lines if left_out.isdisjoint(re.findall(r"\w+", line))]
    return []


def _leave_out(tables: Any, place: Sequence[int | str]) -> None:
    *way, last = place
    try:
        for part in way:
            tables = tables[part]
        del tables[last]
    except (KeyError, IndexError, TypeError):
        return  # a missing key, or one inside of what is left out already


def _explained(error: Any) -> str:
    place = error["loc"]
    where = ".".join(str(part) for part in place)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; known here: {', '.join(_known_keys(place[:-1]))}"
    if error["type"] == "missing":
        return f"{where}: missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _known_keys(place: Sequence[int | str]) -> list[str]:
    model: type[BaseModel] = PlanRules
    for part in place:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The table model that a field holds, alone, in a tuple or where it may be absent."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for each in get_args(annotation) if (model := _model_in(each))), None)
