"""Every rule that ends or freezes memberships, applied up to a day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, any_, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.states import State
from engine.ledger.accounts import Account
from engine.ledger.journals import Journal, Segment, post
from engine.members.due import ages_out, exits, freezes, lapses, refundable
from engine.members.holds import holding_run
from engine.members.shards import Amounts, Shard, births_of, deposits_of, shards_of
from engine.plans import NEVER, Gate, PlanRules, day_number
from engine.plans.answers import floor_minor, members_share
from engine.roster.changes import Kind, current_columns, record_by_rule
from engine.roster.columns import Columns
from engine.store.tables import IN_THE_BOOKS, claims, journals, notices, posting_segments, run_cases, share_runs

_DRAWS = ("charge", "levy", "correction")
"""Kinds of journals that draw on balances while a seat is in force."""


@dataclass(frozen=True)
class Swept:
    """How many seats each rule touched."""

    aged: int = 0
    aided: int = 0
    frozen: int = 0
    lapsed: int = 0
    refunded: int = 0
    refunded_minor: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class _Facts:
    """What is the same for all shards. Days are day numbers.

    `aided`: by shard, the seat and the day from which it leaves.
    `open_gates`: int32, sorted: gates of claims not yet shared. `held`: a run holds the plan, so balances wait.
    """

    rules: PlanRules
    on: date
    held: bool
    aided: Mapping[int, list[tuple[int, int]]]
    open_gates: NDArray[np.int32]

    @property
    def day(self) -> int:
        return day_number(self.on)


async def sweep(connection: AsyncConnection, plan_id: int, rules: PlanRules, *, on: date) -> Swept:
    """Apply every exit, freeze and refund rule due by `on`; the caller holds the plan's lock (`lock_roster`).

    Who reaches the age leaves on that birthday, who received aid on the day after its run's debit (SCHEMES:
    xianghubao). Prepaid (SCHEMES: waterdrop): below the floor a seat freezes from the day after balances were last
    drawn on; who does not return in time leaves; the balance of who left is owed back, once every case is shared whose
    gate it covered. Freezes and refunds wait while a run holds the plan. The same again changes nothing.
    """
    if rules.prepaid is None and rules.exits.at_age is None and not rules.exits.after_aid:
        return Swept()
    facts = _Facts(
        rules,
        on,
        await holding_run(connection, plan_id) is not None,
        await _aided(connection, plan_id) if rules.exits.after_aid else {},
        await open_gates(connection, plan_id, rules, on),
    )
    swept = Swept()
    for shard in await shards_of(connection, plan_id):
        swept += await _sweep_shard(connection, shard, facts)
    return swept


async def _sweep_shard(connection: AsyncConnection, shard: Shard, facts: _Facts) -> Swept:
    _, _, columns = await current_columns(connection, shard.shard_id)
    columns = replace(columns, ended_on=columns.ended_on.copy())
    aged = aided = frozen = 0
    if (age := facts.rules.exits.at_age) is not None:
        reached = ages_out(await births_of(connection, shard.shard_id), age, facts.day)
        aged = await _end(connection, shard, columns, reached, facts, "age")
    if received := facts.aided.get(shard.shard_id):
        seats, from_days = np.array(received).T
        leaves = np.full(len(columns), NEVER, dtype=np.int32)
        leaves[seats - shard.first_seat] = from_days
        aided = await _end(connection, shard, columns, leaves, facts, "aid")
    if (prepaid := facts.rules.prepaid) is None:
        return Swept(aged, aided)
    balances = await deposits_of(connection, shard)
    if not facts.held:
        columns, frozen = await _freeze(connection, shard, columns, balances, facts)
    # After the freezes: where nobody swept for long, the days to return from one that is due are over as well.
    lapsed = await _end(connection, shard, columns, lapses(columns, prepaid.return_days), facts, "not returned")
    refunded = (0, 0) if facts.held else await _refund(connection, shard, columns, balances, facts)
    return Swept(aged, aided, frozen, lapsed, *refunded)


async def _end(
    connection: AsyncConnection,
    shard: Shard,
    columns: Columns,
    from_days: NDArray[np.int32],
    facts: _Facts,
    reason: str,
) -> int:
    """Record who leaves, and write it into `columns.ended_on`, which is the caller's own; how many they are."""
    due = exits(columns, from_days, facts.day)
    columns.ended_on[due.positions] = due.from_days
    seats = shard.first_seat + due.positions
    await record_by_rule(connection, shard.shard_id, Kind.EXIT, seats, due.from_days, reason=reason)
    return len(due)


