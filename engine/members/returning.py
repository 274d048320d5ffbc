"""A frozen member comes back: pays every share missed meanwhile, and ends at the floor or more (SCHEMES: waterdrop)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion.outcome import unpack
from engine.apportion.played import Played
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard, seat_shard
from engine.ledger.journals import Journal, Segment, post
from engine.ledger.statement import Statement, read_statement
from engine.members.deposits import deposit_journal, prepaid_of
from engine.members.holds import refuse_while_held
from engine.members.member import no_member
from engine.members.missed import missed_below_floor, missed_minor
from engine.members.shards import shard_of
from engine.members.sweep import open_gates
from engine.money import grouped
from engine.plans import PlanRules, date_of, day_number
from engine.roster.changes import Kind, current_columns, record_by_rule
from engine.roster.columns import Membership, membership_on
from engine.roster.members import called
from engine.roster.plan import Plan, lock_living
from engine.store.audit import record
from engine.store.tables import IN_THE_BOOKS, SHARD_SEATS, run_cases, share_runs


@dataclass(frozen=True)
class Owed:
    """What a return costs, in minor units. `missed`: by run, what the seat would have been charged.

    `needed_minor`: the least to pay in, so that the shares missed are paid and the floor is left.
    """

    seat: int
    frozen_from: date
    return_by: date
    balance_minor: int
    floor_minor: int
    missed: dict[int, int]

    @property
    def missed_minor(self) -> int:
        """All shares missed together."""
        return sum(self.missed.values())

    @property
    def needed_minor(self) -> int:
        """The least to pay in."""
        return max(0, self.floor_minor + self.missed_minor - self.balance_minor)


@dataclass(frozen=True)
class Returned:
    """A return that was made: paid in, paid for what was missed, and left, in minor units."""

    seat: int
    paid_minor: int
    missed_minor: int
    balance_minor: int


async def owed(connection: AsyncConnection, plan: Plan, rules: PlanRules, member: str | int, *, on: date) -> Owed:
    """What coming back on a day costs a frozen member, known by a reference or by the seat.

    Raises InvalidInput for who is not frozen on that day, or has been for longer than the plan lets return.
    """
    prepaid = prepaid_of(rules)
    cover, who = await membership_on(connection, plan.plan_id, member, on), called(member)
    if cover is None:
        raise no_member(plan, member)
    day = day_number(on)
    if cover.ended_on <= day:
        raise InvalidInput(f"{who} left {plan.code} on {date_of(cover.ended_on)}; they can only join again")
    if not cover.frozen_from <= day < cover.frozen_to:
        raise InvalidInput(f"{who} is not frozen on {on}; `fentan member top-up` takes what they pay in")
    frozen_from = date_of(cover.frozen_from)
    return_by = frozen_from + timedelta(days=prepaid.return_days)
    if on > return_by:
        raise InvalidInput(
            f"{who} is frozen since {frozen_from}; the {prepaid.return_days} days to return ended on {return_by}"
        )
    statement = await read_statement(connection, cover.shard_id, cover.seat)
    return Owed(
        cover.seat,
        frozen_from,
        return_by,
        -statement.balance(Account.MEMBER_DEPOSITS),
        prepaid.floor,
        await _missed(connection, plan, cover, statement, prepaid.floor, on),
    )


async def _missed(
    connection: AsyncConnection, plan: Plan, cover: Membership, statement: Statement, floor_minor: int, on: date
) -> dict[int, int]:
    """By sealed run: what the seat would have been charged where it was not counted.

    In the run before the freeze, those are the rounds after its balance fell below the floor. Since then, they are the
    cases at whose gates it was frozen; and those with earlier gates too where the run charged it nothing, because its
    balance was below the floor already.
    """
    _, _, columns = await current_columns(connection, cover.shard_id)
    position = cover.seat % SHARD_SEATS
    tier, chosen, chosen_from = (
        int(columns.filled(name)[position]) for name in ("tier", "next_tier", "next_tier_from")
    )
    charges = {entry.run_id: entry for entry in statement.entries if entry.kind == "charge"}
    last = date_of(cover.frozen_from - 1)
    runs = await connection.execute(
        select(share_runs.c.run_id, share_runs.c.debit_on, share_runs.c.solution)
        .where(share_runs.c.plan_id == plan.plan_id, share_runs.c.kind == "share")
        .where(share_runs.c.state.in_(IN_THE_BOOKS))
        .where(share_runs.c.debit_on.between(last, on))
        .order_by(share_runs.c.run_id)
    )
    missed = {}
    for run in runs.all():
        gates = await _gates_of(connection, run.run_id)
        charge, outcome = charges.get(run.run_id), unpack(run.solution)
        in_force = chosen if 0 < chosen_from <= day_number(run.debit_on) else tier
        amount = 0
        if run.debit_on > last:
            since = cover.shares_from if charge is None else max(cover.shares_from, cover.frozen_from)
            cases = [case for case, gate in enumerate(gates) if since <= gate < cover.ended_on]
            amount = missed_minor(outcome, gates, cases, in_force)
        elif charge is not None and isinstance(outcome, Played):
            before = -sum(
                entry.amount
                for entry in statement.entries
                if entry.account is Account.MEMBER_DEPOSITS and entry.seq < charge.seq
            )
            covered = [case for case, gate in enumerate(gates) if cover.shares_from <= gate < cover.ended_on]
            amount = missed_below_floor(outcome, covered, in_force, before, floor_minor)
        if amount:
            missed[run.run_id] = amount
    return missed


async def _gates_of(connection: AsyncConnection, run_id: int) -> list[int]:
    """The gate day of each of the run's cases, in order."""
    gates = select(run_cases.c.gate_day).where(run_cases.c.run_id == run_id).order_by(run_cases.c.number)
    return list(await connection.scalars(gates))


