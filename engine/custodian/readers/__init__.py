"""Reads any statement a custodian sends: lines in columns, and under each statement's lines its footing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.custodian.layouts import Layouts
from engine.custodian.readers import camt, csv_bills, daikou, fixed_width, mt940, status
from engine.custodian.readers.bills import PERSONAL
from engine.custodian.readers.source import blocks
from engine.custodian.statement import Footing, Part
from engine.errors import InvalidInput

Described = tuple[Layouts, str]
"""How a custodian's text files are laid out, and the currency they are in."""

_START_BYTES = 64 << 10
_BATCH_ROWS = 32_768
_NEWLINE = ord("\n")

_NAMESPACE = re.compile(rb"urn:iso:std:iso:20022:tech:xsd:([a-z]{4}\.\d{3}\.\d{3}\.\d{2})")
_BODY = re.compile(rb"<(?:[\w.-]+:)?(\w+)[\s/>]")
_FAMILIES: dict[bytes, tuple[str, Callable[..., Iterator[Part]] | None]] = {
    b"BkToCstmrStmt": ("camt.053", camt.read),
    b"BkToCstmrAcctRpt": ("camt.052", camt.read),
    b"BkToCstmrDbtCdtNtfctn": ("camt.054", camt.read),
    b"CstmrPmtStsRpt": ("pain.002", status.read_pain_002),
    b"PmtRtr": ("pacs.004", status.read_pacs_004),
    b"CstmrDrctDbtInitn": ("pain.008", None),
    b"CstmrCdtTrfInitn": ("pain.001", None),
}
"""By the element that holds a message's content; None: it goes out and never comes in."""

_SWIFT = re.compile(rb"^:20:|^\{1:F|^:940:", re.MULTILINE)
_TOTALS = re.compile(rb"(?:\xef\xbb\xbf)?\d{1,15}[|,;^\t][\d.]+[|,;^\t\d.]*\s*?(?:\n|$)")


Recognised = tuple[str, Iterator[Part]]
"""What a file is, in a profile's words ("camt.053", "csv"), and what it holds."""


def read(path: Path, described: Sequence[Described] = ()) -> Iterator[Part]:
    """The statements in a file: for each its lines as batches of SCHEMA, then its Footing (see `recognised`)."""
    return recognised(path, described)[1]


def recognised(path: Path, described: Sequence[Described] = ()) -> Recognised:
    """What a file, plain or packed, is, and its statements; see `recognised_in`."""
    return recognised_in(blocks(path), path.name, described)


def recognised_in(source: Iterator[bytes], name: str, described: Sequence[Described] = ()) -> Recognised:
    """What bytes, cut anywhere, are, and their statements: for each its lines as batches of SCHEMA, then its Footing.

    What it is the file itself tells; `described` says how text files are laid out, best first. Nothing is known to
    be whole before its footing has come and `gates.problems` finds nothing. Raises InvalidInput, with the place, for
    what cannot be read at all.
    """
    family, parts = _recognised(source, name, described)
    return family, _in_large_batches(parts)


def _in_large_batches(parts: Iterable[Part]) -> Iterator[Part]:
    """The same, small batches put together: however short one is, it costs whoever takes it as much."""
    held = list[pa.RecordBatch]()
    for part in parts:
        if not isinstance(part, Footing):
            held.append(part)
            if sum(each.num_rows for each in held) < _BATCH_ROWS:
                continue
        if held:
            yield pa.concat_batches(held)
            held = []
        if isinstance(part, Footing):
            yield part


def _recognised(source: Iterator[bytes], name: str, described: Sequence[Described]) -> Recognised:
    first, start = list[bytes](), b""
    for block in source:
        first.append(block)
        start += block
        if len(start) >= _START_BYTES:
            break
    whole = chain(first, source)
    bare = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if bare.startswith(b"<") or start[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in start[:4]:
        return _xml(whole, start, name)
    if _SWIFT.search(start[:4096]):
        return "mt940", mt940.read(_without_zero(whole, name), name)
    return _text(_without_zero(whole, name), start, name, described)


def _without_zero(whole: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The same bytes. Raises InvalidInput at one that is 0, which no text has and no database keeps."""
    line = 1
    for block in whole:
        if (at := block.find(0)) >= 0:
            line += block.count(b"\n", 0, at)
            raise InvalidInput(f"{name}: line {line}: a byte is 0, which no text has; fetch the file anew")
        line += int(np.count_nonzero(np.frombuffer(block, np.uint8) == _NEWLINE))
        yield block


def _xml(whole: Iterable[bytes], start: bytes, name: str) -> Recognised:
    found = next((each for each in _BODY.finditer(start) if each[1] in _FAMILIES), None)
    if found is None:
        raise InvalidInput(f"{name}: line 1: is XML, but no message of camt.052, 053, 054, pain.002 or pacs.004")
    family, reader = _FAMILIES[found[1]]
    if reader is None:
        line = start.count(b"\n", 0, found.start()) + 1
        raise InvalidInput(f"{name}: line {line}: is a {family}: orders that go out to a custodian, no statement")
    versions = [version[1].decode() for version in _NAMESPACE.finditer(start)]
    # Some banks declare the namespace of another message; the content decides.
    message = next((version for version in versions if version.startswith(family)), family)
    return family, reader(whole, name, message)


def _text(whole: Iterable[bytes], start: bytes, name: str, described: Sequence[Described]) -> Recognised:
    if not start.strip():
        raise InvalidInput(f"{name}: line 1: is empty")
    bills = [(layouts.csv, currency) for layouts, currency in described if layouts.csv]
    bills += [(layout, "CNY") for layout in PERSONAL]
    if csv_bills.layout_of(start, bills):
        return "csv", csv_bills.read(whole, name, bills)
    for layouts, currency in described:
        if layouts.daikou and _TOTALS.match(start):
            return "daikou", daikou.read(whole, name, layouts.daikou, currency)
    for layouts, currency in described:
        if layouts.fixed_width and fixed_width.fits(start, layouts.fixed_width):
            return "fixed_width", fixed_width.read(whole, name, layouts.fixed_width, currency)
    raise InvalidInput(
        f"{name}: line 1: is neither XML nor MT940, and no known layout describes it; "
        "say with --profile which custodian sent it"
    )
