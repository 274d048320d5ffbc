"""Allowances and waivers: what a seat can be charged at most in this run, and whose share the sponsor pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import UNLIMITED, Seats
from engine.ledger.balances import Balance, read_year_usage
from engine.plans.answers import run_cap, waiver_for, year_caps
from engine.plans.days import date_of, day_number
from engine.roster.columns import read_seats
from engine.runs.run import Inputs
from engine.runs.shards import ShardClaim
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS


async def seats_of(connection: AsyncConnection, inputs: Inputs, claim: ShardClaim) -> tuple[Seats, Balance | None]:
    """The shard's seats at the pinned roster version with their allowances, and the year's usage behind these.

    The allowance is the least of the run's cap and what the year's cap leaves (DESIGN §5); no usage is read
    where no yearly cap stands.
    """
    first_seat = (claim.shard_id % PLAN_STRIDE - 1) * SHARD_SEATS
    on_day = day_number(inputs.run.debit_on)
    seats = await read_seats(connection, claim.shard_id, claim.roster_version, first_seat, on_day=on_day)
    year = inputs.run.debit_on.year
    least, yearly = run_cap(inputs.rules), year_caps(inputs.rules, year)
    if not any(cap is not None for cap in yearly):
        return replace(seats, allowance=least), None
    usage = await read_year_usage(connection, claim.shard_id, year, through_seq=claim.ledger_seq, seats=len(seats))
    return replace(seats, allowance=_left(yearly, seats, usage, UNLIMITED if least is None else least)), usage


def _left(yearly: tuple[int | None, ...], seats: Seats, usage: Balance, least: int) -> NDArray[np.int64] | int:
    """The least of `least` and what the yearly caps, by tier, leave: int64[n], or one amount where all are alike."""
    caps = np.array([UNLIMITED if cap is None else cap for cap in yearly], dtype=np.int64)
    alike = bool((caps == caps[0]).all())
    if alike and not usage.amounts.any():
        return min(int(caps[0]), least)
    cap = caps[0] if alike else caps.take(seats.tier)
    # A seat without a cap has no limit, whatever it used.
    left = np.where(cap == UNLIMITED, UNLIMITED, np.maximum(cap - usage.amounts, 0))
    return np.minimum(left, least, out=left)


def waived_seats(inputs: Inputs, seats: Seats) -> NDArray[np.bool_] | None:
    """bool[n]: whose share the sponsor pays in this run; None when nobody's (SCHEMES: xianghubao, first period).

    One run has one rounding, so one waiver: the one that holds at its last gate.
    """
    waiver = waiver_for(inputs.rules, date_of(inputs.gates[-1]))
    return None if waiver is None else seats.shares_from <= day_number(waiver.joined_by)
