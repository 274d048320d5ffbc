"""Changes of seats, asked for or made by a rule: appended as they come, folded into the next version of a roster."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.plans import NEVER
from engine.roster.columns import ALONE, Columns, Version, latest_version, read_columns, write_columns
from engine.store.arrays import copy_in
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, roster, roster_changes, shards


class Kind(StrEnum):
    """What can happen to a seat after it is given."""

    JOIN = "join"
    """From `from_day` it shares, from `until_day` it claims."""

    EXIT = "exit"
    """`from_day` is the first day it is no longer covered."""

    FREEZE = "freeze"
    """From `from_day` until before `until_day` it does not share; a later freeze takes the place of this one."""

    TIER = "tier"
    """From `from_day` it weighs by `tier`, from `until_day` claims go by it (`engine.roster.cover`)."""

    PAYER = "payer"
    """Since `from_day`, and from the next fold on, `payer` is who pays for it; NULL: it pays for itself again."""


@dataclass(frozen=True)
class Changes:
    """Changes of one shard, in the order they came. `kind`: Kind[n]; `position` in the shard, days: int32[n].

    `tier`: int16[n]. `payer`: int32[n] seats of the plan, or ALONE.
    """

    kind: NDArray[np.str_]
    position: NDArray[np.int32]
    from_day: NDArray[np.int32]
    until_day: NDArray[np.int32]
    tier: NDArray[np.int16]
    payer: NDArray[np.int32]

    def of(self, kind: Kind) -> Changes:
        """Those of one kind."""
        chosen = self.kind == kind.value
        return Changes(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    def __len__(self) -> int:
        return len(self.kind)


def apply(columns: Columns, changes: Changes) -> Columns:
    """The columns with the changes in them; joins take the positions after the last, each once.

    Of several exits, freezes or payers of one seat the last holds: what each may say was checked when it was recorded.
    """
    whole = columns.extended(_joined(changes.of(Kind.JOIN), len(columns)))
    exits, freezes, payers = (changes.of(kind) for kind in (Kind.EXIT, Kind.FREEZE, Kind.PAYER))
    # NumPy assigns in order, so that the last of several to one seat stays.
    whole.ended_on[exits.position] = exits.from_day
    if len(freezes):
        frozen_from, frozen_to = whole.filled("frozen_from"), whole.filled("frozen_to")
        frozen_from[freezes.position], frozen_to[freezes.position] = freezes.from_day, freezes.until_day
        whole = replace(whole, frozen_from=frozen_from, frozen_to=frozen_to)
    if len(payers):
        payer = whole.filled("payer")
        payer[payers.position] = payers.payer
        whole = replace(whole, payer=payer)
    return _chosen(whole, changes.of(Kind.TIER))


def _joined(joins: Changes, first: int) -> Columns:
    """Those who join, at the positions from `first` on."""
    order = np.argsort(joins.position)
    positions = np.arange(first, first + len(joins), dtype=np.int32)
    assert np.array_equal(joins.position[order], positions), "joins take the next seats, each once"
    payer = joins.payer[order]
    return Columns(
        joins.from_day[order],
        joins.until_day[order],
        np.full(len(joins), NEVER, np.int32),
        joins.tier[order],
        payer=payer if (payer != ALONE).any() else None,
    )


def _chosen(columns: Columns, choices: Changes) -> Columns:
    """The last choice of a seat is its next tier; the one before it, which took effect by then, is its tier."""
    if not len(choices):
        return columns
    next_tier, next_tier_from = columns.filled("next_tier"), columns.filled("next_tier_from")
    order = np.argsort(choices.position, kind="stable")
    position, tier, from_day = choices.position[order], choices.tier[order], choices.from_day[order]
    pending = position[next_tier_from[position] > 0]
    columns.tier[pending] = next_tier[pending]
    earlier = np.flatnonzero(position[:-1] == position[1:])
    columns.tier[position[earlier]] = tier[earlier]
    next_tier[position], next_tier_from[position] = tier, from_day
    return replace(columns, next_tier=next_tier, next_tier_from=next_tier_from)


async def shards_with_changes(connection: AsyncConnection, plan_id: int) -> list[int]:
    """The plan's shards that have changes no version holds yet, in order."""
    folded = (
        select(roster.c.shard_id, func.max(roster.c.folded_through).label("through"))
        .group_by(roster.c.shard_id)
        .subquery()
    )
    found = await connection.scalars(
        select(roster_changes.c.shard_id)
        .distinct()
        .outerjoin(folded, folded.c.shard_id == roster_changes.c.shard_id)
        .where(roster_changes.c.shard_id.between(plan_id * PLAN_STRIDE, (plan_id + 1) * PLAN_STRIDE - 1))
        .where(roster_changes.c.change_id > func.coalesce(folded.c.through, 0))
        .order_by(roster_changes.c.shard_id)
    )
    return list(found)


