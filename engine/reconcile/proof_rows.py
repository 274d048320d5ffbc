"""What proofs are made of, as it stands in the database: statements, what was posted, and what waits for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, Date, and_, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import UNRESOLVED
from engine.custodian.breaks import Code
from engine.custodian.events import LATELY, asked_beside_runs, shards_asked
from engine.custodian.instructions import State
from engine.custodian.loaded import sent_days
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.custodian.standing import read_standing, sent_batches
from engine.ledger.accounts import Account, account_id
from engine.store.tables import attempts, breaks, statements

SUSPENSE, PAYOUTS = Account.SUSPENSE, Account.PAYOUTS_IN_TRANSIT


def is_parked() -> ColumnElement[bool]:
    """The statements that are parked and would book, but those whose breaks people or later statements explained."""
    waits = breaks.c.ordinal.is_(None) & (breaks.c.statement_id == statements.c.statement_id)
    broken = select(breaks.c.break_id).where(waits)
    explained = broken.exists() & ~broken.where(breaks.c.state.in_(UNRESOLVED)).exists()
    return and_(statements.c.books, statements.c.state == "parked", ~explained)


async def parked_days(connection: AsyncConnection, custodian_id: int) -> list[date]:
    """The first day of each statement that `is_parked`; of one that names none the day it came."""
    first = func.coalesce(statements.c.from_on, statements.c.to_on, func.date(statements.c.recorded_at))
    return list(await connection.scalars(select(first).where(statements.c.custodian_id == custodian_id, is_parked())))


class Cash(NamedTuple):
    """What was posted on custodian cash, in sum: for a statement's lines of one day, or without one, by hand."""

    statement_id: int | None
    booked_on: date | None
    effective_on: date
    credits: int
    debits: int

    @property
    def net(self) -> int:
        """What more the account holds."""
        return self.credits - self.debits


# What a statement posted says so in its key: run:7:statement:5:2019-07-15, top-ups:statement:5:…, statement:5:….
_STATEMENT = "'statement:(\\d+):\\d{4}-\\d{2}-\\d{2}$'"
_BOOKED = "'statement:\\d+:(\\d{4}-\\d{2}-\\d{2})$'"
_CASH = text(
    "SELECT CAST(substring(said FROM " + _STATEMENT + ") AS bigint) AS statement_id,"  # noqa: S608  # our own patterns
    " CAST(substring(said FROM " + _BOOKED + ") AS date) AS booked_on, effective_on,"
    " coalesce(sum(amount) FILTER (WHERE amount > 0), 0), coalesce(-sum(amount) FILTER (WHERE amount < 0), 0)"
    " FROM (SELECT CASE WHEN kind = 'settlement' THEN idempotency_key END AS said, effective_on, line.amount"
    " FROM journals, unnest(accounts, amounts) AS line (account, amount)"
    " WHERE shard_id / 1000000 = ANY (:plans) AND line.account = ANY (:accounts)) AS posted"
    " GROUP BY statement_id, booked_on, effective_on ORDER BY effective_on, statement_id, booked_on"
).bindparams(bindparam("plans", type_=ARRAY(BigInteger)), bindparam("accounts", type_=ARRAY(BigInteger)))


async def cash_postings(connection: AsyncConnection, plans: Sequence[int]) -> list[Cash]:
    """Everything posted on the custodian cash of these plans."""
    found = await connection.execute(_CASH, _of(plans, Account.CUSTODIAN_CASH))
    return [Cash(statement_id, booked_on, on, int(in_), int(out)) for statement_id, booked_on, on, in_, out in found]


class Taken(NamedTuple):
    """A statement that was taken and books. Minor units; debits as a positive amount.

    `from_on`, `to_on`: of one that names no days, those of its lines, or the day it was taken.
    """

    statement_id: int
    from_on: date
    to_on: date
    opening_minor: int | None
    closing_minor: int | None
    credits_minor: int
    debits_minor: int

    @property
    def is_still(self) -> bool:
        """Whether it closes with what it opened with."""
        return self.opening_minor is not None and self.opening_minor == self.closing_minor


