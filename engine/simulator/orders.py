"""Reads what a custodian is asked to collect and to pay out, by its own profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from lxml import etree
from numpy.typing import NDArray

from engine.custodian.debit_files import Manifest
from engine.custodian.profile import DelimitedDebits, Profile
from engine.errors import InvalidInput
from engine.money import MINOR_DIGITS, to_minor

_BLOCK_BYTES = 16 << 20
_XML_ROWS = 50_000
_PAYS_OUT = ("P", "R")
"""How the references of payouts and refunds begin; in lines of text nothing else tells them from debits."""


class Orders(NamedTuple):
    """`references` string[n], `amounts` int64[n] in minor units; whether they pay out, or collect."""

    references: pa.StringArray
    amounts: NDArray[np.int64]
    pays_out: bool

    def chosen(self, rows: NDArray[np.bool_]) -> Orders:
        """Those where bool[n] is set."""
        if rows.all():
            return self
        return Orders(self.references.filter(pa.array(rows)), self.amounts[rows], self.pays_out)


def orders_in(folder: Path, manifest: Manifest, profile: Profile) -> Iterator[Orders]:
    """The orders of one file, in its order; all of them collect, or all pay out.

    Raises InvalidInput when the file is not as its manifest says, in bytes, count or sum, or cannot be read.
    """
    manifest.check(folder)
    path = folder / manifest.file
    count = amount = 0
    for orders in _of_xml(path) if manifest.format.startswith("pain.") else _of_text(path, manifest, profile):
        count += len(orders.amounts)
        amount += int(orders.amounts.sum())
        yield orders
    if (count, amount) != (manifest.count, manifest.amount_minor):
        raise InvalidInput(
            f"{manifest.file}: {count} orders of {amount} minor units; its manifest says {manifest.count} of"
            f" {manifest.amount_minor}"
        )


def _of_text(path: Path, manifest: Manifest, profile: Profile) -> Iterator[Orders]:
    layout = _layout(path, manifest, profile)
    held = {str(column.holds): column.name for column in layout.columns if column.holds in ("reference", "amount")}
    names = [column.name for column in layout.columns]
    in_minor = layout.amounts == "minor"
    types = dict.fromkeys(names, pa.string())
    types[held["amount"]] = pa.int64() if in_minor else pa.decimal128(18, MINOR_DIGITS)
    try:
        with pyarrow.csv.open_csv(
            path,
            pyarrow.csv.ReadOptions(
                block_size=_BLOCK_BYTES, encoding=layout.encoding.removesuffix("-sig"), column_names=names, skip_rows=1
            ),
            pyarrow.csv.ParseOptions(delimiter=layout.separator, quote_char=False),
            pyarrow.csv.ConvertOptions(column_types=types, include_columns=[held["reference"], held["amount"]]),
        ) as reader:
            for batch in reader:
                references, amounts = batch.columns
                pays_out = bool(len(batch)) and references[0].as_py().startswith(_PAYS_OUT)
                yield Orders(references, amounts.to_numpy() if in_minor else minor_of(amounts), pays_out)
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{path.name}: {error}") from None


def _layout(path: Path, manifest: Manifest, profile: Profile) -> DelimitedDebits:
    """How the file is laid out: as debits, or as payouts where those have columns of their own."""
    known = [each for each in (profile.debits, profile.payouts) if isinstance(each, DelimitedDebits)]
    fitting = [each for each in known if each.format == manifest.format]
    if len(fitting) > 1 and manifest.format == "csv":
        with path.open(encoding=fitting[0].encoding) as file:
            first = file.readline().rstrip("\r\n")
        fitting = [e for e in fitting if e.separator.join(column.name for column in e.columns) == first]
    if not fitting:
        raise InvalidInput(f"{manifest.file}: {profile.code} takes no files of {manifest.format} laid out like this")
    return fitting[0]


def minor_of(decimals: pa.Decimal128Array) -> NDArray[np.int64]:
    """Amounts as int64[n] minor units."""
    # A decimal128 is its digits as an integer of 128 bits; 18 digits fit the lower half.
    halves = np.frombuffer(decimals.buffers()[1], np.int64)
    return halves[2 * decimals.offset : 2 * (decimals.offset + len(decimals)) : 2].copy()


def _of_xml(path: Path) -> Iterator[Orders]:
    """pain.008 (debits) and pain.001 (payments), an order at a time."""
    references, amounts, pays_out = list[str](), list[int](), False
    try:
        found = etree.iterparse(
            path, tag=("{*}DrctDbtTxInf", "{*}CdtTrfTxInf"), resolve_entities=False, no_network=True, huge_tree=False
        )
        for _, order in found:
            pays_out = etree.QName(order).localname == "CdtTrfTxInf"
            references.append(next(order.iter("{*}EndToEndId")).text)
            amounts.append(to_minor(next(order.iter("{*}InstdAmt")).text))
            order.clear(keep_tail=True)
            while order.getprevious() is not None:
                del order.getparent()[0]
            if len(amounts) == _XML_ROWS:
                yield Orders(pa.array(references, pa.string()), np.array(amounts), pays_out)
                references, amounts = [], []
    except (etree.XMLSyntaxError, StopIteration) as error:
        raise InvalidInput(f"{path.name}: {error or 'an order without reference or amount'}") from None
    yield Orders(pa.array(references, pa.string()), np.array(amounts, np.int64), pays_out)
