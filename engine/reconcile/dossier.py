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
from engine.custodian.events import CAUSES
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import list_custodians
from engine.ledger.accounts import account_of, plan_shard
from engine.store.tables import SHARD_SEATS, breaks, journals, statement_lines, statements


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


@dataclass(frozen=True)
class Dossier:
    """What a person needs to decide. `reference`: of the instruction it is about; `actions`: what is possible."""

    found: Break
    reference: str | None
    line: Line | None
    postings: tuple[Posting, ...]
    history: tuple[Step, ...]
    actions: tuple[Action, ...]


async def dossier_of(connection: AsyncConnection, break_id: int, *, on: date) -> Dossier:
    """Everything about the break of this number, as it stands on a day. Raises InvalidInput when there is none."""
    found = await break_of(connection, break_id, await list_custodians(connection), on=on)
    is_open = found.state in UNRESOLVED
    return Dossier(
        found,
        _reference(found),
        await _line(connection, found),
        tuple(await _postings(connection, found)),
        tuple(await history_of(connection, break_id)),
        actions_for(Code(found.code)) if is_open else (),
    )


def _reference(found: Break) -> str | None:
    if found.kind is None or found.run_id is None or found.seat is None:
        return None
    return str(Reference(Kind(ord(found.kind)), found.run_id, found.attempt or 0, found.seat))


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
    plan_id = await connection.scalar(select(breaks.c.plan_id).where(breaks.c.break_id == found.break_id))
    assert plan_id is not None
    places = [plan_shard(plan_id)]
    if found.seat is not None and found.kind not in (None, "P", "B"):
        places.append(places[0] + found.seat // SHARD_SEATS + 1)
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
