"""camt.053, camt.052 and camt.054: what was booked on an account, entry by entry, detail by detail (BANK.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree
from numpy.typing import NDArray

from engine.custodian.readers import values
from engine.custodian.readers.entries import lines_of
from engine.custodian.readers.pieces import PIECE_BYTES, pieces
from engine.custodian.readers.rows import Field, Found, found_in, matches, sheet, text_at
from engine.custodian.statement import Declared, Fault, Footing, Part, Problems, Statement, Sum
from engine.errors import InvalidInput

_ROWS_BYTES = 2 << 20
"""How much text of entries is made into lines at a time."""

_STATEMENTS = ("{*}Stmt", "{*}Rpt", "{*}Ntfctn")

_CHARGE = "concat(substring('-',1,number(../c:CdtDbtInd='CRDT')),normalize-space(.))"
_ENTRY = {
    "entry": Field("c:Ntry", "", deeper=True),
    "amount": Field("c:Ntry/c:Amt", money=True),
    "sign": Field("c:Ntry/c:CdtDbtInd"),
    "reversal": Field("c:Ntry/c:RvslInd"),
    "status": Field("c:Ntry/c:Sts"),
    "booked_on": Field("c:Ntry/c:BookgDt"),
    "value_on": Field("c:Ntry/c:ValDt"),
    "bank_reference": Field("c:Ntry/c:AcctSvcrRef"),
    "code": Field("c:Ntry/c:BkTxCd/c:Domn"),
    "charge": Field("c:Ntry/c:Chrgs/c:Amt|c:Ntry/c:Chrgs/c:Rcrd/c:Amt", _CHARGE, money=True),
    "charges": Field("c:Ntry/c:Chrgs/c:TtlChrgsAndTaxAmt", money=True),
    "instructed": Field("c:Ntry/c:AmtDtls/c:InstdAmt/c:Amt", money=True),
    "batch_reference": Field("c:Btch/c:PmtInfId"),
    "batch_message": Field("c:Btch/c:MsgId"),
    "transactions": Field("c:Btch/c:NbOfTxs"),
}
_DETAIL = {
    "detail": Field("c:TxDtls", "", deeper=True),
    "amount": Field("c:TxDtls/c:Amt", money=True),
    "transaction_amount": Field("c:TxDtls/c:AmtDtls/c:TxAmt/c:Amt", money=True),
    "sign": Field("c:TxDtls/c:CdtDbtInd"),
    "bank_reference": Field("c:TxDtls/c:Refs/c:AcctSvcrRef"),
    "batch_reference": Field("c:TxDtls/c:Refs/c:PmtInfId"),
    "reference": Field("c:TxDtls/c:Refs/c:EndToEndId"),
    "code": Field("c:TxDtls/c:BkTxCd/c:Domn"),
    "charge": Field("c:TxDtls/c:Chrgs/c:Amt|c:TxDtls/c:Chrgs/c:Rcrd/c:Amt", _CHARGE, money=True),
    "charges": Field("c:TxDtls/c:Chrgs/c:TtlChrgsAndTaxAmt", money=True),
    "instructed": Field("c:TxDtls/c:AmtDtls/c:InstdAmt/c:Amt", money=True),
    "returned": Field("c:TxDtls/c:RtrInf", "'1'", deeper=True),
    "reason": Field("c:RtrInf/c:Rsn/c:Cd|c:RtrInf/c:Rsn/c:Prtry"),
}
_SEVERAL = {"charge", "charges", "transactions"}
"""Of which one entry or detail may have several."""

_ENTRY_KEYS = {name: key for key, name in enumerate(_ENTRY)}
_DETAIL_KEYS = {name: key for key, name in enumerate(_DETAIL, len(_ENTRY))}
_SHEET = sheet(
    (*_ENTRY.values(), *_DETAIL.values()),
    root="*/c:Ntry",
    through="c:NtryDtls|c:Btch|c:Refs|c:AmtDtls|c:InstdAmt|c:TxAmt|c:Chrgs|c:Rcrd|c:BkTxCd|c:Rsn",
)


def read(blocks: Iterable[bytes], name: str, message: str, *, piece_bytes: int = PIECE_BYTES) -> Iterator[Part]:
    """The statements of a camt `message` in `blocks` (bytes, cut anywhere): the lines of each, then its footing.

    Raises InvalidInput, with the line, for what is not well-formed, holds no statement or is cut short.
    """
    account: _Account | None = None
    page, line = Declared(), 1
    for piece in pieces(blocks, "Ntry", _SHEET, name, piece_bytes=piece_bytes):
        if not piece.continued:
            page = _page(piece.root.find(".//{*}GrpHdr/{*}MsgPgntn"), page)
            line = (piece.root[0] if len(piece.root) else piece.root).sourceline or 1
        for number, element in enumerate(piece.root.iter(*_STATEMENTS)):
            if account is None or number or not piece.continued:
                if account is not None:
                    yield from account.lines(everything=True)
                    yield account.footing()
                account = _Account(message, page)
            account.take_head(element)
            account.rows += matches(element, _SHEET)
            yield from account.lines()
    if account is None:
        raise InvalidInput(f"{name}: line {line}: {message} holds no statement: no <Stmt>, <Rpt> or <Ntfctn> is in it")
    yield from account.lines(everything=True)
    yield account.footing()


@dataclass
class _Account:
    """A statement while its pieces come in."""

    message: str
    declared: Declared
    problems: Problems = field(default_factory=Problems)
    number: str = ""
    currency: str = ""
    identity: str = ""
    days: dict[str, str] = field(default_factory=dict)
    balances: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    entries: int = 0
    credit_entries: int = 0
    debit_entries: int = 0
    ordinal: int = 0
    rows: bytearray = field(default_factory=bytearray)

    def take_head(self, statement: etree._Element) -> None:
        """What stands beside the entries, wherever in the statement it stands."""
        self.identity = self.identity or text_at(statement, "Id")
        for account in statement.iterchildren("{*}Acct"):
            self.number = text_at(account, "Id/IBAN", "Id/Othr/Id", "Id/PrtryAcct/Id", "Id/BBAN")
            self.currency = text_at(account, "Ccy")
        for span in statement.iterchildren("{*}FrToDt"):
            self.days = {"from": text_at(span, "FrDtTm", "FrDt"), "to": text_at(span, "ToDtTm", "ToDt")}
        for balance in statement.iterchildren("{*}Bal"):
            self._take_balance(balance)
        for totals in statement.iterchildren("{*}TxsSummry"):
            self._take_totals(totals)
        for pages in statement.iterchildren("{*}StmtPgntn", "{*}RptPgntn", "{*}NtfctnPgntn"):
            self.declared = _page(pages, self.declared)
        sequence = text_at(statement, "ElctrncSeqNb", "LglSeqNb")
        if sequence.isascii() and sequence.isdigit() and len(sequence) < 19:
            self.declared = replace(self.declared, sequence=int(sequence))

    def lines(self, *, everything: bool = False) -> Iterator[pa.RecordBatch]:
        """The entries taken so far as lines of SCHEMA, once there are many."""
        if not self.rows or (len(self.rows) < _ROWS_BYTES and not everything):
            return
        found = found_in(bytes(self.rows))
        self.rows.clear()
        taken = lines_of(*_tables(found), self.entries, self.ordinal, self.currency, self.problems)
        self.currency = taken.currency
        self.entries += taken.entries
        self.credit_entries += taken.credit_entries
        self.debit_entries += taken.debit_entries
        self.ordinal += taken.lines.num_rows
        if taken.lines.num_rows:
            yield taken.lines

    def footing(self) -> Footing:
        """The statement, all of it taken."""
        if not self.number:
            self.problems.add(Fault.ACCOUNT_MISMATCH, "statement", "names no account")
        opening, closing = self._opening(), self._closing()
        statement = Statement(
            account=self.number,
            currency=self.currency,
            identity=self.identity,
            from_on=values.day(self.days.get("from") or (opening[1] if opening else "")),
            to_on=values.day(self.days.get("to") or (closing[1] if closing else "")),
            opening_minor=opening[0] if opening else None,
            closing_minor=closing[0] if closing else None,
        )
        counted = (self.entries, self.credit_entries, self.debit_entries)
        return Footing(statement, self.message, *counted, self.declared, self.problems.all())

    def _take_balance(self, balance: etree._Element) -> None:
        code = text_at(balance, "Tp/CdOrPrtry/Cd", "Tp/CdOrPrtry/Prtry")
        if code not in {"OPBD", "PRCD", "CLBD", "ITBD"}:
            return  # available and forward balances are no sums of bookings
        place = f"balance {code}"
        amount = self._amount(balance, place)
        if text_at(balance, "CdtDbtInd") == "DBIT":
            amount = -amount
        self.balances.setdefault(code, []).append((amount, text_at(balance, "Dt/Dt", "Dt/DtTm")))
        amounts = balance.find("{*}Amt")
        currency = "" if amounts is None else amounts.get("Ccy", "")
        self.currency = self.currency or currency
        if currency != self.currency:
            message = f"is in {currency or 'no currency'}, and the account in {self.currency}"
            self.problems.add(Fault.CURRENCY_MISMATCH, place, message)

    def _opening(self) -> tuple[int, str] | None:
        for code in ("OPBD", "PRCD"):
            if code in self.balances:
                return self.balances[code][0]
        # A page after the first opens with an interim balance; alone, it is where the page before it ended.
        interim = self.balances.get("ITBD", [])
        return interim[0] if interim and (len(interim) > 1 or "CLBD" in self.balances) else None

    def _closing(self) -> tuple[int, str] | None:
        for code in ("CLBD", "ITBD"):
            if code in self.balances:
                return self.balances[code][-1]
        return None

    def _take_totals(self, totals: etree._Element) -> None:
        found: dict[str, Any] = {}
        for name, tag in (("credits", "TtlCdtNtries"), ("debits", "TtlDbtNtries"), ("gross", "TtlNtries")):
            if (total := totals.find(f"{{*}}{tag}")) is not None:
                found[name] = self._sum(total, f"totals {tag}", "Sum")
        entries = totals.find("{*}TtlNtries")
        if entries is not None and text_at(entries, "TtlNetNtry/Amt", "TtlNetNtryAmt"):
            net = self._sum(entries, "totals TtlNetNtry", "TtlNetNtry/Amt", "TtlNetNtryAmt")
            debit = text_at(entries, "TtlNetNtry/CdtDbtInd", "CdtDbtInd") == "DBIT"
            found["net"] = net._replace(amount_minor=-(net.amount_minor or 0)) if debit else net
        self.declared = replace(self.declared, **found)

    def _sum(self, total: etree._Element, place: str, *paths: str) -> Sum:
        entries, amount = text_at(total, "NbOfNtries"), text_at(total, *paths)
        if entries and not (entries.isascii() and entries.isdigit() and len(entries) < 16):
            self.problems.add(Fault.UNREADABLE, place, f"{values.shown(entries)} is not a whole number")
            entries = ""
        minor = values.amount(amount, place, self.problems) if amount else None
        return Sum(place, int(entries) if entries else None, minor)

    def _amount(self, element: etree._Element, place: str) -> int:
        return values.amount(text_at(element, "Amt"), place, self.problems)


def _tables(found: Found) -> tuple[pa.RecordBatch, pa.RecordBatch, NDArray[np.int64]]:
    """The entries, the details, and the entry of each detail, int64[k] from 0."""
    of_entry = np.cumsum(found.keys == _ENTRY_KEYS["entry"]) - 1
    of_detail = np.cumsum(found.keys == _DETAIL_KEYS["detail"]) - 1
    begins = found.keys == _DETAIL_KEYS["detail"]
    entries = _table(found, _ENTRY_KEYS, of_entry, int(of_entry[-1]) + 1 if len(of_entry) else 0)
    details = _table(found, _DETAIL_KEYS, of_detail, int(begins.sum()))
    return entries, details, of_entry[begins]


def _table(found: Found, keys: dict[str, int], rows: NDArray[np.int64], length: int) -> pa.RecordBatch:
    columns = {name: found.column(key, rows, length) for name, key in keys.items() if name not in _SEVERAL}
    columns["currency"] = found.column(keys["amount"], rows, length, currency=True)
    columns["instructed_currency"] = found.column(keys["instructed"], rows, length, currency=True)
    columns["charges"] = _joined(found, (keys["charge"], keys["charges"]), rows, length)
    if "transactions" in keys:
        columns["transactions"] = _joined(found, (keys["transactions"],), rows, length)
        columns["batch_reference"] = pc.coalesce(columns["batch_reference"], columns["batch_message"])
    else:
        amount, currency = keys["transaction_amount"], columns["currency"]
        columns["currency"] = pc.coalesce(currency, found.column(amount, rows, length, currency=True))
        columns["amount"] = pc.coalesce(columns["amount"], columns["transaction_amount"])
    return pa.RecordBatch.from_pydict(columns)


def _joined(found: Found, keys: tuple[int, ...], rows: NDArray[np.int64], length: int) -> pa.Array:
    """string[length]: the texts of all matches of the first key that has any in the row, as "3.00@EUR 2.50@EUR"."""
    columns = []
    for key in keys:
        at = np.flatnonzero(found.keys == key)
        texts = found.column(key, rows, length)
        currencies = found.column(key, rows, length, currency=True)
        joined = pc.if_else(pc.is_valid(currencies), pc.binary_join_element_wise(texts, currencies, "@"), texts)
        several, times = np.unique(rows[at], return_counts=True)
        if times.max(initial=0) > 1:
            texts_of = joined.to_pylist()
            for row in several[times > 1].tolist():
                each = at[rows[at] == row].tolist()
                money = ((found.texts[n].as_py() or "", found.currencies[n].as_py()) for n in each)
                texts_of[row] = " ".join(f"{text}@{currency}" if currency else text for text, currency in money)
            joined = pa.array(texts_of, pa.string())
        columns.append(joined)
    return pc.coalesce(*columns)


def _page(pages: etree._Element | None, declared: Declared) -> Declared:
    if pages is None:
        return declared
    number = text_at(pages, "PgNb")
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else declared.page
    return replace(declared, page=page, last_page=declared.last_page and text_at(pages, "LastPgInd") in {"true", "1"})
