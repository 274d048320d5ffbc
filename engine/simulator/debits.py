"""Reads the debit files a custodian was sent, by its own profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from engine.custodian.debit_files import Manifest
from engine.custodian.profile import DelimitedDebits
from engine.errors import InvalidInput
from engine.money import MINOR_DIGITS

_BLOCK_BYTES = 4 << 20


def debits_in(folder: Path, manifest: Manifest, debits: DelimitedDebits) -> Iterator[pa.RecordBatch]:
    """`reference` string[n], `amount_minor` int64[n] of the debits of one file, in its order.

    `debits`: how the profile lays them out. Raises InvalidInput when the file is not as its manifest says, in bytes,
    count or sum, or cannot be read.
    """
    manifest.check(folder)
    count = amount = 0
    for batch in _rows(folder / manifest.file, debits):
        amounts = _minor(batch.column("amount"), in_minor=debits.amounts == "minor")
        count += len(amounts)
        amount += int(amounts.sum())
        yield pa.RecordBatch.from_arrays([batch.column("reference"), pa.array(amounts)], ["reference", "amount_minor"])
    if (count, amount) != (manifest.count, manifest.amount_minor):
        raise InvalidInput(
            f"{manifest.file}: {count} debits of {amount} minor units; its manifest says {manifest.count} of"
            f" {manifest.amount_minor}"
        )


def _rows(path: Path, debits: DelimitedDebits) -> Iterator[pa.RecordBatch]:
    """The columns that hold the reference and the amount, as text."""
    held = {str(column.holds): column.name for column in debits.columns if column.holds in ("reference", "amount")}
    names = [column.name for column in debits.columns]
    try:
        with pyarrow.csv.open_csv(
            path,
            pyarrow.csv.ReadOptions(
                block_size=_BLOCK_BYTES, encoding=debits.encoding.removesuffix("-sig"), column_names=names, skip_rows=1
            ),
            pyarrow.csv.ParseOptions(delimiter=debits.separator, quote_char=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(held.values())
            ),
        ) as reader:
            for batch in reader:
                yield batch.rename_columns(list(held))
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{path.name}: {error}") from None


def _minor(texts: pa.StringArray, *, in_minor: bool) -> NDArray[np.int64]:
    """Amounts as int64[n] minor units."""
    if in_minor:
        whole: NDArray[np.int64] = texts.cast(pa.int64()).to_numpy()
        return whole
    decimals = texts.cast(pa.decimal128(18, MINOR_DIGITS))
    # A decimal128 is its digits as an integer of 128 bits; 18 digits fit the lower half.
    halves = np.frombuffer(decimals.buffers()[1], np.int64)
    return halves[2 * decimals.offset : 2 * (decimals.offset + len(decimals)) : 2].copy()
