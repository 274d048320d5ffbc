"""Breaks on screen and as JSON: the queue, and one break with all there is about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.custodian.break_rows import Break, Counted
from engine.custodian.breaks import MEANING
from engine.money import grouped, in_major, to_major
from engine.reconcile.dossier import Dossier


def print_queue(console: Console, page: Sequence[Break], counts: Sequence[Counted]) -> None:
    """A page of the queue, and beneath it how many there are of each code and state, on all pages."""
    if not counts:
        console.print("no break is so")
        return
    table = Table("break", "code", "about", "age", "severity", "state", "whose")
    table.add_column("amount", justify="right")
    table.add_column("suspense", justify="right")
    for each in page:
        facts = (each.code, about(each), str(each.age), each.severity.name.lower(), each.state, each.assigned_to or "")
        table.add_row(str(each.break_id), *facts, grouped(each.amount_minor), grouped(each.suspense_minor))
    if page:
        console.print(table)
    sums = Table("code", "state")
    for name in ("breaks", "amount", "suspense"):
        sums.add_column(name, justify="right")
    for count in counts:
        amounts = grouped(count.amount_minor), grouped(count.suspense_minor)
        sums.add_row(count.code, count.state, f"{count.number:,}", *amounts)
    console.print(sums)


def about(found: Break) -> str:
    """What a break is about, in few words: `run 7, seat 12`, `statement 3`."""
    names = {"P": "claim", "B": "file"}
    if found.run_id is not None and found.seat is not None:
        return f"run {found.run_id}, {names.get(found.kind or '', 'seat')} {found.seat}"
    return f"statement {found.statement_id}" if found.statement_id is not None else found.plan


def print_dossier(console: Console, found: Dossier) -> None:
    """One break, its line, its postings and its history."""
    one = found.found
    facts = Table(title=f"Break {one.break_id}: {one.code}", show_header=False)
    facts.add_column()
    facts.add_column(overflow="fold")
    rows: dict[str, Any] = {
        "what is wrong": MEANING[one.code],
        "custodian, plan": f"{one.custodian}, {one.plan}",
        "about": about(one),
        "reference": found.reference,
        "amount": grouped(one.amount_minor),
        "on suspense": grouped(one.suspense_minor),
        "opened on": one.opened_on,
        "age": f"{one.days} business days, severity {one.severity.name.lower()}",
        "state": one.state if one.closed_on is None else f"{one.state} on {one.closed_on}",
        "assigned to": one.assigned_to,
        "decision": one.decision_id,
        "what can be done": ", ".join(found.actions),
        **({} if found.line is None else _line_facts(found)),
    }
    for name, value in rows.items():
        if value not in (None, ""):
            facts.add_row(name, str(value))
    console.print(facts)
    _print_postings(console, found)
    steps = Table("on", "what", "who", "why", "comment", "decision", title="History")
    for step in found.history:
        decision = "" if step.decision_id is None else str(step.decision_id)
        steps.add_row(str(step.happened_on), step.event, step.actor, step.reason, step.comment, decision)
    if found.history:
        console.print(steps)


def _line_facts(found: Dossier) -> dict[str, Any]:
    line, one = found.line, found.found
    assert line is not None
    return {
        "the line": f"{line.kind} of {grouped(line.amount_minor)}, booked on {line.booked_on}",
        "its reference": line.reference,
        "of the bank": line.bank_reference,
        "its reason": line.reason,
        "where it stands": f"{line.place} of {line.file}",
        "as it was written": f"fentan statement show {one.statement_id} --line {one.ordinal}",
    }


def _print_postings(console: Console, found: Dossier) -> None:
    if not found.postings:
        return
    table = Table("on", "account", title="Posted, with all breaks of the same statement or decision")
    for name in ("debit", "credit"):
        table.add_column(name, justify="right")
    table.add_column("journal", overflow="fold")
    for each in found.postings:
        debit, credit = (grouped(max(sign * each.amount_minor, 0)) for sign in (1, -1))
        sides = (debit, "") if each.amount_minor > 0 else ("", credit)
        table.add_row(str(each.effective_on), each.account, *sides, each.key)
    console.print(table)


def queue_as_json(page: Sequence[Break], counts: Sequence[Counted], after: int | None) -> dict[str, Any]:
    """The queue: `breaks`, `counts`, and `after`, what the next page is asked for with; null where it is the last."""
    sums = [
        {
            "code": each.code,
            "state": each.state,
            "count": each.number,
            "amount": to_major(each.amount_minor),
            "suspense": to_major(each.suspense_minor),
        }
        for each in counts
    ]
    return {"breaks": [_break(each) for each in page], "counts": sums, "after": after}


def dossier_as_json(found: Dossier) -> dict[str, Any]:
    """One break with its line, postings and history; amounts as text in major units."""
    return {
        **_break(found.found),
        "meaning": MEANING[found.found.code],
        "reference": found.reference,
        "actions": found.actions,
        "line": None if found.line is None else in_major(found.line._asdict()),
        "postings": [in_major(each._asdict()) for each in found.postings],
        "history": [each._asdict() for each in found.history],
    }


def _break(each: Break) -> dict[str, Any]:
    return {
        "break": each.break_id,
        "custodian": each.custodian,
        "plan": each.plan,
        "code": each.code,
        "state": each.state,
        "severity": each.severity.name.lower(),
        "age": str(each.age),
        "business_days": each.days,
        "amount": to_major(each.amount_minor),
        "suspense": to_major(each.suspense_minor),
        "opened_on": each.opened_on,
        "closed_on": each.closed_on,
        "assigned_to": each.assigned_to,
        "decision": each.decision_id,
        "statement": each.statement_id,
        "ordinal": each.ordinal,
        "run": each.run_id,
        "kind": each.kind,
        "attempt": each.attempt,
        "seat": each.seat,
    }
