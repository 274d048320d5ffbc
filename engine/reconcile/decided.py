"""Do what was proposed, whatever it is, once somebody else approves it (I13); or let it be, when it is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from engine import decisions
from engine.custodian.desk import Desk
from engine.decisions import Decision, DecisionState, Kind, check_four_eyes, close, open_decision
from engine.errors import InvalidInput
from engine.reconcile.locking import lock_period
from engine.reconcile.overpaid import owe_back
from engine.reconcile.payouts import Payable, pay_out
from engine.reconcile.refunds import pay_refunds
from engine.reconcile.resolving import let_go, resolve
from engine.runs.corrections import Change
from engine.runs.decided import do


async def carry_out(
    connection: AsyncConnection,
    decision_id: int,
    *,
    actor: str,
    desk: Desk | None = None,
    now: datetime | None = None,
    reason: str | None = None,
) -> Decision:
    """Do an open decision and note what that came to, all in the caller's transaction.

    `desk`, `now`: what paying money out writes its files with; nothing else needs them. Raises FourEyes, NotOpen,
    InvalidInput, and whatever bars doing it now: the decision then stays open.
    """
    decision = await open_decision(connection, decision_id)
    check_four_eyes(decision, actor)
    if decision.kind in (Kind.PAYOUT, Kind.REFUND):
        outcome = await _pay(connection, decision, desk, now, actor)
    else:
        outcome = await _outcome(connection, decision, actor)
    return await close(connection, decision, DecisionState.DONE, outcome, actor=actor, reason=reason)


async def _outcome(connection: AsyncConnection, decision: Decision, actor: str) -> dict[str, Any]:
    match decision.kind:
        case Kind.RESOLUTION:
            return await resolve(connection, decision, actor=actor)
        case Kind.PERIOD_LOCK:
            return await lock_period(connection, decision)
        case Kind.CORRECTION:
            outcome = await do(connection, decision)
            on = decision.effective_on
            owed_back = await owe_back(connection, decision.plan_id, decision.subject, on=on, besides=decision)
            return outcome | ({"owed_back_minor": owed_back} if owed_back else {})
        case _:
            return await do(connection, decision)


async def _pay(
    connection: AsyncConnection, decision: Decision, desk: Desk | None, now: datetime | None, actor: str
) -> dict[str, Any]:
    if desk is None or now is None:
        raise InvalidInput(f"{decision.name} pays money out, which needs a desk to write its files at, and the time")
    pay = pay_out if decision.kind is Kind.PAYOUT else pay_refunds
    return await pay(connection, decision, desk, now=now, actor=actor)


class Part(NamedTuple):
    """One of those a decision is about, in minor units: a seat that is corrected, or a claim, by its number, paid."""

    seat: int | None
    claim_number: int | None
    amount_minor: int
    set_off_minor: int = 0


_PARTS = {Kind.CORRECTION: "seats", Kind.PAYOUT: "claims"}
"""Where the detail of a decision names each of those it is about."""


def facts_of(decision: Decision) -> dict[str, Any]:
    """What the detail of a decision says beside those it is about one by one."""
    return {name: value for name, value in decision.detail.items() if name != _PARTS.get(decision.kind)}


def parts_of(decision: Decision) -> list[Part]:
    """Those a decision is about one by one; none where it is about a whole."""
    named = decision.detail.get(_PARTS.get(decision.kind, ""), ())
    if decision.kind is Kind.CORRECTION:
        changes = [Change(*each) for each in named]
        return [Part(change.seat, None, change.amount_minor) for change in changes]
    return [Part(None, each.claim, each.pay_minor, each.set_off_minor) for each in (Payable(*one) for one in named)]


async def refuse(connection: AsyncConnection, decision_id: int, *, reason: str, actor: str) -> Decision:
    """Refuse an open decision, for a stated reason; anybody may, who proposed it too. Raises InvalidInput, NotOpen."""
    decision = await decisions.refuse(connection, decision_id, reason=reason, actor=actor)
    if decision.kind is Kind.RESOLUTION:
        await let_go(connection, decision, reason=reason, actor=actor)
    return decision
