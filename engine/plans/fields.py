"""The kinds of values a plan file holds: exact amounts, days, ages; and what every table of it has in common."""

from __future__ import annotations

from datetime import date
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
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, or no file name at all
        raise ValueError('name a time zone like "Asia/Shanghai"') from None
    return name


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("write some words on one line, without control characters")
    return text


def _rising(days: tuple[int, ...]) -> tuple[int, ...]:
    if any(one >= other for one, other in pairwise(days)):
        raise ValueError("list the days in order, each once")
    return days


Amount = Annotated[int, BeforeValidator(_minor), PlainSerializer(to_major)]
"""Minor units; in files text in major units."""

Code = Annotated[str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Name = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2999, 12, 31))]
"""Far from where the calendar begins and ends, so that a day and any number of days added to it is one."""

Zone = Annotated[str, AfterValidator(_known_zone)]
Days = Annotated[int, Field(ge=0, le=36_525)]
Age = Annotated[int, Field(ge=0, le=150)]
Year = Annotated[int, Field(ge=1, le=9999)]
MonthDays = Annotated[tuple[Annotated[int, Field(ge=1, le=31)], ...], Field(min_length=1), AfterValidator(_rising)]
Months = Annotated[tuple[Annotated[int, Field(ge=1, le=12)], ...], Field(min_length=1), AfterValidator(_rising)]


class Part(BaseModel):
    """A table of a plan file: every key is known, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
