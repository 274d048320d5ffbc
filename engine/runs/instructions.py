"""Who owed and who pays: the debits of a sealed run, each on the account of the member or of the family payer.

A share stays its seat's: its caps, its balance, and what becomes of it when the debit fails. Only the account that is
debited is the payer's (SCHEMES: xianghubao, the payer's own share first, then the family in joining order).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.standing import charged_by
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, first_seat, seat_shard
from engine.ledger.statement import Entry
from engine.plans.days import day_number
from engine.roster.columns import ALONE, DAY, value_at, value_in
from engine.runs.run import Run
from engine.store.tables import IN_THE_BOOKS, PLAN_STRIDE, SHARD_SEATS, roster, run_shards, share_runs


@dataclass(frozen=True)
class Instructions:
    """n debits in their order: by payer, the payer's own share first, then the family as they joined.

    `payer_seat`: int32[n], whose account; `seat`: int32[n], whose share; `amount_minor`: int64[n]; `shares_from`:
    int32[n], the day number the seat joined.
    """

    payer_seat: NDArray[np.int32]
    seat: NDArray[np.int32]
    amount_minor: NDArray[np.int64]
    shares_from: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.seat)

    def ordered(self) -> Instructions:
        """The same in the order of debit."""
        if (self.payer_seat[1:] > self.payer_seat[:-1]).all():  # each pays once, and they stand in their order
            return self
        order = np.lexsort((self.seat, self.shares_from, self.seat != self.payer_seat, self.payer_seat))
        return self.chosen(order)

    def chosen(self, which: NDArray[Any]) -> Instructions:
        """Those of these indexes, or where the bool[n] is set."""
        return Instructions(self.payer_seat[which], self.seat[which], self.amount_minor[which], self.shares_from[which])


@dataclass(frozen=True)
class Totals:
    """A run's debits: how many, on how many accounts, how many of them for another, and minor units."""

    instructions: int
    payers: int
    family_shares: int
    amount_minor: int
    family_minor: int


async def instructions_of(
    connection: AsyncConnection, run: Run, shard_id: int, amounts: NDArray[np.int64] | None = None
) -> Instructions:
    """The debits for the shares of one shard's seats, at the roster version the run pinned.

    `amounts`: int64[n] minor units of each position, to be debited instead of what the run charged. Whose share the
    sponsor paid is not there, nor are draws on prepaid balances and what a credit run gives. A payer pays while in
    force and paying alone; who left, or is paid for by another, pays for nobody on that debit day, and the family each
    for themselves. Raises InvalidInput for a run that is not sealed.
    """
    if run.state not in IN_THE_BOOKS:
        raise InvalidInput(f"{run.name} is {run.state}; only a sealed run says who is debited")
    paying = await _paying(connection, run, shard_id)
    if amounts is None:
        amounts = await charged_by(connection, shard_id, run.run_id, len(paying.shares_from))
    debited = np.flatnonzero(amounts)
    seat = (first_seat(shard_id) + debited).astype(np.int32)
    named = paying.payer[debited]

    async def paying_of(there: int) -> Paying:
        return paying if there == shard_id else await _paying(connection, run, there)

    payer = np.where(await pays(run.plan_id, named, run.debit_on, paying_of), named, seat)
    return Instructions(payer, seat, amounts[debited], paying.shares_from[debited]).ordered()


async def of_payer(connection: AsyncConnection, run: Run, payer_seat: int) -> Instructions:
    """The debits on one member's account, in their order: their own share and those of their family, in any shard."""
    found = []
    for shard_id in await _shards_naming(connection, run, payer_seat):
        there = await instructions_of(connection, run, shard_id)
        found.append(there.chosen(there.payer_seat == payer_seat))
    payer, seat, amounts, days = (
        np.concatenate([getattr(each, name) for each in found])
        for name in ("payer_seat", "seat", "amount_minor", "shares_from")
    )
    return Instructions(payer, seat, amounts, days).ordered()


