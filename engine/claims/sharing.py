"""Claims inside share runs: taken, sealed and released as sets, fenced by their state and by the run that has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, cast, exists, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.history import record
from engine.claims.states import ClaimRefused, Event, State, after, sources
from engine.store.tables import claim_events, claims, notices, objections, run_cases

_DUE = func.coalesce(claims.c.due_minor, claims.c.aid_minor)
"""What is due of a claim so far, shared or not."""


class Passed(NamedTuple):
    """A claim that waits for a run: what its next run carries in minor units, and the day whose 00:00 is its gate."""

    claim_id: int
    number: int
    aid_minor: int
    notice_on: date


_NEXT = (
    select(
        claims.c.claim_id,
        claims.c.number,
        (_DUE - claims.c.shared_minor).label("aid_minor"),
        func.coalesce(claims.c.stage_on, notices.c.notice_on).label("notice_on"),
    )
    .join(notices, notices.c.claim_id == claims.c.claim_id)
    .order_by(claims.c.number)
)
"""What the next run carries of each claim: all of the aid, or the stage that is due."""


async def passed_claims(connection: AsyncConnection, plan_id: int) -> list[Passed]:
    """The plan's passed claims that no run carries, in filing order."""
    rows = await connection.execute(_NEXT.where(claims.c.plan_id == plan_id, claims.c.state == State.PASSED))
    return [Passed(*row) for row in rows]


class Expected(NamedTuple):
    """Claims that a coming run could carry, each in filing order; `objected`: under notice with an open objection."""

    passed: list[Passed]
    under_notice: list[Passed]
    objected: list[Passed]


async def expected_claims(connection: AsyncConnection, plan_id: int, *, by: date) -> Expected:
    """The plan's passed claims that no run carries, and those whose notice has ended `by` a day unless they fail."""
    objected = exists().where(objections.c.claim_id == claims.c.claim_id, objections.c.resolved_on.is_(None))
    published = _NEXT.where(
        claims.c.plan_id == plan_id, claims.c.state == State.PUBLISHED, notices.c.ends_on <= by
    ).add_columns(objected)
    rows = (await connection.execute(published)).all()
    under_notice, barred = ([Passed(*row[:4]) for row in rows if row[4] == is_barred] for is_barred in (False, True))
    return Expected(await passed_claims(connection, plan_id), under_notice, barred)


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
    """The run is sealed, its claims are shared, all or none. Raises ClaimRefused with those it does not carry.

    What counts as shared of a claim is what the run carried of it: where the plan cuts aid (reduce_aid), the cut is
    final and not carried again. Stages that came due while the run was under way wait for the next.
    """
    _all_or_none(claim_ids, await _move(connection, claim_ids, run_id, Event.SEAL, on), run_id, Event.SEAL)
    late = await _count(connection, claim_ids, run_id, claims.c.shared_minor + run_cases.c.aid_minor)
    await connection.execute(
        update(claims).where(_among(late)).values(state=after(State.SHARED, Event.BILL), run_id=None)
    )
    await record(connection, late, Event.BILL, on=on, actor=f"run:{run_id}", detail={"run_id": run_id})


async def release(connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, *, on: date) -> list[int]:
    """The run is voided: what it carried of its claims waits for another run; their ids, ascending.

    Claims withdrawn from the run meanwhile stay withdrawn, and the same again releases nothing. A claim that was
    billed since stays where it is, and what the run carried is due with the stage that waits.
    """
    await _lock(connection, claim_ids)
    counted = await _counted(connection, claim_ids, run_id)
    released = await _move(connection, claim_ids, run_id, Event.RELEASE, on)
    went_on = sorted(set(counted) - set(released))
    await record(connection, went_on, Event.RELEASE, on=on, actor=f"run:{run_id}", detail={"run_id": run_id})
    await _count(connection, counted, run_id, claims.c.shared_minor - run_cases.c.aid_minor)
    return sorted([*released, *went_on])


async def _count(
    connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, shared_minor: ColumnElement[int]
) -> list[int]:
    """Write what is shared now of claims of a run; those of which more is due, ascending."""
    counted = await connection.execute(
        update(claims)
        .where(_among(claim_ids), run_cases.c.claim_id == claims.c.claim_id, run_cases.c.run_id == run_id)
        .values(shared_minor=shared_minor)
        .returning(claims.c.claim_id, claims.c.shared_minor < _DUE)
    )
    return sorted(claim_id for claim_id, is_more_due in counted if is_more_due)


async def _counted(connection: AsyncConnection, claim_ids: Sequence[int], run_id: int) -> list[int]:
    """Which of the claims count what this run carried as shared: their history has its seal, and no release."""
    said = claim_events.c.event
    of_run = claim_events.c.detail["run_id"].as_integer() == run_id
    rows = await connection.scalars(
        select(claim_events.c.claim_id)
        .where(claim_events.c.claim_id == _any(claim_ids), said.in_([Event.SEAL, Event.RELEASE]), of_run)
        .group_by(claim_events.c.claim_id)
        .having(func.bool_and(said == Event.SEAL))
    )
    return sorted(rows)


async def _move(
    connection: AsyncConnection, claim_ids: Sequence[int], run_id: int, event: Event, on: date
) -> list[int]:
    await _lock(connection, claim_ids)
    states = sources(event)
    holder = None if event is Event.SHARE else run_id
    held: ColumnElement[bool] = claims.c.run_id.is_not_distinct_from(holder)
    moved = await connection.execute(
        update(claims)
        .where(_among(claim_ids), claims.c.state.in_(states), held)
        .values(state=after(states[0], event), run_id=None if event is Event.RELEASE else run_id)
        .returning(claims.c.claim_id)
    )
    moved_ids = sorted(moved.scalars())
    await record(connection, moved_ids, event, on=on, actor=f"run:{run_id}", detail={"run_id": run_id})
    return moved_ids


async def _lock(connection: AsyncConnection, claim_ids: Sequence[int]) -> None:
    """In one order, so that two runs that want the same claims wait for each other instead of deadlocking."""
    rows = select(claims.c.claim_id).where(_among(claim_ids)).order_by(claims.c.claim_id)
    await connection.execute(rows.with_for_update())


def _among(claim_ids: Sequence[int]) -> ColumnElement[bool]:
    return claims.c.claim_id == _any(claim_ids)


def _any(claim_ids: Sequence[int]) -> ColumnElement[int]:
    return func.any(cast(list(claim_ids), ARRAY(BigInteger)))


def _all_or_none(claim_ids: Sequence[int], moved_ids: Sequence[int], run_id: int, event: Event) -> None:
    left = sorted(set(claim_ids) - set(moved_ids))
    if left:
        allowed = " or ".join(sources(event))
        whose = "in no run" if event is Event.SHARE else f"in run {run_id}"
        raise ClaimRefused(
            f"run {run_id} cannot {event} claims {', '.join(map(str, left))}: each must be {allowed} and {whose}"
        )
