"""Money decisions outside runs: what is proposed, by whom, and what came of it; approved by another, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from engine.access.roles import APPROVERS, EVERYONE, FINANCE, SCHEDULERS
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Id, Model, Money, Numbered, Page, Paged, Reasoned, Text
from engine.api.service import Call
from engine.decisions import Decision, DecisionState, Kind, decision_of, list_decisions
from engine.money import in_major
from engine.reconcile.decided import carry_out, facts_of, parts_of, refuse
from engine.roster.plan import plan_of

endpoints = Endpoints("decisions", "Money decisions outside runs: one person proposes, another approves (I13).")


class OfDecision(Model):
    """One decision."""

    decision_id: Id


class DecisionFilter(Paged):
    """Which decisions."""

    after: Numbered = None
    plan: Code | None = None
    state: DecisionState | None = None
    kind: Kind | None = None
    subject: Annotated[str | None, Field(max_length=100, pattern=r"^[a-z]+:[a-z0-9-]+$")] = None


class PartsOf(Paged):
    """Which parts of a decision."""

    decision_id: Id
    after: Numbered = None


class DecisionView(Model):
    """A decision. `subject`: what it is about, such as run:7; `detail`: what it takes; `outcome`: what came of it.

    Amounts in `detail` and `outcome` are decimal text in major units.
    """

    decision_id: int
    plan: str
    kind: Kind
    subject: str
    effective_on: Day
    state: DecisionState
    proposed_by: str
    decided_by: str | None
    detail: Mapping[str, Any]
    outcome: Mapping[str, Any] | None


class PartView(Model):
    """One of those a decision is about: a seat that is corrected, or a claim, by its number in the plan, that is paid.

    `amount`: charged more, or given back where it is negative; or paid. `set_off`: recovered before it was ever paid.
    """

    number: int
    seat: int | None
    claim_number: int | None
    amount: Money
    set_off: Money


class Refusal(Model):
    """Why it is refused, for the record: no names."""

    reason: Text


def view(decision: Decision) -> DecisionView:
    """A decision as answers show it."""
    return DecisionView(
        decision_id=decision.decision_id,
        plan=decision.plan_code,
        kind=decision.kind,
        subject=decision.subject,
        effective_on=decision.effective_on,
        state=decision.state,
        proposed_by=decision.proposed_by,
        decided_by=decision.decided_by,
        detail=in_major(facts_of(decision)),
        outcome=None if decision.outcome is None else in_major(decision.outcome),
    )


@endpoints.get("/decisions", EVERYONE)
async def list_of_decisions(call: Call, params: DecisionFilter) -> Page[DecisionView]:
    """Decisions, the newest first: what is proposed, done and refused."""
    plan_id = None if params.plan is None else (await plan_of(call.connection, params.plan)).plan_id
    found = await list_decisions(
        call.connection,
        plan_id,
        subject=params.subject,
        kind=params.kind,
        state=params.state,
        before=None if params.after is None else int(params.after),
        limit=params.limit + 1,
    )
    return call.page(found, params.limit, view, lambda decision: decision.decision_id)


@endpoints.get("/decisions/{decision_id}", EVERYONE)
async def show_decision(call: Call, params: OfDecision) -> DecisionView:
    """What is proposed, by whom, and what came of it."""
    return view(await decision_of(call.connection, params.decision_id))


@endpoints.get("/decisions/{decision_id}/parts", EVERYONE)
async def list_of_parts(call: Call, params: PartsOf) -> Page[PartView]:
    """The seats that a correction is about, or the claims that a payout pays, one by one."""
    parts = parts_of(await decision_of(call.connection, params.decision_id))
    first = int(params.after or 0)
    numbered = list(enumerate(parts[first : first + params.limit + 1], start=first + 1))
    return call.page(
        numbered,
        params.limit,
        lambda row: PartView(
            number=row[0],
            seat=row[1].seat,
            claim_number=row[1].claim_number,
            amount=row[1].amount_minor,
            set_off=row[1].set_off_minor,
        ),
        lambda row: row[0],
    )


@endpoints.post("/decisions/{decision_id}/approve", APPROVERS, moves_money=True, changes=show_decision)
async def approve_decision(call: Call, params: OfDecision, body: Reasoned) -> DecisionView:
    """Have a decision done; by someone else than who proposed it."""
    done = await carry_out(
        call.connection,
        params.decision_id,
        actor=call.actor,
        desk=call.service.desk,
        now=call.now,
        reason=body.reason,
    )
    return view(done)


@endpoints.post(
    "/decisions/{decision_id}/refuse", APPROVERS | FINANCE | SCHEDULERS, moves_money=True, changes=show_decision
)
async def refuse_decision(call: Call, params: OfDecision, body: Refusal) -> DecisionView:
    """Refuse a decision, so that it is never done; who proposed it may, too."""
    return view(await refuse(call.connection, params.decision_id, reason=body.reason, actor=call.actor))
