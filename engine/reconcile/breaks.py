"""What people do about breaks by themselves: take them on, remark on them; and what a later statement clears."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Date, Integer, Text, any_, cast, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import Selection
from engine.custodian.breaks import NEXT, BreakRefused, Event, State, possible
from engine.custodian.instructions import State as Instruction
from engine.custodian.reference import Kind
from engine.custodian.registered import list_custodians
from engine.custodian.standing import read_standing, sent_batches
from engine.custodian.statement_rows import OVERDUE
from engine.errors import InvalidInput, NotFound
from engine.store.arrays import copy_out
from engine.store.audit import record
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, break_events, breaks, statement_lines

REMARK = "comment"
"""A row of a break's history that moves it nowhere."""


class Cleared(NamedTuple):
    """What a later statement explained: how many breaks, and the open decisions that hold others of them still.

    Those are left to who decides: approving refuses with a word about it, and refusing lets them be cleared.
    """

    number: int
    held_by: tuple[int, ...]


async def assign(
    connection: AsyncConnection, ids: Sequence[int], to: str, *, on: date, actor: str, comment: str = ""
) -> int:
    """Put breaks, open or somebody's, into one person's hands; how many.

    Raises InvalidInput for numbers that there are not, BreakRefused where one is proposed or closed.
    """
    where = breaks.c.break_id.in_(ids)
    await check_each(connection, ids, Event.ASSIGN)
    await write_events(connection, where, Event.ASSIGN, on=on, actor=actor, reason=f"to {to}", comment=comment)
    await connection.execute(update(breaks).where(where).values(state=State.ASSIGNED, assigned_to=to))
    await record(connection, actor, "assign breaks", _subject(ids), {"breaks": len(set(ids)), "to": to})
    return len(set(ids))


async def assign_all(
    connection: AsyncConnection, selection: Selection, to: str, *, expected: int, on: date, actor: str
) -> int:
    """Put all breaks of a selection that are open, or somebody's, into one person's hands; how many.

    `expected`: how many were seen. Raises BreakRefused where there are not as many by now, and as `assign` does of
    breaks that are named by their numbers.
    """
    if selection.ids:
        await check_each(connection, selection.ids, Event.ASSIGN)
    may_be = [state for state, event in NEXT if event is Event.ASSIGN]
    where = selection.where(await list_custodians(connection), on) & breaks.c.state.in_(may_be)
    locked = select(breaks.c.break_id).where(where).with_for_update().subquery()
    number = int(await connection.scalar(select(func.count()).select_from(locked)) or 0)
    refuse_other_number(expected, number)
    await write_events(connection, where, Event.ASSIGN, on=on, actor=actor, reason=f"to {to}")
    moved = await connection.execute(update(breaks).where(where).values(state=State.ASSIGNED, assigned_to=to))
    refuse_other_number(number, moved.rowcount)
    await record(connection, actor, "assign breaks", "breaks", {"breaks": number, "to": to})
    return number


def refuse_other_number(expected: int | None, number: int) -> None:
    """Raises BreakRefused where breaks were opened or decided since somebody looked at those they choose."""
    if expected not in (None, number):
        raise BreakRefused(f"{number:,} breaks are chosen by now, and not {expected:,}: look at them, and say it again")


async def comment(connection: AsyncConnection, break_id: int, text: str, *, on: date, actor: str) -> None:
    """Remark on a break, in whatever state it is. Raises InvalidInput when there is none, or nothing is said."""
    if not text.strip():
        raise InvalidInput("say something: the comment is empty")
    await check_each(connection, [break_id])
    await write_events(connection, breaks.c.break_id == break_id, REMARK, on=on, actor=actor, comment=text)
    await record(connection, actor, "comment on break", f"break:{break_id}")


async def clear_breaks(
    connection: AsyncConnection,
    where: ColumnElement[bool],
    *,
    on: date,
    actor: str,
    reason: str,
    takes_suspense: bool = False,
) -> Cleared:
    """A later statement explained the breaks that the condition picks, exactly: there is nothing left to decide.

        await clear_breaks(connection, (breaks.c.code == Code.STATEMENT_GAP) & (breaks.c.statement_id == 7), …)

    Nothing is posted: who calls has posted what the statement says. The same again clears nothing more. Raises
    BreakRefused where money of one stands on suspense, which only a decision of two takes off; but where the statement
    takes it on (`takes_suspense`).
    """
    waits = where & breaks.c.state.in_([state for state, event in NEXT if event is Event.CLEAR])
    on_suspense = (
        None
        if takes_suspense
        else await connection.scalar(select(func.min(breaks.c.break_id)).where(waits, breaks.c.suspense_minor != 0))
    )
    if on_suspense is not None:
        raise BreakRefused(f"break {on_suspense} has money on suspense; resolve it by a decision of two")
    await connection.execute(select(breaks.c.break_id).where(waits).with_for_update())
    await write_events(connection, waits, Event.CLEAR, on=on, actor=actor, reason=reason)
    cleared = await connection.execute(
        update(breaks).where(waits).values(state=State.RESOLVED, closed_on=func.greatest(breaks.c.opened_on, on))
    )
    held = await connection.scalars(
        select(breaks.c.decision_id).where(where, breaks.c.state == State.PROPOSED).distinct()
    )
    return Cleared(cleared.rowcount, tuple(sorted(each for each in held if each is not None)))


