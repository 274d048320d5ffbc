"""That a run ties out (I5): what came in is what went out, read from its posted journals alone."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput


class TieOut(NamedTuple):
    """One run in minor units: `charged` + `sponsor` + `carry_in` = `aid` + `fee` + `carry_out`."""

    charged: int
    sponsor: int
    carry_in: int
    aid: int
    fee: int
    carry_out: int

    @property
    def money_in(self) -> int:
        """What members, the sponsor and the carry before it gave."""
        return self.charged + self.sponsor + self.carry_in

    @property
    def money_out(self) -> int:
        """What claimants, the plan and the carry after it got."""
        return self.aid + self.fee + self.carry_out


_OF_RUN = text("SELECT charged, sponsor, carry_in, aid, fee, carry_out FROM run_tie_out WHERE run_id = :run")


async def tie_out_of(connection: AsyncConnection, run_id: int) -> TieOut:
    """The run's line of the view `run_tie_out`. Raises InvalidInput for a run whose seal is not in the books."""
    row = (await connection.execute(_OF_RUN, {"run": run_id})).one_or_none()
    if row is None:
        raise InvalidInput(f"run {run_id} is not sealed, or was voided; only what a sealed run posted ties out")
    return TieOut(*map(int, row))
