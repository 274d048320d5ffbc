"""Do what was proposed, once somebody else approves it (I13)."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.decisions import Decision, DecisionState, Kind, check_four_eyes, close, open_decision
from engine.runs.corrections import correct
from engine.runs.ending import end_plan
from engine.runs.recovery import recover


async def carry_out(connection: AsyncConnection, decision_id: int, *, actor: str) -> Decision:
    """Do an open decision and note what that came to, all in the caller's transaction.

    Raises FourEyes, NotOpen, InvalidInput, and whatever bars doing it now: the decision then stays open.
    """
    decision = await open_decision(connection, decision_id)
    check_four_eyes(decision, actor)
    match decision.kind:
        case Kind.CORRECTION:
            outcome = await correct(connection, decision)
        case Kind.RECOVERY:
            outcome = await recover(connection, decision)
        case Kind.WIND_DOWN:
            outcome = await end_plan(connection, decision)
    return await close(connection, decision, DecisionState.DONE, outcome, actor=actor)
