"""The balance beside each row of a bill: each follows from the one before it, or the file is not whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.statement import Fault, Problems
from engine.money import grouped


@dataclass
class RunningBalance:
    """Opening and closing balance of rows with balances, oldest or newest first; None where rows have none."""

    problems: Problems
    newest_first: bool | None = None
    opening: int | None = None
    closing: int | None = None
    last: tuple[int, int] | None = None
    missing: bool = False

    def take(self, balances: pa.Array, amounts: pa.Array, numbers: NDArray[np.int64]) -> None:
        """The balances, int64[n] in minor units, of rows with amounts int64[n], on lines `numbers`."""
        if balances.null_count or self.missing:
            self.missing, self.opening, self.closing = True, None, None
            return
        if not len(balances):
            return
        after, moved = balances.to_numpy(), pc.fill_null(amounts, 0).to_numpy()
        lines = numbers
        if self.last is not None:
            after, moved = np.append(self.last[0], after), np.append(self.last[1], moved)
            lines = np.append(0, lines)
        oldest = after[1:] != after[:-1] + moved[1:]
        newest = after[1:] != after[:-1] - moved[:-1]
        if self.newest_first is None and len(after) > 1:
            self.newest_first = bool(newest.sum() < oldest.sum())
        for row in np.flatnonzero(newest if self.newest_first else oldest).tolist():
            message = f"the balance {grouped(int(after[row + 1]))} does not follow from {grouped(int(after[row]))}"
            self.problems.add(Fault.BALANCE_BREAK, f"line {lines[row + 1]}", message)
        self.last = (int(after[-1]), int(moved[-1]))
        before_first, after_first = int(after[0] - moved[0]), int(after[0])
        if self.newest_first:
            self.closing = after_first if self.closing is None else self.closing
            self.opening = self.last[0] - self.last[1]
        else:
            self.opening = before_first if self.opening is None else self.opening
            self.closing = self.last[0]
