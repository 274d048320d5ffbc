"""Statement lines as arrays, their references read: what matching works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.reference import Decoded, decode
from engine.custodian.statement import SCHEMA, Kind
from engine.custodian.verdicts import Verdicts
from engine.plans.days import NEVER

NO_ORIGINAL = -1
"""In `original_minor`: the line does not say which amount it returns."""

KINDS = tuple(Kind)
"""Columns hold a kind's place in it."""

_KIND_NAMES = pa.array([kind.value for kind in KINDS])


@dataclass(frozen=True)
class Lines:
    """n lines: the columns that decide, what their references say, and what became of them so far.

    `kind` uint8[n], by place in KINDS; `amount_minor`, `charges_minor`, `original_minor` int64[n]; `booked_on` int32[n]
    day numbers, NEVER where there is none. `target`, `verdict` and `stage` are filled in by matching.
    """

    batch: pa.RecordBatch
    kind: NDArray[np.uint8]
    amount_minor: NDArray[np.int64]
    charges_minor: NDArray[np.int64]
    original_minor: NDArray[np.int64]
    booked_on: NDArray[np.int32]
    count: NDArray[np.int64]
    target: Decoded
    verdict: NDArray[np.uint8]
    stage: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.verdict)

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Lines:
        """The lines of a batch of SCHEMA, by the references in their own column."""
        n = batch.num_rows
        numbers = {
            name: batch.column(name).fill_null(NO_ORIGINAL).to_numpy(zero_copy_only=False)
            for name in ("amount_minor", "charges_minor", "original_minor", "count")
        }
        return cls(
            batch,
            kind=pc.index_in(batch.column("kind"), _KIND_NAMES).to_numpy(zero_copy_only=False).astype(np.uint8),
            booked_on=batch.column("booked_on").cast(pa.int32()).fill_null(NEVER).to_numpy(zero_copy_only=False),
            target=decode(batch.column("reference")),
            verdict=np.zeros(n, np.uint8),
            stage=np.zeros(n, np.uint8),
            **numbers,
        )

    def is_kind(self, kind: Kind) -> NDArray[np.bool_]:
        """bool[n]: the lines of this kind."""
        found: NDArray[np.bool_] = self.kind == KINDS.index(kind)
        return found

    def read_also(self, field: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take the references of `rows` from another field where it has one of ours; int64[k]: those rows."""
        found = decode(self.batch.column(field).take(pa.array(rows)))
        ours = rows[found.valid]
        for name in _TARGET:
            getattr(self.target, name)[ours] = getattr(found, name)[found.valid]
        return ours

    def chosen(self, rows: NDArray[np.int64]) -> Lines:
        """The lines of these rows, copied."""
        target = Decoded(*(getattr(self.target, name)[rows] for name in _TARGET))
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Lines(self.batch.take(pa.array(rows)), target=target, **columns)

    def verdicts(self) -> Verdicts:
        """What became of them."""
        return Verdicts(self.batch, self.verdict, self.stage, self.target)


_TARGET = ("kind", "run", "attempt", "seat", "valid")
_COLUMNS = (
    *("kind", "amount_minor", "charges_minor", "original_minor", "booked_on", "count"),
    *("verdict", "stage"),
)


def joined(parts: Sequence[Lines]) -> Lines:
    """The lines of all parts, one after the other."""
    if not parts:
        return Lines.of(pa.RecordBatch.from_pylist([], SCHEMA))
    batch = pa.Table.from_batches([part.batch for part in parts]).combine_chunks().to_batches()[0]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    target = Decoded(*(np.concatenate([getattr(part.target, name) for part in parts]) for name in _TARGET))
    return Lines(batch, target=target, **columns)
