"""One member of a plan as they stand on a day: seat, cover, freeze, balance, debts, and who pays for whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.ledger.accounts import Account
from engine.ledger.statement import read_statement
from engine.members.shards import shards_of
from engine.plans import NEVER, PlanRules, date_of, day_number
from engine.roster.changes import current_columns
from engine.roster.columns import Membership, membership_on
from engine.roster.members import find_seats, ref_of
from engine.roster.plan import Plan


@dataclass(frozen=True)
class Member:
    """A member's latest spell that had begun by the day; amounts in minor units.

    `tier`: by which claims go. `ends_on`: the first day not covered; None: no end in sight. `frozen_until`: None for
    a freeze without end. `balance_minor`: None where nothing is prepaid. `refund_minor`: owed to them. `payer`,
    `pays_for`: references of other members.
    """

    plan: str
    member: str
    seat: int
    spell: int
    tier: str
    shares_from: date
    claims_from: date
    ends_on: date | None
    in_force: bool
    frozen_from: date | None
    frozen_until: date | None
    balance_minor: int | None
    owed_minor: int
    refund_minor: int
    payer: str | None
    pays_for: tuple[str, ...]


async def member_of(connection: AsyncConnection, plan: Plan, rules: PlanRules, member_ref: str, *, on: date) -> Member:
    """The member as they stand on a day. Raises InvalidInput where the plan has no such member."""
    cover = await membership_on(connection, plan.plan_id, member_ref, on)
    if cover is None:
        raise NotFound(f"there is no member {member_ref} of {plan.code}; check the reference")
    day = day_number(on)
    frozen = cover.frozen_from <= day < cover.frozen_to
    statement = await read_statement(connection, cover.shard_id, cover.seat)
    seats = [seat for _, seat in await find_seats(connection, plan.plan_id, member_ref)]
    return Member(
        plan=plan.code,
        member=member_ref,
        seat=cover.seat,
        spell=seats.index(cover.seat) + 1,
        tier=rules.tiers[cover.tier].code,
        shares_from=date_of(cover.shares_from),
        claims_from=date_of(cover.claims_from),
        ends_on=_day(cover.ended_on),
        in_force=cover.shares_from <= day < cover.ended_on,
        frozen_from=date_of(cover.frozen_from) if frozen else None,
        frozen_until=_day(cover.frozen_to) if frozen else None,
        balance_minor=None if rules.prepaid is None else -statement.balance(Account.MEMBER_DEPOSITS),
        owed_minor=statement.owed,
        refund_minor=-statement.balance(Account.REFUNDS_PAYABLE),
        payer=await _payer_of(connection, plan.plan_id, cover, on),
        pays_for=await _family_of(connection, plan.plan_id, cover, on) if rules.family_payers else (),
    )


def _day(number: int) -> date | None:
    return None if number == NEVER else date_of(number)


async def _payer_of(connection: AsyncConnection, plan_id: int, cover: Membership, on: date) -> str | None:
    """Who pays for the member: who they named, while in force and paying for themself."""
    if cover.payer_seat is None:
        return None
    ref = await ref_of(connection, plan_id, cover.payer_seat)
    payer = await membership_on(connection, plan_id, ref, on)
    return ref if payer is not None and payer.seat == cover.payer_seat and _pays_alone(payer, on) else None


def _pays_alone(cover: Membership, on: date) -> bool:
    return cover.payer_seat is None and cover.shares_from <= day_number(on) < cover.ended_on


async def _family_of(connection: AsyncConnection, plan_id: int, payer: Membership, on: date) -> tuple[str, ...]:
    """References of the members in force whose shares this one pays, in joining order, after the payer's own."""
    if not _pays_alone(payer, on):
        return ()
    family: list[tuple[int, int]] = []
    for shard in await shards_of(connection, plan_id):
        _, _, columns = await current_columns(connection, shard.shard_id)
        if columns.payer is not None:
            mine = np.flatnonzero((columns.payer == payer.seat) & (columns.ended_on > day_number(on)))
            family += zip(columns.shares_from[mine].tolist(), (shard.first_seat + mine).tolist(), strict=True)
    return tuple([await ref_of(connection, plan_id, seat) for _, seat in sorted(family)])