async def _freeze(
    connection: AsyncConnection, shard: Shard, columns: Columns, balances: Amounts, facts: _Facts
) -> tuple[Columns, int]:
    """Freeze who is below the floor without an end; the columns with that in them, and how many they are."""
    from_day = await _drawn_until(connection, shard, facts)
    due = freezes(columns, balances, floor_minor(facts.rules), from_day, facts.day)
    if not len(due):
        return columns, 0
    seats, until_days = shard.first_seat + due.positions, np.full(len(due), NEVER, dtype=np.int32)
    await record_by_rule(connection, shard.shard_id, Kind.FREEZE, seats, due.from_days, until_days, reason="floor")
    frozen_from, frozen_to = columns.filled("frozen_from").copy(), columns.filled("frozen_to").copy()
    frozen_from[due.positions], frozen_to[due.positions] = due.from_days, until_days
    return replace(columns, frozen_from=frozen_from, frozen_to=frozen_to), len(due)


async def _refund(
    connection: AsyncConnection, shard: Shard, columns: Columns, balances: Amounts, facts: _Facts
) -> tuple[int, int]:
    """Owe back what who left has paid in; to how many, and how much in minor units.

    Named by the posting whose balances it gives back: a later one on the same day gives back what came since.
    """
    back = np.where(refundable(columns, balances, facts.day, facts.open_gates), balances, 0)
    if not back.any():
        return 0, 0
    segments = (
        Segment.of(shard.account(Account.MEMBER_DEPOSITS), back),
        Segment.of(shard.account(Account.REFUNDS_PAYABLE), -back),
    )
    journal = Journal(
        shard_id=shard.shard_id,
        key=f"refund:{facts.on}:{shard.seq}",
        kind="refund",
        effective_on=facts.on,
        lines={segment.account_id: segment.total for segment in segments},
        segments=segments,
    )
    await post(connection, journal)
    return int(np.count_nonzero(back)), int(back.sum())


async def _aided(connection: AsyncConnection, plan_id: int) -> dict[int, list[tuple[int, int]]]:
    """By shard: each seat whose claim a sealed run shared, and the day after the debit day of the first such run."""
    found = await connection.execute(
        select(claims.c.shard_id, claims.c.seat, func.min(share_runs.c.debit_on).label("debit_on"))
        .join(run_cases, run_cases.c.claim_id == claims.c.claim_id)
        .join(share_runs, share_runs.c.run_id == run_cases.c.run_id)
        .where(claims.c.plan_id == plan_id, share_runs.c.state.in_(IN_THE_BOOKS))
        .group_by(claims.c.shard_id, claims.c.seat)
    )
    aided = defaultdict(list)
    for row in found:
        aided[row.shard_id].append((row.seat, day_number(row.debit_on) + 1))
    return aided


async def _drawn_until(connection: AsyncConnection, shard: Shard, facts: _Facts) -> int:
    """The day number after balances of the shard were last drawn on (`_DRAWS`, or a top-up that came back).

    That of `on` when they never were.

    Who is below the floor fell below it by then at the latest, and has the days to return from there.
    """
    deposits, detail = shard.account(Account.MEMBER_DEPOSITS), posting_segments.c
    lowered = select(detail.seq).where(
        detail.shard_id == journals.c.shard_id, detail.seq == journals.c.seq, detail.account_id == deposits,
        literal(0) < any_(detail.amounts),
    )  # fmt: skip
    last = await connection.scalar(
        select(func.max(journals.c.effective_on)).where(
            journals.c.shard_id == shard.shard_id,
            journals.c.accounts.contains([deposits]),
            or_(journals.c.kind.in_(_DRAWS), and_(journals.c.kind == "settlement", lowered.exists())),
        )
    )
    return facts.day if last is None else day_number(last) + 1


async def open_gates(connection: AsyncConnection, plan_id: int, rules: PlanRules, on: date) -> NDArray[np.int32]:
    """int32 day numbers, sorted: gates in the past at which cases stand that members still have to share.

    None where the gate is the day of the debit itself: who left before does not share.
    """
    if rules.share.gate is Gate.SETTLEMENT_DAY or not members_share(rules, on):
        return np.empty(0, dtype=np.int32)
    gate = func.coalesce(claims.c.stage_on, notices.c.notice_on)
    found = await connection.scalars(
        select(gate)
        .distinct()
        .select_from(claims.join(notices, notices.c.claim_id == claims.c.claim_id))
        .where(claims.c.plan_id == plan_id, claims.c.state.in_([State.PUBLISHED, State.PASSED, State.SHARING]))
    )
    return np.array(sorted(day_number(each) for each in found), dtype=np.int32)
