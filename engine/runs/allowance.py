"""Who can share a run and with how much: the seats at its gates, their allowances, and whose share the sponsor pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import Seats
from engine.apportion.seats import Int32s, Int64s
from engine.ledger.accounts import Account, account_id, first_seat
from engine.ledger.balances import Balance, read_balance, read_usage, read_year_usage
from engine.plans.answers import floor_minor, members_share, run_cap, waiver_for, year_caps
from engine.plans.calendar import period_before
from engine.plans.days import NEVER, date_of, day_number
from engine.plans.rules import CapYear, Gate, PlanRules
from engine.roster.changes import current_columns
from engine.roster.columns import read_seats
from engine.runs.caps import (
    YEAR_DAYS,
    anniversaries,
    cap_years,
    least_of,
    left_of,
    standing_caps,
    used_in_membership_year,
)
from engine.runs.run import Inputs
from engine.runs.shards import ShardClaim


@dataclass(frozen=True)
class Seated:
    """A shard's seats as a run sees them: their `allowance` is the least of `caps`.

    `caps`: what each standing cap leaves a seat by its name (per_run, per_year, balance), in minor units: int64[n], or
    one amount for all. `usage`: the calendar year's, where it was read.
    """

    seats: Seats
    usage: Balance | None = None
    caps: Mapping[str, Int64s | int] = field(default_factory=dict)


class _Stand(NamedTuple):
    """After which posting a shard's books are read, and of how many places its segments may tell."""

    shard_id: int
    ledger_seq: int
    places: int


async def seats_of(connection: AsyncConnection, inputs: Inputs, claim: ShardClaim) -> Seated:
    """The shard's seats at the pinned roster version and tiers of the debit day, with what the pinned books leave them.

    Seats below the plan's floor cover no gate, nor does any in a run that members do not share. Only what a standing
    cap asks for is read.
    """
    first, on_day = first_seat(claim.shard_id), day_number(inputs.run.debit_on)
    roster = await read_seats(connection, claim.shard_id, claim.roster_version, first, on_day=on_day)
    return await _seated(connection, inputs, _Stand(claim.shard_id, claim.ledger_seq, claim.seats), roster)


async def seats_now(connection: AsyncConnection, inputs: Inputs, shard_id: int, *, through_seq: int) -> Seated:
    """Like seats_of, with every change to the roster in it, folded or not, and after the posting `through_seq`."""
    _, _, columns = await current_columns(connection, shard_id)
    roster = columns.seats(first_seat(shard_id), on_day=day_number(inputs.run.debit_on))
    return await _seated(connection, inputs, _Stand(shard_id, through_seq, len(roster)), roster)


async def _seated(connection: AsyncConnection, inputs: Inputs, stand: _Stand, roster: Seats) -> Seated:
    rules, debit_on = inputs.rules, inputs.run.debit_on
    if not members_share(rules, debit_on):
        return Seated(_without(roster, np.ones(len(roster), dtype=np.bool_), inputs.gates))
    seats = by_gate(inputs, roster)
    caps: dict[str, Int64s | int] = {}
    usage = None
    for name in standing_caps(rules, debit_on):
        match name:
            case "per_run":
                caps[name] = run_cap(rules) or 0
            case "per_year" if rules.caps.year is CapYear.MEMBERSHIP:
                caps[name] = await _left_of_membership_year(connection, inputs, stand, roster)
            case "per_year":
                usage = await read_year_usage(
                    connection, stand.shard_id, debit_on.year, through_seq=stand.ledger_seq, seats=stand.places
                )
                caps[name] = left_of(year_caps(rules, debit_on.year), roster.tier, usage.amounts[: len(roster)])
            case "balance":
                balance = (await _balances(connection, inputs, stand))[: len(roster)]
                caps[name] = balance
                seats = _without(seats, balance < floor_minor(rules), inputs.gates)
    return Seated(replace(seats, allowance=least_of(caps.values())), usage, caps)


async def _left_of_membership_year(
    connection: AsyncConnection, inputs: Inputs, stand: _Stand, seats: Seats
) -> Int64s | int:
    debit_on, day = inputs.run.debit_on, day_number(inputs.run.debit_on)
    used = await read_usage(connection, stand.shard_id, day - YEAR_DAYS, day + YEAR_DAYS, through_seq=stand.ledger_seq)
    began = anniversaries(seats.shares_from, debit_on)
    before, this = cap_years(inputs.rules, debit_on)
    caps = (*year_caps(inputs.rules, before), *year_caps(inputs.rules, this))
    is_this = began >= day_number(debit_on.replace(month=1, day=1))
    row = seats.tier + is_this * np.int32(len(inputs.rules.tiers))
    return left_of(caps, row, used_in_membership_year(seats.shares_from, began, debit_on, used))


async def _balances(connection: AsyncConnection, inputs: Inputs, stand: _Stand) -> Int64s:
    """What each seat has paid in and not used: int64[places] minor units."""
    deposits = account_id(inputs.run.plan_id, Account.MEMBER_DEPOSITS)
    found = await read_balance(connection, stand.shard_id, deposits, through_seq=stand.ledger_seq, seats=stand.places)
    return np.maximum(-found.amounts, 0)


def _without(seats: Seats, chosen: NDArray[np.bool_], gates: tuple[int, ...]) -> Seats:
    """The seats, those chosen covering none of the gates."""
    return replace(seats, ended_on=np.where(chosen, np.int32(gates[0]), seats.ended_on))


def by_gate(inputs: Inputs, roster: Seats) -> Seats:
    """The seats with the gates they share by the plan's rule, which may ask for more than being covered there."""
    if inputs.rules.share.gate is not Gate.KEPT_FROM_LAST_PERIOD:
        return roster
    return kept_from_last_period(roster, inputs.rules, inputs.gates)


def kept_from_last_period(seats: Seats, rules: PlanRules, gates: tuple[int, ...]) -> Seats:
    """The seats with the gates they share by having been there a period before already (SCHEMES: kangai).

    A gate counts for who was covered on the debit day before it too, in the plan's first period on its first day. So a
    seat begins at the first gate whose debit day before it covered, and what froze it on such a day holds up to the
    first gate with a later one.
    """
    before = np.array([_kept_since(rules, date_of(gate)) for gate in gates], dtype=np.int32)
    gates_then_never = np.array([*gates, NEVER], dtype=np.int32)

    def gate_after(days: Int32s) -> NDArray[np.intp]:
        return np.searchsorted(before, days)

    shares_from = gates_then_never.take(gate_after(seats.shares_from))
    if seats.frozen_from is None or seats.frozen_to is None:
        return replace(seats, shares_from=shares_from)
    first, last = gate_after(seats.frozen_from), gate_after(seats.frozen_to)
    # A freeze that no debit day saw was not there a period before.
    frozen_to = np.where(first < last, gates_then_never.take(last), seats.frozen_to)
    return replace(seats, shares_from=shares_from, frozen_to=frozen_to)


def _kept_since(rules: PlanRules, gate_on: date) -> int:
    return day_number(max(period_before(rules, gate_on), rules.starts_on))


def waived_seats(inputs: Inputs, seats: Seats) -> NDArray[np.bool_] | None:
    """bool[n]: whose share the sponsor pays in this run; None when nobody's (SCHEMES: xianghubao, first period).

    One run has one rounding, so one waiver: the one that holds at its last gate.
    """
    waiver = waiver_for(inputs.rules, date_of(inputs.gates[-1]))
    return None if waiver is None else seats.shares_from <= day_number(waiver.joined_by)
