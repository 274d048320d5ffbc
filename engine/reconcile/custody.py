"""The custody report of a quarter: what came into a plan's account and went out of it, by kind, from the posted books.

Such plans publish it (SCHEMES: the money is held by a bank, and the bank's figures are the plan's). Opening + inflow -
outflow = closing, and the closing is what the books say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.calls import CALLS
from engine.custodian.events import CAUSES
from engine.custodian.reference import Kind
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.trial_balance import trial_balance
from engine.money import to_major
from engine.roster.plan import Plan

_QUARTER = re.compile(r"([0-9]{4})-?Q([1-4])")

_INFLOW: Mapping[Account, str] = {
    Account.CONTRIBUTIONS_RECEIVABLE: "shares collected",
    Account.MEMBER_DEPOSITS: "deposits paid in",
    Account.AID_PAYABLE: "payouts that came back",
    Account.REFUNDS_PAYABLE: "refunds that came back",
    Account.SPONSOR_WAIVERS: "paid by the sponsor",
    Account.SPONSOR_RECEIVABLE: "paid by the sponsor",
    Account.SURPLUS_RESERVE: "surplus received",
    Account.INTEREST: "interest",
    Account.SUSPENSE: "unknown receipts",
    Account.BAD_DEBT: "recovered of what was written off",
    Account.BANK_CHARGES: "charges given back",
    Account.CARRY: "recovered aid",
}
_OUTFLOW: Mapping[Account, str] = {
    Account.CONTRIBUTIONS_RECEIVABLE: "debits that came back",
    Account.MEMBER_DEPOSITS: "deposits paid out",
    Account.AID_PAYABLE: "aid paid",
    Account.REFUNDS_PAYABLE: "refunds paid",
    Account.BANK_CHARGES: "bank charges",
    Account.INTEREST: "interest paid",
    Account.SPONSOR_RECEIVABLE: "paid back to the sponsor",
    Account.SUSPENSE: "payments not explained yet",
}
_CALLED: Mapping[tuple[Account, str], str] = {
    (Account.MEMBER_DEPOSITS, CAUSES[Kind.AUTO_TOP_UP]): CALLS[Kind.AUTO_TOP_UP],
    (Account.CONTRIBUTIONS_RECEIVABLE, CAUSES[Kind.LEVY]): CALLS[Kind.LEVY],
}
"""What calls bring, by how the keys of their journals begin; beside shares, and what members pay in by themselves."""
AID_PAID, REFUNDS_PAID = "aid paid", "refunds paid"
BETWEEN_PLANS = "moved between plans of the account"
EXPLAINED = "unknown before, explained since"


@dataclass(frozen=True)
class Quarter:
    """Three months of a year, its quarter 1 to 4."""

    year: int
    number: int

    @classmethod
    def read(cls, said: str) -> Quarter:
        """`2019Q3` or `2019-Q3`. Raises InvalidInput."""
        match = _QUARTER.fullmatch(said.strip().upper())
        if match is None or match[1] == "0000":
            raise InvalidInput(f"{said[:20]!r} is no quarter; write it like 2019Q3")
        return cls(int(match[1]), int(match[2]))

    @property
    def first_on(self) -> date:
        """Its first day."""
        return date(self.year, 3 * self.number - 2, 1)

    @property
    def last_on(self) -> date:
        """Its last day."""
        return date(self.year, 3 * self.number, 31 if self.number in (1, 4) else 30)

    def __str__(self) -> str:
        return f"{self.year}Q{self.number}"


@dataclass(frozen=True)
class Custody:
    """A plan's account over a quarter, in minor units.

    `inflow`, `outflow`: by kind, both positive. `opening` and `book`: cash in the books before the first day and at the
    end of the last; `closing`: opening + inflow - outflow.
    """

    plan: str
    quarter: Quarter
    opening: int
    inflow: Mapping[str, int]
    outflow: Mapping[str, int]
    book: int

    @property
    def closing(self) -> int:
        """What the flows come to."""
        return self.opening + sum(self.inflow.values()) - sum(self.outflow.values())

    @property
    def difference(self) -> int:
        """Between the flows and the books: 0."""
        return self.closing - self.book

    def as_json(self) -> dict[str, Any]:
        """Amounts as text in major units."""
        flows = {"inflow": self.inflow, "outflow": self.outflow}
        return {
            "plan": self.plan,
            "quarter": str(self.quarter),
            "from": self.quarter.first_on.isoformat(),
            "to": self.quarter.last_on.isoformat(),
            "opening": to_major(self.opening),
            **{name: {kind: to_major(amount) for kind, amount in flow.items()} for name, flow in flows.items()},
            **{f"{name}_total": to_major(sum(flow.values())) for name, flow in flows.items()},
            "closing": to_major(self.closing),
            "book": to_major(self.book),
            "difference": to_major(self.difference),
        }


async def custody_of(connection: AsyncConnection, plan: Plan, quarter: Quarter) -> Custody:
    """What moved a plan's cash in a quarter, by the account on the other side of each journal.

    What seats owed, paid in or were refunded is told apart seat by seat, so that a day's collections and returns are
    not netted; what one seat paid and got back on one day is.
    """
    inflow, outflow = Counter[str](), Counter[str]()
    values = {
        "cash": account_id(plan.plan_id, Account.CUSTODIAN_CASH),
        "first": plan_shard(plan.plan_id),
        "stop": plan_shard(plan.plan_id + 1),
        "from_on": quarter.first_on,
        "to_on": quarter.last_on,
    }
    for code, is_of_plan, kind, cause, came, went in await connection.execute(_FLOWS, values):
        account = Account(code)
        if called := _CALLED.get((account, cause)):
            inflow[f"{called} collected"] += int(came)
            outflow[f"{called} that came back"] += int(went)
            continue
        inflow[_in(account, is_of_plan, kind)] += int(came)
        outflow[_out(account, is_of_plan, kind)] += int(went)
    return Custody(
        plan.code,
        quarter,
        await _cash(connection, plan.plan_id, quarter.first_on - timedelta(days=1)),
        _shown(inflow),
        _shown(outflow),
        await _cash(connection, plan.plan_id, quarter.last_on),
    )


def _shown(flow: Counter[str]) -> dict[str, int]:
    return {kind: amount for kind, amount in flow.items() if amount}


def _in(account: Account, is_of_plan: bool, kind: str) -> str:
    if account is Account.PAYOUTS_IN_TRANSIT:
        return "payouts that came back" if is_of_plan else "refunds that came back"
    if account is Account.SUSPENSE and (moved := _off_suspense(is_of_plan, kind)):
        return moved
    if kind == "recovery":
        return "recovered aid"
    return _INFLOW.get(account, account.title)


def _out(account: Account, is_of_plan: bool, kind: str) -> str:
    if account is Account.PAYOUTS_IN_TRANSIT:  # payouts are posted on the plan's own shard, refunds by seat
        return AID_PAID if is_of_plan else REFUNDS_PAID
    if account is Account.SUSPENSE and (moved := _off_suspense(is_of_plan, kind)):
        return moved
    return _OUTFLOW.get(account, account.title)


def _off_suspense(is_of_plan: bool, kind: str) -> str | None:
    """What suspense stands for beside cash: what nobody knows stands on the plan's own shard."""
    if kind == "resolution":
        return BETWEEN_PLANS
    return None if is_of_plan else EXPLAINED


