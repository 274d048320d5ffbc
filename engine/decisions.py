"""Money decisions outside share runs: proposed by one person, done once another approves (I13).

What is to be done stands in the row, so that the second person decides on exactly that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import FentanError, NotFound
from engine.store.audit import record
from engine.store.tables import decisions, plans


class FourEyes(FentanError):
    """Whoever planned or proposed it does not approve it; ask somebody else."""

    invariant = "I13"


class NotOpen(FentanError):
    """This was decided already."""


class Kind(StrEnum):
    """What is to be done."""

    CORRECTION = "correction"
    """A few seats were charged wrongly."""

    RECOVERY = "recovery"
    """Aid was paid wrongly and comes back."""

    WIND_DOWN = "wind-down"
    """The plan ends: refunds, and closed books."""

    RESOLUTION = "resolution"
    """Breaks come to their end."""

    PERIOD_LOCK = "period lock"
    """A period was proved: nothing is posted in it any more."""

    PAYOUT = "payout"
    """The aid of a run is paid to its claimants."""

    REFUND = "refund"
    """Members are paid what they are owed back."""


class DecisionState(StrEnum):
    """Where a decision stands."""

    PROPOSED = "proposed"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class Decision:
    """One decision. `detail`: all that doing it needs, amounts in minor units; `outcome`: what that came to."""

    decision_id: int
    plan_id: int
    plan_code: str
    kind: Kind
    subject: str
    detail: Mapping[str, Any]
    effective_on: date
    state: DecisionState
    proposed_by: str
    decided_by: str | None
    outcome: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """How it is called in keys and logs: `decision:4`."""
        return f"decision:{self.decision_id}"


_COLUMNS = [column for column in decisions.c if column.name != "recorded_at"]
_JOINED: Select[Any] = select(*_COLUMNS, plans.c.code.label("plan_code")).join(
    plans, plans.c.plan_id == decisions.c.plan_id
)


def _decision(row: Row[Any]) -> Decision:
    values = row._asdict()
    return Decision(**values | {"kind": Kind(values["kind"]), "state": DecisionState(values["state"])})


async def propose(
    connection: AsyncConnection,
    plan_id: int,
    kind: Kind,
    subject: str,
    detail: Mapping[str, Any],
    *,
    on: date,
    actor: str,
) -> Decision:
    """Write down what is to be done, effective `on`; nothing happens before somebody else approves."""
    decision_id = await connection.scalar(
        insert(decisions)
        .values(plan_id=plan_id, kind=kind, subject=subject, detail=dict(detail), effective_on=on, proposed_by=actor)
        .returning(decisions.c.decision_id)
    )
    assert decision_id is not None
    await record(connection, actor, f"propose {kind}", subject, {"decision": decision_id})
    return await decision_of(connection, decision_id)


async def decision_of(connection: AsyncConnection, decision_id: int) -> Decision:
    """The decision. Raises InvalidInput when there is none."""
    row = (await connection.execute(_JOINED.where(decisions.c.decision_id == decision_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no decision {decision_id}; `fentan decision list` shows those there are")
    return _decision(row)


async def list_decisions(
    connection: AsyncConnection,
    plan_id: int | None = None,
    *,
    subject: str | None = None,
    kind: Kind | None = None,
    state: DecisionState | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[Decision]:
    """Every decision, of one plan, about one subject (`run:7`), of a kind, in a state where given, newest first.

    `before`: only those made before the one of this number.
    """
    query = _JOINED.order_by(decisions.c.decision_id.desc()).limit(limit)
    asked = {"plan_id": plan_id, "subject": subject, "kind": kind, "state": state}
    for name, value in asked.items():
        if value is not None:
            query = query.where(decisions.c[name] == value)
    if before is not None:
        query = query.where(decisions.c.decision_id < before)
    return [_decision(row) for row in await connection.execute(query)]


async def open_decision(connection: AsyncConnection, decision_id: int) -> Decision:
    """The decision, locked until the transaction ends. Raises InvalidInput, and NotOpen when it was decided."""
    await connection.execute(
        select(decisions.c.decision_id).where(decisions.c.decision_id == decision_id).with_for_update()
    )
    decision = await decision_of(connection, decision_id)
    if decision.state is not DecisionState.PROPOSED:
        raise NotOpen(f"decision {decision_id} is {decision.state}, by {decision.decided_by}")
    return decision


def check_four_eyes(decision: Decision, actor: str) -> None:
    """Raises FourEyes when the one who proposed would approve."""
    if actor.casefold() == decision.proposed_by.casefold():
        raise FourEyes(f"{FourEyes.__doc__} ({decision.name} was proposed by {decision.proposed_by})")


async def refuse(connection: AsyncConnection, decision_id: int, *, reason: str, actor: str) -> Decision:
    """Refuse a decision, for a stated reason; anybody may, who proposed it too. Raises InvalidInput, NotOpen."""
    decision = await open_decision(connection, decision_id)
    return await close(connection, decision, DecisionState.REFUSED, {"reason": reason}, actor=actor, reason=reason)


async def close(
    connection: AsyncConnection,
    decision: Decision,
    state: DecisionState,
    outcome: Mapping[str, Any],
    *,
    actor: str,
    reason: str | None = None,
) -> Decision:
    """Note that an open decision is done, or refused and why, in the transaction that did it."""
    await connection.execute(
        update(decisions)
        .where(decisions.c.decision_id == decision.decision_id)
        .values(state=state, decided_by=actor, outcome=dict(outcome))
    )
    act = "approve" if state is DecisionState.DONE else "refuse"
    which = {"decision": decision.decision_id}
    await record(connection, actor, f"{act} {decision.kind}", decision.subject, which, reason=reason)
    return replace(decision, state=state, decided_by=actor, outcome=outcome)
