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
        # By way of JSON there is one strict reading, whether rules come from a file or from a run that pinned them.
        as_json = json.dumps(tomllib.loads(text), default=str)
    except RecursionError:
        raise InvalidInput(f"{source}: tables or lists lie too deep in each other") from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of thousands of digits
        raise InvalidInput(f"{source}: not TOML: {error}") from None
    return from_json(as_json, source)


def from_json(text: str, source: str) -> PlanRules:
    """The rules that `to_json` wrote, or `parse` made of TOML. Raises InvalidInput like `parse`."""
    try:
        return PlanRules.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        lines = [line for each in wrong for line in _explained(each).splitlines()]
        lines += _contradictions(text, wrong)
        raise InvalidInput("\n".join(f"{source}: {line}" for line in lines)) from None


def to_json(rules: PlanRules) -> str:
    """Canonical JSON: equal rules are equal text, however their file was written."""
    return json.dumps(rules.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def digest(rules: PlanRules) -> bytes:
    """SHA-256 of the canonical JSON: what a version of a plan's rules is known by."""
    return hashlib.sha256(to_json(rules).encode()).digest()


_DECIDING = {"direction", "funding", "key", "tier_by", "tiers", "trigger"}
"""What other keys must be hangs on these: while one is wrong nobody knows what contradicts."""

_STAND_INS = {
    "code": "code", "name": "name", "currency": "CNY", "time_zone": "UTC", "starts_on": "1900-01-01",
    "gate": "notice_day", "fee": "0", "rounding": "up", "over_cap": "sponsor", "length_days": 0,
    "waiting_days": 0, "minimum_age_days": 0, "maximum_age_years": 150, "at_most": "1",
    "entry": "0", "floor": "0", "return_days": 0,
    "announced_on": "1900-01-01", "claims_within_days": 0, "refund": "nothing",
}  # fmt: skip
"""For keys that cannot be left out."""


def _contradictions(text: str, wrong: Sequence[Any]) -> list[str]:
    """What contradicts in the rest of a file, whatever its wrong keys should be; nothing where the rest needs them.

    Rules are held against each other only when each is right by itself, so this takes a second look.
    """
    named = {part for each in wrong for part in each["loc"][-1:]}
    if not all(each["loc"] for each in wrong) or any(isinstance(part, int) for part in named) or named & _DECIDING:
        return []
    tables = json.loads(text)
    for each in reversed(wrong):
        _leave_out(tables, each)
    try:
        PlanRules.model_validate_json(json.dumps(tables))
    except ValidationError as error:
        found = error.errors(include_url=False)
        if any(each["loc"] for each in found):
            return []
        lines = [line for each in found for line in _explained(each).splitlines()]
        return [line for line in lines if named.isdisjoint(re.findall(r"\w+", line))]
    return []


def _leave_out(tables: Any, wrong: Any) -> None:
    *way, last = wrong["loc"]
    try:
        for part in way:
            tables = tables[part]
        if last in _STAND_INS and wrong["type"] != "extra_forbidden":
            tables[last] = _STAND_INS[last]
        else:
            del tables[last]
    except (KeyError, IndexError, TypeError):
        return  # a missing key, or one inside of what is left out already


_WORDS = {
    "bool_type": "write true or false",
    "date_parsing": "write a day like 2019-01-21",
    "date_type": "write a day like 2019-01-21",
    "int_type": "write a whole number",
    "model_type": "write a table of keys",
    "string_pattern_mismatch": "write small letters and digits, with single hyphens between them",
    "string_type": "write text in quotes",
    "too_short": "give at least one",
    "tuple_type": "write a list",
}
"""By the type of error, where pydantic's own words are those of programmers."""


def _explained(error: Any) -> str:
    place = error["loc"]
    where = ".".join(str(part) for part in place)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; known here: {', '.join(_known_keys(place[:-1]))}"
    if error["type"] == "missing":
        return f"{where}: missing"
    message = _WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
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
