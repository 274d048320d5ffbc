"""What a custodian refused before it was booked: status reports, by line, the lowest level wins (BANK.md).

What it accepts is no news. What it refused and booked all the same, or the other way round, is a break.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.custodian.instructions import State
from engine.custodian.lines import Lines
from engine.custodian.loaded import Loaded, Loader
from engine.custodian.phases import CONFLICT, first_of
from engine.custodian.profile import Meaning, Profile
from engine.custodian.reference import INSTRUCTED, OF_PLANS, Kind
from engine.custodian.statement import Kind as LineKind
from engine.custodian.verdicts import MATCHED, Stage

REJECTING = ("pain.002", "daikou", "csv", "fixed_width")
"""Where a line that came back and has no amount was refused; elsewhere it may only be pending."""

_OPEN = (State.ASSESSED, State.SENT)
_BOOKED = (State.BOOKED, State.SETTLED, State.DISPUTED)

Hold = Callable[[Loaded, list[int]], Awaitable[None]]
Numbered = Callable[[NDArray[np.int64]], NDArray[np.int64] | int]


async def reject(lines: Lines, profile: Profile, loader: Loader, hold: Hold, numbers: Numbered) -> None:
    """Let what the lines refuse be REJECTED; those that say so are matched, the others stay as they are.

    A file refused as one that the custodian has already was taken the first time: it was put twice, as after a crash.
    `hold` loads shards for matching; `numbers` gives the sources of rows.
    """
    rows = np.flatnonzero(lines.is_kind(LineKind.RETURN) & (lines.amount_minor == 0))
    if not len(rows):
        return
    lines.read_also("batch_reference", rows[~lines.target.valid[rows]])
    rows = rows[lines.target.valid[rows]]
    keys = lines.target.kind[rows].astype(np.int64) << 32 | lines.target.run[rows]
    # A batch after what is said of its debits by name: that has its own reasons.
    for key in sorted(np.unique(keys).tolist(), key=lambda key: (key >> 32 == Kind.BATCH, key)):
        kind, run, there = Kind(key >> 32), key % (1 << 32), rows[keys == key]
        if kind is Kind.BATCH:
            for row in there.tolist():
                if profile.reason(lines.batch.column("reason")[row].as_py()).means is not Meaning.DUPLICATE:
                    await _reject_batch(lines, row, loader, hold, numbers)
        elif kind not in OF_PLANS and (loaded := await loader.run(kind, run)) is not None:
            await hold(loaded, loaded.missing(lines.target.seat[there]))
            _reject_rows(lines, there, loaded, numbers)


def _reject_rows(lines: Lines, rows: NDArray[np.int64], loaded: Loaded, numbers: Numbered) -> None:
    asked = loaded.instructions
    rows = rows[lines.target.seat[rows] < len(loaded)]
    seat = lines.target.seat[rows]
    last = asked.attempt[seat] == lines.target.attempt[rows]
    state = asked.state[seat]
    conflicts = rows[last & np.isin(state, _BOOKED)]
    lines.verdict[conflicts], lines.stage[conflicts] = CONFLICT, Stage.REFERENCE
    refused = rows[last & np.isin(state, _OPEN)]
    refused = refused[first_of(lines.target.seat[refused])]
    lines.verdict[refused], lines.stage[refused] = MATCHED, Stage.REFERENCE
    reasons = lines.batch.column("reason").take(pa.array(refused))
    _refuse(loaded, lines.target.seat[refused], reasons, numbers(refused))


async def _reject_batch(lines: Lines, row: int, loader: Loader, hold: Hold, numbers: Numbered) -> None:
    """A whole file was refused: nothing is said of what is in it."""
    number, attempt, run = (int(getattr(lines.target, name)[row]) for name in ("seat", "attempt", "run"))
    reason = lines.batch.column("reason")[row].as_py()
    for kind in INSTRUCTED:
        loaded = await loader.run(kind, run)
        seat = np.empty(0, np.int64) if loaded is None else await loader.members(loaded, number, attempt)
        if loaded is None or not len(seat):
            continue
        await hold(loaded, loaded.missing(seat))
        asked = loaded.instructions
        seat = seat[asked.attempt[seat] == attempt]
        if np.isin(asked.state[seat], _BOOKED).any():
            lines.verdict[row], lines.stage[row] = CONFLICT, Stage.BATCH
        elif np.isin(asked.state[seat], _OPEN).any():
            lines.verdict[row], lines.stage[row] = MATCHED, Stage.BATCH
        seat = seat[np.isin(asked.state[seat], _OPEN)]
        _refuse(loaded, seat, pa.array([reason] * len(seat), pa.string()), numbers(np.array([row])))


def _refuse(loaded: Loaded, seat: NDArray[np.int64], reasons: pa.StringArray, numbers: NDArray[np.int64] | int) -> None:
    loaded.instructions.state[seat] = State.REJECTED
    loaded.mark("returned", seat, numbers)
    loaded.explain(seat, reasons)
