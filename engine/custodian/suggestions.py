"""Stage 5: what a line without our reference might be, for a person to decide. Nothing here is ever applied.

In a share run everyone pays the same amount, so amount and day alone say nothing: the payer must agree too, and the
three together must occur once among the lines and once among what is open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOBODY = 0
"""The payer of whom nothing is known; never suggested."""


@dataclass(frozen=True)
class Traits:
    """What n lines, or n open instructions, can be recognised by.

    `amount_minor`: int64[n], as the account books it; `on`: int32[n] day numbers; `payer`: int64[n], a keyed hash of
    who pays, or NOBODY.
    """

    amount_minor: NDArray[np.int64]
    on: NDArray[np.int32]
    payer: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.amount_minor)


def suggest(lines: Traits, instructions: Traits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lines int64[k], rising, and the instruction int64[k] that each might be, by their places."""
    amount, on, payer = (
        np.concatenate([getattr(lines, name), getattr(instructions, name)]) for name in ("amount_minor", "on", "payer")
    )
    # Sorted by traits, then by place: of two that agree and no more, the line comes first.
    order = np.lexsort((on, amount, payer))
    traits = [each[order] for each in (payer, amount, on)]
    begins = np.ones(len(order), np.bool_)
    if len(order):
        begins[1:] = np.logical_or.reduce([each[1:] != each[:-1] for each in traits])
    first = np.flatnonzero(begins)
    size = np.diff(np.append(first, len(order)))
    pairs = first[(size == 2) & (traits[0][first] != NOBODY)]
    line, other = order[pairs], order[pairs + 1]
    apart = (line < len(lines)) & (other >= len(lines))
    line, other = line[apart], other[apart] - len(lines)
    by_line = np.argsort(line)
    return line[by_line], other[by_line]
