"""回盘: what became of every debit of a file, for custodians that book a file net of what was not paid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.custodian.debit_files import Manifest
from engine.custodian.debit_files.rows import in_major, in_minor, joined
from engine.custodian.layouts import DaikouLayout
from engine.money import to_major
from engine.simulator.faults import OF_DEBITS, Fault
from engine.simulator.orders import Orders

NOT_PAID = (Fault.INSUFFICIENT_FUNDS, Fault.CLOSED_ACCOUNT)
"""The faults for which nothing is booked."""


class ResultFile:
    """The results of one file, under way within `with`. Payers' accounts are left out."""

    def __init__(self, path: Path, layout: DaikouLayout, manifest: Manifest, reasons: Mapping[Fault, str]) -> None:
        self._path, self._layout, self._currency = path, layout, manifest.currency
        sums = {"count": str(manifest.count), "amount": self._sum(manifest.amount_minor)}
        places = {number: sums.get(total, "") for total, number in layout.totals.items()}
        self._head = layout.separator.join(places.get(number, "") for number in range(1, max(places) + 1))
        codes = [reasons[fault] if fault in NOT_PAID else layout.settled[0] for fault in OF_DEBITS]
        self._codes = pa.array([*codes, layout.settled[0]])

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._file.write(f"{self._head}\r\n".encode(self._layout.encoding))
        return self

    def write(self, orders: Orders, faults: NDArray[np.uint8]) -> None:
        """More debits, and what befell them."""
        if not len(faults):
            return
        numbers = {number: holds for holds, number in self._layout.fields.items()}
        amounts = pa.array(orders.amounts)
        written: dict[str, pa.Array | bytes] = {
            "reference": orders.references,
            "amount": in_minor(amounts) if self._layout.amounts == "minor" else in_major(amounts),
            "currency": self._currency.encode(),
            "status": self._codes.take(pa.array(faults)),
            "reason": self._codes.take(pa.array(faults)),
        }
        parts: list[pa.Array | bytes] = []
        for number in range(1, max(numbers) + 1):
            parts += [written.get(numbers.get(number, "account"), b""), self._layout.separator.encode()]
        parts[-1] = b"\r\n"
        self._file.write(joined(parts).data)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _sum(self, amount_minor: int) -> str:
        return str(amount_minor) if self._layout.amounts == "minor" else to_major(amount_minor)
