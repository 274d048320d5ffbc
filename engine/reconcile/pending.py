"""Stage 7: lines that name what is not there yet wait for a later statement; too long, and they are breaks."""

from __future__ import annotations

from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.aging import since_of
from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.lines import Lines
from engine.custodian.loaded import Loader
from engine.custodian.matching import Matcher
from engine.custodian.reference import Reference
from engine.custodian.registered import Custodian
from engine.custodian.schedule import calendar_of
from engine.custodian.statement_rows import OVERDUE, Decided, decide_lines, lock_custodian, pending_lines
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
        broken = Named(Outcome.BREAK, OVERDUE)
        decided, openings = [], []
        for row in late:
            line, amount, reference = names[row], int(lines.amount_minor[row]), lines.target.reference(row)
            assert reference is not None  # only what names something of ours waits
            decided.append(Decided(line.statement_id, line.ordinal, amount, line.was, broken, Stage.TRANSIT))
            opening = Opening(OVERDUE, await _plan(loader, custodian, reference), amount, amount, line.since, *line[:2])
            openings.append(opening.about(reference))
        if decided:
            await decide_lines(connection, None, decided)
        opened += await open_breaks(connection, custodian.custodian_id, openings)
    return opened


async def _plan(loader: Loader, custodian: Custodian, reference: Reference) -> int:
    """The plan in whose books a line's money waits: that of what the line names, if its money is here."""
    asked = await loader.run(reference.kind, reference.run)
    return asked.plan_id if asked is not None and asked.plan_id in custodian.plans else custodian.home_plan
