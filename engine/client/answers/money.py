"""Answers about decisions, the ledger, statements, breaks and jobs."""

from __future__ import annotations

from typing import Any, TypedDict


class Decision(TypedDict):
    """A decision."""

    decision_id: int
    plan: str
    kind: str
    subject: str
    effective_on: str
    state: str
    proposed_by: str
    decided_by: str | None
    detail: dict[str, Any]
    outcome: dict[str, Any] | None


class TrialBalance(TypedDict):
    """Every account that has a line."""

    plan: str
    as_of: str | None
    lines: list[TrialLine]
    debit: str
    credit: str
    difference: str


class TrialLine(TypedDict):
    """One account on the side where it stands."""

    account_id: int
    code: int
    name: str
    unit: str
    debit: str
    credit: str


class Statement(TypedDict):
    """A statement."""

    statement_id: int
    custodian: str
    file: str
    sha256: str
    number: int
    message: str
    first_on: str | None
    last_on: str | None
    books: bool
    state: str
    lines: int
    opening: str | None
    credits: str
    debits: str
    closing: str | None
    tally: list[Tally]
    problems: list[StatementProblem]
    imported_by: str
    imported_at: str
    taken_at: str | None


class Tally(TypedDict):
    """Lines that one thing became of: `code` says which break, `why` why they were ignored."""

    outcome: str
    code: str | None
    why: str | None
    count: int
    amount: str


class StatementProblem(TypedDict):
    """Why a statement is parked: what is wrong, and where in the file."""

    code: str
    place: str
    message: str


class Job(TypedDict):
    """A job."""

    job_id: int
    kind: str
    subject: str
    detail: dict[str, Any]
    state: str
    asked_by: str
    asked_at: str
    started_at: str | None
    ended_at: str | None
    tries: int
    outcome: dict[str, Any] | None
    error: str | None


class Break(TypedDict):
    """A break as it stands today."""

    break_id: int
    custodian: str
    plan: str
    code: str
    meaning: str
    state: str
    amount: str
    suspense: str
    opened_on: str
    closed_on: str | None
    assigned_to: str | None
    decision_id: int | None
    statement_id: int | None
    ordinal: int | None
    run_id: int | None
    kind: str | None
    attempt: int | None
    seat: int | None
    severity: str
    age: str
    business_days: int


class BreakCounts(TypedDict):
    """The breaks by code and state, in the order of the codes."""

    counts: list[BreakCount]


class BreakCount(TypedDict):
    """How many breaks there are of a code in a state, and what they come to."""

    code: str
    state: str
    number: int
    amount: str
    suspense: str
