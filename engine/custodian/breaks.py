"""Breaks (差错): whatever of a statement is not explained, how bad it is, and how a break comes to its end.

Nothing is deleted: each step is a row of the break's history, and none moves money but by a decision of two (I13).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType

from engine.custodian.aging import AGES, Age
from engine.errors import FentanError


class BreakRefused(FentanError):
    """The break does not allow this now."""


class Code(StrEnum):
    """What is wrong. The order is fixed: columns hold a code's place in it."""

    MISSING_AT_BANK = "MISSING_AT_BANK"
    MISSING_IN_LEDGER = "MISSING_IN_LEDGER"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    DUPLICATE_AT_BANK = "DUPLICATE_AT_BANK"
    DUPLICATE_FILE = "DUPLICATE_FILE"
    STATUS_CONFLICT = "STATUS_CONFLICT"
    RETURNED_AFTER_SETTLEMENT = "RETURNED_AFTER_SETTLEMENT"
    REVERSED = "REVERSED"
    BATCH_SHORT = "BATCH_SHORT"
    BATCH_OVER = "BATCH_OVER"
    WRONG_DATE = "WRONG_DATE"
    UNKNOWN_REFERENCE = "UNKNOWN_REFERENCE"
    STATEMENT_GAP = "STATEMENT_GAP"
    BALANCE_BREAK = "BALANCE_BREAK"
    FEE_UNEXPECTED = "FEE_UNEXPECTED"


CODES = tuple(Code)
"""By place, as columns hold them."""

PLACE: Mapping[Code, int] = MappingProxyType({code: place for place, code in enumerate(CODES)})

MEANING: Mapping[Code, str] = MappingProxyType(
    {
        Code.MISSING_AT_BANK: "we asked for it, and no statement shows it in the days the custodian has for it (短款)",
        Code.MISSING_IN_LEDGER: "the custodian booked it, and we asked for nothing like it (长款)",
        Code.AMOUNT_MISMATCH: "the reference is ours, the amount is not",
        Code.DUPLICATE_AT_BANK: "the custodian booked again what it had booked or returned before",
        Code.DUPLICATE_FILE: "the file was taken before; it changes nothing",
        Code.STATUS_CONFLICT: "the custodian says two things that cannot both be true",
        Code.RETURNED_AFTER_SETTLEMENT: "a debit that had settled came back",
        Code.REVERSED: "the custodian took back its own booking",
        Code.BATCH_SHORT: "one booking for a batch, less than its members come to",
        Code.BATCH_OVER: "one booking for a batch, more than its members come to",
        Code.WRONG_DATE: "booked before it was sent",
        Code.UNKNOWN_REFERENCE: "a reference in our shape that belongs to nothing we sent",
        Code.STATEMENT_GAP: "a statement is missing: this one does not open with the balance the last closed with",
        Code.BALANCE_BREAK: "opening balance and lines do not come to the closing balance",
        Code.FEE_UNEXPECTED: "a charge that the custodian's terms do not have",
    }
)
"""What a finance person reads beside the code."""


class Severity(IntEnum):
    """How soon a break wants a person."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class SeverityName(StrEnum):
    """Severities by name."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def severity(self) -> Severity:
        """The severity of this name."""
        return Severity[self.name]

    @classmethod
    def of(cls, severity: Severity) -> SeverityName:
        """The name of a severity."""
        return cls[severity.name]


AMOUNTS_MINOR = (100_00, 10_000_00, 1_000_000_00)
"""From which amount on a break is medium, high, critical; below the first it is low."""

_BY_AGE: Mapping[Age, Severity] = MappingProxyType(
    dict(
        zip(AGES, (Severity.LOW, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL), strict=True),
    )
)


def severity(amount_minor: int, age: Age) -> Severity:
    """The worse of what its amount (of either sign, minor units) and its age say."""
    by_amount = Severity(sum(abs(amount_minor) >= bound for bound in AMOUNTS_MINOR))
    return max(by_amount, _BY_AGE[age])


class State(StrEnum):
    """Where a break stands."""

    OPEN = "open"
    ASSIGNED = "assigned"
    PROPOSED = "proposed"
    APPROVED = "approved"
    RESOLVED = "resolved"
    WRITTEN_OFF = "written off"


class Event(StrEnum):
    """What can happen to a break; each is a row of its history, with who, why and a comment."""

    ASSIGN = "assign"
    PROPOSE = "propose"
    REJECT = "reject"
    APPROVE = "approve"
    RESOLVE = "resolve"
    WRITE_OFF = "write off"
    CLEAR = "clear"
    """A later statement explained it, exactly: there is nothing left to decide."""


INITIAL = State.OPEN

NEXT: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.OPEN, Event.ASSIGN): State.ASSIGNED,
        (State.OPEN, Event.CLEAR): State.RESOLVED,
        (State.ASSIGNED, Event.ASSIGN): State.ASSIGNED,
        (State.ASSIGNED, Event.PROPOSE): State.PROPOSED,
        (State.ASSIGNED, Event.CLEAR): State.RESOLVED,
        (State.PROPOSED, Event.REJECT): State.ASSIGNED,
        (State.PROPOSED, Event.APPROVE): State.APPROVED,
        (State.APPROVED, Event.RESOLVE): State.RESOLVED,
        (State.APPROVED, Event.WRITE_OFF): State.WRITTEN_OFF,
    }
)
"""(state, event) → state. What is not here is refused; what was proposed is cleared only once it is rejected."""


def possible(state: State) -> tuple[Event, ...]:
    """The events a break in `state` allows, in the order of Event; none when the state is final."""
    return tuple(event for event in Event if (state, event) in NEXT)


def after(state: State, event: Event) -> State:
    """The state that `event` leads to. Raises BreakRefused with what is possible instead."""
    try:
        return NEXT[state, event]
    except KeyError:
        instead = ", ".join(possible(state)) or "nothing, it is final"
        raise BreakRefused(f"a break that is {state} cannot {event}; possible now: {instead}") from None