async def taken_statements(connection: AsyncConnection, custodian_id: int, cash: Sequence[Cash]) -> list[Taken]:
    """In the order they were taken, which is that of their balances but for what is still. `cash`: what they posted."""
    names = ("statement_id", "from_on", "to_on", "opening_minor", "closing_minor", "credits_minor", "debits_minor")
    found = await connection.execute(
        select(*(statements.c[name] for name in names), func.date(statements.c.taken_at))
        .where(statements.c.custodian_id == custodian_id, statements.c.books, statements.c.state == "taken")
        .order_by(statements.c.taken_at, statements.c.statement_id)
    )
    booked: dict[int | None, list[date]] = {}
    for each in cash:
        if each.booked_on is not None:
            booked.setdefault(each.statement_id, []).append(each.booked_on)
    taken = []
    for statement_id, from_on, to_on, *said, taken_on in found.all():
        days = booked.get(statement_id, [taken_on])
        first, last = from_on or to_on or min(days), to_on or from_on or max(days)
        taken.append(Taken(statement_id, first, last, *said))
    return taken


_BY_DAY = text(
    "SELECT effective_on, sum(line.amount) FROM journals, unnest(accounts, amounts) AS line (account, amount)"
    " WHERE shard_id / 1000000 = ANY (:plans) AND line.account = ANY (:accounts) GROUP BY effective_on"
).bindparams(bindparam("plans", type_=ARRAY(BigInteger)), bindparam("accounts", type_=ARRAY(BigInteger)))


async def by_day(connection: AsyncConnection, plans: Sequence[int], code: Account) -> dict[date, int]:
    """What was posted on an account of these plans, day by day, debit positive."""
    return {day: int(amount) for day, amount in await connection.execute(_BY_DAY, _of(plans, code))}


def _of(plans: Sequence[int], code: Account) -> dict[str, list[int]]:
    return {"plans": list(plans), "accounts": [account_id(plan_id, code) for plan_id in plans]}


class Waits(NamedTuple):
    """What waits for people or for a later statement, in sum: since a day or before, until another, None: still.

    `code`: None for pending lines.
    """

    code: Code | None
    since: date
    until: date | None
    number: int
    amount_minor: int
    suspense_minor: int


_PENDING = text(
    "SELECT greatest(coalesce(line.booked_on, own.from_on, own.to_on, own.taken_at::date), :first) AS since,"
    " coalesce(later.from_on, later.to_on, later.taken_at::date) AS until, count(*), sum(line.amount_minor)"
    " FROM statement_lines AS line JOIN statements AS own USING (statement_id)"
    " LEFT JOIN statements AS later ON later.statement_id = line.decided_by"
    " WHERE own.custodian_id = :custodian AND own.books AND own.state = 'taken'"
    " AND (line.outcome = 'pending' OR line.decided_by IS NOT NULL) AND NOT EXISTS (SELECT FROM breaks"
    " WHERE breaks.statement_id = line.statement_id AND breaks.ordinal = line.ordinal) GROUP BY 1, 2"
).bindparams(bindparam("first", type_=Date))


async def waiting(connection: AsyncConnection, custodian_id: int, first: date) -> list[Waits]:
    """Breaks and pending lines for the proofs of `first` and later; a line that ever was a break counts as that.

    What began before that day is told as since it, all in one; of breaks those are left out that were over by then.
    """
    of = breaks.c
    sums = (func.count(), func.sum(of.amount_minor), func.sum(of.suspense_minor))
    days = (of.code, func.greatest(of.opened_on, first).label("since"), of.closed_on)
    waits = or_(of.closed_on.is_(None), of.closed_on > first)
    opened = await connection.execute(
        select(*days, *sums).where(of.custodian_id == custodian_id, waits).group_by(*days).order_by(*days)
    )
    found = [Waits(Code(code), since, until, *map(int, counted)) for code, since, until, *counted in opened]
    for since, until, count, amount in await connection.execute(_PENDING, {"custodian": custodian_id, "first": first}):
        found.append(Waits(None, since, until, count, int(amount), int(amount)))
    return found