class ShardRoster(NamedTuple):
    """Where the roster of a shard stands. `changes_waiting`: those that no version holds yet."""

    shard_id: int
    number: int
    first_seat: int
    seats: int
    version: int
    changes_waiting: int


async def shard_rosters(
    connection: AsyncConnection, plan_id: int, *, after: int = 0, limit: int = 50
) -> list[ShardRoster]:
    """The plan's shards with seats, those after a number."""
    own = select(roster.c.version, roster.c.folded_through).where(roster.c.shard_id == shards.c.shard_id)
    newest = own.order_by(roster.c.version.desc()).limit(1).lateral()
    later = roster_changes.c.change_id > func.coalesce(newest.c.folded_through, 0)
    waiting = select(func.count().label("changes")).where(roster_changes.c.shard_id == shards.c.shard_id, later)
    waits = waiting.lateral()
    chosen = (
        select(
            shards.c.shard_id,
            shards.c.number,
            shards.c.first_seat,
            shards.c.seats,
            func.coalesce(newest.c.version, 0),
            waits.c.changes,
        )
        .select_from(shards.outerjoin(newest, true()).join(waits, true()))
        .where(shards.c.plan_id == plan_id, shards.c.number > literal(after, BigInteger))
    )
    found = await connection.execute(chosen.order_by(shards.c.number).limit(limit))
    return [ShardRoster(*row) for row in found]


async def fold(connection: AsyncConnection, shard_id: int) -> int:
    """Put a shard's new changes into a new version of its roster; the number of the version that now holds.

    Nothing to fold writes nothing. The caller holds the plan's lock (`lock_roster`).
    """
    newest, through, columns = await current_columns(connection, shard_id)
    if through == newest.folded_through:
        return newest.version
    await write_columns(connection, shard_id, Version(newest.version + 1, through), columns)
    return newest.version + 1


async def current_columns(connection: AsyncConnection, shard_id: int) -> tuple[Version, int, Columns]:
    """The newest version written, the last change there is, and the columns with every change in them."""
    newest = await latest_version(connection, shard_id)
    through, changes = await read_changes(connection, shard_id, newest.folded_through)
    columns = await read_columns(connection, shard_id, newest.version)
    return newest, through, apply(columns, changes) if len(changes) else columns


async def read_changes(connection: AsyncConnection, shard_id: int, after: int) -> tuple[int, Changes]:
    """The shard's changes with an id above `after`, and the last id read (`after` when there are none)."""
    found = await connection.execute(
        select(
            roster_changes.c.kind,
            roster_changes.c.seat % SHARD_SEATS,
            roster_changes.c.from_day,
            func.coalesce(roster_changes.c.until_day, 0),
            func.coalesce(roster_changes.c.tier, 0),
            func.coalesce(roster_changes.c.payer, ALONE),
            roster_changes.c.change_id,
        )
        .where(roster_changes.c.shard_id == shard_id, roster_changes.c.change_id > after)
        .order_by(roster_changes.c.change_id)
    )
    rows = found.all()
    kinds, *numbers, ids = zip(*rows, strict=True) if rows else ((), (), (), (), (), (), ())
    position, from_day, until_day, tier, payer = (np.array(each, np.int32) for each in numbers)
    changes = Changes(np.array(kinds, np.str_), position, from_day, until_day, tier.astype(np.int16), payer)
    return (ids[-1] if ids else after), changes


async def record_by_rule(
    connection: AsyncConnection,
    shard_id: int,
    kind: Kind,
    seats: NDArray[np.integer[Any]],
    from_days: NDArray[np.integer[Any]],
    until_days: NDArray[np.integer[Any]] | None = None,
    *,
    reason: str,
) -> None:
    """Append an exit or a freeze that a rule makes to each of the seats (plan-wide numbers) of one shard.

    `from_days`, `until_days`: a day number for each seat; a freeze needs both (NEVER: no end in sight). `reason`: the
    rule, such as age or floor. Whether a seat can take it is for the caller to see, who holds the plan's lock
    (`lock_roster`). Raises InvalidInput for other kinds, and for a freeze without its ends.
    """
    if kind not in (Kind.EXIT, Kind.FREEZE) or (kind is Kind.FREEZE) != (until_days is not None):
        raise InvalidInput(f"{kind} by rule {reason}: a rule makes exits, which have no end, and freezes, which have")
    ends = repeat(None) if until_days is None else until_days.tolist()
    rows = [
        (shard_id, seat, kind.value, from_day, until_day, reason)
        for seat, from_day, until_day in zip(seats.tolist(), from_days.tolist(), ends, strict=until_days is not None)
    ]
    if rows:
        names = ["shard_id", "seat", "kind", "from_day", "until_day", "reason"]
        await copy_in(connection, roster_changes, names, rows)
