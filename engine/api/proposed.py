"""What one person proposed and another has to decide, as those answer who propose it."""

from __future__ import annotations

from datetime import date

from engine.api.days import happened_on
from engine.api.fields import Day, Model
from engine.api.service import Call
from engine.decisions import Decision, DecisionState, Kind
from engine.errors import InvalidInput
from engine.roster.plan import newest_rules

_EARLIEST = date(2000, 1, 1)
"""What is posted stands for good: a year mistyped is refused."""


class Proposal(Model):
    """A decision that waits for somebody else than who proposed it (I13)."""

    decision_id: int
    plan: str
    kind: Kind
    subject: str
    effective_on: Day
    state: DecisionState
    proposed_by: str


def proposal(call: Call, decision: Decision) -> Proposal:
    """A decision as it was proposed; the header Location says where it is found."""
    call.created(f"/v1/decisions/{decision.decision_id}")
    return Proposal(
        decision_id=decision.decision_id,
        plan=decision.plan_code,
        kind=decision.kind,
        subject=decision.subject,
        effective_on=decision.effective_on,
        state=decision.state,
        proposed_by=decision.proposed_by,
    )


async def day_of(call: Call, plan_id: int, on: date | None = None) -> date:
    """The day of what is asked, in the plan's zone. Raises InvalidInput for one to come, or of another century."""
    if on is not None and on < _EARLIEST:
        raise InvalidInput(f"on {on}: give a day from {_EARLIEST} on")
    return happened_on(call, (await newest_rules(call.connection, plan_id)).time_zone, on)
