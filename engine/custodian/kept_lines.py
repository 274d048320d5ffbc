"""The lines of a statement, read again in its kept file: of those that matched no more than sums are stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.custodian.profile import Profile
from engine.custodian.readers import read
from engine.custodian.statement import Footing, place_in_file
from engine.custodian.veiled import veiled

_REFERENCES = ("reference", "batch_reference", "bank_reference")


def kept_lines(path: Path, profile: Profile, number: int, *, after: int = 0, limit: int) -> list[dict[str, Any]]:
    """Lines of the statement `number` of a file, rows of SCHEMA by its names, of those after an ordinal.

    `place` is in words; references of others are veiled. All of the file before them is read. Raises InvalidInput.
    """
    found = list[dict[str, Any]]()
    for batch in _batches(path, profile, number):
        last = batch["ordinal"][-1].as_py() if batch.num_rows else 0
        if last > after:
            ordinals = batch["ordinal"].to_pylist()
            first = next(row for row, ordinal in enumerate(ordinals) if ordinal > after)
            found += _rows(batch.slice(first, limit - len(found)))
        if len(found) == limit:
            break
    return found


def _batches(path: Path, profile: Profile, number: int) -> Iterator[pa.RecordBatch]:
    at = 1
    for part in read(path, [(profile.layouts, profile.currency)]):
        if isinstance(part, Footing):
            at += 1
            if at > number:
                return
        elif at == number:
            yield part


def _rows(lines: pa.RecordBatch) -> list[dict[str, Any]]:
    for name in _REFERENCES:
        at = lines.schema.get_field_index(name)
        lines = lines.set_column(at, lines.schema.field(at), veiled(lines.column(at)))
    return [row | {"place": place_in_file(row)} for row in lines.to_pylist()]
