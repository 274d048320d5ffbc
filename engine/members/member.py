"""One member of a plan as they stand on a day: seat, cover, freeze, balance, debts, and who pays for whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.ledger.accounts import Account, first_seat, plan_shard
from engine.ledger.statement import read_statement
from engine.plans import NEVER, PlanRules, date_of, day_number
from engine.roster.changes import current_columns
from engine.roster.columns import DAY, Membership, membership_on
from engine.roster.members import find_seats, ref_of
from engine.roster.plan import Plan


class Person(NamedTuple):
    """Another member: the seat, and the reference."""

    seat: int
    ref: str


@dataclass(frozen=True)
class Member:
    """A member's latest spell that had begun by the day; amounts in minor units.

    `tier`: by which claims go. `ends_on`: the first day not covered; None: no end in sight. `frozen_until`: None for
    a freeze without end. `balance_minor`: None where nothing is prepaid. `refund_minor`: owed to them.
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
    payer: Person | None
    pays_for: tuple[Person, ...]


def no_member(plan: Plan, member: str | int) -> NotFound:
    """Whoever is known by this reference, or has this seat, is none of the plan's."""
    if isinstance(member, int):
        return NotFound(f"nobody has seat {member} of {plan.code}")
    return NotFound(f"there is no member {member} of {plan.code}; check the reference")


async def member_of(
    connection: AsyncConnection, plan: Plan, rules: PlanRules, member: str | int, *, on: date
) -> Member:
    """The member of a reference, or of a seat, as they stand on a day.

    Raises InvalidInput where the plan has no such member.
    """
    cover = await membership_on(connection, plan.plan_id, member, on)
    if cover is None:
        raise no_member(plan, member)
    day = day_number(on)
    member_ref = await ref_of(connection, plan.plan_id, member) if isinstance(member, int) else member
    frozen = cover.frozen_from <= day < cover.frozen_to
    statement = await read_statement(connection, cover.shard_id, cover.seat)
    seats = [seat for _, seat in await find_seats(connection, plan.plan_id, member_ref)]
    payer = await _payer_of(connection, plan.plan_id, cover, on)
    family = await _family_of(connection, plan.plan_id, cover, on) if rules.family_payers else ()
    return Member(
        plan=plan.code,
        member=member_ref,
        seat=cover.seat,
        spell=1 + sum(seat < cover.seat for seat in seats),
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
        payer=None if payer is None else await _person(connection, plan.plan_id, payer),
        pays_for=tuple([await _person(connection, plan.plan_id, seat) for seat in family]),
    )


def _day(number: int) -> date | None:
    return None if number == NEVER else date_of(number)


async def _person(connection: AsyncConnection, plan_id: int, seat: int) -> Person:
    return Person(seat, await ref_of(connection, plan_id, seat))


async def _payer_of(connection: AsyncConnection, plan_id: int, cover: Membership, on: date) -> int | None:
    """The seat that pays for the member: who they named, while in force and paying for themself."""
    if cover.payer_seat is None:
        return None
    payer = await membership_on(connection, plan_id, cover.payer_seat, on)
    return payer.seat if payer is not None and _pays_alone(payer, on) else None


def _pays_alone(cover: Membership, on: date) -> bool:
    return cover.payer_seat is None and cover.shares_from <= day_number(on) < cover.ended_on


async def _family_of(connection: AsyncConnection, plan_id: int, payer: Membership, on: date) -> tuple[int, ...]:
    """Seats of the members in force whose shares this one pays, in joining order, after the payer's own."""
    if not _pays_alone(payer, on):
        return ()
    family: list[tuple[int, int]] = []
    bounds = {"first": plan_shard(plan_id) + 1, "last": plan_shard(plan_id + 1) - 1}
    stored = np.array(payer.seat, DAY).tobytes()
    for shard_id in await connection.scalars(_NAMING, bounds | {"seat": payer.seat, "stored": stored}):
        _, _, columns = await current_columns(connection, shard_id)
        mine = np.flatnonzero((columns.filled("payer") == payer.seat) & (columns.ended_on > day_number(on)))
        family += zip(columns.shares_from[mine].tolist(), (first_seat(shard_id) + mine).tolist(), strict=True)
    return tuple(seat for _, seat in sorted(family))


_NAMING = text("""
SELECT shards.shard_id
FROM shards
LEFT JOIN (
    SELECT DISTINCT ON (shard_id) shard_id, folded_through, payer
    FROM roster WHERE shard_id BETWEEN :first AND :last
    ORDER BY shard_id, version DESC
) AS newest USING (shard_id)
WHERE shards.shard_id BETWEEN :first AND :last AND (
    position(CAST(:stored AS bytea) IN newest.payer) > 0
    OR EXISTS (
        SELECT FROM roster_changes AS change
        WHERE change.shard_id = shards.shard_id AND change.payer = :seat
            AND change.change_id > coalesce(newest.folded_through, 0)
    )
)
ORDER BY shards.shard_id
""")
"""Shards in which somebody may name a seat as their payer: its four bytes stand somewhere in the column."""
