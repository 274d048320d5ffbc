"""Claims that are paid in stages: a part at once, the rest as bills come, each stage in a run of its own."""

from __future__ import annotations

from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.claims import Claim, claim_of, decide, locked
from engine.claims.history import Detail
from engine.claims.states import ClaimRefused, Event, State
from engine.errors import InvalidInput
from engine.money import floor, grouped, to_major
from engine.plans import PlanRules, date_of, is_notice_day
from engine.roster.plan import lock_living
from engine.store.tables import IN_THE_BOOKS, run_cases, share_runs


def first_stage(rules: PlanRules, aid_minor: int) -> int | None:
    """What is due of an aid at once, in minor units, at least 1; None: all (SCHEMES: meituan, 20 % at once)."""
    return None if rules.aid_stages is None else max(1, floor(rules.aid_stages.first * aid_minor))


async def bill(
    connection: AsyncConnection, claim_id: int, rules: PlanRules, amount_minor: int, *, on: date, actor: str
) -> Claim:
    """Put the next stage of a claim in, in minor units; `on`: the notice day whose 00:00 is its gate.

    Added to a later stage that waits with the same gate, the two are shared together. Raises ClaimRefused while the
    first stage waits or one with another gate, which would else go past its debit slot unseen, when nothing is left, or
    when the day is no notice day after the gate of the stage before; InvalidInput for an amount not above 0 and at most
    what is left, and once the plan's books are closed.
    """
    await lock_living(connection, (await claim_of(connection, claim_id)).plan_id)
    claim = await locked(connection, claim_id, Event.BILL)
    if not claim.unbilled_minor:
        raise ClaimRefused(f"claim {claim_id}: nothing is left to bill of its aid of {grouped(claim.aid_minor)}")
    if claim.state is State.PASSED and claim.stage_on is None:
        raise ClaimRefused(f"claim {claim_id}: its first stage waits for a run; bill the next once that is sealed")
    if not is_notice_day(rules, on):
        raise ClaimRefused(
            f"claim {claim_id}: {on} is not a notice day of {claim.plan_code}; "
            f"`fentan calendar {claim.plan_code} --year {on.year}` prints them"
        )
    before = claim.stage_on or claim.noticed().notice_on
    if claim.state is State.PASSED and on != before:
        raise ClaimRefused(
            f"claim {claim_id}: its stage with the gate of {before} waits for a run; bill with the same gate, or once "
            "that is sealed"
        )
    if claim.state is State.SHARED and on <= before:
        raise ClaimRefused(f"claim {claim_id}: its stage before had its gate on {before}; give a notice day after it")
    if not 0 < amount_minor <= claim.unbilled_minor:
        raise InvalidInput(
            f"claim {claim_id}: a bill of {grouped(amount_minor)}; give more than 0 and at most "
            f"{grouped(claim.unbilled_minor)}, which is left of its aid"
        )
    return await decide(
        connection,
        claim,
        Event.BILL,
        on=on,
        actor=actor,
        detail={"amount": to_major(amount_minor)},
        due_minor=claim.due_minor + amount_minor,
        stage_on=on,
    )


async def take_back(connection: AsyncConnection, claim: Claim, *, on: date, actor: str, detail: Detail) -> Claim:
    """Take back the stage that waits of a locked claim, which is then as its last sealed run left it."""
    last = (
        await connection.execute(
            select(run_cases.c.run_id, run_cases.c.gate_day)
            .join(share_runs, share_runs.c.run_id == run_cases.c.run_id)
            .where(run_cases.c.claim_id == claim.claim_id, share_runs.c.state.in_(IN_THE_BOOKS))
            .order_by(run_cases.c.gate_day.desc(), run_cases.c.run_id.desc())
            .limit(1)
        )
    ).one()
    return await decide(
        connection,
        claim,
        Event.TAKE_BACK,
        on=on,
        actor=actor,
        detail={**detail, "amount": to_major(claim.next_minor)},
        run_id=last.run_id,
        due_minor=claim.shared_minor,
        stage_on=date_of(last.gate_day),
    )
