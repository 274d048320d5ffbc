"""Names of those who decide: one spelling for what looks the same."""

from __future__ import annotations

import pytest

from engine.access.names import actor_name
from engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("anna", "anna"),
        ("  anna   maria ", "anna maria"),
        ("Ａｎｎａ", "Anna"),
        ("a\u0308nne", "änne"),
        ("李雷", "李雷"),
        ("anna@finance.example", "anna@finance.example"),
        ("x" * 64, "x" * 64),
    ],
)
def test_one_spelling(written: str, kept: str) -> None:
    assert actor_name(written) == kept
    assert actor_name(kept) == kept


@pytest.mark.parametrize("written", ["", " ", "-anna", "an\nna", "an\x00na", "anna;", "x" * 65, "<b>"])
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        actor_name(written)
