"""A line of a statement: what it says, what became of it, and what was posted for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.events import CAUSES, LETTERS
from engine.custodian.kept_lines import kept_lines
from engine.custodian.reference import OF_PLANS, Kind, Reference
from engine.custodian.registered import Custodian, custodian_of
from engine.custodian.statement import SCHEMA
from engine.custodian.statement_rows import ImportedStatement
from engine.custodian.verdicts import Outcome, Stage
from engine.errors import InvalidInput, NotFound
from engine.ledger.accounts import account_of, plan_shard
from engine.reconcile.taking import kept_file
from engine.store.tables import (
    SHARD_SEATS,
    attempts,
    breaks,
    journals,
    posting_segments,
    run_shards,
    share_runs,
    statement_lines,
)


@dataclass(frozen=True)
class StatementLine:
    """A line: SCHEMA's columns, references of others veiled, and what became of it.

    `outcome`: matched, break, pending or ignored; None while its statement is parked, or where only the sums of the
    statement say which. `stage`: at which it was decided, known of lines that did not match by themselves.
    `about`: the instruction that its reference names; `breaks`: those that are about it.
    """

    ordinal: int
    place: str
    booked_on: date | None
    value_on: date | None
    amount_minor: int
    reference: str | None
    batch_reference: str | None
    bank_reference: str | None
    kind: str
    reason: str | None
    original_minor: int | None
    charges_minor: int
    count: int
    outcome: str | None
    code: str | None
    stage: Stage
    decided_by: int | None
    about: Reference | None


class LinePosting(NamedTuple):
    """One line of a journal that a statement's line is in, among others; debit positive.

    `own_minor`: of a line with detail, the part of the seat, or claim, that the statement's line is about. Of a booking
    of a whole batch the sums of all its shards are one posting, of no shard.
    """

    shard_id: int | None
    seq: int | None
    key: str
    effective_on: date
    account: str
    amount_minor: int
    own_minor: int | None


async def all_lines(
    connection: AsyncConnection, files: Path, statement: ImportedStatement, *, after: int, limit: int
) -> list[StatementLine]:
    """A page of all lines of a statement, of those after an ordinal. Raises InvalidInput when its file is gone."""
    custodian = await custodian_of(connection, statement.custodian)
    rows = await _kept(files, statement, custodian, after, limit)
    known = await _stored(connection, _named(statement, [row["ordinal"] for row in rows]), limit)
    return [known.get(row["ordinal"]) or _by_itself(statement, row) for row in rows]


async def stored_lines(
    connection: AsyncConnection, statement: ImportedStatement, *, after: int, limit: int
) -> list[StatementLine]:
    """A page of those that did not match by themselves, of those after an ordinal."""
    line = statement_lines.c
    of_statement = (line.statement_id == statement.statement_id) & (line.ordinal > after)
    return list((await _stored(connection, of_statement, limit)).values())


async def line_of(
    connection: AsyncConnection, files: Path, statement: ImportedStatement, ordinal: int
) -> StatementLine:
    """One line. Raises NotFound; InvalidInput when it is not stored and the statement's file is gone."""
    known = await _stored(connection, _named(statement, [ordinal]), 1)
    if ordinal in known:
        return known[ordinal]
    custodian = await custodian_of(connection, statement.custodian)
    rows = await _kept(files, statement, custodian, ordinal - 1, 1) if ordinal <= statement.lines else []
    if not rows:
        raise NotFound(f"statement {statement.statement_id} has no line {ordinal}; it has {statement.lines:,}")
    return _by_itself(statement, rows[0])


async def breaks_of(connection: AsyncConnection, statement_id: int, ordinal: int) -> list[int]:
    """The breaks about a line."""
    of = breaks.c
    return list(
        await connection.scalars(
            select(of.break_id).where(of.statement_id == statement_id, of.ordinal == ordinal).order_by(of.break_id)
        )
    )


