"""What a statement settles: postings and events, shard by shard and day by day, in the statement's one transaction.

Debit positive. A debit booked: custodian cash against what the seat owed (of an auto top-up: what it has paid in);
returned: the other way round, its charges on bank charges. Money out booked: payouts in transit against custodian cash;
returned or refused: owed again. What waited on suspense comes from there instead of from cash. So what is posted on
cash is what the lines come to, always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import date
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ahead import awaited
from engine.custodian.actions import OWED_ON
from engine.custodian.events import CAUSES, Event, append
from engine.custodian.instructions import State
from engine.custodian.loaded import Loaded, Sources
from engine.custodian.verdicts import NotConserved
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, Segment, post, post_all
from engine.members.shards import Amounts
from engine.plans.days import date_of
from engine.reconcile.breaks import clear_missing, clear_overdue
from engine.reconcile.matched import Matched
from engine.reconcile.open_days import OpenDays
from engine.store.tables import shards

_SHARDS_AT_ONCE = 8
"""Posted in as few round trips as one; what they take is held in memory."""


async def settle(connection: AsyncConnection, matched: Matched, net_minor: int, *, actor: str, on: date) -> None:
    """Post a statement whose lines come to `net_minor`, and write down what became of instructions.

    Raises NotConserved [I10] where what is posted on cash is something else: then nothing may be committed.
    """
    open_days = OpenDays(connection)
    touched = [(loaded, loaded.touched()) for loaded in matched.loaded()]
    # With the plans' own shards, which whoever locks a period locks first: what is open now stays so until the end.
    plans = {plan_shard(plan_id) for plan_id in matched.custodian.plans}
    of_runs = {plan_shard(each.plan_id) + number for each, numbers in touched for number in numbers}
    await _lock(connection, plans | of_runs | matched.top_ups.shards())
    cash = 0
    for loaded, numbers in touched:
        days = {day: await open_days.of(loaded.plan_id, day) for day in matched.sources.days()}
        made = _settled(loaded, numbers, matched.sources, f"statement:{matched.statement_id}", days)
        async with aclosing(awaited(made, 1)) as parts:
            async for part in parts:
                cash += part.cash_minor
                # Of a shard the days one after the other; of all its shards one day at once.
                for journals in zip_longest(*part.journals):
                    await post_all(connection, [journal for journal in journals if journal is not None])
                await append(connection, loaded.run, loaded.kind, part.events)
        if numbers:
            await clear_missing(connection, loaded.run, on=on, actor=actor)
    if matched.decides_breaks:
        await clear_overdue(connection, matched.custodian.custodian_id, matched.statement_id, on=on, actor=actor)
    cash += await matched.top_ups.post(matched.statement_id, open_days)
    cash += await _post_general(connection, matched, open_days)
    if cash != net_minor:
        raise NotConserved(f"the lines of statement {matched.statement_id} come to {net_minor}, {cash} was posted")


async def _lock(connection: AsyncConnection, shard_ids: set[int]) -> None:
    """The shards in their order, so that no two wait for each other."""
    wanted = select(shards.c.shard_id).where(shards.c.shard_id.in_(shard_ids)).order_by(shards.c.shard_id)
    await connection.execute(wanted.with_for_update())


class _Settled(NamedTuple):
    """What is posted and written down of one run on some shards; `journals`: of each shard by day."""

    cash_minor: int
    journals: list[list[Journal]]
    events: list[tuple[int, Event]]


def _settled(
    loaded: Loaded, numbers: Sequence[int], sources: Sources, source: str, days: Mapping[int, date]
) -> Iterator[_Settled]:
    """Everything about one run, some shards at a time. `days`: on which what happened on a day number is posted."""
    for first in range(0, len(numbers), _SHARDS_AT_ONCE):
        cash, journals, events = 0, list[list[Journal]](), list[tuple[int, Event]]()
        for number in numbers[first : first + _SHARDS_AT_ONCE]:
            shard_id = plan_shard(loaded.plan_id) + number
            journals.append([])
            for day, lines, owed in _by_day(loaded, number, sources):
                cash += lines[Account.CUSTODIAN_CASH]
                key = f"{CAUSES[loaded.kind]}:{loaded.run}:{source}:{date_of(day)}"
                if (journal := _journal(loaded, shard_id, lines, owed, key=key, on=days[day])) is not None:
                    journals[-1].append(journal)
            events += ((shard_id, event) for event in _events(loaded, number, source))
        yield _Settled(cash, journals, events)


def _by_day(loaded: Loaded, number: int, sources: Sources) -> Iterator[tuple[int, Counter[Account], Amounts]]:
    """For each day number: the lines that have no detail, and how much more is owed, int64[n] by position."""
    at, asked = loaded.at(number), loaded.instructions
    amounts, refused = asked.amount_minor[at].astype(np.int64), asked.state[at] == State.REJECTED
    booked, returned = loaded.booked[at], loaded.returned[at]
    by_day: dict[int, tuple[Counter[Account], Amounts]] = {}
    for place in sorted({*_places(booked), *_places(returned)}):
        day, from_suspense = sources[place]
        lines, owed = by_day.setdefault(day, (Counter(), np.zeros(len(amounts), np.int64)))
        paid, back = (amounts * chosen for chosen in (booked == place, (returned == place) & ~refused))
        again = amounts * ((returned == place) & refused)
        charges = int(loaded.charges[place][number]) if place in loaded.charges else 0
        cash = asked.sign * (int(paid.sum()) - int(back.sum())) - charges
        lines[Account.SUSPENSE if from_suspense else Account.CUSTODIAN_CASH] += cash
        lines[Account.BANK_CHARGES] += charges
        if loaded.kind.is_debit:
            owed += back - paid
        else:
            owed -= back + again
            lines[Account.PAYOUTS_IN_TRANSIT] += int(paid.sum()) + int(again.sum())
    for day, (lines, owed) in sorted(by_day.items(), key=lambda each: each[0]):
        yield day, lines, owed


def _places(marks: NDArray[Any]) -> list[int]:
    """The numbers above 0 that occur."""
    found: list[int] = np.flatnonzero(np.bincount(marks)).tolist()
    return [place for place in found if place]


def _journal(
    loaded: Loaded, shard_id: int, lines: Counter[Account], owed: Amounts, *, key: str, on: date
) -> Journal | None:
    """None: nothing moves, as where a debit came and went on one day."""
    account = account_id(loaded.plan_id, OWED_ON[loaded.kind])
    posted = {account_id(loaded.plan_id, code): amount for code, amount in lines.items() if amount}
    segments: tuple[Segment, ...] = ()
    if owed.any():
        segments = (Segment.of(account, owed),)
        posted[account] = segments[0].total
        posted.setdefault(account_id(loaded.plan_id, Account.CUSTODIAN_CASH), 0)
    if not posted:
        return None
    return Journal(shard_id, key, "settlement", on, posted, segments)


def _events(loaded: Loaded, number: int, source: str) -> Iterator[Event]:
    """What became of instructions, in the order in which it did: by attempt, and of what came back by reason."""
    at = loaded.at(number)
    state, before = loaded.instructions.state[at], loaded.before[at]
    attempt, reason = loaded.instructions.attempt[at], loaded.reason[at]
    returned = loaded.returned[at] != 0
    disputed = (state == State.DISPUTED) & (before != State.DISPUTED)
    yield from _each(loaded, number, State.BOOKED, loaded.booked[at] != 0, attempt, None, source)
    for became in (State.REJECTED, State.RETURNED, State.REOPENED):
        yield from _each(loaded, number, became, returned & (state == became), attempt, reason, source)
    yield from _each(loaded, number, State.DISPUTED, disputed, attempt, None, source)


def _each(
    loaded: Loaded,
    number: int,
    became: State,
    which: NDArray[np.bool_],
    attempt: NDArray[np.uint8],
    reason: NDArray[Any] | None,
    source: str,
) -> Iterator[Event]:
    """An event for each attempt and reason among the positions where `which` bool[n] is set."""
    positions = np.flatnonzero(which).astype(np.int32)
    if not len(positions):
        return
    bits = 8 * loaded.reason.itemsize
    codes = attempt[positions].astype(np.int32) << bits
    if reason is not None:
        codes |= reason[positions]
    for code in _places(codes):
        there = positions[codes == code]
        whole = loaded.everybody(number, there)
        why = loaded.reasons[code % (1 << bits)]
        yield Event(code >> bits, became, source, reason=why, positions=None if whole else there)


async def _post_general(connection: AsyncConnection, matched: Matched, open_days: OpenDays) -> int:
    """What is nobody's, on the plans' own shards; the cash that it comes to."""
    cash = 0
    for (plan_id, day), lines in sorted(matched.general.items()):
        posted = {account_id(plan_id, code): amount for code, amount in lines.items() if amount}
        cash += lines[Account.CUSTODIAN_CASH]
        if not posted:
            continue
        key, on = f"statement:{matched.statement_id}:{date_of(day)}", await open_days.of(plan_id, day)
        await post(connection, Journal(plan_shard(plan_id), key, "settlement", on, posted))
    return cash
