"""Objections: raised while a claim's notice lasts, each resolved by itself; an open one bars the claim from passing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import BigInteger, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.claims import Claim, decide, locked
from engine.claims.states import ClaimRefused, Event
from engine.store.tables import objections


@dataclass(frozen=True, slots=True)
class Objection:
    """One objection to one claim; open until it has a resolution."""

    number: int
    raised_on: date
    reason: str
    resolved_on: date | None
    resolution: str | None


async def objections_to(
    connection: AsyncConnection, claim_id: int, *, after: int = 0, limit: int | None = None
) -> list[Objection]:
    """Every objection to a claim, in the order raised, those after a number."""
    rows = await connection.execute(
        select(objections)
        .where(objections.c.claim_id == claim_id, objections.c.number > literal(after, BigInteger))
        .order_by(objections.c.number)
        .limit(limit)
    )
    return [Objection(row.number, row.raised_on, row.reason, row.resolved_on, row.resolution) for row in rows]


async def object_to(connection: AsyncConnection, claim_id: int, *, reason: str, on: date, actor: str) -> Objection:
    """Raise an objection, numbered 1, 2, … inside the claim. Raises ClaimRefused outside the notice."""
    claim = await locked(connection, claim_id, Event.OBJECT)
    first_day, first_day_after = claim.noticed()
    if not first_day <= on < first_day_after:
        raise ClaimRefused(
            f"claim {claim_id}: {on} is outside its notice, which lasts from {first_day} until before {first_day_after}"
        )
    raised = Objection(len(await objections_to(connection, claim_id)) + 1, on, reason, None, None)
    await connection.execute(
        insert(objections).values(claim_id=claim_id, number=raised.number, raised_on=on, reason=reason)
    )
    await decide(connection, claim, Event.OBJECT, on=on, actor=actor, detail={"number": raised.number})
    return raised


async def resolve(
    connection: AsyncConnection, claim_id: int, number: int, *, resolution: str, on: date, actor: str
) -> Claim:
    """Answer an objection, once. One that is upheld is answered here and followed by `reject`.

    Raises ClaimRefused when it is not there, already answered, or was raised later than `on`.
    """
    claim = await locked(connection, claim_id, Event.RESOLVE)
    answered = await connection.execute(
        update(objections)
        .where(objections.c.claim_id == claim_id, objections.c.number == number)
        .where(objections.c.resolved_on.is_(None), objections.c.raised_on <= on)
        .values(resolved_on=on, resolution=resolution)
        .returning(objections.c.number)
    )
    if answered.first() is None:
        still_open = [o for o in await objections_to(connection, claim_id) if o.resolved_on is None]
        named = ", ".join(f"{o.number} (raised on {o.raised_on})" for o in still_open) or "none"
        raise ClaimRefused(f"claim {claim_id} has no open objection {number} on {on}; open: {named}")
    return await decide(connection, claim, Event.RESOLVE, on=on, actor=actor, detail={"number": number})