async def come_back(
    connection: AsyncConnection,
    plan: Plan,
    rules: PlanRules,
    member: str | int,
    amount_minor: int,
    *,
    on: date,
    actor: str,
) -> Returned:
    """Take what a frozen member pays in, pay the shares missed from it into the carry, and end the freeze.

    Cases whose gate lay in the freeze and that no run shared yet are not missed: the freeze ends before the first of
    them, and the member shares them with everybody. Raises InvalidInput as `owed` does, when the amount does not
    suffice, and while a run holds the plan.
    """
    if amount_minor < 0:
        raise InvalidInput("the amount is below zero; give what the member pays in")
    await lock_living(connection, plan.plan_id)
    await refuse_while_held(connection, plan.plan_id, "a member returns")
    cost = await owed(connection, plan, rules, member, on=on)
    if amount_minor < cost.needed_minor:
        raise InvalidInput(
            f"{called(member)} needs to pay in {grouped(cost.needed_minor)} to return: "
            f"{grouped(cost.missed_minor)} for shares missed, and to be left with {grouped(cost.floor_minor)} "
            f"or more; the balance is {grouped(cost.balance_minor)}"
        )
    seat = np.array([cost.seat])
    shard_id = seat_shard(plan.plan_id, cost.seat)
    await _post(connection, shard_id, cost, amount_minor, on)
    from_day = day_number(cost.frozen_from)
    waiting = [gate for gate in await open_gates(connection, plan.plan_id, rules, on) if gate >= from_day]
    until_day = min([day_number(on), *waiting])
    freeze = np.array([from_day]), np.array([until_day])
    await record_by_rule(connection, shard_id, Kind.FREEZE, seat, *freeze, reason="returned")
    returned = Returned(
        cost.seat, amount_minor, cost.missed_minor, cost.balance_minor + amount_minor - cost.missed_minor
    )
    detail = {"seat": cost.seat, "on": str(on), "paid_minor": amount_minor, "missed_minor": cost.missed_minor}
    await record(connection, actor, "member returns", f"plan:{plan.code}", detail)
    return returned


async def _post(connection: AsyncConnection, shard_id: int, cost: Owed, amount_minor: int, on: date) -> None:
    """The deposit; then the shares missed to the carry, which lies on another shard: by way of suspense."""
    shard = await shard_of(connection, shard_id)
    positions, key = np.array([cost.seat - shard.first_seat], dtype=np.int32), f"return:{cost.seat}:{on}"
    if amount_minor:
        paid_in = np.array([amount_minor], dtype=np.int64)
        await post(
            connection,
            deposit_journal(shard, Account.CUSTODIAN_CASH, paid_in, positions, key=f"{key}:deposit", on=on),
        )
    if not cost.missed_minor:
        return
    missed = np.array([cost.missed_minor], dtype=np.int64)
    segment = Segment(shard.account(Account.MEMBER_DEPOSITS), missed, positions)
    suspense, carry = (account_id(shard.plan_id, code) for code in (Account.SUSPENSE, Account.CARRY))
    for at, lines, segments in (
        (shard_id, {segment.account_id: segment.total, suspense: -segment.total}, (segment,)),
        (plan_shard(shard.plan_id), {suspense: segment.total, carry: -segment.total}, ()),
    ):
        await post(connection, Journal(at, key, "return", on, lines, segments))
