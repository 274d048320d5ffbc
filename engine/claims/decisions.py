"""The decisions on one claim: file, publish, pass, reject, withdraw. Each locks the claim, checks, moves, records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.claims import Claim, claim_of, decide, locked
from engine.claims.history import Detail, record
from engine.claims.stages import first_stage, take_back
from engine.claims.states import INITIAL, ClaimRefused, Event, State, after
from engine.errors import InvalidInput
from engine.money import to_major
from engine.plans import (
    NEVER,
    Accident,
    Application,
    Deduction,
    PlanRules,
    aid_of,
    date_of,
    day_number,
    is_notice_day,
    notice_end,
)
from engine.plans.calendar import claims_until
from engine.plans.member_rules import Funding
from engine.roster.plan import refuse_ended
from engine.store.tables import claims, notices, objections, plans, share_runs


class Cover(Protocol):
    """What a claim needs to know of a membership, as the roster has it; days are day numbers."""

    @property
    def shard_id(self) -> int:
        """The shard of the seat."""

    @property
    def seat(self) -> int:
        """The seat inside the plan."""

    @property
    def born_on(self) -> date:
        """Decides the aid band."""

    @property
    def shares_from(self) -> int:
        """The first day covered."""

    @property
    def claims_from(self) -> int:
        """The first day after the waiting time."""

    @property
    def ended_on(self) -> int:
        """The first day no longer covered, or NEVER."""

    @property
    def frozen_from(self) -> int:
        """The first day of the latest freeze; 0 when there was none."""

    @property
    def frozen_to(self) -> int:
        """The first day after it, NEVER while the member has not returned; 0 when there was none."""

    @property
    def tier(self) -> int:
        """The tier that claims go by on the day of diagnosis."""


async def file(
    connection: AsyncConnection,
    plan_id: int,
    rules: PlanRules,
    cover: Cover,
    *,
    diagnosed_on: date,
    on: date,
    actor: str,
    aid_minor: int | None = None,
    severity: str | None = None,
    accident: Accident | None = None,
    deductions: Sequence[Deduction] = (),
) -> Claim:
    """File a claim: the aid is the plan's (`aid_of`), or `aid_minor`, a part of it (a milder case), less deductions.

    Raises ClaimRefused when at diagnosis the seat was not covered, still waiting or frozen or the plan had ended, when
    the plan takes no more claims, or when the seat has a live claim for the same diagnosis; InvalidInput when the
    diagnosis is later than the filing or the application does not fit the plan.
    """
    _check_days(rules, diagnosed_on, on)
    _check_cover(rules, cover, diagnosed_on)
    application = Application(
        born_on=cover.born_on,
        member_from=date_of(cover.shares_from),
        diagnosed_on=diagnosed_on,
        tier=cover.tier,
        severity=severity,
        accident=accident,
        part_minor=aid_minor,
        deductions=tuple(deductions),
    )
    aid = aid_of(rules, application)
    # Numbers are dense: whoever files next in this plan waits for this one.
    await connection.execute(select(plans.c.plan_id).where(plans.c.plan_id == plan_id).with_for_update(key_share=True))
    await refuse_ended(connection, plan_id)
    await _refuse_second(connection, cover, diagnosed_on)
    last = await connection.scalar(select(func.max(claims.c.number)).where(claims.c.plan_id == plan_id))
    claim_id = await connection.scalar(
        insert(claims)
        .values(
            plan_id=plan_id,
            number=(last or 0) + 1,
            shard_id=cover.shard_id,
            seat=cover.seat,
            diagnosed_on=diagnosed_on,
            filed_on=on,
            aid_minor=aid.amount_minor,
            severity=severity,
            due_minor=first_stage(rules, aid.amount_minor),
            state=INITIAL,
        )
        .returning(claims.c.claim_id)
    )
    detail: Detail = {"aid": to_major(aid.amount_minor), "steps": list(aid.steps)}
    await record(connection, [claim_id], Event.FILE, on=on, actor=actor, detail=detail)
    return await claim_of(connection, claim_id)


def _check_days(rules: PlanRules, diagnosed_on: date, on: date) -> None:
    if diagnosed_on > on:
        raise InvalidInput(f"diagnosed on {diagnosed_on}, after the filing on {on}; correct one of the dates")
    if rules.ends_on is None:
        return
    if diagnosed_on > rules.ends_on:
        raise ClaimRefused(f"diagnosed on {diagnosed_on}; {rules.code} takes diagnoses made by {rules.ends_on}")
    last = claims_until(rules)
    if last is not None and on > last:
        raise ClaimRefused(f"filed on {on}; {rules.code} ended on {rules.ends_on} and took claims until {last}")


def _check_cover(rules: PlanRules, cover: Cover, diagnosed_on: date) -> None:
    day = day_number(diagnosed_on)
    if day < cover.shares_from:
        raise ClaimRefused(f"not covered on {diagnosed_on}: the membership begins on {date_of(cover.shares_from)}")
    if day >= cover.ended_on:
        raise ClaimRefused(f"not covered on {diagnosed_on}: the membership ended on {date_of(cover.ended_on)}")
    if day < cover.claims_from:
        raise ClaimRefused(
            f"diagnosed on {diagnosed_on}, inside the waiting time: claims begin on {date_of(cover.claims_from)}"
        )
    if rules.funding is Funding.PREPAID and cover.frozen_from <= day and cover.frozen_to == NEVER:
        # SCHEMES: waterdrop, the prepaid convention.
        raise ClaimRefused(
            f"frozen since {date_of(cover.frozen_from)}: a claim that arises while frozen stands only if the member "
            "returns; file it again after that"
        )


async def _refuse_second(connection: AsyncConnection, cover: Cover, diagnosed_on: date) -> None:
    earlier = await connection.scalar(
        select(claims.c.claim_id)
        .where(claims.c.shard_id == cover.shard_id, claims.c.seat == cover.seat)
        .where(claims.c.diagnosed_on == diagnosed_on)
        .where(claims.c.state.not_in([State.REJECTED, State.WITHDRAWN]))
        .limit(1)
    )
    if earlier is not None:
        raise ClaimRefused(f"claim {earlier} is already filed for this diagnosis; withdraw it to file again")


async def publish(connection: AsyncConnection, claim_id: int, rules: PlanRules, *, on: date, actor: str) -> Claim:
    """Begin the claim's notice on `on`, which must be a notice day of the plan.

    Raises ClaimRefused when the day is none, or earlier than the filing.
    """
    claim = await locked(connection, claim_id, Event.PUBLISH)
    if not is_notice_day(rules, on):
        raise ClaimRefused(
            f"claim {claim_id}: {on} is not a notice day of {claim.plan_code}; "
            f"`fentan calendar {claim.plan_code} --year {on.year}` prints them"
        )
    _not_before_filing(claim, on)
    ends_on = notice_end(rules, on)
    await connection.execute(insert(notices).values(claim_id=claim_id, notice_on=on, ends_on=ends_on))
    return await decide(connection, claim, Event.PUBLISH, on=on, actor=actor, detail={"ends_on": ends_on.isoformat()})


async def pass_(connection: AsyncConnection, claim_id: int, *, on: date, actor: str) -> Claim:
    """Pass a claim. Raises ClaimRefused while its notice lasts or an objection is open."""
    claim = await locked(connection, claim_id, Event.PASS)
    ends_on = claim.noticed().ends_on
    if on < ends_on:
        raise ClaimRefused(f"claim {claim_id}: its notice lasts until before {ends_on}, and it is {on}")
    open_numbers = await connection.scalars(
        select(objections.c.number)
        .where(objections.c.claim_id == claim_id, objections.c.resolved_on.is_(None))
        .order_by(objections.c.number)
    )
    if named := ", ".join(map(str, open_numbers)):
        raise ClaimRefused(f"claim {claim_id}: objections open: {named}; resolve them, or reject the claim")
    return await decide(connection, claim, Event.PASS, on=on, actor=actor, detail={})


async def pass_due(connection: AsyncConnection, plan_id: int, *, on: date, actor: str) -> list[int]:
    """Pass every claim of the plan whose notice has ended with no open objection; their ids in filing order."""
    published = select(claims.c.claim_id).where(claims.c.plan_id == plan_id, claims.c.state == State.PUBLISHED)
    # Locked first and judged by the next statement, which then sees every objection committed before.
    await connection.execute(published.order_by(claims.c.claim_id).with_for_update())
    objected = exists().where(objections.c.claim_id == claims.c.claim_id, objections.c.resolved_on.is_(None))
    passed = await connection.execute(
        update(claims)
        .where(claims.c.plan_id == plan_id, claims.c.state == State.PUBLISHED)
        .where(notices.c.claim_id == claims.c.claim_id, notices.c.ends_on <= on, ~objected)
        .values(state=after(State.PUBLISHED, Event.PASS))
        .returning(claims.c.number, claims.c.claim_id)
    )
    claim_ids = [row.claim_id for row in sorted(passed)]
    await record(connection, claim_ids, Event.PASS, on=on, actor=actor, detail={})
    return claim_ids


async def reject(connection: AsyncConnection, claim_id: int, *, reason: str, on: date, actor: str) -> Claim:
    """Reject a claim before it passes, for a stated reason. Final."""
    claim = await locked(connection, claim_id, Event.REJECT)
    _not_before_filing(claim, on)
    return await decide(connection, claim, Event.REJECT, on=on, actor=actor, detail={"reason": reason})


async def withdraw(connection: AsyncConnection, claim_id: int, *, reason: str, on: date, actor: str) -> Claim:
    """Withdraw a claim, for a stated reason; from a run too, until the run is approved. Final.

    Of a claim that was shared in part only the stage that waits is taken back; what was shared stays so. Raises
    ClaimRefused when its run is approved: the run must be voided first.
    """
    claim = await locked(connection, claim_id, Event.WITHDRAW)
    _not_before_filing(claim, on)
    detail: dict[str, str | int] = {"reason": reason}
    if claim.run_id is not None:
        detail["run_id"] = claim.run_id
        # An approval locks the claims it approves (`claims_in`), so this look cannot be overtaken by one.
        run = select(share_runs.c.approved_by).where(share_runs.c.run_id == claim.run_id)
        if await connection.scalar(run) is not None:
            raise ClaimRefused(f"claim {claim_id}: its run {claim.run_id} is approved; void the run first")
    if claim.shared_minor:
        return await take_back(connection, claim, on=on, actor=actor, detail=detail)
    return await decide(connection, claim, Event.WITHDRAW, on=on, actor=actor, detail=detail)


def _not_before_filing(claim: Claim, on: date) -> None:
    if on < claim.filed_on:
        raise ClaimRefused(f"claim {claim.claim_id} was filed on {claim.filed_on}, which is after {on}")
