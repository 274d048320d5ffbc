"""How an export is written: as Parquet, and from that as CSV that spreadsheets leave as it is, or as sheets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from engine.errors import InvalidInput
from engine.reconcile.exports.tables import AMOUNT, TEXT, Table

_BOM = b"\xef\xbb\xbf"
_WRITTEN_BY = datetime(2000, 1, 1)  # noqa: DTZ001  # a workbook has no zone; one day for all, so that bytes are the same
_SHEET_TEXT_MAX = 32_767
_SHEET_DIGITS = 15
"""A spreadsheet's number holds so many digits exactly; an amount of more stands as text."""

_SHEET_HARMS = "^([=+\\-@\t\r]|0[0-9]|[0-9]{12,}|[0-9]+[eE][0-9]+$)"
"""Text that a spreadsheet takes for a formula, or for a number that it then rounds, shortens or writes otherwise."""


class Written(NamedTuple):
    """A table in a Parquet file: how many rows, and the sums of its amounts, in major units."""

    table: Table
    path: Path
    rows: int
    totals: dict[str, Decimal]


async def write_parquet(table: Table, path: Path) -> Written:
    """Write a table as it is read, a batch in memory at a time."""
    rows = 0
    totals = {kind.name: Decimal() for kind in table.schema if kind.type == AMOUNT}
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        async for batch in table.rows():
            writer.write_batch(batch)
            rows += batch.num_rows
            for name in totals:
                totals[name] += pc.sum(batch[name]).as_py() or Decimal()
    return Written(table, path, rows, totals)


def write_csv(written: Written, path: Path) -> None:
    """UTF-8 with a byte order mark, text in quotes; what a spreadsheet would change begins with an apostrophe."""
    with path.open("wb") as file:
        file.write(_BOM)
        with pa.csv.CSVWriter(file, written.table.schema) as writer, pq.ParquetFile(written.path) as source:
            for batch in source.iter_batches():
                writer.write_batch(harmless(batch))


def harmless(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same, with an apostrophe before the text that a spreadsheet would change or run."""
    made = []
    for kind, column in zip(batch.schema, batch.columns, strict=True):
        if kind.type == TEXT:
            harms = pc.fill_null(pc.match_substring_regex(column, _SHEET_HARMS), fill_value=False)
            made.append(pc.if_else(harms, pc.binary_join_element_wise("'", column, ""), column))
        else:
            made.append(column)
    return pa.RecordBatch.from_arrays(made, schema=batch.schema)


def write_workbook(sheets: Sequence[Written | tuple[str, str]], path: Path) -> None:
    """A sheet for each table, in their order; of what is too large for one its title, and where it is.

    Rows are written as they come: no sheet is in memory. Raises InvalidInput without the extra `xlsx`.
    """
    try:
        import xlsxwriter  # noqa: PLC0415  # an extra: who exports nothing as a workbook needs none
    except ModuleNotFoundError:
        raise InvalidInput("workbooks need xlsxwriter: install fentan[xlsx], or export --format csv") from None
    options = {"constant_memory": True, "tmpdir": str(path.parent)}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"created": _WRITTEN_BY})
        formats = _Formats(
            book.add_format({"bold": True}), book.add_format({"num_format": "#,##0.00"}),
            book.add_format({"num_format": "yyyy-mm-dd"}),
        )  # fmt: skip
        for each in sheets:
            if isinstance(each, Written):
                _write_sheet(book.add_worksheet(each.table.title), each, formats)
            else:
                title, words = each
                book.add_worksheet(title).write_string(0, 0, words)


class _Formats(NamedTuple):
    head: Any
    amount: Any
    day: Any


def _write_sheet(sheet: Any, written: Written, formats: _Formats) -> None:
    for column, kind in enumerate(written.table.schema):
        sheet.set_column(column, column, 18)
        sheet.write_string(0, column, kind.name.replace("_", " "), formats.head)
    sheet.freeze_panes(1, 0)
    row = 0
    with pq.ParquetFile(written.path) as source:
        for batch in source.iter_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                row += 1
                for column, value in enumerate(values):
                    if value is not None:
                        _write_cell(sheet, row, column, value, formats)


def _write_cell(sheet: Any, row: int, column: int, value: Any, formats: _Formats) -> None:
    if isinstance(value, Decimal) and len(value.as_tuple().digits) <= _SHEET_DIGITS:
        sheet.write_number(row, column, value, formats.amount)
    elif isinstance(value, int):
        sheet.write_number(row, column, value)
    elif isinstance(value, date):
        sheet.write_datetime(row, column, value, formats.day)
    else:
        sheet.write_string(row, column, str(value)[:_SHEET_TEXT_MAX])