class InTransit(NamedTuple):
    """Debits of one asking that were sent and stand on no statement. `sent_on`: the day its first file left."""

    sent_on: date
    number: int
    amount_minor: int


# Settled runs have none, unless something that came back since was asked for again.
_OPEN = text(
    "SELECT run_id, attempt, min(debit_batches.sent_on) FROM attempts JOIN debit_batches USING (run_id, kind, attempt)"
    " JOIN share_runs USING (run_id) WHERE attempts.kind = 'D' AND attempts.custodian_id = :custodian"
    " AND (state = 'collecting' OR (state = 'settled' AND created_at > CAST(moments ->> 'settled' AS timestamptz)))"
    " GROUP BY run_id, attempt HAVING min(debit_batches.sent_on) IS NOT NULL ORDER BY run_id, attempt"
)


async def in_transit(connection: AsyncConnection, custodian: Custodian) -> list[InTransit]:
    """The debits under way now, asking by asking; a shard at a time of the runs that still collect, and of calls.

    Calls of three months before the last asking are passed over: what of them is on no statement is a break.
    """
    asked: dict[tuple[Kind, int], dict[int, date]] = {}
    for run_id, attempt, sent_on in await connection.execute(_OPEN, {"custodian": custodian.custodian_id}):
        asked.setdefault((Kind.DEBIT, run_id), {})[attempt] = sent_on
    last = select(func.max(attempts.c.debit_on)).where(attempts.c.custodian_id == custodian.custodian_id)
    if (last_on := await connection.scalar(last)) is not None:
        for _, kind, number in await asked_beside_runs(connection, custodian.custodian_id, last_on - LATELY):
            if kind.is_debit:
                asked[kind, number] = await sent_days(connection, number, kind)
    found: dict[tuple[Kind, int, int], Counter[str]] = {}
    for (kind, number), days in asked.items():
        files = await sent_batches(connection, number, kind)
        for shard_id in await shards_asked(connection, number, kind) if days else ():
            standing = await read_standing(connection, shard_id, number, kind, batches=files)
            sent = standing.where(State.SENT)
            for attempt in np.unique(standing.attempt[sent]).tolist():
                amounts = standing.amount_minor[sent[standing.attempt[sent] == attempt]]
                sums = found.setdefault((kind, number, attempt), Counter())
                sums.update(number=len(amounts), amount=int(amounts.sum()))
    return [
        InTransit(asked[kind, number][attempt], sums["number"], sums["amount"])
        for (kind, number, attempt), sums in found.items()
    ]


async def tallied(connection: AsyncConnection, custodian_id: int) -> tuple[int, Counter[str]]:
    """The lines of all statements taken, and how many of them are what: by outcome."""
    lines, outcomes = 0, Counter[str]()
    found = await connection.execute(
        select(statements.c.lines, statements.c.tally).where(
            statements.c.custodian_id == custodian_id, statements.c.state == "taken"
        )
    )
    for count, tally in found:
        lines += count
        for each in tally:
            outcomes[each["outcome"]] += each["count"]
    return lines, outcomes


async def breaks_by_code(connection: AsyncConnection, custodian_id: int) -> dict[str, int]:
    """How many breaks of each code were ever found."""
    of_custodian = breaks.c.custodian_id == custodian_id
    counted = (
        select(breaks.c.code, func.count().label("number"))
        .where(of_custodian)
        .group_by(breaks.c.code)
        .order_by(breaks.c.code)
    )
    return {row.code: row.number for row in await connection.execute(counted)}
