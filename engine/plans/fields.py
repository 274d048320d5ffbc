"""The kinds of values a plan file holds: exact amounts, days, ages; and what every table of it has in common."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from engine.errors import InvalidInput
from engine.money import to_major, to_minor


def _minor(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('write the amount as text in major units, like "0.10"')  # noqa: TRY004 - pydantic gathers these
    try:
        amount = to_minor(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    if amount < 0:
        raise ValueError("an amount is not negative here")
    return amount


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError('name a time zone like "Asia/Shanghai"') from None
    return name


def _rising(days: tuple[int, ...]) -> tuple[int, ...]:
    if any(one >= other for one, other in pairwise(days)):
        raise ValueError("list the days in order, each once")
    return days


Amount = Annotated[int, BeforeValidator(_minor), PlainSerializer(to_major)]
"""Minor units; in files text in major units."""

Name = Annotated[str, Field(min_length=1)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Days = Annotated[int, Field(ge=0, le=36_525)]
Age = Annotated[int, Field(ge=0, le=150)]
Year = Annotated[int, Field(ge=1, le=9999)]
MonthDays = Annotated[tuple[Annotated[int, Field(ge=1, le=31)], ...], Field(min_length=1), AfterValidator(_rising)]
Months = Annotated[tuple[Annotated[int, Field(ge=1, le=12)], ...], Field(min_length=1), AfterValidator(_rising)]


class Part(BaseModel):
    """A table of a plan file: every key is known, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
