"""Fields at fixed bytes, where a character may be two of them: cut before they are decoded (UnionPay)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.custodian.layouts import FixedWidthLayout
from engine.custodian.readers.laid_out import Taken
from engine.custodian.readers.text_lines import text_lines
from engine.custodian.statement import Fault, Footing, Part, Statement
from engine.errors import InvalidInput

MESSAGE = "fixed_width"

_BATCH_LINES = 65_536


def read(blocks: Iterable[bytes], name: str, layout: FixedWidthLayout, currency: str = "") -> Iterator[Part]:
    """The rows in `blocks` (bytes, cut anywhere) as lines, then the footing, which has no balances.

    Raises InvalidInput where no line is long enough to be a row.
    """
    taken = Taken(layout, currency=currency)
    needed = max(first + length for first, length in layout.fields.values())
    skipped = tuple(beginning.encode(layout.encoding) for beginning in layout.skip)
    whole: list[tuple[int, bytes]] = []
    for number, line in text_lines(blocks, name):
        if not line.strip() or (skipped and line.startswith(skipped)):
            continue
        if len(line) < needed:
            message = f"has {len(line)} bytes; the layout's fields reach to byte {needed}"
            if taken.lines == 0 and not whole:
                raise InvalidInput(f"{name}: line {number}: {message}")
            taken.problems.add(Fault.UNREADABLE, f"line {number}", message)
            continue
        whole.append((number, line))
        if len(whole) == _BATCH_LINES:
            yield _lines(whole, taken, layout, name)
            whole = []
    if whole:
        yield _lines(whole, taken, layout, name)
    statement = Statement(taken.account, taken.currency, "")
    yield Footing(statement, MESSAGE, taken.lines, taken.credits, taken.debits, problems=taken.problems.all())


def fits(start: bytes, layout: FixedWidthLayout) -> bool:
    """Whether a file that begins with `start` may be laid out so: its first row reaches the last field, in digits."""
    skipped = tuple(beginning.encode(layout.encoding) for beginning in layout.skip)
    rows = (line for line in start.splitlines() if line.strip() and not (skipped and line.startswith(skipped)))
    row = next(rows, b"")
    first, length = layout.fields.get("amount") or layout.fields["credit"]
    return any(digit in b"0123456789" for digit in row[first : first + length].strip()[-1:])


def _lines(whole: list[tuple[int, bytes]], taken: Taken, layout: FixedWidthLayout, name: str) -> pa.RecordBatch:
    rows = pa.array([line for _, line in whole], pa.binary())
    fields: dict[str, pa.Array] = {}
    for holds, (first, length) in layout.fields.items():
        cut = pc.binary_slice(rows, first, first + length)
        try:
            fields[holds] = cut.cast(pa.string())
        except pa.ArrowInvalid:
            fields[holds] = _decoded(cut, whole, layout, name)
    return taken.take(fields, np.array([number for number, _ in whole]))


def _decoded(cut: pa.Array, whole: list[tuple[int, bytes]], layout: FixedWidthLayout, name: str) -> pa.Array:
    texts = []
    for (number, _), value in zip(whole, cut.to_pylist(), strict=True):
        try:
            texts.append(value.decode(layout.encoding))
        except UnicodeDecodeError:
            raise InvalidInput(f"{name}: line {number}: a field is not in {layout.encoding}") from None
    return pa.array(texts, pa.string())