async def clear_missing(connection: AsyncConnection, run_id: int, *, on: date, actor: str) -> Cleared:
    """Clear what was missing of a run's instructions and is on a statement by now, or was asked for again since."""
    found = await copy_out(
        connection, _MISSING, [run_id], [BigInteger(), Integer(), ARRAY(Integer), ARRAY(Integer), ARRAY(BigInteger)]
    )
    cleared, held = 0, set[int]()
    for shard_id, letter, places, attempts, ids in found:
        kind = Kind(letter)
        batches = await sent_batches(connection, run_id, kind)
        standing = await read_standing(connection, shard_id, run_id, kind, batches=batches)
        waits = (standing.state[places] == Instruction.SENT) & (standing.attempt[places] == attempts)
        which = literal(ids[~waits].tolist(), ARRAY(BigInteger))
        result = await clear_breaks(
            connection,
            breaks.c.break_id == any_(which),
            on=on,
            actor=actor,
            reason="its line came, or it was asked again",
        )
        cleared += result.number
        held.update(result.held_by)
    return Cleared(cleared, tuple(sorted(held)))


async def clear_overdue(
    connection: AsyncConnection, custodian_id: int, statement_id: int, *, on: date, actor: str
) -> Cleared:
    """Clear the breaks of lines that waited too long, which this statement decides, and whose suspense it takes on."""
    line = statement_lines.c
    decided = select(line.ordinal).where(
        line.statement_id == breaks.c.statement_id,
        line.ordinal == breaks.c.ordinal,
        line.decided_by == statement_id,
    )
    overdue = (breaks.c.custodian_id == custodian_id) & (breaks.c.code == OVERDUE) & decided.exists()
    reason = f"statement {statement_id} decides its line"
    return await clear_breaks(connection, overdue, on=on, actor=actor, reason=reason, takes_suspense=True)


_MISSING = f"""
SELECT shard_id, kind, packed(array_agg(place ORDER BY place)), packed(array_agg(attempt ORDER BY place)),
    packed(array_agg(break_id ORDER BY place))
FROM (
    SELECT plan_id * {PLAN_STRIDE} + CASE kind WHEN 'P' THEN 0 ELSE seat / {SHARD_SEATS} + 1 END AS shard_id,
        ascii(kind) AS kind, (CASE kind WHEN 'P' THEN seat ELSE seat % {SHARD_SEATS} END)::int AS place,
        attempt::int AS attempt, break_id
    FROM breaks WHERE run_id = $1 AND code = 'MISSING_AT_BANK' AND state IN ('open', 'assigned', 'proposed')
) AS placed
GROUP BY shard_id, kind ORDER BY shard_id, kind
"""  # noqa: S608  # numbers of the program's own


async def check_each(connection: AsyncConnection, ids: Sequence[int], event: Event | None = None) -> None:
    """Every one of these breaks is there, and allows `event`; they are locked until the transaction ends.

    Raises InvalidInput, BreakRefused.
    """
    found = await connection.execute(
        select(breaks.c.break_id, breaks.c.state, breaks.c.decision_id)
        .where(breaks.c.break_id.in_(ids))
        .order_by(breaks.c.break_id)
        .with_for_update()
    )
    states = {row.break_id: (State(row.state), row.decision_id) for row in found}
    if unknown := sorted(set(ids) - set(states)):
        named = ", ".join(map(str, unknown[:10]))
        raise NotFound(f"there is no break {named}; `fentan reconcile breaks` shows those there are")
    for break_id, (state, decision_id) in states.items():
        if event is not None and (state, event) not in NEXT:
            by = f" by decision {decision_id}" if decision_id is not None else ""
            instead = ", ".join(possible(state)) or "nothing, it is final"
            raise BreakRefused(f"break {break_id} is {state}{by} and cannot {event}; possible now: {instead}")


async def write_events(
    connection: AsyncConnection,
    where: ColumnElement[bool],
    event: str,
    *,
    on: date,
    actor: str,
    reason: str = "",
    comment: str = "",
    decision_id: int | None = None,
) -> None:
    """Add one step to the history of every break that the condition picks, in one statement."""
    words = (literal(str(each), Text) for each in (event, actor, reason, comment))
    columns = ["break_id", "event", "actor", "reason", "comment", "decision_id", "happened_on"]
    step = select(
        breaks.c.break_id, *words, literal(decision_id, breaks.c.decision_id.type), cast(literal(on), Date)
    ).where(where)
    await connection.execute(insert(break_events).from_select(columns, step.order_by(breaks.c.break_id)))


def _subject(ids: Sequence[int]) -> str:
    return f"break:{ids[0]}" if len(set(ids)) == 1 else "breaks"
