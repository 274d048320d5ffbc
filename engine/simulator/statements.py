"""Writes a custodian's statement of one day, line by line as CSV by profile or as camt.053."""

from __future__ import annotations

import codecs
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.custodian.debit_files.rows import in_major, in_minor, joined
from engine.custodian.layouts import CsvLayout, Holds
from engine.custodian.profile import Profile
from engine.errors import InvalidInput
from engine.money import to_major

_COPY_BYTES = 1 << 20


class Totals:
    """What stands under a statement so far: counts and sums in minor units, debits as positive amounts."""

    def __init__(self, opening_minor: int) -> None:
        self.opening_minor = opening_minor
        self.credits_minor = self.debits_minor = 0
        self.credit_count = self.debit_count = 0

    @property
    def count(self) -> int:
        """Of all lines."""
        return self.credit_count + self.debit_count

    @property
    def closing_minor(self) -> int:
        """Opening balance + Σ lines."""
        return self.opening_minor + self.credits_minor - self.debits_minor

    def add(self, lines: pa.RecordBatch) -> None:
        """More lines (LINES)."""
        amounts = lines.column("amount_minor").to_numpy()
        credits_ = amounts[amounts > 0]
        self.credit_count += len(credits_)
        self.debit_count += len(amounts) - len(credits_)
        self.credits_minor += int(credits_.sum())
        self.debits_minor += int(credits_.sum() - amounts.sum())


class Form(Protocol):
    """A format of statements; what is before the lines may say what they come to."""

    suffix: str

    def head(self, totals: Totals) -> bytes:
        """What stands before the lines."""
        ...

    def lines(self, lines: pa.RecordBatch, before: Totals) -> bytes:
        """Lines (LINES), and what came before them."""
        ...

    def foot(self, totals: Totals) -> bytes:
        """What stands after the lines."""
        ...


