"""The books of a plan from the first journal to the last: what made each balance, kind by kind, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.accounts import CURRENCY, Account, account_of, plan_shard, unit_of
from engine.ledger.balances import read_balance
from engine.store.tables import claims, shards
from engine.store.views import journal_lines


@dataclass(frozen=True)
class BookedAccount:
    """One account of one unit. Amounts in minor units, debit positive; every account opened at 0.

    `by_kind`: the sum of its lines in the journals of each kind, in the order the kinds first came. `debtors` and
    `creditors`: how many seats (claims, for aid payable) make the balance up, 0 where it has no detail.
    """

    account: Account
    unit: int
    by_kind: Mapping[str, int]
    debtors: int
    creditors: int
    explanation: str

    @property
    def closing(self) -> int:
        """What the kinds come to."""
        return sum(self.by_kind.values())

    @property
    def holders(self) -> int:
        """How many seats or claims have a balance of their own."""
        return self.debtors + self.creditors


async def books(connection: AsyncConnection, plan_id: int, *, sponsor: str) -> list[BookedAccount]:
    """Every account of the plan that has a line, by unit and code. `sponsor`: who that is, in words."""
    by_kind = await _by_kind(connection, plan_id)
    found = []
    for account, kinds in by_kind.items():
        code, unit = account_of(account), unit_of(account)
        debtors, creditors = await _holders(connection, plan_id, account) if code.is_control else (0, 0)
        said = explanation(code, sum(kinds.values()), debtors, creditors, sponsor, unit)
        found.append(BookedAccount(code, unit, kinds, debtors, creditors, said))
    return found


def difference_of(accounts: Sequence[BookedAccount]) -> int:
    """Σ of all closing balances in minor units: 0, or the ledger is broken (I1)."""
    return sum(each.closing for each in accounts)


async def _by_kind(connection: AsyncConnection, plan_id: int) -> dict[int, dict[str, int]]:
    """Account → kind → Σ amounts, accounts by id, kinds in the order they first came into the books."""
    line = journal_lines.c
    sums = await connection.execute(
        select(line.account_id, line.kind, func.sum(line.amount), func.min(line.effective_on).label("first_on"))
        .where(line.shard_id >= plan_shard(plan_id), line.shard_id < plan_shard(plan_id + 1))
        .group_by(line.account_id, line.kind)
        .order_by(line.account_id, "first_on", line.kind)
    )
    found: dict[int, dict[str, int]] = {}
    for account, kind, amount, _ in sums:
        found.setdefault(account, {})[kind] = int(amount)
    return found


async def _holders(connection: AsyncConnection, plan_id: int, account: int) -> tuple[int, int]:
    """How many seats of a control account stand in debit, and how many in credit; a shard at a time.

    The detail of aid payable lies on the plan's own shard, by claim number.
    """
    of_claims = account_of(account) is Account.AID_PAYABLE
    chosen = select(shards.c.shard_id, shards.c.seats, shards.c.seq).where(shards.c.plan_id == plan_id)
    chosen = chosen.where(shards.c.number == 0 if of_claims else shards.c.number > 0).order_by(shards.c.shard_id)
    last_claim = await connection.scalar(select(func.max(claims.c.number)).where(claims.c.plan_id == plan_id)) or 0
    debtors = creditors = 0
    for shard_id, seats, seq in (await connection.execute(chosen)).all():
        places = last_claim + 1 if of_claims else seats
        held = await read_balance(connection, shard_id, account, through_seq=seq, seats=places)
        debtors += int(np.count_nonzero(held.amounts > 0))
        creditors += int(np.count_nonzero(held.amounts < 0))
    return debtors, creditors


_WORDS: Mapping[Account, tuple[str, str]] = {
    Account.CUSTODIAN_CASH: ("held by the custodian", "paid out beyond what the custodian was given"),
    Account.DEBITS_IN_TRANSIT: ("asked of members, not confirmed yet", "confirmed beyond what was asked of members"),
    Account.PAYOUTS_IN_TRANSIT: ("confirmed beyond what was ordered", "ordered to be paid out, not confirmed yet"),
    Account.CONTRIBUTIONS_RECEIVABLE: ("owed by {debtors}", "owed to {creditors}"),
    Account.SPONSOR_WAIVERS: (
        "borne by {sponsor}, in place of {debtors}",
        "given back to {sponsor}, for {creditors}",
    ),
    Account.SPONSOR_RECEIVABLE: ("{sponsor} still to pay", "owed to {sponsor}, or paid by it for what it bears"),
    Account.MEMBER_DEPOSITS: ("overdrawn by {debtors}", "paid in by {creditors} and not drawn"),
    Account.MEMBER_COVER: ("cover taken back from {debtors}", "cover given to {creditors}"),
    Account.AID_PAYABLE: ("aid paid out too much for {debtors}", "aid to be paid out for {creditors}"),
    Account.CARRY: (
        "lent to pools, to be collected with the next",
        "collected beyond the pools; it lowers the next",
    ),
    Account.REFUNDS_PAYABLE: ("paid back too much to {debtors}", "to be paid back to {creditors}"),
    Account.SURPLUS_RESERVE: ("given to members before it came in", "surplus that pays for the cover given"),
    Account.SUSPENSE: ("paid and not explained yet", "received and not explained yet"),
    Account.RUN_CLEARING: ("sealed and not charged: a run is under way", "charged and not sealed: a run is under way"),
    Account.MANAGEMENT_FEE_INCOME: ("fees given back", "fees earned"),
    Account.ENTRY_PREMIUMS_AND_LEVIES: ("levies given back", "levies earned"),
    Account.INTEREST: ("interest paid", "interest earned"),
    Account.BAD_DEBT: ("lost with members who did not pay", "recovered of what was written off"),
    Account.BANK_CHARGES: ("charged by the bank", "given back by the bank"),
    Account.RETAINED_RESULT: ("lost over the plan's life", "earned over the plan's life"),
}
"""What an account's balance is, in debit and in credit."""

_COVER_WORDS: Mapping[Account, tuple[str, str]] = {
    Account.SURPLUS_RESERVE: ("the surplus that became cover", "cover taken back"),
    Account.CARRY: ("lent to members, kept from the next surplus", "left over by rounding; it goes with the next"),
}
"""The same in the unit of cover, where it is another."""


def explanation(account: Account, closing: int, debtors: int, creditors: int, sponsor: str, unit: int = 0) -> str:
    """What the balance is, in the words of finance: "owed by 12 members, owed to 1 member"."""
    words = _WORDS[account] if unit == CURRENCY else _COVER_WORDS.get(account, _WORDS[account])
    noun = "claim" if account is Account.AID_PAYABLE else "member"
    known = {"debtors": counted(debtors, noun), "creditors": counted(creditors, noun), "sponsor": sponsor}
    in_debit, in_credit = (word.format(**known) for word in words)
    if debtors and creditors:
        return f"{in_debit}, {in_credit}"
    if closing == 0:
        return "settled"
    return in_debit if closing > 0 else in_credit


def counted(count: int, noun: str) -> str:
    """`1 member`, `2 members`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
