"""What was posted, for who reads it: journals in their order, one with its detail summed up, and what shards hold."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Row, Select, any_, cast, func, lateral, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.ledger.accounts import plan_shard
from engine.store.tables import PLAN_STRIDE, journals, posting_segments, shards
from engine.store.views import journal_lines


class PostedJournal(NamedTuple):
    """A journal where it stands. `lines`: (account, minor units), debit positive, in their order."""

    shard_id: int
    seq: int
    idempotency_key: str
    kind: str
    run_id: int | None
    effective_on: date
    recorded_at: datetime
    prev_digest: bytes
    digest: bytes
    lines: tuple[tuple[int, int], ...]


class SegmentSum(NamedTuple):
    """The detail of one line: over how many places it goes, how many of them have an amount, and what they come to.

    `is_sparse`: it names its places; otherwise it has one amount for each from the shard's first seat.
    """

    account_id: int
    is_sparse: bool
    places: int
    entries: int
    total_minor: int
    digest: bytes


class ShardBalance(NamedTuple):
    """What the lines of one account come to on one shard, in minor units, debit positive."""

    shard_id: int
    number: int
    first_seat: int
    seats: int
    seq: int
    amount_minor: int


_COLUMNS = [journals.c[name] for name in PostedJournal._fields if name in journals.c]
_JOURNALS: Select[Any] = select(*_COLUMNS, journals.c.accounts, journals.c.amounts)


def _journal(row: Row[Any]) -> PostedJournal:
    found = row._asdict()
    lines = zip(found.pop("accounts"), found.pop("amounts"), strict=True)
    return PostedJournal(**found, lines=tuple(lines))


async def list_journals(
    connection: AsyncConnection,
    plan_id: int,
    *,
    account: int | None = None,
    kind: str | None = None,
    run_id: int | None = None,
    first: date | None = None,
    last: date | None = None,
    after: tuple[int, int] = (0, 0),
    limit: int,
) -> list[PostedJournal]:
    """A plan's journals by shard and seq, after a place: effective from one day to another, of a kind, of a run.

    `account`: those with a line on the account of this id.
    """
    at = journals.c
    query = _JOURNALS.where(*_of_plan(at.shard_id, plan_id), tuple_(at.shard_id, at.seq) > after)
    if account is not None:
        query = query.where(any_(at.accounts) == account)
    if kind is not None:
        query = query.where(at.kind == kind)
    if run_id is not None:
        query = query.where(at.run_id == run_id)
    if first is not None:
        query = query.where(at.effective_on >= first)
    if last is not None:
        query = query.where(at.effective_on <= last)
    found = await connection.execute(query.order_by(at.shard_id, at.seq).limit(limit))
    return [_journal(row) for row in found]


async def journal_at(connection: AsyncConnection, plan_id: int, shard_id: int, seq: int) -> PostedJournal:
    """A plan's journal of this place. Raises NotFound."""
    row = None
    if shard_id // PLAN_STRIDE == plan_id:
        at = journals.c
        row = (await connection.execute(_JOURNALS.where(at.shard_id == shard_id, at.seq == seq))).one_or_none()
    if row is None:
        raise NotFound(f"the plan has no journal {seq} on shard {shard_id}; its list of journals has their places")
    return _journal(row)


async def segments_at(connection: AsyncConnection, shard_id: int, seq: int) -> list[SegmentSum]:
    """The segments of one journal, by account."""
    segment = posting_segments.c
    entries = func.cardinality(func.array_remove(segment.amounts, cast(0, BigInteger)))
    columns = (
        *(segment.account_id, segment.positions.is_not(None), func.cardinality(segment.amounts), entries),
        *(segment.total, segment.digest),
    )
    query = select(*columns).where(segment.shard_id == shard_id, segment.seq == seq).order_by(segment.account_id)
    return [SegmentSum(*row) for row in await connection.execute(query)]


async def balance_by_shard(
    connection: AsyncConnection, plan_id: int, account: int, *, after: int = 0, limit: int
) -> list[ShardBalance]:
    """What an account holds on each shard of its plan, of those after the shard `after`: they come to its balance."""
    of = shards.c
    chosen = (
        select(of.shard_id, of.number, of.first_seat, of.seats, of.seq)
        .where(of.plan_id == plan_id, of.shard_id > after)
        .order_by(of.shard_id)
        .limit(limit)
        .subquery()
    )
    line = journal_lines.c
    amount = select(func.coalesce(func.sum(line.amount), 0).label("amount_minor"))
    held = lateral(amount.where(line.shard_id == chosen.c.shard_id, line.account_id == account))
    query = (
        select(*chosen.c, cast(held.c.amount_minor, BigInteger).label("amount_minor"))
        .select_from(chosen.join(held, true()))
        .order_by(chosen.c.shard_id)
    )
    return [ShardBalance(**row._asdict()) for row in await connection.execute(query)]


def _of_plan(shard_id: Any, plan_id: int) -> tuple[Any, Any]:
    return shard_id >= plan_shard(plan_id), shard_id < plan_shard(plan_id + 1)
