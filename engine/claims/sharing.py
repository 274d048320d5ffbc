"""Claims inside share runs: taken, sealed and released as sets, fenced by their state and by the run that has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.history import record
from engine.claims.states import ClaimRefused, Event, State, after, sources
from engine.store.tables import claims, notices


class Passed(NamedTuple):
    """A claim that waits for a run: its aid in minor units, and the day whose 00:00 is its gate."""

    claim_id: int
    number: int
    aid_minor: int
    notice_on: date


async def passed_claims(connection: AsyncConnection, plan_id: int) -> list[Passed]:
    """The plan's passed claims that no run carries, in filing order."""
    rows = await connection.execute(
        select(claims.c.claim_id, claims.c.number, claims.c.aid_minor, notices.c.notice_on)
        .join(notices, notices.c.claim_id == claims.c.claim_id)
        .where(claims.c.plan_id == plan_id, claims.c.state == State.PASSED)
        .order_by(claims.c.number)
    )
    return [Passed(row.claim_id, row.number, row.aid_minor, row.notice_on) for row in rows]


async def claims_in(connection: AsyncConnection, run_id: int) -> list[int]:
    """Ids of the claims that run carries now, ascending; none of them can be withdrawn until the transaction ends.

    An approval compares them with the run's cases: a claim withdrawn since is not among them.
    """
    carried = select(claims.c.claim_id).where(claims.c.run_id == run_id).order_by(claims.c.claim_id)
    return list(await connection.scalars(carried.with_for_update(read=True)))


async def share(connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, *, on: date) -> None:
    """Put passed claims into a run, all or none. Raises ClaimRefused with those not passed or in another."""
    _all_or_none(claim_ids, await _move(connection, claim_ids, run_id, Event.SHARE, on), run_id, Event.SHARE)


async def shared(connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, *, on: date) -> None:
    """The run is sealed, its claims are shared, all or none. Raises ClaimRefused with those it does not carry."""
    _all_or_none(claim_ids, await _move(connection, claim_ids, run_id, Event.SEAL, on), run_id, Event.SEAL)


async def release(connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, *, on: date) -> list[int]:
    """The run is voided: those claims it still carries have passed and wait for another; their ids, ascending.

    Claims withdrawn from the run meanwhile stay withdrawn, and the same again releases nothing.
    """
    return await _move(connection, claim_ids, run_id, Event.RELEASE, on)


async def _move(
    connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, event: Event, on: date
) -> list[int]:
    among = claims.c.claim_id == func.any(cast(list(claim_ids), ARRAY(BigInteger)))
    # In one order, so that two runs that want the same claims wait for each other instead of deadlocking.
    await connection.execute(select(claims.c.claim_id).where(among).order_by(claims.c.claim_id).with_for_update())
    states = sources(event)
    holder = None if event is Event.SHARE else run_id
    held: ColumnElement[bool] = claims.c.run_id.is_not_distinct_from(holder)
    moved = await connection.execute(
        update(claims)
        .where(among, claims.c.state.in_(states), held)
        .values(state=after(states[0], event), run_id=None if event is Event.RELEASE else run_id)
        .returning(claims.c.claim_id)
    )
    moved_ids = sorted(moved.scalars())
    await record(connection, moved_ids, event, on=on, actor=f"run:{run_id}", detail={"run_id": run_id})
    return moved_ids


def _all_or_none(claim_ids: Sequence[int], moved_ids: Sequence[int], run_id: int, event: Event) -> None:
    left = sorted(set(claim_ids) - set(moved_ids))
    if left:
        allowed = " or ".join(sources(event))
        whose = "in no run" if event is Event.SHARE else f"in run {run_id}"
        raise ClaimRefused(
            f"run {run_id} cannot {event} claims {', '.join(map(str, left))}: each must be {allowed} and {whose}"
        )
