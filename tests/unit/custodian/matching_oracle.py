"""A slow oracle of matching: a statement's lines one by one, in plain Python, once for each phase.

It shares no code with the engine but the names of states, codes and kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.custodian.breaks import Code
from engine.custodian.instructions import State
from engine.custodian.profile import BookingMode
from engine.custodian.reference import Kind, Reference
from engine.errors import InvalidInput


@dataclass
class Asked:
    """One instruction."""

    amount: int
    state: State
    attempt: int
    batch: int = -1
    sent_on: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Line:
    amount: int
    kind: str = "debit"
    reference: str | None = None
    batch_reference: str | None = None
    bank_reference: str | None = None
    booked_on: int | None = 0
    original: int | None = None
    charges: int = 0
    count: int = 1


World = dict[tuple[Kind, int], list[Asked]]

MATCHED, PENDING = "matched", "pending"


def read(text: str | None) -> Reference | None:
    try:
        found = Reference.read(text or "")
    except InvalidInput:
        return None
    return found if str(found) == text else None


def target_of(line: Line) -> Reference | None:
    found = read(line.reference)
    if (line.kind == "batch" or line.count > 1) and (found is None or found.kind is not Kind.BATCH):
        found = read(line.batch_reference) or found
    return found or read(line.bank_reference)


def looks_ours(text: str | None) -> bool:
    digits = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return text is not None and len(text) == 16 and set(text) <= digits and text[0] in map(chr, Kind)


def at_first_sight(line: Line, world: World, top_ups: Mapping[int, int], known: frozenset[str]) -> str | None:
    """The verdict where no state decides it."""
    if line.amount == 0:
        return "ignored"
    if line.kind == "charge":
        return MATCHED if "charge" in known else Code.FEE_UNEXPECTED
    if line.kind == "interest":
        return MATCHED if "interest" in known else Code.MISSING_IN_LEDGER
    target = target_of(line)
    if target is None:
        if looks_ours(line.reference) or read(line.batch_reference):
            return Code.UNKNOWN_REFERENCE
        return MATCHED if line.kind in known else Code.MISSING_IN_LEDGER
    if target.kind is Kind.BATCH:
        return None
    if target.kind is Kind.TOP_UP:
        if target.seat >= top_ups.get(target.run, 0):
            return Code.UNKNOWN_REFERENCE
        return MATCHED if line.amount > 0 else Code.STATUS_CONFLICT
    column = world.get((target.kind, target.run), [])
    if target.seat >= len(column) or column[target.seat].state is State.NONE:
        return Code.UNKNOWN_REFERENCE
    asked = column[target.seat]
    if target.attempt > asked.attempt:
        return Code.UNKNOWN_REFERENCE
    return Code.DUPLICATE_AT_BANK if target.attempt < asked.attempt else None


def exact(line: Line, asked: Asked, sign: int) -> bool:
    return (
        line.original in (None, asked.amount)
        and line.charges >= 0
        and line.amount == sign * asked.amount - line.charges
    )


def booked(line: Line, asked: Asked, sign: int) -> str:
    match asked.state:
        case State.ASSESSED:
            return PENDING
        case State.REJECTED | State.WRITTEN_OFF:
            return Code.STATUS_CONFLICT
        case State.BOOKED | State.SETTLED | State.RETURNED | State.REOPENED:
            return Code.DUPLICATE_AT_BANK
    early = asked.sent_on is not None and line.booked_on is not None and line.booked_on < asked.sent_on[asked.attempt]
    if exact(line, asked, sign) and not early:
        asked.state = State.BOOKED
        return MATCHED
    asked.state = State.DISPUTED
    return Code.WRONG_DATE if exact(line, asked, sign) else Code.AMOUNT_MISMATCH


def returned(line: Line, asked: Asked, sign: int) -> str:
    match asked.state:
        case State.ASSESSED | State.SENT:
            return PENDING
        case State.REJECTED | State.WRITTEN_OFF:
            return Code.STATUS_CONFLICT
        case State.RETURNED | State.REOPENED:
            return Code.DUPLICATE_AT_BANK
        case State.DISPUTED:
            return Code.AMOUNT_MISMATCH
    if not exact(line, asked, -sign):
        return Code.AMOUNT_MISMATCH
    late = asked.state is State.SETTLED
    asked.state = State.REOPENED if late else State.RETURNED
    return Code.RETURNED_AFTER_SETTLEMENT if late else MATCHED


def reversed_(line: Line, asked: Asked, sign: int) -> str:
    if asked.state in (State.ASSESSED, State.SENT):
        return PENDING
    if asked.state not in (State.BOOKED, State.SETTLED):
        return Code.STATUS_CONFLICT
    if not exact(line, asked, -sign):
        return Code.AMOUNT_MISMATCH
    asked.state = State.DISPUTED
    return Code.REVERSED


def batch_booked(line: Line, target: Reference, world: World, booking: BookingMode) -> str:
    for kind in (Kind.DEBIT, Kind.REFUND, Kind.PAYOUT):
        column = world.get((kind, target.run), [])
        if any(asked.batch == target.seat for asked in column):
            break
    else:
        return Code.UNKNOWN_REFERENCE
    sign = 1 if kind is Kind.DEBIT else -1
    members = [asked for asked in column if asked.batch == target.seat and asked.attempt == target.attempt]
    if booking is BookingMode.PER_DEBIT:
        return Code.BATCH_OVER if line.amount * sign > 0 else Code.BATCH_SHORT
    gross = booking is BookingMode.GROSS_PER_BATCH
    due = {State.SENT, State.DISPUTED} | ({State.REJECTED} if gross else set())
    booked_now = [asked for asked in members if asked.state in due]
    if not booked_now:
        return Code.DUPLICATE_AT_BANK if members else Code.UNKNOWN_REFERENCE
    in_line = [asked for asked in members if asked.state in due or (gross and asked.state > State.REJECTED)]
    difference = line.amount * sign - sum(asked.amount for asked in in_line)
    if difference == 0 and line.count > 1:
        difference = line.count - len(in_line)
    verdict: str = MATCHED if len(in_line) == len(booked_now) else Code.STATUS_CONFLICT
    if difference:
        verdict = Code.BATCH_SHORT if difference < 0 else Code.BATCH_OVER
    for asked in booked_now:
        asked.state = State.BOOKED if verdict == MATCHED else State.DISPUTED
    return verdict


def match(
    lines: Iterable[Line],
    world: World,
    *,
    booking: BookingMode,
    top_ups: Mapping[int, int],
    known: frozenset[str],
) -> list[str]:
    """The verdict on each line in words; the states in `world` move on."""
    lines = list(lines)
    verdicts = [at_first_sight(line, world, top_ups, known) for line in lines]

    def phase_of(line: Line, target: Reference) -> int:
        if target.kind is Kind.BATCH:
            return 1
        if line.kind == "reversal":
            return 3
        own_way = (line.amount > 0) == (target.kind is Kind.DEBIT)
        return 0 if own_way and line.kind != "return" else 2

    for phase in range(4):
        for number, line in enumerate(lines):
            target = target_of(line)
            if verdicts[number] is not None or target is None or phase_of(line, target) != phase:
                continue
            if phase == 1:
                verdicts[number] = batch_booked(line, target, world, booking)
            else:
                asked = world[target.kind, target.run][target.seat]
                sign = 1 if target.kind is Kind.DEBIT else -1
                verdicts[number] = (booked, None, returned, reversed_)[phase](line, asked, sign)  # type: ignore[misc]
    return [str(verdict) for verdict in verdicts]
