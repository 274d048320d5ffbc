"""What a custodian books for debits, and when: most at once, some again, some back, some never."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.simulator.faults import OF_DEBITS, Fault

LINES = pa.schema(
    [
        ("reference", pa.string()),
        ("batch_reference", pa.string()),
        ("amount_minor", pa.int64()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("original_minor", pa.int64()),
        ("charges_minor", pa.int64()),
        ("count", pa.int64()),
        ("fault", pa.string()),
    ]
)
"""Lines to be booked, by the names of engine.custodian.statement; `fault`: what was planted in a line, else null."""

_AMOUNT, _FAULT = LINES.names.index("amount_minor"), LINES.names.index("fault")

LATE_DAYS = 20
"""After so many days nobody expects a return any more."""

_CHARGES_MINOR = 550
_STRANGE_MOST = 100_000
_REASONS = {
    Fault.INSUFFICIENT_FUNDS: "AM04",
    Fault.CLOSED_ACCOUNT: "AC04",
    Fault.RETURN_WITH_CHARGES: "AM04",
    Fault.LATE_RETURN: "MD06",
}


class Booked(NamedTuple):
    """`lines` (LINES) to be booked so many days after the debit; None: never."""

    days_later: int | None
    lines: pa.RecordBatch


def book(
    debits: pa.RecordBatch, faults: NDArray[np.uint8], dice: NDArray[np.uint32], batch_reference: str
) -> Iterator[Booked]:
    """The lines of debits (`engine.simulator.debits`) booked one by one, with what its fault makes of each.

    `faults`: uint8[n], places in OF_DEBITS or HEALTHY; `dice`: uint32[n], for what a fault leaves open.
    """
    references = debits.column("reference")
    amounts = debits.column("amount_minor").to_numpy()
    yield from _bookings(lines_of(references, amounts, "debit", batch_reference=batch_reference), faults, dice)
    yield from come_back(debits, faults, dice)
    yield strangers(faults, dice)


def book_batch(
    batch_reference: str, count: int, amount_minor: int, faults: NDArray[np.uint8], dice: NDArray[np.uint32]
) -> Iterator[Booked]:
    """One line for a whole batch, with what its fault, uint8[1], makes of it; like `book`."""
    nobody, amount = pa.nulls(1, pa.string()), np.array([amount_minor])
    yield from _bookings(lines_of(nobody, amount, "batch", batch_reference=batch_reference, count=count), faults, dice)


def _bookings(lines: pa.RecordBatch, faults: NDArray[np.uint8], dice: NDArray[np.uint32]) -> Iterator[Booked]:
    """Lines of LINES as they should be booked, and what becomes of some."""
    wrong, missing, twice = (
        faults == OF_DEBITS.index(fault) for fault in (Fault.AMOUNT_MISMATCH, Fault.MISSING_LINE, Fault.DUPLICATE)
    )
    amounts = lines.column("amount_minor").to_numpy()
    # Another amount is more, or a unit less where something is left.
    other = amounts + np.where((dice % 2 == 0) & (amounts > 1), -1, 1 + (dice % 99).astype(np.int64))
    booked = lines.set_column(_AMOUNT, LINES.field(_AMOUNT), pa.array(np.where(wrong, other, amounts)))
    struck = pc.if_else(pa.array(wrong), Fault.AMOUNT_MISMATCH.value, pa.scalar(None, pa.string()))
    yield Booked(0, booked.set_column(_FAULT, LINES.field(_FAULT), struck).filter(pa.array(~missing)))
    yield Booked(None, planted(lines, missing, Fault.MISSING_LINE))
    for later in (0, 1):
        yield Booked(later, planted(lines, twice & (dice % 2 == later), Fault.DUPLICATE))


def come_back(debits: pa.RecordBatch, faults: NDArray[np.uint8], dice: NDArray[np.uint32]) -> Iterator[Booked]:
    """The returns of debits, however they were booked."""
    amounts = debits.column("amount_minor").to_numpy()
    for fault, reason in _REASONS.items():
        struck = faults == OF_DEBITS.index(fault)
        charges = _CHARGES_MINOR if fault is Fault.RETURN_WITH_CHARGES else 0
        for days_later in (LATE_DAYS,) if fault is Fault.LATE_RETURN else (1, 2):
            rows = np.flatnonzero(struck if days_later == LATE_DAYS else struck & (dice % 2 == days_later - 1))
            yield Booked(
                days_later,
                lines_of(
                    debits.column("reference").take(pa.array(rows)),
                    -amounts[rows] - charges,
                    "return",
                    reason=reason,
                    original=amounts[rows],
                    charges=charges,
                    fault=fault,
                ),
            )


def strangers(faults: NDArray[np.uint8], dice: NDArray[np.uint32]) -> Booked:
    """Lines that belong to nobody's debit: payments from who knows, with a reference of their own or none."""
    numbers = dice[faults == OF_DEBITS.index(Fault.NOT_OURS)].astype(np.int64)
    invoices = pc.binary_join_element_wise("INV", pa.array(numbers).cast(pa.string()), "-")
    references = pc.if_else(pa.array(numbers % 4 > 0), invoices, pa.scalar(None, pa.string()))
    return Booked(0, lines_of(references, 1 + numbers % _STRANGE_MOST, "top-up", fault=Fault.NOT_OURS))


def planted(lines: pa.RecordBatch, rows: NDArray[np.bool_], fault: Fault) -> pa.RecordBatch:
    """The lines where bool[n] is set, as planted by a fault."""
    chosen = lines.filter(pa.array(rows))
    return chosen.set_column(_FAULT, LINES.field(_FAULT), _same(fault.value, len(chosen)))


def lines_of(
    references: pa.Array,
    amounts: NDArray[np.int64],
    kind: str,
    *,
    batch_reference: str | None = None,
    reason: str | None = None,
    original: NDArray[np.int64] | None = None,
    charges: int = 0,
    count: int = 1,
    fault: Fault | None = None,
) -> pa.RecordBatch:
    """LINES: of n references and amounts int64[n], all else the same for every line."""
    n = len(references)
    columns = [
        references,
        _same(batch_reference, n),
        pa.array(amounts),
        _same(kind, n),
        _same(reason, n),
        pa.nulls(n, pa.int64()) if original is None else pa.array(original),
        pa.array(np.full(n, charges)),
        pa.array(np.full(n, count)),
        _same(fault and fault.value, n),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=LINES)


def _same(text: str | None, n: int) -> pa.Array:
    return pa.nulls(n, pa.string()) if text is None else pa.repeat(pa.scalar(text), n)
