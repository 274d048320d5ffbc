"""Do what was proposed, once somebody else approves it (I13)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.decisions import Decision, DecisionState, Kind, check_four_eyes, close, open_decision
from engine.errors import InvalidInput
from engine.runs.corrections import correct
from engine.runs.ending import end_plan
from engine.runs.recovery import recover


async def carry_out(connection: AsyncConnection, decision_id: int, *, actor: str) -> Decision:
    """Do an open decision and note what that came to, all in the caller's transaction.

    Raises FourEyes, NotOpen, InvalidInput, and whatever bars doing it now: the decision then stays open.
    """
    decision = await open_decision(connection, decision_id)
    check_four_eyes(decision, actor)
    return await close(connection, decision, DecisionState.DONE, await do(connection, decision), actor=actor)


async def do(connection: AsyncConnection, decision: Decision) -> dict[str, Any]:
    """Do what two have decided of a run, a claim or a plan; what it came to."""
    match decision.kind:
        case Kind.CORRECTION:
            return await correct(connection, decision)
        case Kind.RECOVERY:
            return await recover(connection, decision)
        case Kind.WIND_DOWN:
            return await end_plan(connection, decision)
    raise InvalidInput(f"{decision.name} is a {decision.kind}; engine.reconcile.decided carries it out")
