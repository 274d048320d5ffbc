"""Breaks as rows: opened in bulk, by whoever found them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.breaks import Code
from engine.custodian.reference import Kind
from engine.store.arrays import Row, copy_in
from engine.store.tables import breaks


@dataclass(frozen=True)
class Opening:
    """A break to open.

    `amount_minor`: what is not explained; `suspense_minor`: what of it stands on suspense; both as the account books
    it, credits positive. `statement_id`, `ordinal`: the line it is about, no ordinal where it is the whole statement.
    `run_id`, `kind`, `attempt`, `seat`: the instruction it is about, as its reference says; of payouts the claim's
    number stands in place of the seat, of batches the file's.
    """

    code: Code
    plan_id: int
    amount_minor: int
    suspense_minor: int
    opened_on: date
    statement_id: int | None = None
    ordinal: int | None = None
    run_id: int | None = None
    kind: Kind | None = None
    attempt: int | None = None
    seat: int | None = None


_COLUMNS = (
    *("custodian_id", "plan_id", "code", "statement_id", "ordinal", "run_id", "kind", "attempt", "seat"),
    *("amount_minor", "suspense_minor", "opened_on"),
)


async def open_breaks(connection: AsyncConnection, custodian_id: int, openings: Iterable[Opening]) -> int:
    """Write breaks down, open, in the caller's transaction; how many there were.

    Raises IntegrityError where a line has a break of this code already: who may come twice looks first.
    """
    rows: list[Row] = [
        (
            *(custodian_id, each.plan_id, each.code.value, each.statement_id, each.ordinal, each.run_id),
            *(None if each.kind is None else chr(each.kind), each.attempt, each.seat),
            *(each.amount_minor, each.suspense_minor, each.opened_on),
        )
        for each in openings
    ]
    if rows:
        await copy_in(connection, breaks, list(_COLUMNS), rows)
    return len(rows)
