"""What was planted, for tests: day by day, so that a custodian that went on the next day tells of both."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.csv

from engine.simulator.faults import Fault
from engine.simulator.lines import Lines

_SCHEMA = pa.schema(
    [("fault", pa.string()), ("on", pa.date32()), ("reference", pa.string()), ("amount_minor", pa.int64())]
)
_NO_HEAD = pyarrow.csv.WriteOptions(include_header=False)


class Truth:
    """The faults of one day, counted and written to a file of their own."""

    def __init__(self, path: Path, on: date) -> None:
        self.counts = dict.fromkeys(Fault, 0)
        self._on = on
        self._writer = pyarrow.csv.CSVWriter(path, _SCHEMA, write_options=_NO_HEAD)

    def __enter__(self) -> Self:
        return self

    def note(self, lines: Lines) -> None:
        """Lines of the day, also those that were left out; where nothing was planted they are passed over."""
        if lines.fault is None or not len(lines):
            return
        self.counts[lines.fault] += len(lines)
        n = len(lines)
        references = lines.references.fill_null(lines.batch_reference or "")
        columns = [pa.repeat(lines.fault.value, n), pa.repeat(self._on, n), references, pa.array(lines.amounts)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def gather(days: Iterable[Path], path: Path) -> None:
    """All days in one CSV file with a head: fault, on, reference, amount_minor."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as whole:
        whole.write(",".join(f'"{name}"' for name in _SCHEMA.names).encode() + b"\n")
        for day in days:
            whole.write(day.read_bytes())
    part.replace(path)
