"""What a custodian says happened: lines in columns, and the footing under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa

PROBLEMS_MAX = 20
"""How many problems of one statement are kept; what comes after them is only counted."""


class Kind(StrEnum):
    """What a line says happened, as far as the file alone tells."""

    DEBIT = "debit"
    """A debit that was collected."""
    RETURN = "return"
    """A debit or a payment that came back or was refused; its reason stands beside it."""
    BATCH = "batch"
    """Several transactions booked as one sum."""
    CHARGE = "charge"
    INTEREST = "interest"
    TOP_UP = "top-up"
    """A payment somebody made to the account."""
    PAYOUT = "payout"
    """A payment made from the account."""
    TRANSFER = "transfer"
    """Between accounts of the same owner."""
    REVERSAL = "reversal"
    """A booking that the custodian took back, and no return of a debit."""
    OTHER = "other"


SCHEMA = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        ("line", pa.int64()),
        ("place", pa.string()),
        ("booked_on", pa.date32()),
        ("value_on", pa.date32()),
        pa.field("amount_minor", pa.int64(), nullable=False),
        ("reference", pa.string()),
        ("batch_reference", pa.string()),
        ("bank_reference", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("original_minor", pa.int64()),
        pa.field("charges_minor", pa.int64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""A line: `ordinal` from 1 within its statement; `line` of the file it stands on or, in XML, its `place` ("entry 3");
`amount_minor` positive where the account is credited, 0 where nothing was booked (a status, a pending entry);
`reference` the end-to-end id; `reason` the code of a return, or the status that a line without a booking reports;
`original_minor` what a return returns, or what a line without a booking is about; `charges_minor` the part of a return
that is charges; `count` the transactions behind a batch line. The day of booking is null in a status report that names
none."""


def as_lines(columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """Columns of SCHEMA as a batch; null where one is not given, and counted once where no count is."""
    length = len(columns["ordinal"])
    numbers = {"charges_minor": 0, "count": 1}
    arrays = [
        columns[kind.name]
        if kind.name in columns
        else pa.repeat(numbers[kind.name], length)
        if kind.name in numbers
        else pa.nulls(length, kind.type)
        for kind in SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def place_in_file(line: Mapping[str, Any]) -> str:
    """Where a line, a row of SCHEMA, stands in its file."""
    return line["place"] or f"line {line['line']}"


class Fault(StrEnum):
    """What is wrong with a statement. A statement with a problem is parked and posts nothing (I9)."""

    BALANCE_BREAK = "BALANCE_BREAK"
    """Opening + Σ lines is not closing, or a running balance does not follow from the one before it."""
    TOTALS_BREAK = "TOTALS_BREAK"
    """The file's own counts or totals are not those of its lines."""
    STATEMENT_GAP = "STATEMENT_GAP"
    """A page, a statement or a part of the file is missing."""
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    """An amount is in another currency than the account."""
    ACCOUNT_MISMATCH = "ACCOUNT_MISMATCH"
    """The statement is of another account than was expected, or names several."""
    INEXACT_AMOUNT = "INEXACT_AMOUNT"
    """An amount has a part of a minor unit, or is no amount."""
    UNREADABLE = "UNREADABLE"
    """A value, or a line, is not what its format says."""
    DUPLICATE_FILE = "DUPLICATE_FILE"
    """The statement was taken before, from a file of other bytes."""


class Problem(NamedTuple):
    """Something wrong in a statement: what, where in the file, and in words."""

    code: Fault
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.code} at {self.place}: {self.message}"


@dataclass
class Problems:
    """What is wrong with a statement, in the order it was found; beyond PROBLEMS_MAX only how much."""

    found: list[Problem] = field(default_factory=list)
    beyond: int = 0

    def add(self, code: Fault, place: str, message: str) -> None:
        """Keep a problem, or count it where there are enough."""
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(Problem(code, place, message))
        else:
            self.beyond += 1

    def all(self) -> tuple[Problem, ...]:
        """Every problem kept, and one that says how many were not."""
        if not self.beyond:
            return tuple(self.found)
        more = Problem(self.found[-1].code, self.found[-1].place, f"and {self.beyond} more problems after this one")
        return (*self.found, more)


@dataclass(frozen=True)
class Statement:
    """An account over some days, as its custodian tells it. Minor units; a balance in the holder's favour is positive.

    `identity` is the file's own name of the statement. No balances: a notification, or a status report.
    """

    account: str
    currency: str
    identity: str
    from_on: date | None = None
    to_on: date | None = None
    opening_minor: int | None = None
    closing_minor: int | None = None


class Sum(NamedTuple):
    """A total that a file declares over some of its entries: how many, how much; None where it does not say."""

    place: str
    entries: int | None = None
    amount_minor: int | None = None


@dataclass(frozen=True)
class Declared:
    """What a file states about itself.

    Totals of credits, of debits (as a positive amount), of both together (gross), and the net; whether it is the last
    page; its sequence number, where it is a number.
    """

    credits: Sum | None = None
    debits: Sum | None = None
    gross: Sum | None = None
    net: Sum | None = None
    page: int = 1
    last_page: bool = True
    sequence: int | None = None


@dataclass(frozen=True)
class Footing:
    """What stands under the lines of one statement: the statement itself, what it declares, what is wrong in it.

    `message` is the format it was read as ("camt.053.001.08", "MT940"). An entry is what the format calls one: with its
    details it may be several lines; the two counts by direction may leave out what moves no money.
    """

    statement: Statement
    message: str
    entries: int
    credit_entries: int = 0
    debit_entries: int = 0
    declared: Declared = Declared()
    problems: tuple[Problem, ...] = ()


Part = pa.RecordBatch | Footing
"""What a reader yields: batches of SCHEMA, and after the lines of each statement its footing."""
