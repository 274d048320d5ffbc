"""Amounts as text: one plain notation, exact to the minor unit."""

from __future__ import annotations

import pytest

from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, to_major, to_minor


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("0.03", 3),
        ("300000", 30_000_000),
        ("-1.5", -150),
        ("0", 0),
        ("007.10", 710),
        ("1.5000", 150),
        ("92233720368547758.07", BIGINT_MAX),
    ],
)
def test_an_amount_is_read_exactly(text: str, minor: int) -> None:
    assert to_minor(text) == minor
    assert to_minor(to_major(minor)) == minor


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.001", "'0.001' has more than 2 decimal places"),
        # Decimal's context would have rounded this to 300000.
        ("300000.0000000000000000000000000001", "has more than 2 decimal places"),
        ("92233720368547758.08", "larger than the ledger can hold"),
        ("9" * 5_000, f"'{'9' * 40}…' is larger than the ledger can hold"),
        *((text, "is not an amount; write it like 300000 or 0.10") for text in ("", "1E999999", "1_0", " 5 ", "5\n")),
        *((text, "is not an amount") for text in ("３", "٣", "Infinity", "NaN", "+1", ".5", "5.", "--1", "1,000")),
    ],
)
def test_what_is_no_exact_amount_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        to_minor(text)
    assert said in str(refused.value)
