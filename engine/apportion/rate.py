"""A rate as the files hold it: exact text, never a float."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer


def _exact(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    try:
        if isinstance(value, str | int) and not isinstance(value, bool) and Fraction(value) >= 0:
            return Fraction(value)
    except (ValueError, ZeroDivisionError):
        pass
    raise ValueError('write the rate as exact text that is not negative, like "2/25" or "0.08"')


Rate = Annotated[Fraction, BeforeValidator(_exact), PlainSerializer(str)]
"""A field for an exact rate ≥ 0."""
