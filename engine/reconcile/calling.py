"""Calls: auto top-ups that are due by the plan's rule, and levies that members owe, are asked of the custodian.

Asked on the payer's account as RCUR, for the rulebook takes that for a first debit too. Nothing is posted by asking: an
auto top-up is the member's once it is booked, and a levy is owed since it was charged. What came back is simply due
again, in another day's call, while the plan's rule and the reason let it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.calls import CALLS, FIRST_DAY, Called, call_number, read_calls
from engine.custodian.debit_files import Batch
from engine.custodian.desk import Desk
from engine.custodian.events import LATELY, LETTERS
from engine.custodian.outbox import files_waiting
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.custodian.retries import may_retry_of
from engine.custodian.schedule import reachable_day
from engine.ledger.accounts import Account, share_account
from engine.members.auto_top_ups import debited
from engine.members.collection import leaving_day, owed_by
from engine.members.shards import Amounts, Shard, deposits_of, shards_of
from engine.plans.answers import members_share
from engine.plans.days import date_of, day_number
from engine.plans.rules import PlanRules
from engine.reconcile.instructing import Asking, asking_of, beginning, part_of_debits, with_accounts
from engine.reconcile.writing import Part, write_batches
from engine.roster.changes import current_columns
from engine.roster.columns import Columns
from engine.roster.plan import lock_roster, newest_rules
from engine.runs.instructions import Instructions, Paying, pays
from engine.store.audit import record
from engine.store.tables import attempts, plans


async def call_members(
    connection: AsyncConnection,
    custodian: Custodian,
    plan_id: int,
    desk: Desk,
    *,
    on: date,
    now: datetime,
    actor: str,
) -> list[Asking]:
    """Make a plan's calls of a day, those of which there was none yet: at most one of auto top-ups and one of levies.

    Asked for is what every seat is due on `on`, on the first day that all files reach; whose payer has no account that
    the custodian knows is not asked. In the caller's transaction, who holds the custodian's lock (`lock_custodian`).
    """
    await lock_roster(connection, plan_id)
    rules = await newest_rules(connection, plan_id)
    plan = (await connection.execute(select(plans.c.code, plans.c.ended_on).where(plans.c.plan_id == plan_id))).one()
    made: list[Asking] = []
    if plan.ended_on is not None:
        return made
    for kind in CALLS:
        number = call_number(plan_id, on)
        if not _has_any(rules, kind, on) or await asking_of(connection, number, kind, 1) is not None:
            continue
        caller = _Caller(connection, custodian, rules, plan_id, kind, desk, on)
        debit_on = await caller.debit_on(now)
        batch = Batch(number, 1, debit_on, now, kind=kind)
        parts = caller.parts(batch)
        if (first := await anext(parts, None)) is None:
            continue
        row = {"run_id": number, "kind": LETTERS[kind], "attempt": 1, "plan_id": plan_id, "debit_on": debit_on}
        asked = {"custodian_id": custodian.custodian_id, "created_at": now, "made_by": actor}
        await connection.execute(insert(attempts).values(**row, **asked))
        files = await write_batches(connection, custodian.profile, batch, beginning(first, parts), desk)
        count, amount_minor = sum(each.count for each in files), sum(each.amount_minor for each in files)
        detail = {"on": str(on), "files": len(files), "instructions": count, "amount_minor": amount_minor}
        await record(connection, actor, f"call {CALLS[kind]}", f"plan:{plan.code}", detail)
        made.append(Asking(number, kind, 1, debit_on, len(files), count, amount_minor))
    return made


def _has_any(rules: PlanRules, kind: Kind, on: date) -> bool:
    if kind is Kind.LEVY:
        return bool(rules.levies) and share_account(rules) is Account.CONTRIBUTIONS_RECEIVABLE
    return rules.prepaid is not None and rules.prepaid.auto_top_up is not None and members_share(rules, on)


@dataclass(frozen=True)
class _Caller:
    """Goes through the shards of a plan, and hands on what each seat is asked for."""

    connection: AsyncConnection
    custodian: Custodian
    rules: PlanRules
    plan_id: int
    kind: Kind
    desk: Desk
    on: date

    async def debit_on(self, now: datetime) -> date:
        """The first day that all files reach. Who is due is counted only where not all seats leave within an hour."""
        profile, most = self.custodian.profile, self.custodian.profile.limits.max_items_per_file
        before = await files_waiting(self.connection, self.custodian, now=now)
        seats = sum(shard.seats for shard in await shards_of(self.connection, self.plan_id))
        if before - (-seats // most) > profile.limits.files_per_hour:
            seats = sum([int(np.count_nonzero(due)) async for _, _, due in self._each_due()])
        return reachable_day(profile, self.on, now=now, files=before - (-seats // most))

    async def parts(self, batch: Batch) -> AsyncIterator[Part]:
        """What is asked of each shard's seats, of those of whom anything is."""
        async for shard, columns, due in self._each_due():
            debits = await self._debits(shard, columns, due, batch.debit_on)
            profile, none = self.custodian.profile, np.zeros(shard.seats, np.int64)
            debits, tokens = await with_accounts(self.connection, profile, self.plan_id, debits, self.desk)
            if len(debits):
                yield part_of_debits(shard, none, debits, tokens, batch, "RCUR")

    async def _each_due(self) -> AsyncIterator[tuple[Shard, Columns, Amounts]]:
        """The shards of whose seats anyone is due, with what they are due (`_due`)."""
        for shard in await shards_of(self.connection, self.plan_id):
            columns = (await current_columns(self.connection, shard.shard_id))[2]
            due = await self._due(shard, columns)
            if due.any():
                yield shard, columns, due

    async def _due(self, shard: Shard, columns: Columns) -> Amounts:
        """int64[n] minor units: what each seat is to be asked for today."""
        if self.kind is Kind.LEVY:
            owed = np.maximum(await owed_by(self.connection, shard, "levy"), 0)
            if owed.any():
                called, may_retry = await self._called(shard, FIRST_DAY)
                owed[~levies_due(self.rules, called, may_retry, self.on)] = 0
            return owed
        assert self.rules.prepaid is not None
        rule = self.rules.prepaid.auto_top_up
        assert rule is not None
        balances = await deposits_of(self.connection, shard)
        called, may_retry = await self._called(shard, max(self.on - LATELY, FIRST_DAY))
        chosen = debited(rule, columns, balances, called.asked_minor, self.on)
        return np.where(chosen & top_ups_due(called, may_retry, self.on), rule.amount, 0).astype(np.int64)

    async def _called(self, shard: Shard, since: date) -> tuple[Called, NDArray[np.bool_]]:
        """The calls of this kind from a day on, and bool[n]: whom the reason or a person lets be asked again."""
        number, month_from = call_number(self.plan_id, since), self.on.replace(day=1)
        where = (shard.shard_id, shard.seats, self.kind)
        called = await read_calls(self.connection, *where, since=number, month_from=month_from)
        return called, may_retry_of(self.custodian.profile, called.reasons, called.reason) | called.freed

    async def _debits(self, shard: Shard, columns: Columns, due: Amounts, debit_on: date) -> Instructions:
        """What is asked, in the order of debit: a payer pays while in force and paying alone, as for a run."""
        at = np.flatnonzero(due)
        seat = (shard.first_seat + at).astype(np.int32)
        named = columns.filled("payer")[at]

        async def paying_of(shard_id: int) -> Paying:
            there = columns if shard_id == shard.shard_id else (await current_columns(self.connection, shard_id))[2]
            return Paying(there.filled("payer"), there.shares_from, there.ended_on)

        payer = np.where(await pays(self.plan_id, named, debit_on, paying_of), named, seat)
        return Instructions(payer, seat, due[at], columns.shares_from[at]).ordered()


def top_ups_due(called: Called, may_retry: NDArray[np.bool_], on: date) -> NDArray[np.bool_]:
    """bool[n]: no auto top-up is under way; one that came back for good is left until the next calendar month."""
    barred = called.is_back & ~may_retry & (called.on >= day_number(on.replace(day=1)))
    return ~(called.under_way | barred)


def levies_due(rules: PlanRules, called: Called, may_retry: NDArray[np.bool_], on: date) -> NDArray[np.bool_]:
    """bool[n]: who may be asked for what they owe of levies.

    One that came back is asked again daily, by the plan's rule for debits, counted from its first call; what a person
    freed, once more whatever the day. A plan without the table unpaid asks nobody again.
    """
    over = np.ones(len(called.first_on), np.bool_)
    if rules.unpaid is not None:
        for first in np.unique(called.first_on[called.is_back]).tolist():
            if on < leaving_day(rules, date_of(first)):
                over[called.first_on == first] = False
    return ~called.under_way & ~(called.is_back & ~called.freed & (over | ~may_retry))
