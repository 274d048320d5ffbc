"""What a run came to: totals, the tie-out line (I5), how long each phase took, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import unpack
from engine.ledger.tie_out import TieOut
from engine.money import to_major
from engine.plans.days import date_of
from engine.runs.run import Run
from engine.runs.states import RunState
from engine.store.tables import run_cases, run_shards, share_runs

PHASES = {
    "freeze": ("freezing", "frozen"),
    "measure": ("frozen", "measured"),
    "solve": ("measured", "previewed"),
    "post": ("posting", "sealing"),
    "seal": ("sealing", "sealed"),
}
"""Each phase between the moments it lies between; `approved` to `posting` is nobody's work."""


@dataclass(frozen=True)
class Totals:
    """A posted run in minor units: `charged` is without waived seats, `sponsor` includes them.

    Of a credit run `charged` is the surplus, which is charged for the aid: what members are given.
    """

    members: int
    sharers: int
    aid: int
    fee: int
    carry_in: int
    carry_out: int
    sponsor: int
    charged: int
    waived: int
    waived_seats: int
    share: int

    @property
    def tie_out(self) -> TieOut:
        """Its line of I5."""
        return TieOut(self.charged, self.sponsor, self.carry_in, self.aid, self.fee, self.carry_out)

    @property
    def money_in(self) -> int:
        """The left side of I5."""
        return self.tie_out.money_in

    @property
    def money_out(self) -> int:
        """The right side of I5."""
        return self.tie_out.money_out

    def as_json(self) -> dict[str, Any]:
        """Strings in major units, counts as numbers."""
        counts = ("members", "sharers", "waived_seats")
        names = ("aid", "fee", "carry_in", "carry_out", "sponsor", "charged", "waived", "share")
        return {name: getattr(self, name) for name in counts} | {name: to_major(getattr(self, name)) for name in names}


async def totals_of(connection: AsyncConnection, run: Run) -> Totals | None:
    """The run's totals from what was posted; None before it was solved."""
    if run.solution is None:
        return None
    outcome = unpack(run.solution)
    posted = (
        await connection.execute(
            select(
                func.coalesce(func.sum(run_shards.c.charged_minor), 0).label("charged"),
                func.coalesce(func.sum(run_shards.c.waived_minor), 0).label("waived"),
                func.coalesce(func.sum(run_shards.c.waived_seats), 0).label("waived_seats"),
            ).where(run_shards.c.run_id == run.run_id)
        )
    ).one()
    return Totals(
        members=run.members or 0,
        sharers=outcome.sharers,
        aid=int(posted.charged) if run.surplus is not None else sum(outcome.aids),
        fee=sum(outcome.fees),
        carry_in=outcome.carry_in,
        carry_out=outcome.carry_out,
        sponsor=outcome.sponsor + int(posted.waived),
        charged=int(posted.charged) if run.surplus is None else run.surplus["shared"],
        waived=int(posted.waived),
        waived_seats=int(posted.waived_seats),
        share=outcome.share,
    )


def phase_seconds(moments: Mapping[str, str]) -> dict[str, float]:
    """How long each phase took, for the phases that are over."""
    times = {name: datetime.fromisoformat(moment) for name, moment in moments.items()}
    return {
        phase: (times[end] - times[begin]).total_seconds()
        for phase, (begin, end) in PHASES.items()
        if begin in times and end in times
    }


def phase_table(seconds: Mapping[str, float], members: int) -> dict[str, dict[str, float]]:
    """Phases as reports show them: `seconds` and `members_per_second`."""
    return {
        phase: {"seconds": round(took, 4), "members_per_second": round(members / took) if took else 0}
        for phase, took in seconds.items()
    }


async def failed_shards(connection: AsyncConnection, run_id: int) -> list[tuple[int, str]]:
    """(shard, error) of every shard that waits for a person."""
    rows = await connection.execute(
        select(run_shards.c.shard_id, run_shards.c.error)
        .where(run_shards.c.run_id == run_id, run_shards.c.state == "failed")
        .order_by(run_shards.c.shard_id)
    )
    return [(row.shard_id, row.error) for row in rows]


async def cases_of(connection: AsyncConnection, run_id: int) -> list[dict[str, Any]]:
    """The run's cases as reports show them."""
    rows = await connection.execute(select(run_cases).where(run_cases.c.run_id == run_id).order_by(run_cases.c.number))
    return [
        {
            "claim": row.claim_id,
            "aid": to_major(row.aid_minor),
            "aid_paid": None if row.aid_paid_minor is None else to_major(row.aid_paid_minor),
            "fee": None if row.fee_minor is None else to_major(row.fee_minor),
        }
        for row in rows
    ]


class Stage(NamedTuple):
    """What one run carries of a claim, in minor units; paid and fee are None before its preview."""

    run_id: int
    state: RunState
    debit_on: date
    gate_on: date
    aid: int
    aid_paid: int | None
    fee: int | None


async def stages_of(connection: AsyncConnection, claim_id: int) -> list[Stage]:
    """Every run that a claim was in, in their order, those that failed or were voided too."""
    of = run_cases.c
    query = (
        select(of.run_id, share_runs.c.state, share_runs.c.debit_on, of.gate_day, of.aid_minor)
        .add_columns(of.aid_paid_minor, of.fee_minor)
        .join(share_runs, share_runs.c.run_id == of.run_id)
        .where(of.claim_id == claim_id)
        .order_by(of.run_id)
    )
    return [
        Stage(row[0], RunState(row[1]), row[2], date_of(row[3]), *row[4:]) for row in await connection.execute(query)
    ]
