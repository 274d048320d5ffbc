"""On whose accounts a custodian is asked: what the payers of a shard's shares are known by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files.batch import columns_of
from engine.custodian.desk import Desk
from engine.custodian.profile import Profile
from engine.custodian.tokens import Tokens, read_tokens
from engine.errors import InvalidInput
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, member_columns


async def tokens_of_payers(
    connection: AsyncConnection, profile: Profile, plan_id: int, seats: NDArray[np.int32], desk: Desk
) -> Tokens:
    """The tokens of payers by their seats in the plan, int32[n] in any order and of any shard; most are of one.

    Raises InvalidInput where one lacks what the custodian's files need.
    """
    found, missing = await known_payers(connection, profile, plan_id, seats, desk)
    for name, which in missing.items():
        if which.any():
            raise InvalidInput(
                f"{np.count_nonzero(which)} payers have no {name}, which {profile.code} needs; the first has seat"
                f" {seats[which][0]}; bring them in with `fentan roster accounts FILE`"
            )
    return found


async def known_payers(
    connection: AsyncConnection, profile: Profile, plan_id: int, seats: NDArray[np.int32], desk: Desk
) -> tuple[Tokens, dict[str, NDArray[np.bool_]]]:
    """The tokens of payers, and by what the custodian's files need bool[n]: who lacks it."""
    numbers = seats // SHARD_SEATS + 1
    found: Tokens | None = None
    order: list[NDArray[np.int64]] = []
    for number in np.flatnonzero(np.bincount(numbers)).tolist():
        rows = np.flatnonzero(numbers == number)
        there = await _known_by(connection, profile, plan_id * PLAN_STRIDE + number, desk)
        of_shard = there.taken(seats[rows] % SHARD_SEATS)
        found = of_shard if found is None else found.extended(of_shard)
        order.append(rows)
    assert found is not None, "somebody pays"
    if len(order) > 1:
        found = found.taken(np.argsort(np.concatenate(order), kind="stable"))
    return found, _missing(profile, found)


async def _known_by(connection: AsyncConnection, profile: Profile, shard_id: int, desk: Desk) -> Tokens:
    """What the custodian knows the seats of a shard by."""
    if profile.payer_known_by == "member_ref":
        refs = await connection.scalar(
            select(member_columns.c.member_refs).where(member_columns.c.shard_id == shard_id)
        )
        return Tokens(pc.split_pattern(pa.array([refs]), "\n").flatten())
    return await read_tokens(connection, shard_id, desk.account_key) or Tokens.unknown(SHARD_SEATS)


def _missing(profile: Profile, tokens: Tokens) -> dict[str, NDArray[np.bool_]]:
    held = {"account": tokens.account, "mandate_id": tokens.mandate_id}
    held["signed_on"] = None if tokens.signed_on is None else tokens.signed_dates
    return {
        name: np.ones(len(tokens), np.bool_) if column is None else pc.is_null(column).to_numpy(zero_copy_only=False)
        for name, column in held.items()
        if name in columns_of(profile)
    }
