"""What waits while a share run holds the plan: it reserved the balances and the carry as they stood (DESIGN §6)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.store.tables import share_runs

HOLDING_STATES = ("frozen", "measured", "previewed", "approved", "posting", "voiding")
"""States of a run that holds its plan: `engine.runs.states.HOLDS_THE_PLAN`, which stands a floor above this one."""


async def holding_run(connection: AsyncConnection, plan_id: int) -> int | None:
    """The run that holds the plan; None when nothing does. The caller holds the plan's lock (`lock_roster`)."""
    found: int | None = await connection.scalar(
        select(share_runs.c.run_id).where(share_runs.c.plan_id == plan_id, share_runs.c.state.in_(HOLDING_STATES))
    )
    return found


async def refuse_while_held(connection: AsyncConnection, plan_id: int, what: str) -> None:
    """Raises InvalidInput that names the run while one holds the plan."""
    run_id = await holding_run(connection, plan_id)
    if run_id is not None:
        raise InvalidInput(
            f"run {run_id} holds the plan's balances; {what} once it is sealed or voided "
            f"(`fentan run show {run_id}` says where it stands)"
        )
