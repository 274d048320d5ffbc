"""Names that decide: one spelling for what looks the same (I13)."""

from __future__ import annotations

import pytest

from engine.access.names import actor_name
from engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("anna", "anna"),
        (" anna ", "anna"),
        ("Ａｎｎａ", "Anna"),
        ("王芳", "王芳"),
        ("a.b@c-d_e", "a.b@c-d_e"),
        ("Anna  Li", "Anna Li"),
    ],
)
def test_I13_a_name_has_one_spelling(typed: str, name: str) -> None:
    assert actor_name(typed) == name


@pytest.mark.parametrize("typed", ["", "  ", "[/x]", "a\tb", "a\nb", "-anna", "x" * 65, "a;b"])
def test_I13_what_is_no_name_is_refused(typed: str) -> None:
    with pytest.raises(InvalidInput, match="is no name: give 1 to 64 letters"):
        actor_name(typed)