async def postings_of(
    connection: AsyncConnection, statement: ImportedStatement, line: StatementLine
) -> list[LinePosting]:
    """What was posted for a line: with the others of its statement, day and shard, or on suspense with those unknown.

    Nothing of a statement that only informs, or is parked; nor of a line without an amount.
    """
    if not statement.is_taken or not statement.books:
        return []
    plan_id, place = await _placed(connection, statement, line)
    sources = [f"statement:{each}" for each in (statement.statement_id, line.decided_by) if each is not None]
    about = line.about
    causes = [""] if _is_general(line) else []
    shard_id = plan_shard(plan_id)
    if about is not None and about.kind in CAUSES:
        causes.append(f"{CAUSES[about.kind]}:{about.run}:")
    if about is not None and about.kind is Kind.TOP_UP:
        causes.append("top-ups:")
    at = [shard_id] if place is None else [shard_id, place[0]]
    posted = await _posted(connection, at, _keys(causes, sources, line), place)
    if about is not None and about.kind is Kind.BATCH:
        posted += await _in_sum(connection, about.run, _keys([f"run:{about.run}:"], sources, line))
    return posted


def _keys(causes: Sequence[str], sources: Sequence[str], line: StatementLine) -> ColumnElement[bool]:
    """The condition on journals: their keys say the cause, the statement and the day of booking."""
    key = journals.c.idempotency_key
    begins = [f"{cause}{source}:" for cause in causes for source in sources]
    if line.booked_on is not None:
        return key.in_([f"{each}{line.booked_on}" for each in begins])
    return or_(false(), *(key.startswith(each, autoescape=True) for each in begins))


async def _kept(
    files: Path, statement: ImportedStatement, custodian: Custodian, after: int, limit: int
) -> list[dict[str, Any]]:
    path = kept_file(files, statement)

    def read() -> list[dict[str, Any]]:
        return kept_lines(path, custodian.profile, statement.number, after=after, limit=limit)

    return await asyncio.to_thread(read)


_NAMES = [name for name in SCHEMA.names if name != "line"]


def _named(statement: ImportedStatement, ordinals: Sequence[int]) -> ColumnElement[bool]:
    line = statement_lines.c
    return (line.statement_id == statement.statement_id) & line.ordinal.in_(ordinals)


async def _stored(connection: AsyncConnection, where: ColumnElement[bool], limit: int) -> dict[int, StatementLine]:
    """The lines that did not match by themselves, by their ordinals, in their order."""
    line = statement_lines.c
    columns = [line[name] for name in (*_NAMES, "outcome", "code", "stage", "decided_by")]
    found = await connection.execute(select(*columns).where(where).order_by(line.ordinal).limit(limit))
    return {
        row.ordinal: StatementLine(**row._asdict() | {"stage": Stage(row.stage), "about": _about(row._asdict())})
        for row in found
    }


def _by_itself(statement: ImportedStatement, row: dict[str, Any]) -> StatementLine:
    """A line of which no row is stored: it matched, or moved no money."""
    about = _about(row)
    outcome = _outcome(statement, row, about)
    kept = {name: row[name] for name in _NAMES}
    return StatementLine(**kept, outcome=outcome, code=None, stage=Stage.NONE, decided_by=None, about=about)


def _outcome(statement: ImportedStatement, row: dict[str, Any], about: Reference | None) -> str | None:
    """By the sums of the statement, which say how many of its lines became what."""
    if not statement.is_taken:
        return None
    became = {what.outcome for what, _ in statement.tally}
    if row["amount_minor"] and statement.books:
        return Outcome.MATCHED.name.lower()
    possible = became & {Outcome.MATCHED, Outcome.IGNORED}
    if len(possible) > 1 and about is None:
        possible = {Outcome.IGNORED}
    return possible.pop().name.lower() if len(possible) == 1 else None


def _about(row: dict[str, Any]) -> Reference | None:
    """What its references name, its own before the others."""
    for name in ("reference", "batch_reference", "bank_reference"):
        try:
            return Reference.read(row[name] or "")
        except InvalidInput:
            continue
    return None


