"""Debits as lines of text: CSV by the custodian's columns, and 代扣, whose first line is `total|sum`."""

from __future__ import annotations

import codecs

import pyarrow as pa
import pyarrow.compute as pc

from engine.custodian.debit_files.batch import Batch
from engine.custodian.debit_files.rows import Rows, in_major, in_minor, joined
from engine.custodian.profile import DelimitedDebits, Profile
from engine.money import to_major


class Delimited:
    """The form of a CSV or 代扣 file; see `files.Form`. Nothing needs quotes, by batch.check and the profile."""

    foot = b""

    def __init__(self, profile: Profile, debits: DelimitedDebits, batch: Batch) -> None:
        self.suffix = ".csv" if debits.format == "csv" else ".txt"
        self._debits = debits
        marked = debits.encoding == "utf-8-sig"
        self._mark, self._encoding = (codecs.BOM_UTF8, "utf-8") if marked else (b"", debits.encoding)
        self._same = {"currency": profile.currency, "debit_on": batch.debit_on.strftime(debits.date_format)}

    def head(self, reference: str, count: int, amount_minor: int) -> bytes:  # noqa: ARG002 - the manifest has it
        """The first line of a file of so many debits with this sum."""
        if self._debits.format == "csv":
            fields = [column.name for column in self._debits.columns]
        else:
            fields = [str(count), str(amount_minor) if self._debits.amounts == "minor" else to_major(amount_minor)]
        return self._mark + self._text(self._debits.separator.join(fields) + self._debits.line_end)

    def rows(self, debits: pa.RecordBatch) -> Rows:
        """The debits (SCHEMA, checked) as rows."""
        parts: list[bytes | pa.Array] = []
        for column in self._debits.columns:
            parts += [self._field(column.holds, column.text, debits), self._text(self._debits.separator)]
        parts[-1] = self._text(self._debits.line_end)
        return joined(parts)

    def _field(self, holds: str | None, text: str | None, debits: pa.RecordBatch) -> bytes | pa.Array:
        if text is not None:
            return self._text(text)
        match holds:
            case "amount":
                amounts = debits.column("amount_minor")
                return in_minor(amounts) if self._debits.amounts == "minor" else in_major(amounts)
            case "currency" | "debit_on":
                return self._text(self._same[holds])
            case "signed_on":
                return pc.strftime(debits.column("signed_on"), format=self._debits.date_format)
            case _:
                return debits.column(holds)

    def _text(self, text: str) -> bytes:
        return text.encode(self._encoding)
