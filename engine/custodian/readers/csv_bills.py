"""CSV bills by layout: a head in free words, a line of names, rows, and totals in the footer (BANK.md)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.ahead import ahead
from engine.custodian.layouts import CsvLayout
from engine.custodian.readers import values
from engine.custodian.readers.delimited import BLOCKS_AHEAD, NOT_READ, ByteStream, row_batches, why
from engine.custodian.readers.laid_out import EACH_ITS_OWN, Taken
from engine.custodian.readers.running_balance import RunningBalance
from engine.custodian.statement import Declared, Fault, Footing, Part, Problems, Statement, Sum
from engine.errors import InvalidInput

MESSAGE = "csv"

_HEAD_BYTES_MAX = 1 << 20
_HEAD_LINES_MAX = 200

_TEXT = pa.string()

_ACCOUNT = re.compile(r"(?:账号|账户|卡号|商户号|[Aa]ccount)\s*[:：]\s*\[?([0-9A-Za-z@._*-]+)")
_DAYS = re.compile(r"\d{4}[-年]\d\d[-月]\d\d")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


Bills = Sequence[tuple[CsvLayout, str]]
"""Layouts, best first, each with the currency of its amounts."""


def read(blocks: Iterable[bytes], name: str, bills: Bills) -> Iterator[Part]:
    """The statement in `blocks` (bytes, cut anywhere): its lines, then its footing.

    It is read by the first of `bills` whose columns a line of it names. Raises InvalidInput, with the line, where none
    does, and for bytes that are not in the layout's encoding.
    """
    source = ByteStream(blocks)
    head = _head(source, bills)
    if head is None:
        wanted = "; ".join(", ".join(layout.fields.values()) for layout, _ in bills[:1])
        raise InvalidInput(f"{name}: line 1: no line of it names the columns of a known layout (as {wanted})")
    foot = _Foot(head)
    taken = Taken(head.layout, foot.problems)
    balance = RunningBalance(foot.problems)
    try:
        for batch, numbers in _batches(source, head, foot):
            columns = {holds: batch[head.columns[label]] for holds, label in head.fields.items()}
            lines = taken.take({h: c for h, c in columns.items() if h != "balance"}, numbers)
            if "balance" in columns:
                balance.take(_readable(taken, columns["balance"]), lines["amount_minor"], numbers)
            yield lines
    except NOT_READ as error:
        after = head.line + taken.lines
        raise InvalidInput(f"{name}: after line {after}: is not CSV in {head.layout.encoding}: {why(error)}") from None
    yield foot.footing(taken, balance)


def layout_of(start: bytes, bills: Bills) -> CsvLayout | None:
    """The layout by which a file that begins with `start` is read; None where no line names its columns."""
    head = _head(ByteStream([start]), bills)
    return head.layout if head else None


@dataclass(frozen=True)
class _Head:
    """What stands before the rows. `columns`: by name its number; `line`: that of the names."""

    layout: CsvLayout
    currency: str
    lines: tuple[tuple[int, str], ...]
    line: int
    columns: dict[str, int]
    width: int

    @property
    def fields(self) -> dict[str, str]:
        """What the layout's columns hold."""
        return {holds: _alike(label) for holds, label in self.layout.fields.items()}

    def row(self, text: str) -> list[str]:
        """The cells of a line, trimmed."""
        return _cells(text, self.layout)


def _head(source: ByteStream, bills: Bills) -> _Head | None:
    at, number = 0, 0
    lines: list[tuple[int, bytes]] = []
    while at < _HEAD_BYTES_MAX and number < _HEAD_LINES_MAX and (raw := source.peek_line(at)) is not None:
        at += len(raw)
        number += 1
        for layout, currency in bills:
            text = raw.decode(layout.encoding, "replace").strip("\r\n\ufeff")
            names = [_alike(cell) for cell in _cells(text, layout)]
            if set(map(_alike, layout.fields.values())) <= set(names):
                first = source.peek_line(at)
                row = _cells(first.decode(layout.encoding, "replace").rstrip("\r\n"), layout) if first else []
                source.skip(at)
                columns = {label: names.index(label) for label in reversed(names) if label}
                known = tuple((line, each.decode(layout.encoding, "replace")) for line, each in lines)
                width = max(len(names), len(row)) if len(row) > len(names) // 2 else len(names)
                return _Head(layout, currency, known, number, columns, width)
        lines.append((number, raw.strip(b"\r\n")))
    return None


def _batches(source: ByteStream, head: _Head, foot: _Foot) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
    """Rows as text, and int64[n] their lines in the file; what is no row goes to the footing."""
    layout = head.layout
    kept = {head.columns[label] for label in head.fields.values()} | {0}
    apart = {head.columns[label] for holds, label in head.fields.items() if holds in EACH_ITS_OWN}
    batches = row_batches(source, head.width, kept, apart, layout.separator, layout.encoding)
    for batch, rows, torn in ahead(batches, BLOCKS_AHEAD):
        for each in torn:
            foot.take(head.line + each.row, each.text, each.cells)
        numbers = head.line + rows
        keep = foot.rows_of(batch, numbers)
        yield (batch, numbers) if keep.all() else (batch.filter(pa.array(keep)), numbers[keep])


