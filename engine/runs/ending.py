"""The end of a plan: memberships end, members are refunded as the rules say, the books are closed (SCHEMES §2).

It is done in one transaction, a shard at a time: a plan of a hundred million members posts some 1,500 journals, which
takes minutes and the memory of one shard. Killed before it is through, nothing of it stands, and it is approved again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.states import State
from engine.decisions import Decision, DecisionState, Kind, list_decisions, propose
from engine.errors import InvalidInput
from engine.ledger.accounts import COVER, CURRENCY, Account, account_id, account_of, plan_shard
from engine.ledger.balances import read_balance, read_usage
from engine.ledger.journals import Journal, Segment, post
from engine.ledger.trial_balance import trial_balance
from engine.members.shards import Amounts, Shard, amounts_under, deposits_of, post_in_bulk, shards_of
from engine.members.sweep import sweep
from engine.plans import PlanRules, day_number
from engine.plans.calendar import claims_until
from engine.plans.member_rules import RefundAtEnd
from engine.roster.changes import current_columns
from engine.roster.columns import Version, write_columns
from engine.roster.plan import Plan, lock_living, plan_of, rules_of
from engine.runs.slots import SlotState, slots_due
from engine.runs.states import RunState
from engine.store.tables import IN_THE_BOOKS, claims, journals, plans, share_runs

LIVE_CLAIMS = (State.FILED, State.PUBLISHED, State.PASSED, State.SHARING)
FINISHED_RUNS = (*IN_THE_BOOKS, RunState.VOIDED, RunState.FAILED)

RESULT_ACCOUNTS = (
    Account.MANAGEMENT_FEE_INCOME,
    Account.ENTRY_PREMIUMS_AND_LEVIES,
    Account.INTEREST,
    Account.BAD_DEBT,
    Account.BANK_CHARGES,
)
"""Income and expense: closed into the retained result."""

_USAGE_DAYS = 92
"""Shares are read a quarter at a time: a plan that shares daily posted half a gibibyte a shard and decade."""


@dataclass(frozen=True)
class Ended:
    """What the end of a plan came to, in seats and minor units.

    `set_off_minor`: shares that a refund would have given back, had they been paid.
    """

    seats_ended: int = 0
    seats_refunded: int = 0
    refunded_minor: int = 0
    set_off_minor: int = 0

    def __add__(self, other: Ended) -> Ended:
        return Ended(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


async def propose_wind_down(
    connection: AsyncConnection, plan: Plan, rules: PlanRules, *, on: date, actor: str
) -> Decision:
    """Propose to end the plan and close its books as of `on`; done once somebody else approves.

    Raises InvalidInput while the plan cannot end, with every reason.
    """
    await lock_living(connection, plan.plan_id)
    await _refuse_unfinished(connection, plan, rules, on)
    assert rules.wind_down is not None  # or it would have been refused
    detail = {
        "rules_version": plan.version,
        "ends_on": str(rules.ends_on),
        "refund": str(rules.wind_down.refund),
    }
    return await propose(connection, plan.plan_id, Kind.WIND_DOWN, f"plan:{plan.code}", detail, on=on, actor=actor)


async def end_plan(connection: AsyncConnection, decision: Decision) -> dict[str, Any]:
    """End the plan of an open decision; what that came to, amounts in minor units.

    Memberships end the day after the plan's last. Refunds: nothing, each balance, or every share that was paid, by the
    sponsor (and what is left of a balance); a share still owed is set off, one that was written off is not given back.
    What the pools left on carry goes to the sponsor; income and expense close into the retained result. Raises
    InvalidInput while the plan cannot end, and when its rules changed since the proposal.
    """
    await lock_living(connection, decision.plan_id)
    plan = await plan_of(connection, decision.plan_code)
    if plan.version != decision.detail["rules_version"]:
        raise InvalidInput(f"the rules of {plan.code} changed since {decision.name}; refuse it, and propose again")
    rules = await rules_of(connection, plan.plan_id, plan.version)
    await _refuse_unfinished(connection, plan, rules, decision.effective_on, besides=decision.decision_id)
    assert rules.wind_down is not None
    assert rules.ends_on is not None
    await sweep(connection, plan.plan_id, rules, on=rules.ends_on)
    ended = Ended()
    for shard in await shards_of(connection, plan.plan_id):
        ended += await _end_shard(connection, shard, rules, decision)
    closed = await _close_books(connection, decision)
    unbilled = await connection.scalar(
        select(func.sum(claims.c.aid_minor - claims.c.shared_minor)).where(
            claims.c.plan_id == plan.plan_id, claims.c.state == State.SHARED
        )
    )
    await connection.execute(
        update(plans).where(plans.c.plan_id == plan.plan_id).values(ended_on=decision.effective_on)
    )
    return {each.name: getattr(ended, each.name) for each in fields(ended)} | {
        "carry_to_sponsor_minor": -closed.get(Account.CARRY, 0),
        "retained_minor": -sum(closed.get(account, 0) for account in RESULT_ACCOUNTS),
        "aid_never_billed_minor": int(unbilled or 0),
    }


async def _refuse_unfinished(
    connection: AsyncConnection, plan: Plan, rules: PlanRules, on: date, *, besides: int | None = None
) -> None:
    """Raises InvalidInput with everything that has to be done first; `besides`: the decision this is about."""
    if rules.wind_down is None:
        raise InvalidInput(
            f"the rules of {plan.code} do not say how it ends; give them ends_on and wind_down, "
            f"and register them (`fentan plan register`)"
        )
    until = claims_until(rules)
    if until is None or on <= until:
        raise InvalidInput(f"{plan.code} takes claims until {until}; it ends on a day after that, not on {on}")
    left = [
        *await _claims_left(connection, plan.plan_id),
        *await _runs_left(connection, plan.plan_id),
        *(
            f"the slot of {slot.debit_on} was missed: run or skip it"
            for slot in await slots_due(connection, plan, rules, on=on)
            if slot.state is SlotState.MISSED and not slot.claims  # claims that wait were named already
        ),
        *(
            f"decision {each.decision_id} ({each.kind}) is open: approve or refuse it"
            for each in await list_decisions(connection, plan.plan_id)
            if each.state is DecisionState.PROPOSED and each.decision_id != besides
        ),
    ]
    if left:
        raise InvalidInput(f"{plan.code} cannot end yet: {'; '.join(left)}")


async def _claims_left(connection: AsyncConnection, plan_id: int) -> list[str]:
    counted = await connection.execute(
        select(claims.c.state, func.count())
        .where(claims.c.plan_id == plan_id, claims.c.state.in_(LIVE_CLAIMS))
        .group_by(claims.c.state)
    )
    found = {State(state): count for state, count in counted}
    if not found:
        return []
    states = ", ".join(f"{found[state]:,} {state}" for state in LIVE_CLAIMS if state in found)
    return [f"claims are under way ({states}): share, reject or withdraw them"]


async def _runs_left(connection: AsyncConnection, plan_id: int) -> list[str]:
    runs = await connection.execute(
        select(share_runs.c.run_id, share_runs.c.state)
        .where(share_runs.c.plan_id == plan_id, share_runs.c.state.not_in(FINISHED_RUNS))
        .order_by(share_runs.c.run_id)
    )
    return [f"run {run_id} is {state}: let it be sealed, or void it" for run_id, state in runs]


async def _end_shard(connection: AsyncConnection, shard: Shard, rules: PlanRules, decision: Decision) -> Ended:
    """End the memberships of a shard and post its refunds, in one journal; nothing where nothing is given back."""
    assert rules.ends_on is not None
    assert rules.wind_down is not None
    seats = await _end_memberships(connection, shard.shard_id, day_number(rules.ends_on) + 1)
    refund = await _refund_of(connection, shard, rules.wind_down.refund)
    if refund is None:
        return Ended(seats)
    journal, back = refund.journal(shard, decision), refund.back
    await post_in_bulk(connection, shard, journal, account_of(journal.segments[-1].account_id))
    return Ended(seats, int(np.count_nonzero(back)), int(back.sum()), int(refund.set_off.sum()))


async def _end_memberships(connection: AsyncConnection, shard_id: int, end_day: int) -> int:
    """Whose end was not earlier ends on `end_day`; how many they are.

    It is all of them: a version of the columns says it, not a change a seat.
    """
    newest, through, columns = await current_columns(connection, shard_id)
    ending = columns.ended_on > end_day
    if ending.any():
        ended = replace(columns, ended_on=np.minimum(columns.ended_on, end_day).astype(np.int32))
        await write_columns(connection, shard_id, Version(newest.version + 1, through), ended)
    return int(np.count_nonzero(ending))


@dataclass(frozen=True)
class _Refund:
    """int64[n] minor units a seat: shares given back by the sponsor, what of them is set off, and the balance."""

    shares: Amounts
    set_off: Amounts
    balance: Amounts

    @property
    def back(self) -> Amounts:
        """What each is to be paid."""
        return self.shares - self.set_off + self.balance

    def journal(self, shard: Shard, decision: Decision) -> Journal:
        """Dr sponsor receivable and member deposits / Cr contributions receivable and refunds payable."""
        details = {
            Account.CONTRIBUTIONS_RECEIVABLE: -self.set_off,
            Account.MEMBER_DEPOSITS: self.balance,
            Account.REFUNDS_PAYABLE: -self.back,
        }
        segments = tuple(Segment.of(shard.account(code), detail) for code, detail in details.items() if detail.any())
        lines = {segment.account_id: segment.total for segment in segments}
        if by_sponsor := int(self.shares.sum()):
            lines[shard.account(Account.SPONSOR_RECEIVABLE)] = by_sponsor
        return _journal(shard.shard_id, decision, lines, segments)


async def _refund_of(connection: AsyncConnection, shard: Shard, refund: RefundAtEnd) -> _Refund | None:
    """What the seats of a shard get back; None: nothing at all."""
    nothing: Amounts = np.zeros(shard.seats, dtype=np.int64)
    shares, set_off, balance = nothing, nothing, nothing
    if refund is not RefundAtEnd.NOTHING:
        balance = np.maximum(await deposits_of(connection, shard), 0)
    if refund is RefundAtEnd.SHARES:
        shares = await _shares_of(connection, shard)
        receivable = shard.account(Account.CONTRIBUTIONS_RECEIVABLE)
        owed = await read_balance(connection, shard.shard_id, receivable, through_seq=shard.seq, seats=shard.seats)
        set_off = np.minimum(shares, owed.amounts)  # below 0 where a member paid more than was owed: that goes back too
    is_any = shares.any() or set_off.any() or balance.any()
    return _Refund(shares, set_off, balance) if is_any else None


async def _shares_of(connection: AsyncConnection, shard: Shard) -> Amounts:
    """int64[n] minor units: every share ever charged, corrections in, less what was written off unpaid."""
    shares = np.zeros(shard.seats, dtype=np.int64)
    effective = select(func.min(journals.c.effective_on), func.max(journals.c.effective_on))
    first, last = (await connection.execute(effective.where(journals.c.shard_id == shard.shard_id))).one()
    if first is None:
        return shares
    for day in range(day_number(first), day_number(last) + 1, _USAGE_DAYS):
        through = min(day + _USAGE_DAYS - 1, day_number(last))
        for used in await read_usage(connection, shard.shard_id, day, through, through_seq=shard.seq):
            shares += used.segment.dense(shard.seats)
    unpaid = "journals.kind = 'write-off' AND starts_with(journals.idempotency_key, 'run:')"
    shares += await amounts_under(connection, shard, Account.CONTRIBUTIONS_RECEIVABLE, unpaid)
    return np.maximum(shares, 0)


async def _close_books(connection: AsyncConnection, decision: Decision) -> Mapping[Account, int]:
    """Carry to the sponsor, income and expense into the retained result; the balances that were closed, debit +.

    Cover that rounding left is not given any more: back into what the surplus bought.
    """
    standing = [line for line in await trial_balance(connection, decision.plan_id) if line.debit != line.credit]
    balances = {line.account: line.debit - line.credit for line in standing if line.unit == CURRENCY}
    closed = {code: balances[code] for code in (Account.CARRY, *RESULT_ACCOUNTS) if code in balances}
    counter = {
        Account.SPONSOR_RECEIVABLE: closed.get(Account.CARRY, 0),
        Account.RETAINED_RESULT: sum(closed.get(code, 0) for code in RESULT_ACCOUNTS),
    }
    lines = {code: -amount for code, amount in closed.items()} | {code: at for code, at in counter.items() if at}
    if lines:
        by_id = {account_id(decision.plan_id, code): amount for code, amount in lines.items()}
        await post(connection, _journal(plan_shard(decision.plan_id), decision, by_id))
    for line in standing:
        if (line.account, line.unit) == (Account.CARRY, COVER):
            reserve = account_id(decision.plan_id, Account.SURPLUS_RESERVE, COVER)
            left = {line.account_id: line.credit - line.debit, reserve: line.debit - line.credit}
            await post(connection, _journal(plan_shard(decision.plan_id), decision, left, unit="cover"))
    return closed


def _journal(
    shard_id: int, decision: Decision, lines: Mapping[int, int], segments: tuple[Segment, ...] = (), unit: str = ""
) -> Journal:
    return Journal(
        shard_id=shard_id,
        key=f"{decision.name}:{unit}" if unit else decision.name,
        kind="wind-down",
        effective_on=decision.effective_on,
        lines=lines,
        segments=segments,
    )
