"""What the people of finance did about the month's breaks, and what they have before them today."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from tests.screenshots.office import Office

WORKED_ON = (date(2019, 7, 8), date(2019, 7, 17), date(2019, 7, 24), date(2019, 7, 31))
"""The days on which what was opened before is brought to an end."""

HARDER = {"DUPLICATE_AT_BANK": 3, "MISSING_IN_LEDGER": 2}
"""So many of a kind and run are left: money beside the debits, which keeps no run from settling."""

LONG_AGO = 4
"""Of the runs up to this one nothing is left."""

ANSWERS: Mapping[str, tuple[str, str]] = {
    "DUPLICATE_AT_BANK": ("give back", "booked twice by the bank; the member paid once too often"),
    "AMOUNT_MISMATCH": ("accept", "the bank confirmed what it booked; the difference is nobody's"),
    "MISSING_AT_BANK": ("ask again", "not on any statement within the three days; the bank has no trace of it"),
    "MISSING_IN_LEDGER": ("write off", "nothing of ours, and the payer did not answer within 30 days"),
    "RETURNED_AFTER_SETTLEMENT": ("ask again", "came back after the run had settled; the mandate stands"),
    "STATUS_CONFLICT": ("explain", "the later line is right: the bank corrected itself the same day"),
}


async def resolve_older(office: Office, on: date) -> None:
    """Propose what is done about each kind of the breaks found before, run by run, and have it approved."""
    for code, run_id, ids in await _found(office):
        action, reason = ANSWERS[code]
        if not (chosen := ids[HARDER.get(code, 0) if run_id > LONG_AGO else 0 :]):
            continue
        said = {"action": action, "reason": reason, "breaks": {"ids": chosen}}
        await office.clock.set(on, 16)
        answer = await office.may(("sun.lei", "wang.fang")[run_id % 2], "breaks/selection/propose", said)
        if answer is None:
            continue
        await office.clock.set(on, 17, 20)
        path = f"decisions/{answer['decision_id']}"
        if await office.may("zhao.min", f"{path}/approve") is None:
            await office.ask("zhao.min", f"{path}/refuse", {"reason": "its lines came since; look at them once more"})


async def _found(office: Office) -> list[tuple[str, int, list[int]]]:
    """Breaks that nobody has, by code and run."""
    rows = await office.sql(
        "SELECT code, coalesce(run_id, 0), array_agg(break_id ORDER BY break_id) FROM breaks WHERE state = 'open'"
        " GROUP BY 1, 2 ORDER BY 2, 1"
    )
    return [(code, run_id, list(ids)) for code, run_id, ids in rows if code in ANSWERS]
