"""What members are owed back is paid out: balances of who left, surpluses given, duplicates, the end of a plan.

Proposed by one, carried out once another approves (I13). There may be millions: a decision holds what they come to and
a digest of every amount, and what is paid is held against both.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files import Batch
from engine.custodian.desk import Desk
from engine.custodian.reference import Kind as Asked
from engine.custodian.registered import Custodian, custodian_of_plan
from engine.decisions import Decision, Kind, list_decisions, propose
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.ledger.balances import read_balance
from engine.ledger.journals import Journal, Segment
from engine.members.shards import Amounts, Shard, post_in_bulk, shard_of, shards_of
from engine.money import grouped
from engine.reconcile.locking import first_open_day
from engine.reconcile.overpaid import owe_back
from engine.reconcile.paying import accounts_of, begin_attempt, part_of, refuse_second
from engine.reconcile.writing import Part, write_batches
from engine.roster.plan import lock_roster
from engine.store.tables import plans


@dataclass
class _Sum:
    """What refunds come to, counted up shard by shard."""

    seats: int = 0
    amount_minor: int = 0
    hashed: Any = field(default_factory=hashlib.sha256)

    def add(self, shard: Shard, owed: Amounts) -> None:
        """Count a shard's refunds, int64[n] minor units by position."""
        if owed.any():
            self.seats += int(np.count_nonzero(owed))
            self.amount_minor += int(owed.sum())
            self.hashed.update(Segment.of(shard.account(Account.REFUNDS_PAYABLE), owed).digest)
            self.hashed.update(shard.shard_id.to_bytes(8, "little"))

    def as_detail(self) -> dict[str, Any]:
        """As a decision holds it."""
        return {"seats": self.seats, "amount_minor": self.amount_minor, "digest": self.hashed.hexdigest()}


async def propose_refunds(connection: AsyncConnection, plan_id: int, *, on: date, actor: str) -> Decision:
    """Propose to pay every seat of a plan what it is owed back, on the day `on` or the next that can be reached.

    What corrections left overpaid is owed back first. Raises InvalidInput when nobody is owed anything, while another
    proposal is open, and while no custodian holds the plan's money.
    """
    await lock_roster(connection, plan_id)
    await custodian_of_plan(connection, plan_id)
    code = await connection.scalar(select(plans.c.code).where(plans.c.plan_id == plan_id))
    await refuse_second(connection, plan_id, Kind.REFUND, f"plan:{code}")
    subjects = {each.subject for each in await list_decisions(connection, plan_id) if each.kind is Kind.CORRECTION}
    for subject in sorted(subjects):
        await owe_back(connection, plan_id, subject, on=on)
    total = _Sum()
    for shard in await shards_of(connection, plan_id):
        total.add(shard, await refunds_owed(connection, shard))
    if not total.seats:
        raise InvalidInput(f"{code} owes no member anything back")
    return await propose(connection, plan_id, Kind.REFUND, f"plan:{code}", total.as_detail(), on=on, actor=actor)


async def refunds_owed(connection: AsyncConnection, shard: Shard) -> Amounts:
    """int64[n] minor units: what each seat of a shard is owed back."""
    payable = shard.account(Account.REFUNDS_PAYABLE)
    balance = await read_balance(connection, shard.shard_id, payable, through_seq=shard.seq, seats=shard.seats)
    return np.maximum(-balance.amounts, 0)


async def pay_refunds(
    connection: AsyncConnection, decision: Decision, desk: Desk, *, now: datetime, actor: str
) -> dict[str, Any]:
    """Post the refunds as on their way, and write the files that ask for them; what that came to.

    Who has no account that the custodian knows stays owed. Raises InvalidInput where what is owed is no longer what was
    proposed, and when nobody has an account.
    """
    await lock_roster(connection, decision.plan_id)
    custodian = await custodian_of_plan(connection, decision.plan_id)
    most = custodian.profile.limits.max_items_per_file
    batch = await begin_attempt(
        connection,
        custodian,
        decision,
        Asked.REFUND,
        decision.decision_id,
        files=-(-decision.detail["seats"] // most),
        now=now,
        actor=actor,
    )
    teller = _Teller(connection, decision, custodian, batch, desk)
    files = await write_batches(connection, custodian.profile, batch, teller.parts(), desk)
    left = decision.detail["amount_minor"] - teller.amount_minor
    return {
        "seats": teller.seats,
        "amount_minor": teller.amount_minor,
        **({"without_account": decision.detail["seats"] - teller.seats, "left_minor": left} if left else {}),
        "pay_on": batch.debit_on.isoformat(),
        "files": len(files),
    }


@dataclass
class _Teller:
    """Goes through the shards: posts what is paid on each, and hands it on to be asked for."""

    connection: AsyncConnection
    decision: Decision
    custodian: Custodian
    batch: Batch
    desk: Desk
    seats: int = 0
    amount_minor: int = 0

    async def parts(self) -> AsyncIterator[Part]:
        """What is paid on each shard that has any. Raises InvalidInput before the last is through."""
        detail, total = self.decision.detail, _Sum()
        on = await first_open_day(self.connection, self.decision.plan_id, self.decision.effective_on)
        for each in await shards_of(self.connection, self.decision.plan_id):
            shard = await shard_of(self.connection, each.shard_id)
            owed = await refunds_owed(self.connection, shard)
            total.add(shard, owed)
            if owed.any() and (part := await self._paid(shard, owed, on)) is not None:
                yield part
        if total.as_detail() != dict(detail):
            raise InvalidInput(
                f"what {self.decision.subject} owes back changed since {self.decision.name}: it was "
                f"{grouped(detail['amount_minor'])} to {detail['seats']:,} seats and is {grouped(total.amount_minor)} "
                f"to {total.seats:,}; refuse it, and propose again"
            )
        if not self.seats:
            raise InvalidInput(
                f"nobody said on which accounts the members of {self.decision.subject} are paid; "
                "bring them in with `fentan roster accounts`"
            )

    async def _paid(self, shard: Shard, owed: Amounts, on: date) -> Part | None:
        accounts = await accounts_of(self.connection, shard.shard_id, self.custodian.profile, self.desk)
        is_paid = (owed > 0) & accounts.is_valid().to_numpy(zero_copy_only=False)
        if not is_paid.any():
            return None
        positions = np.flatnonzero(is_paid).astype(np.int32)
        detail = Segment.of(shard.account(Account.REFUNDS_PAYABLE), np.where(is_paid, owed, 0))
        journal = Journal(
            shard_id=shard.shard_id,
            key=f"{self.decision.name}:refund",
            kind="settlement",
            effective_on=on,
            lines={detail.account_id: detail.total, shard.account(Account.PAYOUTS_IN_TRANSIT): -detail.total},
            segments=(detail,),
        )
        await post_in_bulk(self.connection, shard, journal, Account.REFUNDS_PAYABLE)
        self.seats += len(positions)
        self.amount_minor += detail.total
        seats = shard.first_seat + positions.astype(np.int64)
        return part_of(
            self.batch, shard.shard_id, positions, seats, owed[positions], accounts.take(pa.array(positions))
        )