# Of every journal that moves cash each other line, turned round; where it has detail by seat, by its signs.
_FLOWS = text(
    "WITH moved AS MATERIALIZED (SELECT shard_id, seq, kind, accounts, amounts,"
    " split_part(idempotency_key, ':', 1) AS cause FROM journals"
    " WHERE shard_id >= :first AND shard_id < :stop AND effective_on BETWEEN :from_on AND :to_on"
    " AND CAST(:cash AS bigint) = ANY (accounts))"
    " SELECT line.account % 10000 AS code, shard_id % 1000000 = 0 AS is_of_plan, kind, cause,"
    " sum(coalesce(detail.came, greatest(-line.amount, 0))) AS came,"
    " sum(coalesce(detail.went, greatest(line.amount, 0))) AS went"
    " FROM moved CROSS JOIN unnest(accounts, amounts) AS line (account, amount)"
    " LEFT JOIN LATERAL (SELECT coalesce(-sum(each) FILTER (WHERE each < 0), 0) AS came,"
    " coalesce(sum(each) FILTER (WHERE each > 0), 0) AS went"
    " FROM posting_segments AS segment, unnest(segment.amounts) AS each"
    " WHERE segment.shard_id = moved.shard_id AND segment.seq = moved.seq AND segment.account_id = line.account"
    " HAVING count(*) > 0) AS detail ON line.account % 10 = 0"
    " WHERE line.account <> :cash GROUP BY code, is_of_plan, kind, cause ORDER BY code, is_of_plan, kind, cause"
)


async def _cash(connection: AsyncConnection, plan_id: int, on: date) -> int:
    lines = await trial_balance(connection, plan_id, on)
    cash = account_id(plan_id, Account.CUSTODIAN_CASH)
    return sum(line.debit - line.credit for line in lines if line.account_id == cash)
