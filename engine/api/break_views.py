"""Breaks as answers show them: in the queue with their age, by themselves with all there is about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.api.fields import Day, Model, Money
from engine.custodian.actions import Action
from engine.custodian.break_rows import Break, Counted, Step, Weighed
from engine.custodian.breaks import MEANING, Code, SeverityName, State
from engine.custodian.instructions import State as Stands
from engine.custodian.reference import Kind, Reference
from engine.reconcile import dossier
from engine.reconcile.suggesting import Suggested


class BreakFacts(Model):
    """A break.

    `amount`: what is not explained, as the account books it, credits positive; `suspense`: what of it stands there.
    `run_id`, `kind`, `attempt`, `seat`: the instruction it is about; of a payout `seat` is the claim's number in the
    plan, of a batch the file's, and of a refund `run_id` is that of the decision.
    """

    break_id: int
    custodian: str
    plan: str
    code: Code
    meaning: str
    state: State
    amount: Money
    suspense: Money
    opened_on: Day
    closed_on: Day | None
    assigned_to: str | None
    decision_id: int | None
    statement_id: int | None
    ordinal: int | None
    run_id: int | None
    kind: str | None
    attempt: int | None
    seat: int | None


class BreakView(BreakFacts):
    """A break as it stands today. `business_days`: how old, by the custodian's calendar; `age`: the band of that."""

    severity: SeverityName
    age: str
    business_days: int


class CountView(Model):
    """How many breaks there are of a code in a state, and what they come to."""

    code: Code
    state: State
    number: int
    amount: Money
    suspense: Money


class SeverityView(Model):
    """How many breaks of a custodian there are of a severity, and what of them stands on suspense."""

    custodian: str
    severity: SeverityName
    number: int
    suspense: Money


class LineView(Model):
    """The line of a statement that a break is about, and where it stands: `place` in the file."""

    file: str
    place: str
    booked_on: Day | None
    value_on: Day | None
    amount: Money
    reference: str | None
    bank_reference: str | None
    kind: str
    reason: str | None
    original: Money | None
    charges: Money


class PostingView(Model):
    """One line of a journal, debit positive, for all breaks of the same statement or decision together."""

    key: str
    effective_on: Day
    account: str
    amount: Money


class StepView(Model):
    """What was done about a break: by whom, why, by which decision."""

    event: str
    actor: str
    reason: str
    comment: str
    decision_id: int | None
    happened_on: Day


class AskedView(Model):
    """What the instruction a break is about asked for by its last attempt, and where it stands now."""

    attempt: int
    amount: Money
    state: str


class WorseView(Model):
    """How bad a break is from a day on."""

    severity: SeverityName
    from_on: Day


class Dossier(BreakFacts):
    """Everything about a break.

    `reference`: of the instruction it is about; `asked`: what that asked for; `worsening`: from which day on it is how
    bad, if nothing is done; `actions`: what can be proposed now.

    How old and how bad it is today is said by the list: this changes only when something is done.
    """

    reference: str | None
    asked: AskedView | None
    worsening: list[WorseView]
    actions: list[Action]
    line: LineView | None
    postings: list[PostingView]
    history: list[StepView]


class CandidateView(Model):
    """A debit that a line might be of. `score`: 100 where nothing else can be meant, 100 / n where n are as likely.

    `why` says in words: the line was booked so many `business_days` after the debit was sent, `is_late`: more than it
    had, and it is one of as many that are as likely (`among`).
    """

    run_id: int
    seat: int
    attempt: int
    reference: str
    amount: Money
    score: int
    business_days: int
    is_late: bool
    among: int
    why: str


class Suggestions(Model):
    """What a break's line might be, the likeliest first; none where it is not about money that came in."""

    break_id: int
    candidates: list[CandidateView]


def break_view(found: Break) -> BreakView:
    """A break of the queue."""
    days = {"age": str(found.age).replace(" ", ""), "business_days": found.days}
    return BreakView(**_facts(found), severity=SeverityName.of(found.severity), **days)


def count_view(found: Counted) -> CountView:
    """Breaks of a code and state."""
    return CountView(
        code=found.code,
        state=found.state,
        number=found.number,
        amount=found.amount_minor,
        suspense=found.suspense_minor,
    )


def severity_view(found: Weighed) -> SeverityView:
    """Breaks of a custodian and severity."""
    return SeverityView(
        custodian=found.custodian,
        severity=SeverityName.of(found.severity),
        number=found.number,
        suspense=found.suspense_minor,
    )


def dossier_view(found: dossier.Dossier) -> Dossier:
    """Everything about one break."""
    return Dossier(
        **_facts(found.found),
        reference=found.reference,
        asked=None if found.asked is None else _asked(found.asked),
        worsening=[
            WorseView(severity=SeverityName.of(each.severity), from_on=each.from_on) for each in found.worsening
        ],
        actions=list(found.actions),
        line=None if found.line is None else LineView(**_plain(found.line)),
        postings=[PostingView(**_plain(each)) for each in found.postings],
        history=[_step(each) for each in found.history],
    )


def _asked(asked: dossier.Asked) -> AskedView:
    return AskedView(attempt=asked.attempt, amount=asked.amount_minor, state=in_words(asked.state))


def in_words(state: Stands) -> str:
    """Where an instruction stands: `"written off"`."""
    return state.name.lower().replace("_", " ")


def suggestions(break_id: int, found: Sequence[Suggested]) -> Suggestions:
    """What a break's line might be."""
    candidates = [
        CandidateView(
            run_id=each.run_id,
            seat=each.seat,
            attempt=each.attempt,
            reference=str(Reference(Kind.DEBIT, each.run_id, each.attempt, each.seat)),
            amount=each.amount_minor,
            score=each.score,
            business_days=each.days,
            is_late=each.is_late,
            among=each.among,
            why=each.why,
        )
        for suggested in found
        for each in suggested.candidates
    ]
    return Suggestions(break_id=break_id, candidates=candidates)


def _facts(found: Break) -> dict[str, Any]:
    same = ("break_id", "custodian", "plan", "code", "state", "opened_on", "closed_on", "assigned_to", "decision_id")
    about = ("statement_id", "ordinal", "run_id", "attempt", "seat")
    return {
        **{name: getattr(found, name) for name in (*same, *about)},
        "meaning": MEANING[found.code],
        "amount": found.amount_minor,
        "suspense": found.suspense_minor,
        "kind": None if found.kind is None else Kind(ord(found.kind)).words,
    }


def _plain(row: dossier.Line | dossier.Posting) -> dict[str, Any]:
    """Its fields, by the names that answers have for them."""
    return {name.removesuffix("_minor"): value for name, value in row._asdict().items()}


def _step(found: Step) -> StepView:
    return StepView(**found._asdict())
