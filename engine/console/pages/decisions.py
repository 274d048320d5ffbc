"""Decisions: what waits for a second person, what came of the others, and one with all that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode

from engine.access.roles import EVERYONE
from engine.api.decisions import (
    DecisionFilter,
    DecisionView,
    OfDecision,
    PartsOf,
    list_of_decisions,
    list_of_parts,
    show_decision,
)
from engine.api.fields import LIMIT_MAX, Code, Numbered, Paged
from engine.api.plans import PlanPart, list_of_plans
from engine.console.language import N_
from engine.console.page import Pages, Shown
from engine.console.views import shown
from engine.console.visits import Visit
from engine.custodian.calls import called_on
from engine.decisions import DecisionState, Kind
from engine.ledger.accounts import Account

pages = Pages("/finance")


class Which(StrEnum):
    """Decisions of a state, or all."""

    PROPOSED = "proposed"
    DONE = "done"
    REFUSED = "refused"
    ALL = "all"


class Decisions(Paged):
    """Which decisions: those that wait, unless others are asked for."""

    after: Numbered = None
    plan: Code | None = None
    kind: Kind | None = None
    state: Which = Which.PROPOSED


class Form(StrEnum):
    """How a value of a decision is written."""

    MONEY = "money"
    NUMBER = "number"
    DAY = "day"
    WORD = "word"
    WORDS = "words"
    DIGEST = "digest"
    TEXT = "text"
    BREAKS = "breaks"
    RUN = "run"
    CLAIM = "claim"
    SEAT = "seat"


FACTS: Mapping[str, tuple[str, Form]] = {
    "action": (N_("What is to be done"), Form.WORD),
    "amount": (N_("Amount"), Form.MONEY),
    "suspense": (N_("On suspense"), Form.MONEY),
    "set_off": (N_("Set off"), Form.MONEY),
    "charged_more": (N_("Charged more"), Form.MONEY),
    "given_back": (N_("Given back"), Form.MONEY),
    "owed_back": (N_("Overpaid by it, owed back"), Form.MONEY),
    "recovered": (N_("Recovered"), Form.MONEY),
    "recovered_in_all": (N_("Recovered of the claim in all"), Form.MONEY),
    "refunded": (N_("Refunded"), Form.MONEY),
    "carry_to_sponsor": (N_("Carry that went to the sponsor"), Form.MONEY),
    "retained": (N_("Retained result"), Form.MONEY),
    "aid_never_billed": (N_("Aid that no run billed"), Form.MONEY),
    "left": (N_("Left for want of an account"), Form.MONEY),
    "number": (N_("Number of breaks"), Form.NUMBER),
    "members": (N_("Seats"), Form.NUMBER),
    "seats": (N_("Seats"), Form.NUMBER),
    "claimants": (N_("Claims"), Form.NUMBER),
    "instructions": (N_("Instructions moved"), Form.NUMBER),
    "seats_ended": (N_("Memberships ended"), Form.NUMBER),
    "seats_refunded": (N_("Seats refunded"), Form.NUMBER),
    "without_account": (N_("Seats without an account"), Form.NUMBER),
    "attempt": (N_("Attempt"), Form.NUMBER),
    "files": (N_("Files written"), Form.NUMBER),
    "rules_version": (N_("Version of the rules"), Form.NUMBER),
    "through": (N_("Locked through"), Form.DAY),
    "locked_through": (N_("Locked through"), Form.DAY),
    "pay_on": (N_("Paid on"), Form.DAY),
    "ends_on": (N_("The plan's last day"), Form.DAY),
    "against": (N_("Who bears it"), Form.WORD),
    "to": (N_("Where it goes"), Form.WORD),
    "refund": (N_("What members get back"), Form.WORD),
    "codes": (N_("What is wrong"), Form.WORDS),
    "breaks": (N_("Breaks"), Form.BREAKS),
    "run": (N_("Run"), Form.RUN),
    "claim": (N_("Claim"), Form.CLAIM),
    "for": (N_("Whose the money is"), Form.SEAT),
    "chosen_by": (N_("Chosen by"), Form.TEXT),
    "reason": (N_("Reason"), Form.TEXT),
    "comment": (N_("Comment"), Form.TEXT),
    "sha256": (N_("SHA-256 of what was given"), Form.DIGEST),
    "digest": (N_("SHA-256 of what is paid"), Form.DIGEST),
}
"""What detail and outcome of a decision say, by their names there: its label, and how it is written."""

_AREAS = {"run": "/runs/", "claim": "/claims/", "break": "/finance/breaks/", "custodian": "/finance/custodians/"}
"""Where the subjects of decisions are seen; plans have no page of their own."""


@pages.get("/finance/decisions", EVERYONE)
async def decisions(visit: Visit, params: Decisions) -> Shown:
    """Decisions, the newest first: those that wait, or others."""
    state = None if params.state is Which.ALL else DecisionState(params.state)
    asked = DecisionFilter(**params.model_dump(exclude={"state"}), state=state)
    found = await list_of_decisions(visit.call, asked)
    plans = (await list_of_plans(visit.call, PlanPart(limit=LIMIT_MAX))).items
    kept = params.model_dump(mode="json", exclude={"after", "limit", "state"}, exclude_none=True)
    return Shown(
        "finance/decisions.html",
        {
            "decisions": shown(found),
            "subjects": {each.decision_id: subject_of(each) for each in found.items},
            "mine": {each.decision_id for each in found.items if visit.is_me(each.proposed_by)},
            "filter": params,
            "is_first": params.after is None,
            "by_state": [(each, _at(kept | {"state": each})) for each in Which],
            "plans": [(each.plan, each.name) for each in plans],
            "kinds": list(Kind),
        },
    )


@pages.get("/finance/decisions/{decision_id}", EVERYONE)
async def decision(visit: Visit, params: PartsOf) -> Shown:
    """One decision: what it takes, those it is about one by one, and what came of it."""
    found = await show_decision(visit.call, OfDecision(decision_id=params.decision_id))
    parts = await list_of_parts(visit.call, params)
    return Shown(
        "finance/decision.html",
        {
            "view": found,
            "decision": shown(found),
            "subject": subject_of(found),
            "is_mine": visit.is_me(found.proposed_by),
            "detail": list(_facts(found.detail)),
            "outcome": list(_facts(found.outcome or {})),
            "parts_listed": shown(parts),
            "is_first": params.after is None,
        },
    )


def subject_of(found: DecisionView) -> tuple[str, str, str | None]:
    """What a decision is about: its kind, its number, code or, of a plan's calls, their day, and where it is seen."""
    kind, _, name = found.subject.partition(":")
    if kind == "run" and (day := called_on(int(name))):
        return "call", day.isoformat(), None
    area = _AREAS.get(kind)
    return kind, name, None if area is None else area + quote(name)


def _facts(values: Mapping[str, Any]) -> Iterator[tuple[str | None, str, Form, Any]]:
    """A label, the name, and how each value is written; accounts have what was posted on them, and no label."""
    known = [name for name in FACTS if name in values]
    for name in known + [name for name in values if name not in FACTS]:
        is_posted = name.upper() in Account.__members__
        label, form = FACTS.get(name, (None, Form.MONEY if is_posted else Form.TEXT))
        yield label, name.replace("_", " "), form, values[name]


def _at(query: Mapping[str, str]) -> str:
    return f"/finance/decisions?{urlencode(query)}"
