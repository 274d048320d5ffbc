"""The types that fields of requests and answers have: what pydantic checks and the specification says are the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo

from engine.money import BIGINT_MAX, to_major, to_minor

T = TypeVar("T")

LIMIT_MAX = 500
"""Items of a page."""

KEY = r"^[A-Za-z0-9_.:-]{8,128}$"
"""What an Idempotency-Key looks like."""

TAG = '^"[0-9a-f]{32}"$'
"""What an ETag looks like."""

CODE = r"^[a-z0-9][a-z0-9-]{0,63}$"
LINE = r"^[^\x00-\x1f\x7f]+$"
NAME = r"^[A-Za-z0-9_\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff.@-]*( [A-Za-z0-9_\u4e00-\u9fff.@-]+)*$"
AMOUNT = r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,2})?$"


class Model(BaseModel):
    """What is sent or answered: no field but those declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def whole(value: object, info: ValidationInfo) -> object:
    """A number of a path or query as it must be written: no sign but a minus, no spaces, no point."""
    if info.mode == "json":
        return value  # has types of its own
    if isinstance(value, str) and (digits := value.removeprefix("-")).isascii() and digits.isdigit():
        return int(value) if len(digits) <= len(str(BIGINT_MAX)) else value
    if isinstance(value, str):
        raise ValueError("is no whole number")  # noqa: TRY004 - pydantic makes its own of a ValueError
    return value


def _flag(value: object, info: ValidationInfo) -> object:
    """Yes or no of a query."""
    if isinstance(value, str) and info.mode != "json":
        if value not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return value == "true"
    return value


def _written(pattern: str, like: str, read: Callable[[str], date]) -> Callable[[object], object]:
    """Text must be written so: pydantic by itself takes "0" for the first of January 1970.

    It is read here as well: once looked at by Python it is no JSON any more, and strictly no day.
    """
    fits = re.compile(pattern, re.ASCII).fullmatch

    def checked(value: object) -> object:
        if isinstance(value, date):
            return value
        if not (isinstance(value, str) and fits(value)):
            raise ValueError(f"is not {like}")
        return read(value)

    return checked


# The bounds come first: what is checked before them hides them from the specification.
Id = Annotated[int, Field(ge=1, le=BIGINT_MAX), BeforeValidator(whole)]
"""The number of something."""

Seat = Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(whole)]
Year = Annotated[int, Field(ge=2000, le=2199), BeforeValidator(whole)]
Wait = Annotated[int, Field(ge=0, le=300), BeforeValidator(whole)]
"""Seconds."""

Flag = Annotated[bool, BeforeValidator(_flag)]
Code = Annotated[str, Field(pattern=CODE)]
"""The code of a plan or a custodian."""

Text = Annotated[str, Field(min_length=1, max_length=500, pattern=LINE)]
"""A line of text: a reason, a comment."""

Name = Annotated[str, Field(max_length=64, pattern=NAME)]
"""Who somebody is, as the audit log says. Just one spelling fits, so that one person is not two (I13)."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Amount = Annotated[str, Field(pattern=AMOUNT)]
"""Money that is asked for, in major units: not negative, never a float. `minor` reads it."""

Money = Annotated[
    int, PlainSerializer(to_major, return_type=str), Field(json_schema_extra={"pattern": r"^-?[0-9]+\.[0-9]{2}$"})
]
"""Minor units in Python, decimal text in major units in an answer."""

Day = Annotated[date, BeforeValidator(_written(r"\d{4}-\d{2}-\d{2}", "a day like 2019-07-14", date.fromisoformat))]
_MOMENT = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})"
Moment = Annotated[
    AwareDatetime, BeforeValidator(_written(_MOMENT, "a moment like 2019-07-14T09:00:00Z", datetime.fromisoformat))
]


def minor(amount: str) -> int:
    """Minor units of an `Amount`."""
    return to_minor(amount)


class Nothing(Model):
    """No parameters, or no body."""


class Reasoned(Model):
    """Why somebody does what cannot be undone, for the record: no names. Programs may say it, people must."""

    reason: Text | None = None


class Paged(Model):
    """Which part of a list."""

    after: Annotated[str | None, Field(max_length=100, pattern=r"^[A-Za-z0-9_.:-]+$")] = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX), BeforeValidator(whole)] = 50


Numbered = Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,17}$")]
"""`after` in a list that goes by numbers: `after: Numbered = None` in a class of its own."""


class Page(Model, Generic[T]):
    """A part of a list in its order, and the address of what comes next; also in the header Link."""

    items: list[T]
    next: str | None = None
