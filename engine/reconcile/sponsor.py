"""What a plan's sponsor still owes, and the reference by which it pays.

What members do not bear stands on two accounts: by seat what was waived, and the rest. What the sponsor pays is not
told apart: it all goes to the second, so that what it owes is both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.reference import Kind, Reference
from engine.ledger.accounts import CURRENCY, Account
from engine.ledger.trial_balance import trial_balance
from engine.money import to_major
from engine.roster.plan import newest_rules

_OWED = (Account.SPONSOR_WAIVERS, Account.SPONSOR_RECEIVABLE)


@dataclass(frozen=True)
class Sponsor:
    """`name`: in the words of the rules. `owed_minor`: below 0 is owed to the sponsor. `reference`: for any payment."""

    name: str
    owed_minor: int
    reference: Reference

    def as_json(self) -> dict[str, Any]:
        """The amount as text in major units."""
        return {"sponsor": self.name, "owed": to_major(self.owed_minor), "reference": str(self.reference)}


async def sponsor_of(connection: AsyncConnection, plan_id: int) -> Sponsor:
    """A plan's sponsor, and what it owes by the books as they are."""
    rules = await newest_rules(connection, plan_id)
    lines = await trial_balance(connection, plan_id)
    owed = sum(line.debit - line.credit for line in lines if line.unit == CURRENCY and line.account in _OWED)
    return Sponsor(rules.share.sponsor, owed, Reference(Kind.SPONSOR, plan_id, 0, 0))
