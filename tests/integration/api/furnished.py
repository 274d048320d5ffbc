"""A small real world behind the API: something for every path to find."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from tests.integration.bank_statement import Line
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import AUGUST, LATE_DEBIT, LATE_JULY, Claimant, alike

SHARE = 25_00
"""What each of the four seats owes of the claim."""


async def furnish(engine: AsyncEngine, folder: Path) -> Asked:
    """A plan of four seats with a run that is paid for, a statement with a break, a run that is planned, and claims."""
    found = await asked(engine, folder, alike(4))
    paid, unknown = Line(SHARE, found.reference(0)), Line(3_00, "who is this")
    taken = await found.takes(paid, unknown)
    assert taken.statement_id is not None
    world = found.world
    await world.claim(aid_minor=80_00, notice_on=LATE_JULY)
    await world.planned(LATE_DEBIT)
    async with engine.begin() as connection:
        on = AUGUST - timedelta(days=2)
        for seat in (2, 3):
            claimant = Claimant(world.shard(1), seat=seat)
            claim = await claims.file(
                connection, world.plan_id, world.rules, claimant,
                diagnosed_on=on, on=on, actor="intake", aid_minor=50_00,
            )  # fmt: skip
        await claims.publish(connection, claim.claim_id, world.rules, on=AUGUST, actor="intake")
    return found
