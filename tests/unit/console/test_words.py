"""Whatever pages show through `word` has its word in Chinese: states, severities, reasons, operations, acts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from engine.api.breaks import AgeBand
from engine.api.rosters import FileFormat
from engine.api.routes import ENDPOINTS
from engine.api.statements import Which
from engine.claims.states import Event
from engine.console import language
from engine.console.language import Language, translations
from engine.console.pages.audit import CORE_ACTS
from engine.custodian.breaks import MEANING
from engine.custodian.instructions import State as InstructionState
from engine.custodian.profile import BookingMode, Retry
from engine.custodian.statement import Kind as LineKind
from engine.custodian.verdicts import Ignored, Outcome, Stage
from engine.ledger.accounts import Account
from engine.reconcile.closing import Lack
from engine.reconcile.exports.folder import Format

TEMPLATES = Path(language.__file__).parent / "templates"

SAID_OTHERWISE: Mapping[type[Enum], str] = {
    AgeBand: "numbers of days",
    Event: "in whole texts by the page of a claim",
    FileFormat: "names of formats",
    Format: "names of formats",
    Lack: "in whole texts with their numbers by the page of a settlement",
    Retry: "as a sentence by the page of a custodian",
    Which: "by the links of the page of a statement",
}
"""Enums of the API that no page shows by the word for a value, and how they are shown."""

BEHIND_TEXT: Mapping[str, list[str]] = {
    "an account's name": [account.name.lower().replace("_", " ") for account in Account],
    "how a custodian books": list(BookingMode),
    "how a custodian is reached": ["folder", "http", "sftp"],
    "how a payer is known": ["account", "member_ref"],
    "the kind of a line": list(LineKind),
    "what a break means": list(MEANING.values()),
    "what became of a line": [outcome.name.lower() for outcome in Outcome],
    "where an instruction stands": [state.name.lower().replace("_", " ") for state in InstructionState if state],
    "why a line is ignored": [why.name.lower() for why in Ignored],
    "where a line was decided": [stage.name.lower() for stage in Stage if stage],
}
"""Values that are shown by their words and stand in views as text."""


def enums() -> set[type[StrEnum]]:
    """Every enum in what the API is asked and answers."""
    models, found = set[type[BaseModel]](), set[type[StrEnum]]()

    def look(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, StrEnum):
            found.add(annotation)
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in models:
            models.add(annotation)
            for field in annotation.model_fields.values():
                look(field.annotation)
        for part in get_args(annotation):
            look(part)

    for endpoint in ENDPOINTS:
        for annotation in (endpoint.params, endpoint.body, endpoint.answer):
            look(annotation)
    return found


def shown() -> Iterator[tuple[str, list[str]]]:
    for each in sorted(enums() - set(SAID_OTHERWISE), key=lambda each: f"{each.__module__}.{each.__name__}"):
        yield f"{each.__module__}.{each.__name__}", list(each)
    yield from BEHIND_TEXT.items()
    yield "operations", [endpoint.name for endpoint in ENDPOINTS if endpoint.writes]
    yield "acts", [act.replace(" ", "_") for act in CORE_ACTS]
    badge = re.compile(r'ui\.badge\("([^"]+)"(?![^{]*text=)|"([a-z ]+)"\|word')
    literal = {one or other for path in TEMPLATES.rglob("*.html") for one, other in badge.findall(path.read_text())}
    yield "spelled out in templates", sorted(literal)


@pytest.mark.parametrize(("values"), [pytest.param(values, id=name) for name, values in shown()])
def test_every_value_that_is_shown_has_its_chinese(values: list[str]) -> None:
    assert values
    said = translations(Language.CHINESE)
    assert [value for value in values if said.pgettext("word", value) == value] == []


def test_what_is_said_otherwise_is_still_of_the_api() -> None:
    assert set(SAID_OTHERWISE) <= enums()