@dataclass
class _Foot:
    """What stands around the rows: totals, before and after them, and lines that are no rows."""

    head: _Head
    problems: Problems = field(default_factory=Problems)
    totals: dict[str, tuple[str, str]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    beginnings: str = ""

    def __post_init__(self) -> None:
        layout = self.head.layout
        words = [re.escape(word) for word in (*layout.skip, *layout.totals.values())]
        # Of lines that are no rows; "$^" matches nothing.
        self.beginnings = f"^[{re.escape(layout.strip)}]*(?:{'|'.join(words)})" if words else "$^"
        for line, text in self.head.lines:
            self._take_totals(line, text)

    def rows_of(self, batch: pa.RecordBatch, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: which are rows; blank lines and those the layout skips are none."""
        first = batch[0]
        if not first.null_count:
            blank = np.zeros(batch.num_rows, np.bool_)
        else:
            empty = [pc.is_null(column).to_numpy(zero_copy_only=False) for column in batch.columns]
            blank = np.logical_and.reduce(empty)
        skips = values.of_each(first, lambda texts: pc.match_substring_regex(texts, self.beginnings))
        skipped = skips.fill_null(False).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(skipped).tolist():
            cells = [column[row].as_py() or "" for column in batch.columns]
            self._take_totals(int(numbers[row]), self.head.layout.separator.join(cells))
        rows: NDArray[np.bool_] = ~(blank | skipped)
        return rows

    def take(self, line: int, text: str, cells: int) -> None:
        """A line that has not as many cells as a row."""
        text = text.strip("\r\n")
        if self._take_totals(line, text) or not text.strip():
            return
        if not text.startswith(self.head.layout.skip or "\0"):
            self.problems.add(Fault.UNREADABLE, f"line {line}", f"has {cells} fields; the rows have {self.head.width}")

    def footing(self, taken: Taken, balance: RunningBalance) -> Footing:
        """The statement, all of it taken."""
        missing = [word for total, word in self.head.layout.totals.items() if total not in self.totals]
        if missing:
            message = f"nothing says {', '.join(missing)}, with which such a file ends; it was cut off"
            self.problems.add(Fault.STATEMENT_GAP, "end of the file", message)
        opening, closing = (self._amount(name) for name in ("opening", "closing"))
        said = "\n".join(text for _, text in self.head.lines)
        number = _ACCOUNT.search(said)
        span = [values.day(re.sub("[年月]", "-", day)) for day in _DAYS.findall(said)]
        statement = Statement(
            account=taken.account or (number[1] if number else ""),
            currency=taken.currency or self.head.currency,
            identity="",
            from_on=span[0] if span else None,
            to_on=span[1] if len(span) > 1 else None,
            opening_minor=balance.opening if opening is None else opening,
            closing_minor=balance.closing if closing is None else closing,
        )
        declared = Declared(
            credits=self._sum("credit_count", "credits"),
            debits=self._sum("debit_count", "debits"),
            gross=self._sum("count", "amount"),
        )
        return Footing(statement, MESSAGE, taken.lines, taken.credits, taken.debits, declared, self.problems.all())

    def _take_totals(self, line: int, text: str) -> bool:
        """Totals of a line, by the words before them or over them; whether it has any."""
        layout, found = self.head.layout, False
        cells = self.head.row(text)
        bare = text.lstrip("# ")
        for total, word in layout.totals.items():
            if bare.startswith(word) or text.startswith(word):
                self.totals[total] = (f"line {line}", self._beside(total, word, text, cells))
                found = True
            elif word in self.names and cells:
                self.totals[total] = (f"line {line}", cells[min(self.names.index(word), len(cells) - 1)])
                found = True
        above = set(layout.totals.values()) & {cell.strip() for cell in cells}
        self.names = cells if len(above) > 1 else []
        return found or bool(above)

    def _beside(self, total: str, word: str, text: str, cells: list[str]) -> str:
        """The number that a total's word stands before: in its own column, or the one of its kind after the word."""
        label = self.head.fields.get({"credits": "credit", "debits": "debit"}.get(total, ""))
        at = self.head.columns.get(label or "", -1)
        if 0 < at < len(cells) and cells[at]:
            return cells[at]
        rest = text.partition(word)[2]
        counted = re.search(r"(\d+)\s*笔", rest)
        if counted and total in {"credits", "debits"}:
            self.totals[f"{total.removesuffix('s')}_count"] = ("", counted[1])
            rest = rest[counted.end() :]
        number = _NUMBER.search(rest)
        return number[0] if number else ""

    def _sum(self, count: str, amount: str) -> Sum | None:
        place = next((self.totals[name][0] for name in (amount, count) if name in self.totals), None)
        if place is None:
            return None
        entries = self.totals.get(count, ("", ""))[1]
        number = re.fullmatch(r"(\d{1,15})(?:\.0+)?", entries, re.ASCII)
        minor = self._amount(amount)
        return Sum(place, int(number[1]) if number else None, None if minor is None else abs(minor))

    def _amount(self, name: str) -> int | None:
        place, text = self.totals.get(name, ("", ""))
        if not text:
            return None
        if self.head.layout.amounts == "minor":
            text = f"{text[:-2] or '0'}.{text[-2:].rjust(2, '0')}"
        return values.amount(re.sub("[,¥￥元]", "", text), place, self.problems, "total")


def _readable(taken: Taken, column: pa.Array) -> pa.Array:
    """int64 balances, null where a bank writes something else or blackens them."""
    trimmed = values.absent(pc.ascii_trim(column, characters=taken.layout.strip))
    plain = pc.match_substring_regex(trimmed, r"^[CD]?[¥￥+-]?[0-9][0-9,]*(\.[0-9]+)?$")
    return taken.money(pc.if_else(plain, trimmed, pa.scalar(None, _TEXT)), lambda _: "balance", "the balance")


def _cells(text: str, layout: CsvLayout) -> list[str]:
    try:
        row = next(csv.reader([text], delimiter=layout.separator), [])
    except csv.Error:
        row = text.split(layout.separator)
    return [cell.strip(layout.strip + " ") for cell in row]


def _alike(label: str) -> str:
    """A column's name, brackets of both widths alike."""
    return label.strip().replace("（", "(").replace("）", ")")
