"""Top-ups that come by statement: credits whose reference names the seat of a prepaid plan's member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.breaks import Code
from engine.custodian.lines import Lines
from engine.custodian.loaded import Source, seats_of
from engine.custodian.verdicts import broken
from engine.ledger.accounts import Account, plan_shard, seat_shard
from engine.ledger.journals import post
from engine.members.deposits import deposit_journal
from engine.members.shards import post_in_bulk, shard_of
from engine.plans.days import date_of
from engine.reconcile.open_days import OpenDays
from engine.roster.changes import current_columns
from engine.roster.plan import newest_rules
from engine.store.tables import SHARD_SEATS

_NOT_OURS = broken(Code.MISSING_IN_LEDGER)

BULK = 16
"""A shard in which more than one seat of so many moves gets its new balances written down."""


class Depositors:
    """Who of a plan's seats may pay in, loaded shard by shard; and what they did, by day.

    Memory: 12 bytes a seat of the shards named, and 8 for each day with top-ups.
    """

    def __init__(self, plan_id: int, seats: int, *, is_prepaid: bool) -> None:
        self.plan_id, self.seats, self._is_prepaid = plan_id, seats, is_prepaid
        self._ended_on, self._frozen_from, self._frozen_to = (np.zeros(seats, np.int32) for _ in range(3))
        self._there = np.zeros(-(-seats // SHARD_SEATS), np.bool_)
        self.paid_in: dict[Source, NDArray[np.int64]] = {}

    async def load(self, connection: AsyncConnection, seat: NDArray[np.int64]) -> None:
        """Read the rosters of the shards of these seats."""
        named = np.zeros(len(self._there), np.bool_)
        named[seat // SHARD_SEATS] = True
        for place in np.flatnonzero(named & ~self._there).tolist():
            _, _, columns = await current_columns(connection, plan_shard(self.plan_id) + place + 1)
            at = slice(place * SHARD_SEATS, place * SHARD_SEATS + len(columns))
            self._ended_on[at] = columns.ended_on
            self._frozen_from[at], self._frozen_to[at] = columns.filled("frozen_from"), columns.filled("frozen_to")
            self._there[place] = True

    def may_pay(self, seat: NDArray[np.int64], day: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[k]: the plan is prepaid, and the seat in force and not frozen on the day."""
        if not self._is_prepaid:
            return np.zeros(len(seat), np.bool_)
        frozen = (self._frozen_from[seat] <= day) & (day < self._frozen_to[seat])
        may: NDArray[np.bool_] = (day < self._ended_on[seat]) & ~frozen
        return may

    def pay_in(self, source: Source, seat: NDArray[np.int64], amount_minor: NDArray[np.int64]) -> None:
        """Add payments, int64[k] minor units."""
        if source not in self.paid_in:
            self.paid_in[source] = np.zeros(self.seats, np.int64)
        np.add.at(self.paid_in[source], seat, amount_minor)


class TopUps:
    """The top-ups of a statement, plan by plan."""

    def __init__(self, connection: AsyncConnection, plans: Sequence[int]) -> None:
        self._connection, self._plans = connection, plans
        self.by_plan: dict[int, Depositors] = {}

    async def of_plan(self, plan_id: int) -> Depositors | None:
        """Who may pay in to a plan; None: the custodian holds no money of it."""
        if plan_id not in self.by_plan and plan_id in self._plans:
            rules = await newest_rules(self._connection, plan_id)
            seats = await seats_of(self._connection, plan_id)
            self.by_plan[plan_id] = Depositors(plan_id, seats, is_prepaid=rules.prepaid is not None)
        return self.by_plan.get(plan_id)

    async def refuse(self, lines: Lines, rows: NDArray[np.int64], plan_id: int, days: NDArray[np.int32]) -> None:
        """Whose payment of these rows is not to be taken: their verdict is that nothing like it was asked for."""
        depositors = await self.of_plan(plan_id)
        if depositors is None:
            return
        seat = lines.target.seat[rows]
        rows = rows[(seat < depositors.seats) & (lines.amount_minor[rows] > 0)]
        seat = lines.target.seat[rows]
        await depositors.load(self._connection, seat)
        lines.verdict[rows[~depositors.may_pay(seat, days[rows])]] = _NOT_OURS

    def shards(self) -> set[int]:
        """The ids of the shards that are posted on."""
        named = set[int]()
        for plan_id, depositors in self.by_plan.items():
            for paid_in in depositors.paid_in.values():
                numbers = np.unique(np.flatnonzero(paid_in) // SHARD_SEATS) + 1
                named |= {plan_shard(plan_id) + number for number in numbers.tolist()}
        return named

    async def post(self, statement_id: int, open_days: OpenDays) -> int:
        """Credit the members' deposits, a journal per shard and day; the cash that it comes to."""
        cash = 0
        for plan_id, depositors in sorted(self.by_plan.items()):
            for source, paid_in in sorted(depositors.paid_in.items()):
                on, posted = date_of(source.day), await open_days.of(plan_id, source.day)
                cash += await self._post_day(plan_id, paid_in, f"top-ups:statement:{statement_id}:{on}", posted)
        return cash

    async def _post_day(self, plan_id: int, paid_in: NDArray[np.int64], key: str, on: date) -> int:
        for first in range(0, len(paid_in), SHARD_SEATS):
            there = paid_in[first : first + SHARD_SEATS]
            positions = np.flatnonzero(there).astype(np.int32)
            if not len(positions):
                continue
            shard = await shard_of(self._connection, seat_shard(plan_id, first))
            paid = deposit_journal(shard, Account.CUSTODIAN_CASH, there[positions], positions, key=key, on=on)
            journal = replace(paid, kind="settlement")
            if len(positions) * BULK > shard.seats:
                await post_in_bulk(self._connection, shard, journal, Account.MEMBER_DEPOSITS)
            else:
                await post(self._connection, journal)
        return int(paid_in.sum())
