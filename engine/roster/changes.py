"""Joins, exits and freezes: appended as they come, folded into the next version of a shard's roster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.plans import NEVER
from engine.roster.columns import Columns, Version, latest_version, read_columns, write_columns
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, roster, roster_changes


class Kind(StrEnum):
    """What can happen to a seat after it is given."""

    JOIN = "join"
    """From `from_day` it shares, from `until_day` it claims."""

    EXIT = "exit"
    """`from_day` is the first day it is no longer covered."""

    FREEZE = "freeze"
    """From `from_day` until before `until_day` it does not share; a later freeze takes the place of this one."""


@dataclass(frozen=True)
class Changes:
    """Changes of one shard, in the order they came. `kind`: Kind[n]; `position` in the shard, days: int32[n]."""

    kind: NDArray[np.str_]
    position: NDArray[np.int32]
    from_day: NDArray[np.int32]
    until_day: NDArray[np.int32]
    tier: NDArray[np.int16]

    def of(self, kind: Kind) -> Changes:
        """Those of one kind."""
        chosen = self.kind == kind.value
        return Changes(
            self.kind[chosen], self.position[chosen], self.from_day[chosen], self.until_day[chosen], self.tier[chosen]
        )

    def __len__(self) -> int:
        return len(self.kind)


def apply(columns: Columns, changes: Changes) -> Columns:
    """The columns with the changes in them; joins take the positions after the last, each once.

    Of several exits or freezes of one seat the last holds: what each may say was checked when it was recorded.
    """
    joins, exits, freezes = (changes.of(kind) for kind in Kind)
    order = np.argsort(joins.position)
    positions = np.arange(len(columns), len(columns) + len(joins), dtype=np.int32)
    assert np.array_equal(joins.position[order], positions), "joins take the next seats, each once"
    joined = Columns(
        joins.from_day[order], joins.until_day[order], np.full(len(joins), NEVER, np.int32), joins.tier[order]
    )
    whole = columns.extended(joined)
    # NumPy assigns in order, so that the last of several to one seat stays.
    whole.ended_on[exits.position] = exits.from_day
    if not len(freezes):
        return whole
    nobody = np.zeros(len(whole), np.int32)
    frozen_from, frozen_to = (nobody.copy() if kept is None else kept for kept in (whole.frozen_from, whole.frozen_to))
    frozen_from[freezes.position], frozen_to[freezes.position] = freezes.from_day, freezes.until_day
    return Columns(whole.shares_from, whole.claims_from, whole.ended_on, whole.tier, frozen_from, frozen_to)


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
            roster_changes.c.change_id,
        )
        .where(roster_changes.c.shard_id == shard_id, roster_changes.c.change_id > after)
        .order_by(roster_changes.c.change_id)
    )
    rows = found.all()
    kinds, *numbers, ids = zip(*rows, strict=True) if rows else ((), (), (), (), (), ())
    position, from_day, until_day = (np.array(each, np.int32) for each in numbers[:3])
    changes = Changes(np.array(kinds, np.str_), position, from_day, until_day, np.array(numbers[3], np.int16))
    return (ids[-1] if ids else after), changes
