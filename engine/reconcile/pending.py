"""Stage 7: lines that name what is not there yet wait for a later statement; too long, and they are breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.aging import since_of
from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.lines import Lines
from engine.custodian.loaded import Loader
from engine.custodian.matching import Matcher
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.custodian.schedule import calendar_of
from engine.custodian.statement_rows import OVERDUE, Decided, PendingLine, decide_lines, lock_custodian, pending_lines
from engine.custodian.verdicts import Named, Outcome, Stage


async def open_overdue(connection: AsyncConnection, custodian: Custodian, *, on: date) -> int:
    """Open a break for every line that waits for longer than a debit may be under way; how many.

    Its money stays on suspense. A later statement that decides the line clears its break, unless people decide first.
    The same again opens nothing more.
    """
    await lock_custodian(connection, custodian.custodian_id)
    profile = custodian.profile
    before = since_of(profile.in_transit_days, on, **calendar_of(profile))
    loader = Loader(connection, custodian.custodian_id, with_batches=False)
    opened = 0
    async for names, batch in pending_lines(connection, custodian.custodian_id):
        lines = Matcher([]).read(Lines.of(batch))
        late = [row for row, each in enumerate(names) if each.since < before and not each.is_break]
        plans = await _plans(loader, custodian, lines, late)
        broken = Named(Outcome.BREAK, OVERDUE)
        decided = [
            Decided(*names[row][:2], int(lines.amount_minor[row]), names[row].was, broken, Stage.TRANSIT)
            for row in late
        ]
        if decided:
            await decide_lines(connection, None, decided)
        opened += await open_breaks(connection, custodian.custodian_id, _openings(names, lines, plans))
    return opened


async def _plans(loader: Loader, custodian: Custodian, lines: Lines, rows: Sequence[int]) -> dict[int, int]:
    """By row, the plan in whose books its money waits: that of what the line names, if its money is here."""
    plans = {}
    for row in rows:
        asked = await loader.run(Kind(int(lines.target.kind[row])), int(lines.target.run[row]))
        plans[row] = asked.plan_id if asked is not None and asked.plan_id in custodian.plans else custodian.home_plan
    return plans


def _openings(names: Sequence[PendingLine], lines: Lines, plans: dict[int, int]) -> Iterator[Opening]:
    target = lines.target
    for row, plan_id in plans.items():
        amount = int(lines.amount_minor[row])
        yield Opening(
            OVERDUE,
            plan_id,
            amount,
            suspense_minor=amount,
            opened_on=names[row].since,
            statement_id=names[row].statement_id,
            ordinal=names[row].ordinal,
            run_id=int(target.run[row]),
            kind=Kind(int(target.kind[row])),
            attempt=int(target.attempt[row]),
            seat=int(target.seat[row]),
        )
