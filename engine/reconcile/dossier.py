"""Everything there is about one break: the line as the statement has it, what was posted, and what people did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.actions import Action, actions_for
from engine.custodian.break_rows import UNRESOLVED, Break, Step, break_of, history_of
from engine.custodian.breaks import Code
from engine.custodian.events import CAUSES, LETTERS
from engine.custodian.instructions import State
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import list_custodians
from engine.custodian.schedule import calendar_of
from engine.custodian.standing import read_standing, sent_batches
from engine.custodian.worsening import Worse, worsening
from engine.ledger.accounts import account_of, plan_shard
from engine.store.tables import SHARD_SEATS, breaks, debit_batches, journals, statement_lines, statements


class Line(NamedTuple):
    """The line of a statement that a break is about, and where it stands: `place` in the file `file`."""

    file: str
    place: str
    booked_on: date | None
    value_on: date | None
    amount_minor: int
    reference: str | None
    bank_reference: str | None
    kind: str
    reason: str | None
    original_minor: int | None
    charges_minor: int


class Posting(NamedTuple):
    """One line of a journal: for all the breaks of a resolution, or of a statement's day, together."""

    key: str
    effective_on: date
    account: str
    amount_minor: int


class Asked(NamedTuple):
    """What was asked of the custodian by the instruction a break is about, and where that stands.

    `attempt`: the last one; `amount_minor`: what it asked for, whichever way the money goes; of a file all of it, and
    `state` is whether it left.
    """

    attempt: int
    amount_minor: int
    state: State


@dataclass(frozen=True)
class Dossier:
    """What a person needs to decide.

    `reference`: of the instruction it is about; `asked`: what that asked for, None where there is none; `worsening`:
    from which day on it is how bad; `actions`: what is possible.
    """

    found: Break
    reference: str | None
    asked: Asked | None
    worsening: tuple[Worse, ...]
    line: Line | None
    postings: tuple[Posting, ...]
    history: tuple[Step, ...]
    actions: tuple[Action, ...]


async def dossier_of(connection: AsyncConnection, break_id: int, *, on: date) -> Dossier:
    """Everything about the break of this number, as it stands on a day. Raises InvalidInput when there is none."""
    custodians = await list_custodians(connection)
    found = await break_of(connection, break_id, custodians, on=on)
    is_open = found.state in UNRESOLVED
    calendar = next(calendar_of(each.profile) for each in custodians if each.code == found.custodian)
    return Dossier(
        found,
        _reference(found),
        await _asked(connection, found),
        tuple(worsening(found.amount_minor, found.opened_on, **calendar)),
        await _line(connection, found),
        tuple(await _postings(connection, found)),
        tuple(await history_of(connection, break_id)),
        actions_for(Code(found.code)) if is_open else (),
    )


def _reference(found: Break) -> str | None:
    if found.kind is None or found.run_id is None or found.seat is None:
        return None
    return str(Reference(Kind(ord(found.kind)), found.run_id, found.attempt or 0, found.seat))


async def _asked(connection: AsyncConnection, found: Break) -> Asked | None:
    if found.kind is None or found.run_id is None or found.seat is None:
        return None
    kind = Kind(ord(found.kind))
    if kind is Kind.BATCH:
        return await _file(connection, found)
    if kind not in LETTERS:
        return None
    of_plan = plan_shard(await _plan_id(connection, found))
    shard_id, place = (of_plan, found.seat) if kind is Kind.PAYOUT else _placed(of_plan, found.seat)
    batches = await sent_batches(connection, found.run_id, kind)
    standing = await read_standing(connection, shard_id, found.run_id, kind, batches=batches)
    if place >= len(standing) or standing.state[place] == State.NONE:
        return None
    state = State(int(standing.state[place]))
    return Asked(int(standing.attempt[place]), int(standing.amount_minor[place]), state)


async def _file(connection: AsyncConnection, found: Break) -> Asked | None:
    file = debit_batches.c
    row = (
        await connection.execute(
            select(file.attempt, file.amount_minor, file.sent_at)
            .where(file.run_id == found.run_id, file.attempt == found.attempt, file.number == found.seat)
            .limit(1)
        )
    ).one_or_none()
    return None if row is None else Asked(row[0], row[1], State.SENT if row.sent_at else State.ASSESSED)


def _placed(of_plan: int, seat: int) -> tuple[int, int]:
    """The shard of a seat, and its place there."""
    return of_plan + seat // SHARD_SEATS + 1, seat % SHARD_SEATS


async def _plan_id(connection: AsyncConnection, found: Break) -> int:
    plan_id: int | None = await connection.scalar(select(breaks.c.plan_id).where(breaks.c.break_id == found.break_id))
    assert plan_id is not None
    return plan_id


async def _line(connection: AsyncConnection, found: Break) -> Line | None:
    if found.statement_id is None or found.ordinal is None:
        return None
    columns = [statements.c.file, *(statement_lines.c[name] for name in Line._fields[1:])]
    row = (
        await connection.execute(
            select(*columns)
            .join(statements, statements.c.statement_id == statement_lines.c.statement_id)
            .where(statement_lines.c.statement_id == found.statement_id, statement_lines.c.ordinal == found.ordinal)
        )
    ).one_or_none()
    return None if row is None else Line(*row)


async def _postings(connection: AsyncConnection, found: Break) -> list[Posting]:
    """What its statement put on suspense, and what its resolution posted on the plan's shard and the seat's."""
    places = [plan_shard(await _plan_id(connection, found))]
    if found.seat is not None and found.kind not in (None, "P", "B"):
        places.append(_placed(places[0], found.seat)[0])
    key, keys = journals.c.idempotency_key, []
    if found.statement_id is not None and found.suspense_minor:
        keys.append(key.startswith(f"statement:{found.statement_id}:", autoescape=True))
    if found.decision_id is not None and found.state not in UNRESOLVED:
        name = f"decision:{found.decision_id}"
        for prefix in (name, *(f"{cause}:{found.run_id}:{name}" for cause in sorted(set(CAUSES.values())))):
            keys += [key == prefix, key.startswith(f"{prefix}:", autoescape=True)]
    if not keys:
        return []
    rows = await connection.execute(
        select(key, journals.c.effective_on, journals.c.accounts, journals.c.amounts)
        .where(journals.c.shard_id.in_(places), or_(*keys))
        .order_by(journals.c.recorded_at, journals.c.shard_id, journals.c.seq)
    )
    return [
        Posting(each, effective_on, account_of(account).title, amount)
        for each, effective_on, accounts, amounts in rows
        for account, amount in zip(accounts, amounts, strict=True)
    ]
