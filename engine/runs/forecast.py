"""The next run's share, estimated from the claims that wait and those under notice, by today's roster and books.

It goes the way a run goes, measure and solve, without freezing anything: when nothing changes in between, the run
charges exactly this. What the rules will end or freeze by then shows once they were applied (`engine.members.sweep`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import CapBasis, Case, Outcome, Played, merge
from engine.claims.sharing import Passed, expected_claims
from engine.claims.states import State
from engine.errors import InvalidInput
from engine.money import to_major
from engine.plans.answers import case_cap, floor_minor
from engine.plans.calendar import debits_on_any_day, gate_day, next_debit_day
from engine.plans.days import date_of, day_number
from engine.plans.member_rules import Direction
from engine.plans.rules import PlanRules
from engine.roster.plan import Plan, refuse_ended
from engine.runs.allowance import seats_now
from engine.runs.measuring import measured
from engine.runs.planning import carry_of
from engine.runs.preview import solved, waived_of
from engine.runs.run import Inputs, Run
from engine.runs.states import RunState
from engine.store.tables import claims, notices, shards, share_runs


class ClaimCounts(NamedTuple):
    """Claims by where they stand. Those with an open objection are not in the estimate."""

    passed: int
    under_notice: int
    objected: int


@dataclass(frozen=True)
class Forecast:
    """What the next run would come to; amounts in minor units, `charged` without waived shares, `sponsor` with them.

    `share`: the most a member pays (under `exact` without odd units); `shares`: the same by tier code. `gates`: the
    days that decide who shares. `unshared`: claims that no member would share.
    """

    plan_code: str
    on: date
    debit_on: date
    claims: ClaimCounts
    carry_in: int
    gates: tuple[date, ...] = ()
    sharers: int = 0
    share: int = 0
    shares: dict[str, int] = field(default_factory=dict)
    aid: int = 0
    fee: int = 0
    charged: int = 0
    sponsor: int = 0
    carry_out: int = 0
    unshared: int = 0

    @property
    def pool(self) -> int:
        """Aid and fee, less what the carry pays of them."""
        return max(self.aid + self.fee - self.carry_in, 0)

    def as_json(self) -> dict[str, Any]:
        """Days as ISO text, amounts as text in major units, counts as numbers."""
        amounts = ("share", "aid", "fee", "pool", "carry_in", "charged", "sponsor", "carry_out")
        return {
            "plan": self.plan_code,
            "is_estimate": True,
            "on": self.on.isoformat(),
            "debit_on": self.debit_on.isoformat(),
            "gates": [gate.isoformat() for gate in self.gates],
            "claims": self.claims._asdict(),
            "sharers": self.sharers,
            "shares": {tier: to_major(minor) for tier, minor in self.shares.items()},
            "unshared_claims": self.unshared,
            **{name: to_major(getattr(self, name)) for name in amounts},
        }


async def forecast(connection: AsyncConnection, plan: Plan, rules: PlanRules, *, on: date) -> Forecast:
    """Estimate the run of the first debit day from `on` that has none; the caller's snapshot is what it stands on.

    Where any day is a debit day, it is the one on which every notice under way has ended.
    Raises InvalidInput for a plan that ended, or that credits its members: its surplus is not made of claims.
    """
    await refuse_ended(connection, plan.plan_id)
    if rules.direction is Direction.CREDIT:
        raise InvalidInput(f"{plan.code} gives its members a surplus; there is no share to forecast")
    debit_on = await _debit_day(connection, plan, rules, on)
    expected = await expected_claims(connection, plan.plan_id, by=debit_on)
    passed = [claim for claim in expected.passed if claim.notice_on <= debit_on]
    waiting = sorted([*passed, *expected.under_notice], key=lambda claim: claim.number)
    counted = ClaimCounts(len(passed), len(expected.under_notice), len(expected.objected))
    carry = await carry_of(connection, plan.plan_id)
    if not waiting:
        return Forecast(plan.code, on, debit_on, counted, carry, carry_out=carry)
    inputs = _inputs(plan, rules, debit_on, waiting, carry)
    outcome, waived = await _outcome(connection, inputs)
    return Forecast(
        plan_code=plan.code,
        on=on,
        debit_on=debit_on,
        claims=counted,
        carry_in=carry,
        gates=tuple(date_of(gate) for gate in inputs.gates),
        sharers=outcome.sharers,
        share=outcome.share,
        shares=_by_tier(rules, outcome),
        aid=sum(outcome.aids),
        fee=sum(outcome.fees),
        charged=outcome.charged - waived,
        sponsor=outcome.sponsor + waived,
        carry_out=outcome.carry_out,
        unshared=len(outcome.no_sharers),
    )


async def _debit_day(connection: AsyncConnection, plan: Plan, rules: PlanRules, on: date) -> date:
    """The first debit day on or after `on` that has no run: one that has is planned by now and takes no more claims."""
    live = share_runs.c.state.not_in([RunState.VOIDED, RunState.FAILED])
    taken = set(
        await connection.scalars(
            select(share_runs.c.debit_on).where(share_runs.c.plan_id == plan.plan_id, share_runs.c.debit_on >= on, live)
        )
    )
    if debits_on_any_day(rules):
        notices_end = await connection.scalar(
            select(func.max(notices.c.ends_on))
            .join(claims, claims.c.claim_id == notices.c.claim_id)
            .where(claims.c.plan_id == plan.plan_id, claims.c.state == State.PUBLISHED)
        )
        on = max(on, notices_end or on)
    day = next_debit_day(rules, on)
    while day in taken:
        day = next_debit_day(rules, day + timedelta(days=1))
    return day


def _inputs(plan: Plan, rules: PlanRules, debit_on: date, waiting: Sequence[Passed], carry: int) -> Inputs:
    """What a run of these claims would pin, had somebody planned and frozen it."""
    cap = case_cap(rules)
    is_bounded = cap is not None and rules.caps.basis is CapBasis.HEAD
    run = Run(
        run_id=0,
        kind="share",
        surplus=None,
        state=RunState.PLANNED,
        paused=False,
        planned_by="forecast",
        plan_id=plan.plan_id,
        plan_code=plan.code,
        rules_version=plan.version,
        debit_on=debit_on,
        carry_in=carry,
        # What no seat can owe more than need not be told apart (see planning).
        clip=len(waiting) * (cap or 0) + floor_minor(rules) if is_bounded else None,
    )
    gates = (gate_day(rules, notice_on=claim.notice_on, debit_on=debit_on) for claim in waiting)
    return Inputs(
        run=run,
        rules=rules,
        cases=tuple(Case(claim.aid_minor, day_number(gate), cap) for claim, gate in zip(waiting, gates, strict=True)),
        claims=tuple(claim.claim_id for claim in waiting),
        claim_numbers=tuple(claim.number for claim in waiting),
        solution=None,
    )


async def _outcome(connection: AsyncConnection, inputs: Inputs) -> tuple[Outcome, int]:
    """What would become of it, and what of the charges the sponsor would pay; one shard in memory at a time."""
    mine = (
        select(shards.c.shard_id, shards.c.seq)
        .where(shards.c.plan_id == inputs.run.plan_id, shards.c.number > 0)
        .order_by(shards.c.shard_id)
    )
    counted, waived = merge([]), merge([])
    for shard in (await connection.execute(mine)).all():
        seated = await seats_now(connection, inputs, shard.shard_id, through_seq=shard.seq)
        # Which cap stops whom is not asked, so that one histogram of their least will do.
        here, waived_here, _ = await asyncio.to_thread(measured, inputs, replace(seated, caps={}))
        counted = merge([counted, here])
        waived = waived if waived_here is None else merge([waived, waived_here])
    outcome = await asyncio.to_thread(solved, inputs, counted)
    _, waived_minor = waived_of(waived, outcome)
    return outcome, waived_minor


def _by_tier(rules: PlanRules, outcome: Outcome) -> dict[str, int]:
    """The most a seat of each tier pays, by the tier's code, in the plan's order."""
    most: Counter[int] = Counter()
    if isinstance(outcome, Played):
        for played in outcome.rounds:
            most.update(played.shares)
    else:
        for group in outcome.groups:
            most[group.tier] = max(most[group.tier], group.charge)
    return {rules.tiers[tier].code: most[tier] for tier in sorted(most)}
