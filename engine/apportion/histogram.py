"""The sparse histogram a shard is measured into, and all a solution needs to know of the members."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine.apportion.seats import UNLIMITED, Int64s
from engine.errors import InvalidInput

_MAGIC = b"FH1\x00"
_COLUMNS = (("classes", "<i8"), ("tiers", "<i2"), ("allowances", "<i8"), ("sides", "<i1"), ("seats", "<i8"))
_ROW_BYTES = sum(np.dtype(dtype).itemsize for _, dtype in _COLUMNS)


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many covered seats there are of each kind; all columns int64[rows].

    `classes` (which gates, see seats.class_of), `tiers`, `allowances` (minor units, clipped; UNLIMITED for
    none), `sides` (1: at or after its tier's pointer, only for exact rounding), `seats` (how many).
    Rows are distinct and sorted by (class, tier, allowance, side): equal content is equal bytes.
    """

    classes: Int64s
    tiers: Int64s
    allowances: Int64s
    sides: Int64s
    seats: Int64s

    def __len__(self) -> int:
        return len(self.seats)

    @classmethod
    def alike(cls, seats: int, allowance: int | None, tier: int = 0) -> Histogram:
        """`seats` of one tier that cover the only gate, each with `allowance` minor units (None: no limit)."""
        row = (0, tier, UNLIMITED if allowance is None else allowance, 0, seats)
        return cls(*(np.array([value], dtype=np.int64) for value in row))

    def to_bytes(self) -> bytes:
        """Compact and deterministic: magic, then the columns one after the other, little-endian."""
        columns = [getattr(self, name).astype(dtype).tobytes() for name, dtype in _COLUMNS]
        return _MAGIC + b"".join(columns)

    @classmethod
    def from_bytes(cls, data: bytes) -> Histogram:
        """The histogram that `to_bytes` wrote. Raises InvalidInput."""
        rows, rest = divmod(len(data) - len(_MAGIC), _ROW_BYTES)
        if data[: len(_MAGIC)] != _MAGIC or rest:
            raise InvalidInput(f"{len(data)} bytes are not a histogram of this version; measure the shard again")
        columns, start = {}, len(_MAGIC)
        for name, dtype in _COLUMNS:
            columns[name] = np.frombuffer(data, dtype, rows, start).astype(np.int64)
            start += rows * np.dtype(dtype).itemsize
        return cls(**columns)


def collect(classes: Int64s, tiers: Int64s, allowances: Int64s, sides: Int64s, seats: Int64s) -> Histogram:
    """The histogram of these rows (int64[n] each), in any order and with repetitions."""
    if not len(seats):
        return Histogram(classes, tiers, allowances, sides, seats)
    order = np.lexsort((sides, allowances, tiers, classes))
    columns = [column[order] for column in (classes, tiers, allowances, sides)]
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    kept = [column[starts] for column in columns]
    return Histogram(kept[0], kept[1], kept[2], kept[3], np.add.reduceat(seats[order], np.flatnonzero(starts)))


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of several: the same bytes whatever their order."""
    parts = list(histograms)
    empty = np.empty(0, dtype=np.int64)
    return collect(
        np.concatenate([empty, *(part.classes for part in parts)]),
        np.concatenate([empty, *(part.tiers for part in parts)]),
        np.concatenate([empty, *(part.allowances for part in parts)]),
        np.concatenate([empty, *(part.sides for part in parts)]),
        np.concatenate([empty, *(part.seats for part in parts)]),
    )
