"""From the text of a plan file to its rules, with everything that is wrong said at once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from engine.errors import InvalidInput
from engine.plans.rules import PlanRules
from engine.plans.wrong_keys import as_json, lines_of


def parse(text: str, source: str) -> PlanRules:
    """The rules in the TOML `text` of the file `source`. Raises InvalidInput, a line for every wrong key."""
    # By way of JSON rules are read alike, whether they come from a file or from a run that pinned them.
    return from_json(as_json(text, source), source)


def from_json(text: str, source: str) -> PlanRules:
    """The rules that `to_json` wrote, or `parse` made of TOML. Raises InvalidInput like `parse`."""
    try:
        return PlanRules.model_validate_json(text)
    except ValidationError as error:
        lines = lines_of(error, PlanRules, _WORDS) + _contradictions(text, error.errors(include_url=False))
        raise InvalidInput("\n".join(f"{source}: {line}" for line in lines)) from None


def to_json(rules: PlanRules) -> str:
    """Canonical JSON: equal rules are equal text, however their file was written."""
    return json.dumps(rules.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def digest(rules: PlanRules) -> bytes:
    """SHA-256 of the canonical JSON: what a version of a plan's rules is known by."""
    return hashlib.sha256(to_json(rules).encode()).digest()


_WORDS = {"string_pattern_mismatch": "write small letters and digits, with single hyphens between them"}

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
        if any(each["loc"] for each in error.errors(include_url=False)):
            return []
        return [line for line in lines_of(error, PlanRules, _WORDS) if named.isdisjoint(re.findall(r"\w+", line))]
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
