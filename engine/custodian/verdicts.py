"""What became of the lines of a statement: each is exactly one of matched, break, pending, ignored (I10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.custodian.breaks import CODES, PLACE, Code
from engine.custodian.reference import Decoded
from engine.errors import FentanError
from engine.money.sums import exact_sum

_CODE_BITS = 5


class NotConserved(FentanError):
    """The lines of a statement and what became of them do not come to the same count and sum."""

    invariant = "I10"


class Outcome(IntEnum):
    """What became of a line; columns hold the value."""

    WAITING = 0
    """Decided by `finish`: it needs what other lines of the statement say."""
    MATCHED = 1
    BREAK = 2
    PENDING = 3
    """What it belongs to is not known yet; tried again with the next statement."""
    IGNORED = 4


class Stage(IntEnum):
    """At which stage a line was decided; columns hold the value."""

    NONE = 0
    REFERENCE = 1
    RETURN = 2
    BATCH = 3
    SECONDARY = 4
    """By our reference in another field than its own."""
    SUGGESTION = 5
    """Only for people: no line ends here by itself."""
    KNOWN = 6
    """By its type: charges, interest, what the account's terms have; or as the sponsor's."""
    TRANSIT = 7


class Ignored(IntEnum):
    """Why a line is ignored; columns hold the value."""

    NOT_BOOKED = 1
    """It moves no money: a status, a pending entry."""
    INFORMS_ONLY = 2
    """Another message books this account; this one confirms."""


MATCHED = np.uint8(Outcome.MATCHED << _CODE_BITS)
PENDING = np.uint8(Outcome.PENDING << _CODE_BITS)


def broken(code: Code) -> np.uint8:
    """The verdict: a break with this code."""
    return np.uint8(Outcome.BREAK << _CODE_BITS | PLACE[code])


def ignored(why: Ignored) -> np.uint8:
    """The verdict: ignored, and why."""
    return np.uint8(Outcome.IGNORED << _CODE_BITS | why)


def outcome_of(verdict: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8[n] `Outcome` of verdicts uint8[n]."""
    return (verdict >> _CODE_BITS).astype(np.uint8)


class Named(NamedTuple):
    """A verdict in words: the outcome, and of a break its code, of what is ignored why."""

    outcome: Outcome
    code: Code | None = None
    why: Ignored | None = None


def named(verdict: int) -> Named:
    """What a verdict says."""
    outcome, code = Outcome(int(verdict) >> _CODE_BITS), int(verdict) % (1 << _CODE_BITS)
    if outcome is Outcome.BREAK:
        return Named(outcome, code=CODES[code])
    return Named(outcome, why=Ignored(code)) if outcome is Outcome.IGNORED else Named(outcome)


@dataclass(frozen=True)
class Verdicts:
    """What became of n lines.

    `lines`: SCHEMA; `verdict`: uint8[n] (`outcome_of`, `named`), WAITING where `Matcher.finish` gives it; `stage`:
    uint8[n] `Stage`; `target`: whose instruction a line is about, not valid where it is about none.
    """

    lines: pa.RecordBatch
    verdict: NDArray[np.uint8]
    stage: NDArray[np.uint8]
    target: Decoded

    def __len__(self) -> int:
        return len(self.verdict)

    def rows(self, outcome: Outcome) -> NDArray[np.int64]:
        """int64[k] rising: the rows with this outcome."""
        return np.flatnonzero(outcome_of(self.verdict) == outcome)


@dataclass(frozen=True)
class Sum:
    """How many lines, and what they come to in minor units, credits positive."""

    count: int = 0
    amount_minor: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.count + other.count, self.amount_minor + other.amount_minor)


@dataclass
class Tally:
    """Counts and sums: of the lines taken, and of what became of them by verdict (`named`)."""

    taken: Sum = field(default_factory=Sum)
    by_verdict: dict[int, Sum] = field(default_factory=dict)

    def take(self, amounts: NDArray[np.int64]) -> None:
        """Lines that came, by their amounts int64[n]."""
        self.taken += Sum(len(amounts), exact_sum(amounts))

    def decide(self, amounts: NDArray[np.int64], verdict: NDArray[np.uint8]) -> None:
        """What became of lines: amounts int64[n] and verdicts uint8[n]; those that wait are not counted yet."""
        counts = np.bincount(verdict)
        for each in np.flatnonzero(counts).tolist():
            if each != Outcome.WAITING:
                whole = counts[each] == len(verdict)
                total = Sum(int(counts[each]), exact_sum(amounts if whole else amounts[verdict == each]))
                self.by_verdict[each] = self.by_verdict.get(each, Sum()) + total

    def __iter__(self) -> Iterator[tuple[Named, Sum]]:
        for each in sorted(self.by_verdict):
            yield named(each), self.by_verdict[each]

    def of(self, outcome: Outcome, code: Code | None = None) -> Sum:
        """The lines with this outcome, and with this code if one is given."""
        return sum((total for what, total in self if what.outcome is outcome and code in (None, what.code)), Sum())

    def prove(self) -> None:
        """Raise NotConserved unless every line taken has its one verdict, in count and in sum."""
        decided = sum((total for _, total in self), Sum())
        if decided != self.taken:
            raise NotConserved(
                f"{self.taken.count} lines of {self.taken.amount_minor} minor units came,"
                f" {decided.count} of {decided.amount_minor} were decided"
            )