def _is_general(line: StatementLine) -> bool:
    """Whether it may be in the journal of what is nobody's: suspense, charges, interest, the sponsor's."""
    on_suspense = line.code is not None or line.decided_by is not None or line.outcome == Outcome.PENDING.name.lower()
    return on_suspense or line.about is None or line.about.kind is Kind.SPONSOR


async def _placed(
    connection: AsyncConnection, statement: ImportedStatement, line: StatementLine
) -> tuple[int, tuple[int, int] | None]:
    """The plan in whose books it is, and of an instruction its shard and its place there."""
    custodian = await custodian_of(connection, statement.custodian)
    about = line.about
    if about is None:
        return custodian.home_plan, None
    plan_id: int | None = about.run
    if about.kind not in OF_PLANS:
        made = select(attempts.c.plan_id).where(attempts.c.run_id == about.run)
        if about.kind in LETTERS:
            made = made.where(attempts.c.kind == LETTERS[about.kind])
        plan_id = await connection.scalar(made.limit(1))
        if plan_id is None:
            plan_id = await connection.scalar(select(share_runs.c.plan_id).where(share_runs.c.run_id == about.run))
    if plan_id not in custodian.plans:
        return custodian.home_plan, None
    assert plan_id is not None
    if about.kind is Kind.PAYOUT:
        return plan_id, (plan_shard(plan_id), about.seat)
    if about.kind in (Kind.BATCH, Kind.SPONSOR):
        return plan_id, None
    return plan_id, (plan_shard(plan_id) + about.seat // SHARD_SEATS + 1, about.seat % SHARD_SEATS)


async def _posted(
    connection: AsyncConnection, shard_ids: Sequence[int], keys: ColumnElement[bool], place: tuple[int, int] | None
) -> list[LinePosting]:
    columns = (journals.c.shard_id, journals.c.seq, journals.c.idempotency_key, journals.c.effective_on)
    rows = await connection.execute(
        select(*columns, journals.c.accounts, journals.c.amounts)
        .where(journals.c.shard_id.in_(set(shard_ids)), keys)
        .order_by(journals.c.recorded_at, journals.c.shard_id, journals.c.seq)
    )
    found = list[LinePosting]()
    for shard_id, seq, key, effective_on, accounts, amounts in rows:
        own = await _own(connection, shard_id, seq, place[1]) if place and place[0] == shard_id else {}
        found += [
            LinePosting(shard_id, seq, key, effective_on, account_of(account).title, amount, own.get(account))
            for account, amount in zip(accounts, amounts, strict=True)
        ]
    return found


async def _own(connection: AsyncConnection, shard_id: int, seq: int, place: int) -> dict[int, int]:
    """By account, the part of one place in a journal's detail, in minor units."""
    segment = posting_segments.c
    at = case((segment.positions.is_(None), place + 1), else_=func.array_position(segment.positions, place))
    rows = await connection.execute(
        select(segment.account_id, segment.amounts[at]).where(segment.shard_id == shard_id, segment.seq == seq)
    )
    return {account: amount or 0 for account, amount in rows}


async def _in_sum(connection: AsyncConnection, run_id: int, keys: ColumnElement[bool]) -> list[LinePosting]:
    """What a booking of a whole batch posted on all shards of its run, by account."""
    of_run = select(run_shards.c.shard_id).where(run_shards.c.run_id == run_id)
    rows = await connection.execute(
        select(journals.c.idempotency_key, journals.c.effective_on, journals.c.accounts, journals.c.amounts)
        .where(journals.c.shard_id.in_(of_run), keys)
        .order_by(journals.c.recorded_at)
    )
    sums: dict[tuple[str, date, int], int] = {}
    for key, effective_on, accounts, amounts in rows:
        for account, amount in zip(accounts, amounts, strict=True):
            what = key, effective_on, account
            sums[what] = sums.get(what, 0) + amount
    return [
        LinePosting(None, None, key, on, account_of(account).title, amount, None)
        for (key, on, account), amount in sums.items()
    ]
