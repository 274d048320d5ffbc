"""The chart of accounts. An account's id says its plan, its unit and its code, so that guards need no look-up."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.plans.member_rules import Benefit, Funding
from engine.plans.rules import PlanRules
from engine.store import tables
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS

UNIT_STRIDE = 10_000
"""Codes of one unit; unit 0 is the plan's currency, unit 1 is cover (SCHEMES: zhonghui-surplus)."""

CURRENCY, COVER = 0, 1


class Account(IntEnum):
    """Codes of the chart. Those ending in 0 are control accounts: each of their lines has a segment of detail."""

    CUSTODIAN_CASH = 1011
    DEBITS_IN_TRANSIT = 1111
    PAYOUTS_IN_TRANSIT = 1121
    CONTRIBUTIONS_RECEIVABLE = 1210
    SPONSOR_WAIVERS = 1310
    SPONSOR_RECEIVABLE = 1311
    MEMBER_DEPOSITS = 2110
    MEMBER_COVER = 2120
    AID_PAYABLE = 2210
    CARRY = 2311
    REFUNDS_PAYABLE = 2410
    SURPLUS_RESERVE = 2511
    SUSPENSE = 2611
    RUN_CLEARING = 3111
    MANAGEMENT_FEE_INCOME = 4111
    ENTRY_PREMIUMS_AND_LEVIES = 4121
    INTEREST = 4131
    BAD_DEBT = 5111
    BANK_CHARGES = 5121
    RETAINED_RESULT = 9111

    @property
    def is_control(self) -> bool:
        """Whether the account's balance is the sum of one amount per seat (per claim for aid payable)."""
        return self % 10 == 0

    @property
    def title(self) -> str:
        """The name in words: `"contributions receivable"`."""
        return self.name.lower().replace("_", " ")


def account_id(plan_id: int, code: Account, unit: int = 0) -> int:
    """The id of one plan's account."""
    return plan_id * PLAN_STRIDE + unit * UNIT_STRIDE + code


def account_of(account: int) -> Account:
    """The code inside an account id. Raises ValueError for an id outside the chart."""
    return Account(account % UNIT_STRIDE)


def unit_of(account: int) -> int:
    """The unit inside an account id: CURRENCY or COVER."""
    return account % PLAN_STRIDE // UNIT_STRIDE


def share_account(rules: PlanRules) -> Account:
    """Where a seat's shares are posted: on what the member owes or, prepaid, paid in.

    A credit run's are what is owed to the member: refunds or, in its own unit, cover.
    """
    if rules.surplus is not None:
        return Account.MEMBER_COVER if rules.surplus.benefit is Benefit.COVER else Account.REFUNDS_PAYABLE
    return Account.MEMBER_DEPOSITS if rules.funding is Funding.PREPAID else Account.CONTRIBUTIONS_RECEIVABLE


def share_unit(rules: PlanRules) -> int:
    """The unit a run is kept in, its carry too: the plan's currency or, where members are given cover, cover."""
    return COVER if share_account(rules) is Account.MEMBER_COVER else CURRENCY


def plan_shard(plan_id: int) -> int:
    """The plan's shard number 0, which has no seats and holds the plan-level journals."""
    return plan_id * PLAN_STRIDE


def seat_shard(plan_id: int, seat: int) -> int:
    """The shard that holds a seat: 65,536 consecutive ones, from shard number 1 on."""
    return plan_shard(plan_id) + 1 + seat // SHARD_SEATS


def first_seat(shard_id: int) -> int:
    """The number in the plan of the first seat of one of its other shards."""
    return (shard_id % PLAN_STRIDE - 1) * SHARD_SEATS


class Opened(NamedTuple):
    """An account that a plan has. `unit`: CURRENCY or COVER; `control`: its lines have detail by seat, or by claim."""

    account_id: int
    unit: int
    code: int
    name: str
    control: bool


async def list_accounts(connection: AsyncConnection, plan_id: int) -> list[Opened]:
    """The chart of a plan, by unit and code."""
    chart = tables.accounts.c
    query = select(*(chart[name] for name in Opened._fields)).where(chart.plan_id == plan_id)
    return [Opened(*row) for row in await connection.execute(query.order_by(chart.account_id))]


async def open_accounts(connection: AsyncConnection, plan_id: int, units: Sequence[int] = (0,)) -> None:
    """Give a plan its accounts in each unit; those it has stay."""
    rows = [
        {
            "account_id": account_id(plan_id, code, unit),
            "plan_id": plan_id,
            "unit": unit,
            "code": int(code),
            "name": code.title,
            "control": code.is_control,
        }
        for unit in units
        for code in Account
    ]
    await connection.execute(insert(tables.accounts).on_conflict_do_nothing(), rows)
