"""Debits as the text of a file: joined column by column, so that millions take a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.money import MINOR_DIGITS


@dataclass(frozen=True)
class Rows:
    """n rows of a file, ready to be written: row i is `data[bounds[i]:bounds[i + 1]]`; `bounds` int32[n + 1]."""

    data: memoryview
    bounds: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.bounds) - 1


def joined(parts: Sequence[bytes | pa.Array]) -> Rows:
    """Rows of the `parts` one after another: a text for all, or string[n] without nulls; one at least is string[n]."""
    columns: list[bytes | pa.Array] = []
    for part in parts:
        if isinstance(part, bytes) and columns and isinstance(columns[-1], bytes):
            columns[-1] += part
        else:
            columns.append(part if isinstance(part, bytes) else part.view(pa.binary()))
    rows = pc.binary_join_element_wise(*columns, b"")
    _, bounds, data = rows.buffers()
    return Rows(
        memoryview(data) if data else memoryview(b""),
        np.frombuffer(bounds, np.int32)[rows.offset : rows.offset + len(rows) + 1],
    )


def in_major(amounts: pa.Int64Array) -> pa.StringArray:
    """Amounts int64[n] in minor units as decimal text in major units, string[n]: 3 is `0.03`."""
    minor = amounts.to_numpy()
    wide = np.empty((len(minor), 2), np.int64)  # a decimal128 is its digits as an integer of 128 bits
    wide[:, 0], wide[:, 1] = minor, minor >> 63
    decimals = pa.Array.from_buffers(pa.decimal128(19, MINOR_DIGITS), len(minor), [None, pa.py_buffer(wide)])
    return decimals.cast(pa.string())


def in_minor(amounts: pa.Int64Array) -> pa.StringArray:
    """Amounts int64[n] in minor units as text, string[n]."""
    return amounts.cast(pa.string())
