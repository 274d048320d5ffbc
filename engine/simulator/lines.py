"""Lines to be booked, many alike at a time, and the files in which they wait for their day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from engine.simulator.faults import Fault


@dataclass(frozen=True)
class Lines:
    """n lines, alike but for `references` string[n], null for none, and `amounts` int64[n], credits positive.

    The others as in engine.custodian.statement; `fault`: what was planted in each of them, None: nothing.
    """

    references: pa.StringArray
    amounts: NDArray[np.int64]
    kind: str
    batch_reference: str | None = None
    reason: str | None = None
    charges_minor: int = 0
    count: int = 1
    fault: Fault | None = None

    def __len__(self) -> int:
        return len(self.amounts)

    def chosen(self, rows: NDArray[Any]) -> Lines:
        """Those at int64[k], or where the bool[n] is set."""
        return replace(self, references=at(self.references, rows), amounts=self.amounts[rows])

    def originals(self) -> NDArray[np.int64] | None:
        """int64[n]: what each return returns, whichever way it went first; None for what is no return."""
        return np.abs(self.amounts + self.charges_minor) if self.kind == "return" else None


def at(references: pa.StringArray, rows: NDArray[Any]) -> pa.StringArray:
    """string[k]: those at int64[k], or where the bool[n] is set."""
    chosen = pa.array(rows)
    return references.filter(chosen) if rows.dtype == np.bool_ else references.take(chosen)


_ALIKE = ("kind", "batch_reference", "reason", "charges_minor", "count", "fault")
_ROWS = pa.schema([("reference", pa.string()), ("amount_minor", pa.int64())])


class WaitingFile:
    """A file of lines under way, made with the first of them; `close` leaves it whole."""

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, _ROWS)

    def __enter__(self) -> Self:
        return self

    def write(self, lines: Lines) -> None:
        """More lines."""
        alike = json.dumps({name: getattr(lines, name) for name in _ALIKE})
        rows = pa.RecordBatch.from_arrays([lines.references, pa.array(lines.amounts)], schema=_ROWS)
        self._writer.write_batch(rows, custom_metadata={"alike": alike})

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._sink.close()


def waiting_in(path: Path) -> Iterator[Lines]:
    """The lines of a file, in the order in which they were written."""
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        while True:
            try:
                rows, told = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                return
            alike = json.loads(told["alike"])
            alike["fault"] = alike["fault"] and Fault(alike["fault"])
            yield Lines(rows.column(0), rows.column(1).to_numpy(), **alike)
