"""The append-only history of a claim: one row per decision, refused to change by the database (I4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.states import Event
from engine.store.tables import claim_events

Detail = Mapping[str, str | int | list[str]]
"""What a decision rests on: ids, days, amounts as text in major units, steps of arithmetic, a stated reason; never a
name or a medical detail."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of a claim's history."""

    event: Event
    happened_on: date
    actor: str
    detail: Detail


async def record(
    connection: AsyncConnection, claim_ids: Iterable[int], event: Event, *, on: date, actor: str, detail: Detail
) -> None:
    """Append the same decision to the history of every claim given."""
    rows = [
        {"claim_id": claim_id, "event": event, "happened_on": on, "actor": actor, "detail": dict(detail)}
        for claim_id in claim_ids
    ]
    if rows:
        await connection.execute(insert(claim_events), rows)


async def history(connection: AsyncConnection, claim_id: int) -> list[Decision]:
    """Every decision on a claim, oldest first; empty when there is no such claim."""
    rows = await connection.execute(
        select(claim_events).where(claim_events.c.claim_id == claim_id).order_by(claim_events.c.event_id)
    )
    return [Decision(Event(row.event), row.happened_on, row.actor, row.detail) for row in rows]
