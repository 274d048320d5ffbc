"""How long each step of a run took: of a clock that stands every one took nothing."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from tests.screenshots.office import Office

MEASURED, POSTED = 9_400, 3_100
"""Seats a second."""

BEGAN = timedelta(seconds=6)
"""So long ago a worker took the first shard of the run that is being posted."""


async def spread(office: Office, now: datetime) -> None:
    """Let time pass in every run: in its moments, and from shard to shard."""
    rows = await office.sql("SELECT run_id, moments, members FROM share_runs ORDER BY run_id")
    for run_id, moments, members in rows.all():
        at = {name: datetime.fromisoformat(moment) for name, moment in moments.items()}
        if "posting" in at and "sealed" not in at:
            at["posting"] = now - BEGAN
        for name, before, seconds in (
            ("freezing", "planned", 0.4),
            ("frozen", "freezing", 0.7),
            ("measured", "frozen", members / MEASURED),
            ("previewed", "measured", 0.2),
            ("posting", "approved", 0.3),
            ("sealing", "posting", members / POSTED),
            ("sealed", "sealing", 0.6),
        ):
            if name in at and not (name == "posting" and "sealed" not in at):
                at[name] = at[before] + timedelta(seconds=seconds)
        said = {name: moment.isoformat() for name, moment in at.items()}
        await office.sql(
            "UPDATE share_runs SET moments = CAST(:moments AS jsonb) WHERE run_id = :run",
            moments=json.dumps(said), run=run_id,
        )  # fmt: skip
        if (began := at.get("posting", at.get("frozen"))) is not None:
            await _spread_shards(office, run_id, began, POSTED if "posting" in at else MEASURED)


async def _spread_shards(office: Office, run_id: int, began: datetime, seats_per_second: int) -> None:
    """One shard after the other, as one worker takes them."""
    await office.sql(
        "WITH paced AS (SELECT shard_id, seats, sum(seats) OVER (ORDER BY shard_id) AS so_far FROM run_shards"
        " WHERE run_id = :run AND state = 'done')"
        " UPDATE run_shards SET"
        " claimed_at = CAST(:began AS timestamptz) + (so_far - paced.seats) * CAST(:one AS interval),"
        " finished_at = CAST(:began AS timestamptz) + so_far * CAST(:one AS interval)"
        " FROM paced WHERE paced.shard_id = run_shards.shard_id AND run_id = :run",
        run=run_id, began=began, one=timedelta(seconds=1 / seats_per_second),
    )  # fmt: skip
