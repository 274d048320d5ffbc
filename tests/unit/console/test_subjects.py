"""What a decision is about, and where that is seen."""

from __future__ import annotations

from datetime import date

import pytest

from engine.api.decisions import DecisionView
from engine.console.pages.decisions import subject_of
from engine.custodian.calls import call_number
from engine.decisions import DecisionState, Kind


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("run:7", ("run", "7", "/runs/7")),
        ("break:9", ("break", "9", "/finance/breaks/9")),
        ("custodian:east-bank", ("custodian", "east-bank", "/finance/custodians/east-bank")),
        ("plan:xianghubao", ("plan", "xianghubao", None)),
        (f"run:{call_number(3, date(2019, 8, 3))}", ("call", "2019-08-03", None)),
    ],
)
def test_a_subject_leads_to_its_page_and_calls_have_none(subject: str, expected: tuple[str, str, str | None]) -> None:
    view = DecisionView(
        decision_id=1,
        plan="xianghubao",
        kind=Kind.RESOLUTION,
        subject=subject,
        effective_on=date(2019, 8, 12),
        state=DecisionState.PROPOSED,
        proposed_by="fay",
        decided_by=None,
        detail={},
        outcome=None,
    )
    assert subject_of(view) == expected
