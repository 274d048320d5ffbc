"""Whether a statement is the next of its account, and whether it was taken before."""

from __future__ import annotations

from sqlalchemy import false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.gates import Tally
from engine.custodian.statement import Footing
from engine.store.tables import statements

IS_STILL = func.coalesce(
    (statements.c.opening_minor == statements.c.closing_minor) & statements.c.sequence.is_(None), false()
)
"""It comes to nothing and has no number: by its balance it might stand anywhere that this one stands."""


async def fits_between(connection: AsyncConnection, custodian_id: int, footing: Footing) -> bool:
    """Whether a statement that comes to nothing lies, by its days and balance, between two that were taken.

    Then nothing kept the later one from being taken before it. What has a number has its place by that.
    """
    said = footing.statement
    if said.opening_minor is None or said.opening_minor != said.closing_minor or footing.declared.sequence is not None:
        return False
    own = statements.c
    order = (own.taken_at, own.statement_id)
    moved = (
        select(own.opening_minor, own.from_on, func.lag(own.to_on).over(order_by=order).label("before_on"))
        .where(own.custodian_id == custodian_id, own.books, own.state == "taken", own.closing_minor.is_not(None))
        .where(~IS_STILL)
        .subquery()
    )
    found = await connection.scalar(
        select(func.count())
        .select_from(moved)
        .where(moved.c.opening_minor == said.opening_minor, moved.c.from_on >= said.to_on)
        .where(or_(moved.c.before_on.is_(None), moved.c.before_on <= said.from_on))
    )
    return bool(found)


async def taken_before(
    connection: AsyncConnection, custodian_id: int, footing: Footing, tally: Tally, ids: bytes
) -> int | None:
    """The statement that was taken with the same days, balances and lines, by their count and sums.

    With balances it has the same name and number, too; without, the same `ids`, what its lines' own references come to.
    None: there is none, or it holds no line, so that nothing tells it from another.
    """
    said, own = footing.statement, statements.c
    if said.from_on is None or not tally.lines:
        return None
    chosen = select(own.statement_id).where(
        own.custodian_id == custodian_id,
        own.state == "taken",
        own.books,
        own.from_on == said.from_on,
        own.to_on == said.to_on,
        own.opening_minor.is_not_distinct_from(said.opening_minor),
        own.closing_minor.is_not_distinct_from(said.closing_minor),
        own.lines == tally.lines,
        own.credits_minor == tally.credits,
        own.debits_minor == tally.debits,
    )
    if said.opening_minor is None or said.closing_minor is None:
        chosen = chosen.where(own.ids == ids)
    else:
        number = footing.declared.sequence
        chosen = chosen.where(own.identity == said.identity, own.sequence.is_not_distinct_from(number))
    same: int | None = await connection.scalar(chosen.order_by(own.statement_id).limit(1))
    return same
