"""Top-ups that the plan draws by itself from whoever agreed to it (SCHEMES: waterdrop, at most 50 yuan a month)."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.deposits import TakenTopUps, deposit_journal, prepaid_of
from engine.members.shards import Amounts, amounts_under, deposits_of, is_posted, post_in_bulk, shards_of
from engine.plans import PlanRules, day_number
from engine.plans.answers import members_share
from engine.plans.member_rules import AutoTopUp
from engine.roster.changes import current_columns
from engine.roster.columns import Columns
from engine.roster.plan import Plan, lock_living


async def auto_top_ups(connection: AsyncConnection, plan: Plan, rules: PlanRules, *, on: date) -> TakenTopUps:
    """Debit the plan's amount from every member in force and not frozen whose balance is below its limit.

    At most the plan's sum in a calendar month. The money is in transit until the custodian confirms it. A shard is
    done once a day: the same day again changes nothing. Raises InvalidInput where the plan has no auto top-up.
    """
    rule = prepaid_of(rules).auto_top_up
    if rule is None:
        raise InvalidInput(f"{plan.code} has no auto top-up; members pay in by themselves (`fentan member top-up`)")
    if not members_share(rules, on):
        raise InvalidInput(f"members of {plan.code} share nothing any more on {on}; nobody is debited for it")
    await lock_living(connection, plan.plan_id)
    top_ups, repeated = 0, False
    for shard in await shards_of(connection, plan.plan_id):
        key = f"auto-top-up:{on}"
        if await is_posted(connection, shard, key):
            repeated = True
            continue
        _, _, columns = await current_columns(connection, shard.shard_id)
        balances = await deposits_of(connection, shard)
        month = f"starts_with(journals.idempotency_key, 'auto-top-up:{on:%Y-%m}-')"
        drawn = -await amounts_under(connection, shard, Account.MEMBER_DEPOSITS, month)
        chosen = debited(rule, columns, balances, drawn, on)
        if not chosen.any():
            continue
        paid_in = np.where(chosen, rule.amount, 0).astype(np.int64)
        journal = deposit_journal(shard, Account.DEBITS_IN_TRANSIT, paid_in, key=key, on=on)
        await post_in_bulk(connection, shard, journal, Account.MEMBER_DEPOSITS)
        top_ups += int(np.count_nonzero(chosen))
    return TakenTopUps(top_ups, top_ups * rule.amount, repeated=repeated and not top_ups)


def debited(rule: AutoTopUp, columns: Columns, balances: Amounts, drawn: Amounts, on: date) -> NDArray[np.bool_]:
    """bool[n]: who is debited. `drawn`: int64[n] minor units, what auto top-ups took this month already."""
    day = day_number(on)
    in_force = (columns.shares_from <= day) & (day < columns.ended_on)
    frozen = (columns.filled("frozen_from") <= day) & (day < columns.filled("frozen_to"))
    wanted: NDArray[np.bool_] = in_force & ~frozen & (balances < rule.below)
    return wanted & (drawn + rule.amount <= rule.per_month_at_most)
