"""A claim: reading it, and the one way its state moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.history import Detail, record
from engine.claims.states import ClaimRefused, Event, State, after
from engine.errors import NotFound
from engine.store.tables import claims, notices, plans


class Notice(NamedTuple):
    """The days a claim stands before the plan: 00:00 of `notice_on` is its gate, `ends_on` is the first day after."""

    notice_on: date
    ends_on: date


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim; amounts in minor units. `number` is dense inside the plan, in filing order.

    `run_id` is the run that carries it. Of the whole aid, `due_minor` is due so far (all of it, unless it is paid in
    stages), and of that `shared_minor` went into sealed runs. `stage_on`: the notice day whose 00:00 is the gate of a
    later stage; None: that of the notice. `recovered_minor` was paid wrongly and came back.
    """

    claim_id: int
    plan_id: int
    plan_code: str
    number: int
    shard_id: int
    seat: int
    diagnosed_on: date
    filed_on: date
    aid_minor: int
    severity: str | None
    due_minor: int
    stage_on: date | None
    shared_minor: int
    recovered_minor: int
    state: State
    run_id: int | None
    notice: Notice | None

    @property
    def next_minor(self) -> int:
        """What its next run carries, or the run it is in; 0 when nothing waits."""
        return self.due_minor - self.shared_minor

    @property
    def unbilled_minor(self) -> int:
        """What may still come in as bills."""
        return self.aid_minor - self.due_minor

    def noticed(self) -> Notice:
        """Its notice. Raises ClaimRefused when it was never published."""
        if self.notice is None:
            raise ClaimRefused(f"claim {self.claim_id} was never published")
        return self.notice


def _selected() -> Select[tuple[object, ...]]:
    return (
        select(claims, plans.c.code, notices.c.notice_on, notices.c.ends_on)
        .join(plans, plans.c.plan_id == claims.c.plan_id)
        .outerjoin(notices, notices.c.claim_id == claims.c.claim_id)
    )


def _claim(row: Row[tuple[object, ...]]) -> Claim:
    return Claim(
        claim_id=row.claim_id,
        plan_id=row.plan_id,
        plan_code=row.code,
        number=row.number,
        shard_id=row.shard_id,
        seat=row.seat,
        diagnosed_on=row.diagnosed_on,
        filed_on=row.filed_on,
        aid_minor=row.aid_minor,
        severity=row.severity,
        due_minor=row.aid_minor if row.due_minor is None else row.due_minor,
        stage_on=row.stage_on,
        shared_minor=row.shared_minor,
        recovered_minor=row.recovered_minor,
        state=State(row.state),
        run_id=row.run_id,
        notice=Notice(row.notice_on, row.ends_on) if row.notice_on else None,
    )


async def claim_of(connection: AsyncConnection, claim_id: int) -> Claim:
    """The claim named `claim_id`. Raises InvalidInput when there is none."""
    row = (await connection.execute(_selected().where(claims.c.claim_id == claim_id))).first()
    if row is None:
        raise NotFound(f"there is no claim {claim_id}; `fentan claim list --plan CODE` shows those of a plan")
    return _claim(row)


async def claims_of(
    connection: AsyncConnection,
    plan_id: int | None,
    states: Sequence[State] = tuple(State),
    *,
    after: int = 0,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Claim]:
    """The plan's claims (None: every plan's) in any of `states`, in filing order or turned round.

    `after`: the id of the claim they come after; 0: from the first, or the last.
    """
    chosen = _selected().where(claims.c.state.in_(states))
    if plan_id is not None:
        chosen = chosen.where(claims.c.plan_id == plan_id)
    if after:
        chosen = chosen.where(claims.c.claim_id < after if newest_first else claims.c.claim_id > after)
    order = claims.c.claim_id.desc() if newest_first else claims.c.claim_id
    return [_claim(row) for row in await connection.execute(chosen.order_by(order).limit(limit))]


async def count_claims(connection: AsyncConnection, plan_id: int | None) -> dict[State, int]:
    """How many claims of the plan (None: of every plan) are in each state that any is in, in the order of State."""
    counted = select(claims.c.state, func.count()).group_by(claims.c.state)
    if plan_id is not None:
        counted = counted.where(claims.c.plan_id == plan_id)
    found = {State(state): int(count) for state, count in await connection.execute(counted)}
    return {state: found[state] for state in State if state in found}


async def locked(connection: AsyncConnection, claim_id: int, event: Event) -> Claim:
    """The claim, its row locked until the transaction ends, so that nobody else decides on it meanwhile.

    Raises InvalidInput when there is none, ClaimRefused when its state does not allow `event`.
    """
    # A statement of its own: what is read next then sees what the one who held the lock before has committed.
    await connection.execute(select(claims.c.claim_id).where(claims.c.claim_id == claim_id).with_for_update())
    claim = await claim_of(connection, claim_id)
    try:
        after(claim.state, event)
    except ClaimRefused as refusal:
        raise ClaimRefused(f"claim {claim_id}: {refusal}") from None
    return claim


async def decide(
    connection: AsyncConnection,
    claim: Claim,
    event: Event,
    *,
    on: date,
    actor: str,
    detail: Detail,
    run_id: int | None = None,
    **values: object,
) -> Claim:
    """Move a `locked` claim by `event` and record it; the claim as it is now.

    It is in no run then, unless `run_id` says in which; `values` are written with it.
    """
    state = after(claim.state, event)
    moved = await connection.execute(
        update(claims)
        .where(claims.c.claim_id == claim.claim_id, claims.c.state == claim.state)
        .values(state=state, run_id=run_id, **values)
        .returning(claims.c.claim_id)
    )
    if moved.first() is None:
        raise ClaimRefused(f"claim {claim.claim_id} is no longer {claim.state}; lock it before deciding")
    await record(connection, [claim.claim_id], event, on=on, actor=actor, detail=detail)
    return await claim_of(connection, claim.claim_id)
