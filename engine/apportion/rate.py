"""A rate as the files hold it: exact text, never a float."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

RATE_MAX = 1_000
DENOMINATOR_MAX = 10**18
"""Rates of plans are a few per cent; what is longer than this would only make every sum slow."""

# A long exponent is refused before anybody computes its power of ten.
_RATE = re.compile(r"[0-9.]{1,40}(/[0-9]{1,40}|[eE][+-]?[0-9]{1,2})?")


def _exact(value: object) -> Fraction:
    is_text = isinstance(value, str) and _RATE.fullmatch(value)
    if isinstance(value, str | int | Fraction) and (is_text or not isinstance(value, str | bool)):
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(-1)
        if 0 <= rate <= RATE_MAX and rate.denominator <= DENOMINATOR_MAX:
            return rate
    raise ValueError(
        'write the rate as exact text that is not negative, like "2/25" or "0.08", '
        f"at most {RATE_MAX} and with at most 18 decimals"
    )


Rate = Annotated[Fraction, BeforeValidator(_exact), PlainSerializer(str)]
"""A field for an exact rate from 0 to RATE_MAX, its denominator at most DENOMINATOR_MAX."""
