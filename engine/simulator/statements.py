"""Writes a custodian's statement of one day, line by line as CSV by profile or as camt.053."""

from __future__ import annotations

import codecs
from datetime import date
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.debit_files.rows import in_major, in_minor, joined
from engine.custodian.layouts import CsvLayout, Holds
from engine.custodian.profile import Profile
from engine.errors import InvalidInput
from engine.money import to_major
from engine.simulator.lines import Lines

_EMPTY = pa.scalar("")


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

    def add(self, amounts: NDArray[np.int64]) -> None:
        """More lines, by their amounts int64[n]."""
        credits_ = amounts[amounts > 0]
        self.credit_count += len(credits_)
        self.debit_count += len(amounts) - len(credits_)
        self.credits_minor += int(credits_.sum())
        self.debits_minor += int(credits_.sum() - amounts.sum())


class Form(Protocol):
    """A format of statements; what is before the lines may say what they come to."""

    suffix: str

    def head(self, totals: Totals) -> bytes:
        """What stands before the lines, as long whatever they come to."""
        ...

    def lines(self, lines: Lines, before: Totals) -> bytes | memoryview:
        """Lines, and what came before them."""
        ...

    def foot(self, totals: Totals) -> bytes:
        """What stands after the lines."""
        ...


class StatementFile:
    """A statement under way: within `with`, `write` lines; at its end it is whole."""

    def __init__(self, path: Path, form: Form, opening_minor: int) -> None:
        self.path = path
        self.totals = Totals(opening_minor)
        self._form = form

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        self._file.write(self._form.head(self.totals))
        return self

    def write(self, lines: Lines) -> None:
        """More lines."""
        if len(lines):
            self._file.write(self._form.lines(lines, self.totals))
            self.totals.add(lines.amounts)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.write(self._form.foot(self.totals))
                self._file.seek(0)
                self._file.write(self._form.head(self.totals))


def ids(on: date, first: int, n: int) -> pa.StringArray:
    """string[n]: the custodian's own ids of the lines from number `first` on of one day, 16 digits."""
    start = int(f"{on:%Y%m%d}00000000") + first
    return pa.array(np.arange(start, start + n)).cast(pa.string())


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

    def lines(self, lines: Lines, before: Totals) -> memoryview:
        """The rows."""
        parts: list[bytes | pa.Array] = []
        for holds in self._layout.fields:
            parts += [self._field(holds, lines, before), self._text(self._layout.separator)]
        parts[-1] = b"\n"
        return joined(parts).data

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

    def _field(self, holds: Holds, lines: Lines, before: Totals) -> bytes | pa.Array:
        """One field of each line, or the text that all have."""
        layout, amounts = self._layout, lines.amounts
        match holds:
            case "amount":
                return self._money(np.abs(amounts) if layout.directions else amounts)
            case "credit" | "debit":
                shown = (amounts > 0) if holds == "credit" else (amounts <= 0)
                if shown.all():
                    return self._money(np.abs(amounts))
                return pc.if_else(pa.array(shown), self._money(np.abs(amounts)), _EMPTY) if shown.any() else b""
            case "direction":
                words = {way: word for word, way in layout.directions.items()}
                return pc.if_else(pa.array(amounts > 0), words["credit"], words["debit"]).cast(pa.binary())
            case "original":
                originals = lines.originals()
                return b"" if originals is None else self._money(originals)
            case "balance":
                return self._money(before.closing_minor + np.cumsum(amounts))
            case "bank_reference":
                return ids(self._on, before.count + 1, len(lines))
            case "reference" if lines.kind == "batch" and "batch_reference" not in layout.fields:
                return self._text(lines.batch_reference or "")
            case "reference":
                return lines.references.fill_null(_EMPTY) if lines.references.null_count else lines.references
            case _:
                return self._text(self._of_all(holds, lines))

    def _of_all(self, holds: Holds, lines: Lines) -> str:
        """The text of a field that all these lines share."""
        day = self._on.strftime(self._layout.date_format)
        in_minor = self._layout.amounts == "minor"
        shared = {
            "booked_on": day,
            "value_on": day,
            "account": self._account,
            "currency": self._profile.currency,
            "status": self._layout.settled[0] if self._layout.settled else "",
            "kind": self._kinds.get(lines.kind, lines.kind),
            "charges": str(lines.charges_minor) if in_minor else to_major(lines.charges_minor),
            "count": str(lines.count),
            "batch_reference": lines.batch_reference or "",
            "reason": lines.reason or "",
        }
        return shared[holds]

    def _money(self, amounts: NDArray[np.int64]) -> pa.Array:
        return (in_minor if self._layout.amounts == "minor" else in_major)(pa.array(amounts))

    def _text(self, text: str) -> bytes:
        return text.encode(self._encoding)


_CODES = {
    "debit": ("IDDT", "ESDD"),
    "return": ("IDDT", "UPDD"),
    "batch": ("IDDT", "ESDD"),
    "top-up": ("RCDT", "ESCT"),
    "payout": ("ICDT", "ESCT"),
}
"""ISO 20022 bank transaction codes, family and sub-family, by what a line is."""

