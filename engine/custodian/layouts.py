"""How the text files that a custodian sends are laid out: which field stands where, and how it is written."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, model_validator

from engine.custodian.statement import Kind
from engine.plans.fields import Part

Encoding = Literal["utf-8", "utf-8-sig", "gbk", "gb18030"]
Separator = Literal[",", "|", ";", "\t", "^"]

Holds = Literal[
    "reference", "batch_reference", "bank_reference", "booked_on", "value_on", "amount", "credit", "debit", "direction",
    "original", "charges", "kind", "status", "reason", "count", "balance", "account", "currency",
]  # fmt: skip
"""What a field of a statement's line may hold.

`amount` goes with `direction`, or has a sign; `credit` and `debit` are two fields of which one is empty or 0; `status`
says whether the line stands; `original` is, of a return, the amount that it returns.
"""

Total = Literal["count", "amount", "credits", "debits", "credit_count", "debit_count", "opening", "closing"]

Text = Annotated[str, Field(min_length=1, max_length=64)]
Number = Annotated[int, Field(ge=1, le=1000)]
Bytes = Annotated[tuple[Annotated[int, Field(ge=0, le=10_000)], Number], Field(min_length=2, max_length=2)]

Place = TypeVar("Place")


class Layout(Part, Generic[Place]):
    """What all text statements have in common.

    `fields`: where each stands. `skip`: beginnings of lines that are no entries. `strip`: characters around a field
    that are not of it (the TAB after Alipay's ids, WeChat's backtick). `directions`, `kinds`: what the words in those
    fields say. `settled`: the words of `status` on lines whose money moved; without any, all did. `amounts`: in major
    units, or in minor units without a point; a letter before it is its sign, C or D.
    """

    encoding: Encoding
    fields: dict[Holds, Place]
    skip: tuple[Text, ...] = ()
    strip: Annotated[str, Field(max_length=8)] = " \t"
    date_format: Annotated[str, Field(pattern="^%Y.*%m.*%d", max_length=40)] = "%Y-%m-%d"
    amounts: Literal["major", "minor"] = "major"
    directions: dict[Text, Literal["credit", "debit"]] = Field(default_factory=dict)
    kinds: dict[Text, Kind] = Field(default_factory=dict)
    settled: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        held = set(self.fields)
        if "reference" not in held:
            raise ValueError("fields: no field holds the reference")
        if (held & {"amount", "credit", "debit"}) not in ({"amount"}, {"credit", "debit"}):
            raise ValueError("fields: name amount, or credit and debit")
        for field, words in (("direction", self.directions), ("kind", self.kinds), ("status", self.settled)):
            if words and field not in held:
                raise ValueError(f"fields: no field holds the {field}, and there are words for it")
        if "direction" in held and not self.directions:
            raise ValueError("directions: missing, for a field holds the direction")
        return self


class CsvLayout(Layout[Text]):
    """Lines under a line of names. `fields`: the column's name.

    `totals`: by the words that stand before each in the footer, or over it in a row of their own; a file without one of
    them was cut off.
    """

    separator: Separator = ","
    totals: dict[Total, Text] = Field(default_factory=dict)


class DaikouLayout(Layout[Number]):
    """代扣 回盘: a first line of totals, then rows without names. `fields`, `totals`: the column's number, from 1."""

    separator: Separator = "|"
    totals: dict[Total, Number]


class FixedWidthLayout(Layout[Bytes]):
    """Fields by bytes, before they are decoded. `fields`: [first byte from 0, bytes]."""


class Layouts(Part):
    """The text statements of a custodian."""

    csv: CsvLayout | None = None
    daikou: DaikouLayout | None = None
    fixed_width: FixedWidthLayout | None = None
