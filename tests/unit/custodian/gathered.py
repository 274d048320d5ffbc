"""What a reader found in a file, whole: each statement's footing and its lines."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from engine.custodian import gates
from engine.custodian.statement import SCHEMA, Fault, Footing, Part

Gathered = list[tuple[Footing, pa.Table]]


def gathered(parts: Iterable[Part]) -> Gathered:
    """Every statement of the file. Batches are valid, and none comes after the last footing."""
    found, batches = [], list[pa.RecordBatch]()
    for part in parts:
        if isinstance(part, Footing):
            found.append((part, pa.Table.from_batches(batches, schema=SCHEMA).combine_chunks()))
            batches = []
        else:
            part.validate(full=True)
            batches.append(part)
    assert not batches
    return found


def faults(found: Gathered) -> list[tuple[Fault, str]]:
    """What the gates say of the statements, and of which places."""
    problems = list[tuple[Fault, str]]()
    for footing, lines in found:
        tally = gates.Tally()
        for batch in lines.to_batches():
            tally.take(batch)
        problems += [(problem.code, problem.place) for problem in gates.problems(footing, tally)]
    return problems
