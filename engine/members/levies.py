"""Levies: entry premiums and dormant fees, apart from the shares, which no cap counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.ledger.accounts import Account, share_account
from engine.ledger.journals import Journal, Segment
from engine.members.holds import refuse_while_held
from engine.members.shards import (
    Amounts,
    Shard,
    amounts_under,
    births_of,
    deposits_of,
    is_posted,
    post_in_bulk,
    shards_of,
)
from engine.plans import PlanRules, day_number
from engine.plans.member_rules import Levy, LevyOn
from engine.roster.changes import current_columns
from engine.roster.checks import completed_years
from engine.roster.columns import Columns
from engine.roster.plan import Plan, lock_living
from engine.store.audit import record

_QUARTER_MONTHS = 3


@dataclass(frozen=True)
class Levied:
    """What a levy came to. `short`: seats whose balance did not suffice, and `short_minor` what they lacked.

    `repeated`: every shard that owes it had been levied before, and nothing changed.
    """

    seats: int = 0
    amount_minor: int = 0
    short: int = 0
    short_minor: int = 0
    repeated: bool = False

    def __add__(self, other: Levied) -> Levied:
        return Levied(
            self.seats + other.seats,
            self.amount_minor + other.amount_minor,
            self.short + other.short,
            self.short_minor + other.short_minor,
        )


async def levy(connection: AsyncConnection, plan: Plan, rules: PlanRules, name: str, *, on: date, actor: str) -> Levied:
    """Charge every seat that owes the levy by `on`; a prepaid plan draws it from the balance, down to zero at most.

    Joining: who joined since the plan's start and was never charged it (SCHEMES: jd-hubao). Dormant quarter: who was
    covered through the calendar quarter before `on` and charged nothing in it (SCHEMES §1, 轻松). The same day again
    (the same quarter) changes nothing. Raises InvalidInput for a levy the plan has not, or while a run holds it.
    """
    rule = _levy_of(rules, name)
    await lock_living(connection, plan.plan_id)
    await refuse_while_held(connection, plan.plan_id, f"charge {name}")
    period = quarter_before(on) if rule.on is LevyOn.DORMANT_QUARTER else (rules.starts_on, on)
    key = f"levy:{name}:{period[0] if rule.on is LevyOn.DORMANT_QUARTER else on}"
    levied, repeated = Levied(), False
    for shard in await shards_of(connection, plan.plan_id):
        if await is_posted(connection, shard, key):
            repeated = True
            continue
        owes = await _owing(connection, shard, rules, rule, period)
        levied += await _charge(connection, shard, rules, rule, owes, key, on)
    if levied.seats:
        detail = {"levy": name, "on": str(on), "seats": levied.seats, "amount_minor": levied.amount_minor}
        await record(connection, actor, "levy", f"plan:{plan.code}", detail)
    return replace(levied, repeated=repeated and not levied.seats)


def _levy_of(rules: PlanRules, name: str) -> Levy:
    found = next((each for each in rules.levies if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in rules.levies) or "none"
        raise InvalidInput(f"{rules.code} has no levy {name!r}; its levies are {known}")
    return found


def quarter_before(on: date) -> tuple[date, date]:
    """The first and the last day of the calendar quarter before the one that `on` lies in."""
    this = date(on.year, on.month - (on.month - 1) % _QUARTER_MONTHS, 1)
    last = this - timedelta(days=1)
    return date(last.year, last.month - _QUARTER_MONTHS + 1, 1), last


async def _owing(
    connection: AsyncConnection, shard: Shard, rules: PlanRules, rule: Levy, period: tuple[date, date]
) -> NDArray[np.bool_]:
    """bool[n]: who owes the levy for the period, its first and last day."""
    _, _, columns = await current_columns(connection, shard.shard_id)
    first, last = (day_number(day) for day in period)
    if rule.on is LevyOn.JOINING:
        levied = await amounts_under(
            connection,
            shard,
            share_account(rules),
            f"journals.kind = 'levy' AND starts_with(journals.idempotency_key, 'levy:{rule.name}:')",
        )
        owes: NDArray[np.bool_] = (first <= columns.shares_from) & (columns.shares_from <= last) & (levied == 0)
    else:
        charged = await amounts_under(
            connection,
            shard,
            share_account(rules),
            "journals.kind IN ('charge', 'void', 'correction')"
            f" AND journals.effective_on BETWEEN '{period[0]}' AND '{period[1]}'",
        )
        owes = covered_throughout(columns, first, last) & (charged == 0)
    if rule.from_age is None or rule.to_age is None:
        return owes
    ages = completed_years(await births_of(connection, shard.shard_id), columns.shares_from)
    of_age: NDArray[np.bool_] = (rule.from_age <= ages) & (ages <= rule.to_age)
    return owes & of_age


def covered_throughout(columns: Columns, first: int, last: int) -> NDArray[np.bool_]:
    """bool[n]: in force and not frozen on each of the days, whose numbers are `first` to `last`."""
    covered: NDArray[np.bool_] = (columns.shares_from <= first) & (last < columns.ended_on)
    frozen_from, frozen_to = columns.filled("frozen_from"), columns.filled("frozen_to")
    thawed: NDArray[np.bool_] = (frozen_from >= frozen_to) | (frozen_to <= first) | (last < frozen_from)
    return covered & thawed


async def _charge(
    connection: AsyncConnection,
    shard: Shard,
    rules: PlanRules,
    rule: Levy,
    owes: NDArray[np.bool_],
    key: str,
    on: date,
) -> Levied:
    amounts: Amounts = np.where(owes, rule.amount, 0).astype(np.int64)
    if rules.prepaid is not None:
        np.minimum(amounts, np.maximum(await deposits_of(connection, shard), 0), out=amounts)
    short = owes & (amounts < rule.amount)
    seats, amount_minor = int(np.count_nonzero(amounts)), int(amounts.sum())
    if seats:
        code = share_account(rules)
        segment = Segment.of(shard.account(code), amounts)
        journal = Journal(
            shard_id=shard.shard_id,
            key=key,
            kind="levy",
            effective_on=on,
            lines={segment.account_id: amount_minor, shard.account(Account.ENTRY_PREMIUMS_AND_LEVIES): -amount_minor},
            segments=(segment,),
        )
        await post_in_bulk(connection, shard, journal, code)
    return Levied(seats, amount_minor, int(np.count_nonzero(short)), int((rule.amount - amounts[short]).sum()))
