"""Exact money: integer minor units in memory, decimal text at the edges, fractions between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from engine.errors import InvalidInput

BIGINT_MAX = 2**63 - 1
"""The largest amount a money column holds, in minor units."""

MINOR_DIGITS = 2
"""Decimal places of every unit Fentan keeps books in (CNY, EUR)."""

_AMOUNT = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]+)(\.(?P<decimals>[0-9]+))?")
_SHOWN_MAX = 40
"""Characters of a wrong amount that its error repeats."""


def to_minor(text: str) -> int:
    """Minor units of a decimal amount in major units: `"0.03"` is 3. Raises InvalidInput."""
    shown = repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…")
    match = _AMOUNT.fullmatch(text)
    if not match:
        raise InvalidInput(f"{shown} is not an amount; write it like 300000 or 0.10")
    decimals = (match["decimals"] or "").rstrip("0")
    if len(decimals) > MINOR_DIGITS:
        raise InvalidInput(f"{shown} has more than {MINOR_DIGITS} decimal places; amounts are exact to the minor unit")
    digits = (match["whole"] + decimals.ljust(MINOR_DIGITS, "0")).lstrip("0") or "0"
    # Counted first: Python does not read integers of thousands of digits.
    if len(digits) > len(str(BIGINT_MAX)) or int(digits) > BIGINT_MAX:
        raise InvalidInput(f"{shown} is larger than the ledger can hold")
    return -int(digits) if match["sign"] else int(digits)


def to_major(minor: int) -> str:
    """Decimal text in major units of an amount in minor units: 3 is `"0.03"`."""
    sign, digits = ("-" if minor < 0 else ""), str(abs(minor)).rjust(MINOR_DIGITS + 1, "0")
    return f"{sign}{digits[:-MINOR_DIGITS]}.{digits[-MINOR_DIGITS:]}"


def grouped(minor: int) -> str:
    """Like to_major, with thousands separated for eyes: `"690,000.00"`."""
    major, _, rest = to_major(abs(minor)).partition(".")
    return f"{'-' if minor < 0 else ''}{int(major):,}.{rest}"


def in_major(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields in minor units become text in major units, without the `_minor` of their names."""
    return {
        name.removesuffix("_minor"): to_major(value) if name.endswith("_minor") and value is not None else value
        for name, value in fields.items()
    }


def decimal_text(value: Fraction, places: int = 10) -> str:
    """`value` in minor units as decimal text in major units, to `places` decimals, half up."""
    scaled = half_up(value / 10**MINOR_DIGITS * 10**places)
    sign, digits = ("-" if scaled < 0 else ""), str(abs(scaled)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def half_up(value: Fraction) -> int:
    """⌊value + ½⌋."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def ceiling(value: Fraction) -> int:
    """⌈value⌉."""
    return -(-value.numerator // value.denominator)


def floor(value: Fraction) -> int:
    """⌊value⌋."""
    return value.numerator // value.denominator


def cumulative_floor(total: int, parts: Sequence[int]) -> list[int]:
    """Split `total` over `parts` in proportion, in order: differences of ⌊total·prefix/sum⌋.

    The result sums to `total` exactly (to 0 when all parts are 0).
    """
    whole = sum(parts)
    if whole == 0:
        return [0] * len(parts)
    split, prefix, taken = [], 0, 0
    for part in parts:
        prefix += part
        upto = total * prefix // whole
        split.append(upto - taken)
        taken = upto
    return split