class StatementFile:
    """A statement under way: within `with`, `write` lines; at its end the file is there, whole, under its name."""

    def __init__(self, path: Path, form: Form, opening_minor: int) -> None:
        self.path = path
        self.totals = Totals(opening_minor)
        self._form = form
        self._lines = path.with_name(path.name + ".lines")

    def __enter__(self) -> Self:
        self._file = self._lines.open("wb")
        return self

    def write(self, lines: pa.RecordBatch) -> None:
        """More lines (LINES)."""
        if len(lines):
            self._file.write(self._form.lines(lines, self.totals))
            self.totals.add(lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            part = self.path.with_name(self.path.name + ".part")
            with part.open("wb") as whole, self._lines.open("rb") as lines:
                whole.write(self._form.head(self.totals))
                while block := lines.read(_COPY_BYTES):
                    whole.write(block)
                whole.write(self._form.foot(self.totals))
            part.replace(self.path)
        self._lines.unlink()


def ids(on: date, first: int, n: int) -> pa.Array:
    """string[n]: the custodian's own ids of the lines from number `first` on of one day, 16 digits."""
    numbers = pc.utf8_lpad(pa.array(np.arange(first, first + n)).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise(f"{on:%Y%m%d}", numbers, "")


class CsvForm:
    """CSV by the profile's layout, totals in lines of their own: the word, the separator, the value.

    Raises InvalidInput for a profile without one.
    """

    suffix = ".csv"

    def __init__(self, profile: Profile, on: date, account: str) -> None:
        if profile.layouts.csv is None:
            raise InvalidInput(f"{profile.code}: no layouts.csv says how its CSV statements are laid out")
        self._layout: CsvLayout = profile.layouts.csv
        self._profile, self._on, self._account = profile, on, account
        self._kinds = {str(kind): word for word, kind in reversed(self._layout.kinds.items())}
        self._encoding = self._layout.encoding.removesuffix("-sig")

    def head(self, totals: Totals) -> bytes:
        """The opening balance where the layout has it, and the columns' names."""
        mark = codecs.BOM_UTF8 if self._layout.encoding.endswith("-sig") else b""
        opening = self._total("opening", to_major(totals.opening_minor))
        return mark + self._text(opening + self._layout.separator.join(self._layout.fields.values()) + "\n")

    def lines(self, lines: pa.RecordBatch, before: Totals) -> bytes:
        """The rows."""
        parts: list[bytes | pa.Array] = []
        for holds in self._layout.fields:
            parts += [self._field(holds, lines, before), self._text(self._layout.separator)]
        parts[-1] = b"\n"
        return bytes(joined([part if isinstance(part, bytes) else part.fill_null("") for part in parts]).data)

    def foot(self, totals: Totals) -> bytes:
        """The totals that the layout has."""
        values = {
            "count": str(totals.count),
            "credit_count": str(totals.credit_count),
            "debit_count": str(totals.debit_count),
            "credits": to_major(totals.credits_minor),
            "debits": to_major(totals.debits_minor),
            "amount": to_major(totals.credits_minor + totals.debits_minor),
            "closing": to_major(totals.closing_minor),
        }
        return self._text("".join(self._total(name, value) for name, value in values.items()))

    def _total(self, name: str, value: str) -> str:
        word = {str(total): word for total, word in self._layout.totals.items()}.get(name)
        return "" if word is None else f"{word}{self._layout.separator}{value}\n"

    def _field(self, holds: Holds, lines: pa.RecordBatch, before: Totals) -> bytes | pa.Array:
        """One field of each line."""
        layout, amounts = self._layout, lines.column("amount_minor")
        credit = pc.greater(amounts, 0)
        empty = pa.scalar("")
        match holds:
            case "amount":
                return self._money(pc.abs(amounts) if layout.directions else amounts)
            case "credit" | "debit":
                return pc.if_else(pc.equal(credit, holds == "credit"), self._money(pc.abs(amounts)), empty)
            case "direction":
                words = {str(way): word for word, way in layout.directions.items()}
                return self._words(pc.if_else(credit, "credit", "debit"), words)
            case "original" | "charges":
                column = lines.column(f"{holds}_minor")
                return pc.if_else(column.is_valid(), self._money(column.fill_null(0)), empty)
            case "balance":
                return self._money(pa.array(before.closing_minor + np.cumsum(amounts.to_numpy())))
            case "kind":
                return self._words(lines.column("kind"), self._kinds)
            case "bank_reference":
                return ids(self._on, before.count + 1, len(lines))
            case "count":
                return lines.column("count").cast(pa.string())
            case "reference" | "batch_reference" | "reason":
                return lines.column(holds)
            case _:
                return self._text(self._of_all(holds))

    def _of_all(self, holds: Holds) -> str:
        """The text of a field that all lines of the day share."""
        day = self._on.strftime(self._layout.date_format)
        shared = {"booked_on": day, "value_on": day, "account": self._account, "currency": self._profile.currency}
        return shared.get(holds) or (self._layout.settled[0] if self._layout.settled else "")

    def _money(self, amounts: pa.Int64Array) -> pa.Array:
        return in_minor(amounts) if self._layout.amounts == "minor" else in_major(amounts)

    def _words(self, names: pa.Array, words: dict[str, str]) -> pa.Array:
        known = names.dictionary_encode()
        written = [self._text(words.get(name, name)) for name in known.dictionary.to_pylist()]
        # Bytes, so that every encoding passes through what joins them.
        return pa.array(written, pa.binary()).take(known.indices)

    def _text(self, text: str) -> bytes:
        return text.encode(self._encoding)


class CamtForm:
    """camt.053.001.08, an entry with its details for each line."""

    suffix = ".xml"

    def __init__(self, profile: Profile, on: date, account: str, sequence: int) -> None:
        self._currency, self._on, self._account, self._sequence = profile.currency, on, account, sequence

    def head(self, totals: Totals) -> bytes:
        """Up to the first entry: account, balances, totals."""
        name, day = f"{self._on:%Y%m%d}-{self._sequence}", self._on.isoformat()
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>\n'
            f"<GrpHdr><MsgId>{name}</MsgId><CreDtTm>{day}T23:59:59Z</CreDtTm></GrpHdr>\n"
            f"<Stmt><Id>{name}</Id><ElctrncSeqNb>{self._sequence}</ElctrncSeqNb><CreDtTm>{day}T23:59:59Z</CreDtTm>"
            f"<Acct><Id><Othr><Id>{self._account}</Id></Othr></Id><Ccy>{self._currency}</Ccy></Acct>\n"
            f"{self._balance('OPBD', totals.opening_minor)}{self._balance('CLBD', totals.closing_minor)}"
            f"<TxsSummry>{self._sum('TtlNtries', totals.count, totals.credits_minor + totals.debits_minor)}"
            f"{self._sum('TtlCdtNtries', totals.credit_count, totals.credits_minor)}"
            f"{self._sum('TtlDbtNtries', totals.debit_count, totals.debits_minor)}</TxsSummry>\n"
        ).encode()

    def lines(self, lines: pa.RecordBatch, before: Totals) -> bytes:
        """The entries."""
        amounts = lines.column("amount_minor")
        code = pc.if_else(pc.equal(lines.column("kind"), "return"), "UPDD", "ESDD")
        family = pc.if_else(pc.equal(lines.column("kind"), "top-up"), "RCDT", "IDDT")
        day = f"<Dt>{self._on.isoformat()}</Dt>"
        batch = _within("<Btch><PmtInfId>", lines.column("batch_reference"), "</PmtInfId>", "<Btch>")
        parts: list[str | pa.Array] = [
            f'<Ntry><Amt Ccy="{self._currency}">',
            in_major(pc.abs(amounts)),
            "</Amt><CdtDbtInd>",
            pc.if_else(pc.greater(amounts, 0), "CRDT", "DBIT"),
            f"</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt>{day}</BookgDt><ValDt>{day}</ValDt><AcctSvcrRef>",
            ids(self._on, before.count + 1, len(lines)),
            "</AcctSvcrRef><BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>",
            family,
            "</Cd><SubFmlyCd>",
            pc.if_else(pc.equal(family, "RCDT"), "ESCT", code),
            "</SubFmlyCd></Fmly></Domn></BkTxCd><NtryDtls>",
            batch,
            "<NbOfTxs>",
            lines.column("count").cast(pa.string()),
            "</NbOfTxs></Btch>",
            self._details(lines),
            "</NtryDtls></Ntry>\n",
        ]
        return bytes(joined([part.encode() if isinstance(part, str) else part for part in parts]).data)

    def foot(self, totals: Totals) -> bytes:  # noqa: ARG002 - the head has them
        """The end."""
        return b"</Stmt></BkToCstmrStmt></Document>\n"

    def _details(self, lines: pa.RecordBatch) -> pa.Array:
        """string[n]: what stands about the one transaction of an entry; nothing for a batch."""
        money = f' Ccy="{self._currency}">'
        charges = lines.column("charges_minor")
        charged = pc.if_else(pc.greater(charges, 0), in_major(charges), pa.scalar(None, pa.string()))
        original = lines.column("original_minor")
        returned = pc.if_else(original.is_valid(), in_major(original.fill_null(0)), pa.scalar(None, pa.string()))
        details = pc.binary_join_element_wise(
            "<TxDtls><Refs><EndToEndId>",
            lines.column("reference").fill_null("NOTPROVIDED"),
            "</EndToEndId></Refs>",
            _within(f"<AmtDtls><InstdAmt><Amt{money}", returned, "</Amt></InstdAmt></AmtDtls>"),
            _within(f"<Chrgs><Rcrd><Amt{money}", charged, "</Amt></Rcrd></Chrgs>"),
            _within("<RtrInf><Rsn><Cd>", lines.column("reason"), "</Cd></Rsn></RtrInf>"),
            "</TxDtls>",
            "",
        )
        return pc.if_else(pc.equal(lines.column("kind"), "batch"), "", details)

    def _balance(self, code: str, amount_minor: int) -> str:
        sign = "CRDT" if amount_minor >= 0 else "DBIT"
        return (
            f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>"
            f'<Amt Ccy="{self._currency}">{to_major(abs(amount_minor))}</Amt><CdtDbtInd>{sign}</CdtDbtInd>'
            f"<Dt><Dt>{self._on.isoformat()}</Dt></Dt></Bal>\n"
        )

    def _sum(self, name: str, count: int, amount_minor: int) -> str:
        return f"<{name}><NbOfNtries>{count}</NbOfNtries><Sum>{to_major(amount_minor)}</Sum></{name}>"


def _within(before: str, texts: pa.Array, after: str, absent: str = "") -> pa.Array:
    """string[n]: each text in its element; `absent` where it is null."""
    return pc.binary_join_element_wise(before, texts, after, "").fill_null(absent)