async def totals_of(connection: AsyncConnection, run: Run) -> Totals:
    """What the run's debits come to, over all shards."""
    instructions = family_shares = amount = family = 0
    shards = list(await connection.scalars(_SHARDS, {"of_run": run.run_id}))
    pays = np.zeros(max((shard_id % PLAN_STRIDE for shard_id in shards), default=0) * SHARD_SEATS, np.bool_)
    for shard_id in shards:
        there = await instructions_of(connection, run, shard_id)
        others = there.payer_seat != there.seat
        pays[there.payer_seat] = True
        instructions += len(there)
        family_shares += int(np.count_nonzero(others))
        amount += int(there.amount_minor.sum())
        family += int(there.amount_minor[others].sum())
    return Totals(instructions, int(np.count_nonzero(pays)), family_shares, amount, family)


async def payers_of_seat(connection: AsyncConnection, shard_id: int, seat: int) -> dict[int, int]:
    """Who paid for one seat: run → the payer's seat, of the sealed runs in which it was not the member."""
    named = await _named_at(connection, shard_id, seat)
    paid: dict[int, int] = {}
    for payer in set(named.values()):
        for run_id, own, shares_from, ended_on, debit_day in await _paying_at(
            connection, seat_shard(shard_id // PLAN_STRIDE, payer), payer
        ):
            if named.get(run_id) == payer and own == ALONE and shares_from <= debit_day < ended_on:
                paid[run_id] = payer
    return paid


def is_debited(entry: Entry) -> bool:
    """Whether an entry is a share that somebody's account is debited for: the member's, or their payer's."""
    return entry.kind == "charge" and entry.account is Account.CONTRIBUTIONS_RECEIVABLE


async def family_of(connection: AsyncConnection, plan_id: int, payer_seat: int) -> list[int]:
    """The seats that ever named this one as their payer in a sealed run, in seat order."""
    pinned = (
        select(run_shards.c.shard_id, run_shards.c.roster_version)
        .distinct()
        .join(share_runs, share_runs.c.run_id == run_shards.c.run_id)
        .where(share_runs.c.plan_id == plan_id, share_runs.c.state.in_(IN_THE_BOOKS))
        .subquery()
    )
    found = await connection.execute(
        select(roster.c.shard_id, roster.c.payer)
        .join(pinned, and_(roster.c.shard_id == pinned.c.shard_id, roster.c.version == pinned.c.roster_version))
        .where(roster.c.shard_id.between(plan_id * PLAN_STRIDE, (plan_id + 1) * PLAN_STRIDE - 1), _NAMES),
        {"stored": _stored(payer_seat)},
    )
    seats = {
        first_seat(row.shard_id) + position
        for row in found
        for position in np.flatnonzero(np.frombuffer(row.payer, DAY) == payer_seat).tolist()
    }
    return sorted(seats)


_PINNED = and_(roster.c.shard_id == run_shards.c.shard_id, roster.c.version == run_shards.c.roster_version)

_NAMES = text("position(:stored IN roster.payer) > 0")
"""The four bytes of a seat stand somewhere in the column: few rows pass, and each is looked at."""

_SHARDS = (
    select(run_shards.c.shard_id).where(run_shards.c.run_id == bindparam("of_run")).order_by(run_shards.c.shard_id)
)

_PAYING = (
    select(roster.c.payer, roster.c.shares_from, roster.c.ended_on)
    .join(run_shards, _PINNED)
    .where(run_shards.c.shard_id == bindparam("of_shard"), run_shards.c.run_id == bindparam("of_run"))
)


def _stored(seat: int) -> bytes:
    return np.array(seat, DAY).tobytes()


async def _shards_naming(connection: AsyncConnection, run: Run, payer_seat: int) -> list[int]:
    """The run's shards in which a seat may have this payer, or is it."""
    own = seat_shard(run.plan_id, payer_seat)
    naming = select(run_shards.c.shard_id).join(roster, _PINNED).where(run_shards.c.run_id == run.run_id, _NAMES)
    return sorted({own, *await connection.scalars(naming, {"stored": _stored(payer_seat)})})


class Paying(NamedTuple):
    """Who pays for a shard's seats: int32[n] seats (ALONE for the member), and int32[n] day numbers."""

    payer: NDArray[np.int32]
    shares_from: NDArray[np.int32]
    ended_on: NDArray[np.int32]


async def _paying(connection: AsyncConnection, run: Run, shard_id: int) -> Paying:
    """Who pays at the roster version that the run pinned."""
    row = (await connection.execute(_PAYING, {"of_run": run.run_id, "of_shard": shard_id})).one_or_none()
    if row is None:
        raise InvalidInput(f"shard {shard_id} is none of {run.name}")
    shares_from, ended_on = np.frombuffer(row.shares_from, DAY), np.frombuffer(row.ended_on, DAY)
    payer = np.full(len(shares_from), ALONE, np.int32) if row.payer is None else np.frombuffer(row.payer, DAY)
    return Paying(payer, shares_from, ended_on)


async def pays(
    plan_id: int, named: NDArray[np.int32], on: date, paying_of: Callable[[int], Awaitable[Paying]]
) -> NDArray[np.bool_]:
    """bool[n]: whether the payer named (int32[n] seats, ALONE for none) pays on a debit day: in force, paying alone.

    `paying_of`: who pays for the seats of a shard, by its id.
    """
    found, day = np.zeros(len(named), np.bool_), day_number(on)
    numbers = np.where(named == ALONE, 0, named // SHARD_SEATS + 1)
    for number in (1 + np.flatnonzero(np.bincount(numbers)[1:])).tolist():
        columns = await paying_of(plan_id * PLAN_STRIDE + number)
        rows = np.flatnonzero(numbers == number)
        at = named[rows] % SHARD_SEATS
        in_force = (columns.shares_from[at] <= day) & (day < columns.ended_on[at])
        found[rows] = in_force & (columns.payer[at] == ALONE)
    return found


async def _named_at(connection: AsyncConnection, shard_id: int, seat: int) -> dict[int, int]:
    """Whom one seat names as its payer: run → seat, of the sealed runs in which it names anybody."""
    found = await connection.execute(
        select(share_runs.c.run_id, value_at(roster.c.payer, seat % SHARD_SEATS))
        .join(run_shards, run_shards.c.run_id == share_runs.c.run_id)
        .join(roster, _PINNED)
        .where(run_shards.c.shard_id == shard_id, share_runs.c.state.in_(IN_THE_BOOKS), roster.c.payer.is_not(None))
        .order_by(share_runs.c.run_id)
    )
    return {run_id: value_in(payer) for run_id, payer in found if payer and value_in(payer) != ALONE}


async def _paying_at(connection: AsyncConnection, shard_id: int, seat: int) -> Sequence[tuple[int, int, int, int, int]]:
    """One seat in each sealed run: run, payer (ALONE for none), the days it shares from and ends, the debit day."""
    names = ("payer", "shares_from", "ended_on")
    position = seat % SHARD_SEATS
    found = await connection.execute(
        select(share_runs.c.run_id, share_runs.c.debit_on, *(value_at(roster.c[name], position) for name in names))
        .join(run_shards, run_shards.c.run_id == share_runs.c.run_id)
        .join(roster, _PINNED)
        .where(run_shards.c.shard_id == shard_id, share_runs.c.state.in_(IN_THE_BOOKS))
        .order_by(share_runs.c.run_id)
    )
    return [
        (run_id, value_in(payer) if payer else ALONE, value_in(shares_from), value_in(ended_on), day_number(debit_on))
        for run_id, debit_on, payer, shares_from, ended_on in found
        if shares_from  # the seat was given before the run froze
    ]
