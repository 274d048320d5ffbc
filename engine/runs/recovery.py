"""Aid that was paid wrongly comes back: proposed by one person, posted once another approves (I13)."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.claims import Claim, decide, locked
from engine.claims.states import ClaimRefused, Event
from engine.decisions import Decision, Kind, propose
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, post
from engine.members.holds import refuse_while_held
from engine.money import grouped, to_major
from engine.plans.aid_rules import RecoveredTo
from engine.roster.plan import lock_living, newest_rules, refuse_ended
from engine.runs.run import Run
from engine.store.tables import IN_THE_BOOKS, claims, run_cases, share_runs

_CREDITED = {RecoveredTo.CARRY: Account.CARRY, RecoveredTo.SPONSOR: Account.SPONSOR_RECEIVABLE}


async def propose_recovery(
    connection: AsyncConnection, claim_id: int, amount_minor: int, reason: str, *, on: date, actor: str
) -> Decision:
    """Propose that so much of a claim's aid, in minor units, came back on a day; nothing is posted yet.

    Raises ClaimRefused when nothing of it was paid, InvalidInput for more than was paid and has not come back, for
    a day before it was paid, and once the plan's books are closed.
    """
    claim = await locked(connection, claim_id, Event.RECOVER)
    await refuse_ended(connection, claim.plan_id)
    await _check(connection, claim, amount_minor, on)
    rules = await newest_rules(connection, claim.plan_id)
    detail = {"claim": claim_id, "amount_minor": amount_minor, "to": rules.recovered_to, "reason": reason}
    return await propose(connection, claim.plan_id, Kind.RECOVERY, f"claim:{claim_id}", detail, on=on, actor=actor)


async def recover(connection: AsyncConnection, decision: Decision) -> dict[str, Any]:
    """Post the money as back with the custodian, for the carry or the sponsor; what it came to.

    Raises InvalidInput while a run holds the plan, and what `propose_recovery` raises if that holds by now.
    """
    await lock_living(connection, decision.plan_id)  # a freeze holds it too, and would stand on the carry before
    await refuse_while_held(connection, decision.plan_id, "recover the aid")
    amount, to = int(decision.detail["amount_minor"]), RecoveredTo(decision.detail["to"])
    claim = await locked(connection, int(decision.detail["claim"]), Event.RECOVER)
    await _check(connection, claim, amount, decision.effective_on)
    cash, credited = (account_id(decision.plan_id, code) for code in (Account.CUSTODIAN_CASH, _CREDITED[to]))
    journal = Journal(
        shard_id=plan_shard(decision.plan_id),
        key=decision.name,
        kind="recovery",
        effective_on=decision.effective_on,
        lines={cash: amount, credited: -amount},
    )
    await post(connection, journal)
    recovered = await decide(
        connection,
        claim,
        Event.RECOVER,
        on=decision.effective_on,
        actor=decision.name,
        detail={"decision": decision.decision_id, "amount": to_major(amount)},
        run_id=claim.run_id,
        recovered_minor=claim.recovered_minor + amount,
    )
    return {"recovered_minor": amount, "recovered_in_all_minor": recovered.recovered_minor}


async def check_not_recovered(connection: AsyncConnection, run: Run) -> None:
    """Before a sealed run is mirrored: what came back of its claims was paid by other runs. Raises InvalidInput."""
    elsewhere = _paid().where(run_cases.c.claim_id == claims.c.claim_id, run_cases.c.run_id != run.run_id)
    mine = select(run_cases.c.claim_id).where(run_cases.c.run_id == run.run_id)
    came_back = await connection.scalars(
        select(claims.c.claim_id)
        .where(claims.c.claim_id.in_(mine), claims.c.recovered_minor > elsewhere.scalar_subquery())
        .order_by(claims.c.claim_id)
    )
    if named := ", ".join(map(str, came_back)):
        raise InvalidInput(
            f"{run.name} paid aid that came back since (claims {named}); it stands, correct its members instead"
        )


def _paid() -> Select[tuple[int]]:
    """What sealed runs paid, in minor units."""
    return (
        select(func.coalesce(func.sum(run_cases.c.aid_paid_minor), 0))
        .join(share_runs, share_runs.c.run_id == run_cases.c.run_id)
        .where(share_runs.c.state.in_(IN_THE_BOOKS))
    )


async def _check(connection: AsyncConnection, claim: Claim, amount_minor: int, on: date) -> None:
    found = _paid().add_columns(func.min(share_runs.c.debit_on)).where(run_cases.c.claim_id == claim.claim_id)
    paid, first_paid_on = (await connection.execute(found)).one()
    left = int(paid) - claim.recovered_minor
    if not paid:
        raise ClaimRefused(f"claim {claim.claim_id}: no sealed run paid any of its aid; there is nothing to recover")
    if left <= 0:
        raise ClaimRefused(f"claim {claim.claim_id}: all of the {grouped(int(paid))} that was paid came back already")
    if not 0 < amount_minor <= left:
        raise InvalidInput(
            f"{grouped(amount_minor)}: of claim {claim.claim_id} {grouped(int(paid))} was paid and "
            f"{grouped(claim.recovered_minor)} came back; give more than 0 and at most {grouped(left)}"
        )
    if on < first_paid_on:
        raise InvalidInput(f"--on {on}: claim {claim.claim_id} was first paid on {first_paid_on}; give a day from then")
