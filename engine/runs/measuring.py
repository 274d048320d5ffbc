"""Measure one shard of a frozen run: its histogram, stored in its own row."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.apportion import Histogram, Rounding, Seats, measure
from engine.ledger.balances import write_year_usage
from engine.plans.answers import terms
from engine.runs.allowance import Seated, seats_of, waived_seats
from engine.runs.caps import histograms_of
from engine.runs.run import Inputs
from engine.runs.shards import ShardClaim, finish

USAGE_SEGMENTS = 8
"""The year's usage is stored anew once so many charges came after it: reading them costs less than writing it."""


async def measure_shard(engine: AsyncEngine, inputs: Inputs, claim: ShardClaim) -> None:
    """Count the shard's sharers into a histogram.

    A second one counts those whose share is waived; where several caps stand, one for each tells them apart.
    """
    async with engine.begin() as connection:
        seated = await seats_of(connection, inputs, claim)
        counted, waived, by_cap = await asyncio.to_thread(measured, inputs, seated)
        await finish(
            connection,
            claim,
            histogram=counted.to_bytes(),
            waived_histogram=None if waived is None else waived.to_bytes(),
            cap_histograms=by_cap,
            sharers=int(counted.seats.sum()),
        )
        usage = seated.usage
        if usage is not None and usage.segments >= USAGE_SEGMENTS:
            await write_year_usage(connection, claim.shard_id, inputs.run.debit_on.year, usage)


def measured(inputs: Inputs, seated: Seated) -> tuple[Histogram, Histogram | None, bytes | None]:
    """Count seats that share, those whose share is waived (None where nobody's is), and by cap where several stand."""
    seats, gates, clip = seated.seats, inputs.gates, inputs.run.clip
    pointers = inputs.pointers if terms(inputs.rules).rounding is Rounding.EXACT else None
    counted = measure(seats, gates, clip=clip, pointers=pointers)
    waived = waived_seats(inputs, seats)
    of_waived = None if waived is None else measure(_only(seats, waived), gates, clip=clip)
    # Where one cap stands, it is the allowance, and the first histogram says all there is to know of it.
    by_cap = histograms_of(seats, seated.caps, gates, clip) if len(seated.caps) > 1 else None
    return counted, of_waived, by_cap


def _only(seats: Seats, chosen: NDArray[np.bool_]) -> Seats:
    """The chosen seats alone, as if the shard held no others."""
    gap = seats.frozen_from is not None and seats.frozen_to is not None
    return replace(
        seats,
        shares_from=seats.shares_from[chosen],
        ended_on=seats.ended_on[chosen],
        tier=seats.tier[chosen],
        frozen_from=seats.frozen_from[chosen] if gap and seats.frozen_from is not None else None,
        frozen_to=seats.frozen_to[chosen] if gap and seats.frozen_to is not None else None,
        allowance=seats.allowance[chosen] if isinstance(seats.allowance, np.ndarray) else seats.allowance,
    )