_HEAD_BYTES = 2048


class CamtForm:
    """camt.053.001.08, an entry with its details for each line."""

    suffix = ".xml"

    def __init__(self, profile: Profile, on: date, account: str, sequence: int) -> None:
        self._currency, self._on, self._account, self._sequence = profile.currency, on, account, sequence

    def head(self, totals: Totals) -> bytes:
        """Up to the first entry: account, balances, totals."""
        name, day = f"{self._on:%Y%m%d}-{self._sequence}", self._on.isoformat()
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>\n'
            f"<GrpHdr><MsgId>{name}</MsgId><CreDtTm>{day}T23:59:59Z</CreDtTm></GrpHdr>\n"
            f"<Stmt><Id>{name}</Id><ElctrncSeqNb>{self._sequence}</ElctrncSeqNb><CreDtTm>{day}T23:59:59Z</CreDtTm>"
            f"<Acct><Id><Othr><Id>{self._account}</Id></Othr></Id><Ccy>{self._currency}</Ccy></Acct>\n"
            f"{self._balance('OPBD', totals.opening_minor)}{self._balance('CLBD', totals.closing_minor)}"
            f"<TxsSummry>{self._sum('TtlNtries', totals.count, totals.credits_minor + totals.debits_minor)}"
            f"{self._sum('TtlCdtNtries', totals.credit_count, totals.credits_minor)}"
            f"{self._sum('TtlDbtNtries', totals.debit_count, totals.debits_minor)}</TxsSummry>"
        )
        return head.encode().ljust(_HEAD_BYTES) + b"\n"

    def lines(self, lines: Lines, before: Totals) -> memoryview:
        """The entries."""
        day, count = f"<Dt>{self._on.isoformat()}</Dt>", len(lines)
        family, code = _CODES.get(lines.kind, ("IDDT", "ESDD"))
        batch = f"<PmtInfId>{lines.batch_reference}</PmtInfId>" if lines.batch_reference else ""
        ends = f"<NtryDtls><Btch>{batch}<NbOfTxs>{lines.count}</NbOfTxs></Btch>"
        amounts = lines.amounts
        credit = amounts > 0
        parts: list[str | pa.Array] = [
            f'<Ntry><Amt Ccy="{self._currency}">',
            in_major(pa.array(np.abs(amounts))),
            "</Amt><CdtDbtInd>",
            "CRDT" if credit.all() else pc.if_else(pa.array(credit), "CRDT", "DBIT") if credit.any() else "DBIT",
            f"</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt>{day}</BookgDt><ValDt>{day}</ValDt><AcctSvcrRef>",
            ids(self._on, before.count + 1, count),
            f"</AcctSvcrRef><BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{family}</Cd><SubFmlyCd>{code}",
            f"</SubFmlyCd></Fmly></Domn></BkTxCd>{ends}",
            *self._details(lines),
            "</NtryDtls></Ntry>\n",
        ]
        return joined([part.encode() if isinstance(part, str) else part for part in parts]).data

    def foot(self, totals: Totals) -> bytes:  # noqa: ARG002 - the head has them
        """The end."""
        return b"</Stmt></BkToCstmrStmt></Document>\n"

    def _details(self, lines: Lines) -> list[str | pa.Array]:
        """What stands about the one transaction of an entry; nothing for a batch."""
        if lines.kind == "batch":
            return []
        money = f' Ccy="{self._currency}">'
        parts: list[str | pa.Array] = ["<TxDtls><Refs><EndToEndId>", lines.references.fill_null("NOTPROVIDED")]
        parts.append("</EndToEndId></Refs>")
        originals = lines.originals()
        if originals is not None:
            parts += [f"<AmtDtls><InstdAmt><Amt{money}", in_major(pa.array(originals)), "</Amt></InstdAmt></AmtDtls>"]
        if lines.charges_minor:
            parts.append(f"<Chrgs><Rcrd><Amt{money}{to_major(lines.charges_minor)}</Amt></Rcrd></Chrgs>")
        if lines.reason:
            parts.append(f"<RtrInf><Rsn><Cd>{lines.reason}</Cd></Rsn></RtrInf>")
        return [*parts, "</TxDtls>"]

    def _balance(self, code: str, amount_minor: int) -> str:
        sign = "CRDT" if amount_minor >= 0 else "DBIT"
        return (
            f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>"
            f'<Amt Ccy="{self._currency}">{to_major(abs(amount_minor))}</Amt><CdtDbtInd>{sign}</CdtDbtInd>'
            f"<Dt><Dt>{self._on.isoformat()}</Dt></Dt></Bal>\n"
        )

    def _sum(self, name: str, count: int, amount_minor: int) -> str:
        return f"<{name}><NbOfNtries>{count}</NbOfNtries><Sum>{to_major(amount_minor)}</Sum></{name}>"
