"""pain.002 and pacs.004: what became of single debits and payments, before or after they were booked.

Reports contradict themselves (a group accepted over a rejected payment): the lowest level wins, so what is said of a
whole file or batch is a line only of what nothing more is said of (BANK.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from engine.custodian.readers import values
from engine.custodian.readers.entries import NO_REFERENCES, original_and_charges
from engine.custodian.readers.pieces import PIECE_BYTES, Piece, pieces
from engine.custodian.readers.rows import Field, Found, found_in, matches, sheet, text_at
from engine.custodian.statement import Declared, Footing, Kind, Part, Problems, Statement, Sum, as_lines
from engine.errors import InvalidInput

_REFUSED = ("RJCT", "CANC", "BLCK")

_STATUS = {
    "transaction": Field("c:TxInfAndSts", "", deeper=True),
    "reference": Field("c:TxInfAndSts/c:OrgnlEndToEndId"),
    "bank_reference": Field("c:TxInfAndSts/c:AcctSvcrRef|c:TxInfAndSts/c:ClrSysRef"),
    "status": Field("c:TxInfAndSts/c:TxSts"),
    "reason": Field("c:Rsn/c:Cd|c:Rsn/c:Prtry"),
    "amount": Field("c:OrgnlTxRef/c:Amt/c:InstdAmt", money=True),
}
_STATUSES = sheet(tuple(_STATUS.values()), "*/c:TxInfAndSts", "c:StsRsnInf|c:Rsn|c:OrgnlTxRef|c:OrgnlTxRef/c:Amt")

_RETURN = {
    "transaction": Field("c:TxInf", "", deeper=True),
    "reference": Field("c:TxInf/c:OrgnlEndToEndId"),
    "bank_reference": Field("c:TxInf/c:RtrId"),
    "booked_on": Field("c:TxInf/c:IntrBkSttlmDt"),
    "amount": Field("c:TxInf/c:RtrdIntrBkSttlmAmt", money=True),
    "original": Field("c:TxInf/c:OrgnlIntrBkSttlmAmt", money=True),
    "charge": Field("c:ChrgsInf/c:Amt", money=True),
    "reason": Field("c:RtrRsnInf/c:Rsn/c:Cd|c:RtrRsnInf/c:Rsn/c:Prtry"),
    "account": Field("c:OrgnlTxRef/c:CdtrAcct/c:Id/c:IBAN|c:OrgnlTxRef/c:CdtrAcct/c:Id/c:Othr/c:Id"),
}
_RETURNS = sheet(
    tuple(_RETURN.values()),
    "*/c:TxInf",
    "c:RtrRsnInf|c:Rsn|c:ChrgsInf|c:OrgnlTxRef|c:CdtrAcct|c:CdtrAcct/c:Id|c:CdtrAcct/c:Id/c:Othr",
)


def read_pain_002(
    blocks: Iterable[bytes], name: str, message: str, *, piece_bytes: int = PIECE_BYTES
) -> Iterator[Part]:
    """One report: a line for each transaction, of what is not booked and so amounts to 0, then its footing.

    A refusal is a return; any other status is `other` with the status as its reason. Raises InvalidInput.
    """
    report: _Report | None = None
    for piece in pieces(blocks, "TxInfAndSts", _STATUSES, name, piece_bytes=piece_bytes):
        if report is None:
            report = _Report(message, *_group(piece, name, message))
        payments = list(piece.root.iter("{*}OrgnlPmtInfAndSts"))
        for number, payment in enumerate(payments):
            if not (piece.continued and number == 0):
                yield from report.payment_ended()
                report.payment = _Payment(payment)
            yield from report.take(_transactions(found_in(matches(payment, _STATUSES)), _STATUS))
    if report is not None:
        yield from report.payment_ended()
        yield from report.group_ended()
        yield report.footing()


@dataclass
class _Payment:
    """One OrgnlPmtInfAndSts, or the group as a whole: what is said of it, and of how many transactions in it.

    `refused` of the `transactions` that have a status of their own are so.
    """

    element: etree._Element
    transactions: int = 0
    refused: int = 0

    def silent(self, status: str) -> int | None:
        """How many transactions nothing is said of but what is said of all; 0 where none, None where nobody knows.

        Where some are refused by name, so are the others only if all is refused: of what is accepted there is no news.
        """
        text = text_at(self.element, "OrgnlNbOfTxs")
        count = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
        if not self.transactions:
            return count or None
        agreed = status in _REFUSED and self.refused == self.transactions
        return max((count or 0) - self.transactions, 0) if agreed else 0

    def line(self, report: _Report, place: str, batch: str, status: str, reason: str) -> pa.RecordBatch:
        """What is said of all of it, as one line for those of which nothing else is."""
        table = {
            "reference": pa.nulls(1, pa.string()),
            "bank_reference": pa.nulls(1, pa.string()),
            "status": pa.array([status]),
            "reason": pa.array([reason or None], pa.string()),
            "amount": pa.nulls(1, pa.string()),
        }
        return report.lines(table, place, batch, self.silent(status) or 1)


@dataclass
class _Report:
    """A status report while its pieces come in."""

    message: str
    group: etree._Element
    identity: str
    made_on: str
    payment: _Payment | None = None
    payments: int = 0
    transactions: int = 0
    ordinal: int = 0
    currency: str = ""
    problems: Problems = field(default_factory=Problems)

    def take(self, found: dict[str, pa.Array]) -> Iterator[pa.RecordBatch]:
        """Lines for the transactions of the payment at hand."""
        length = len(found["status"])
        if not length or self.payment is None:
            return
        self.currency = self.currency or next((text for text in found["currency"].to_pylist() if text), "")
        batch = text_at(self.payment.element, "OrgnlPmtInfId")
        self.payment.transactions += length
        self.payment.refused += pc.sum(pc.is_in(found["status"], pa.array(_REFUSED)), min_count=0).as_py()
        self.transactions += length
        yield self.lines(found, "transaction", batch, 1)

    def payment_ended(self) -> Iterator[pa.RecordBatch]:
        """A line for those of the payment of which it said nothing by name."""
        payment, self.payment = self.payment, None
        if payment is None:
            return
        self.payments += 1
        status, reason = _said(payment.element, "PmtInfSts")
        if status and payment.silent(status) != 0:
            batch = text_at(payment.element, "OrgnlPmtInfId")
            yield payment.line(self, f"payment {self.payments}", batch, status, reason)

    def group_ended(self) -> Iterator[pa.RecordBatch]:
        """A line for the whole file, where it said nothing of any payment."""
        status, reason = _said(self.group, "GrpSts")
        if status and not self.payments:
            batch = text_at(self.group, "OrgnlMsgId")
            yield _Payment(self.group).line(self, "group", batch, status, reason)

    def lines(self, found: dict[str, pa.Array], place: str, batch: str, count: int) -> pa.RecordBatch:
        """Statuses as lines of SCHEMA; a `place` "transaction" is numbered."""
        length = len(found["status"])
        first = self.transactions - length + 1

        def place_of(row: int) -> str:
            return f"{place} {first + row}" if place == "transaction" else place

        refused = pc.fill_null(pc.is_in(found["status"], pa.array(_REFUSED)), False)
        self.ordinal += length
        columns = {
            "ordinal": pa.array(np.arange(self.ordinal - length + 1, self.ordinal + 1)),
            "place": pa.array([place_of(row) for row in range(length)]),
            "booked_on": pa.array([values.day(self.made_on)] * length, pa.date32()),
            "amount_minor": pa.array(np.zeros(length, np.int64)),
            "reference": values.absent(found["reference"], NO_REFERENCES),
            "batch_reference": pa.array([batch or None] * length, pa.string()),
            "bank_reference": found["bank_reference"],
            "kind": pc.if_else(refused, pa.scalar(Kind.RETURN.value), pa.scalar(Kind.OTHER.value)),
            "reason": pc.if_else(refused, pc.coalesce(found["reason"], found["status"]), found["status"]),
            "original_minor": values.amounts(found["amount"], place_of, self.problems),
            "charges_minor": pa.array(np.zeros(length, np.int64)),
            "count": pa.array(np.full(length, count)),
        }
        return as_lines(columns)

    def footing(self) -> Footing:
        """The report, all of it taken."""
        made_on = values.day(self.made_on)
        statement = Statement("", self.currency, self.identity, made_on, made_on)
        return Footing(statement, self.message, self.transactions, problems=self.problems.all())


def read_pacs_004(
    blocks: Iterable[bytes], name: str, message: str, *, piece_bytes: int = PIECE_BYTES
) -> Iterator[Part]:
    """One message of returns: a line for each, then its footing, which has no balances. Raises InvalidInput."""
    problems, transactions, account, currency = Problems(), 0, "", ""
    head: etree._Element | None = None
    against = True
    for piece in pieces(blocks, "TxInf", _RETURNS, name, piece_bytes=piece_bytes):
        if head is None:
            head = _required(piece, "GrpHdr", name, message)
            asked = piece.root.find(".//{*}OrgnlGrpInf/{*}OrgnlMsgNmId")
            against = asked is None or str(asked.text).startswith(("pain.008", "pacs.003"))
        for body in (body for body in piece.root.iter("{*}PmtRtr")):
            found = _transactions(found_in(matches(body, _RETURNS)), _RETURN)
            if not len(found["amount"]):
                continue
            account = account or found["account"][0].as_py() or ""
            currency = currency or found["currency"][0].as_py() or ""
            yield _returned(found, transactions, -1 if against else 1, text_at(head, "IntrBkSttlmDt"), problems)
            transactions += len(found["amount"])
    assert head is not None
    made_on = values.day(text_at(head, "IntrBkSttlmDt", "CreDtTm"))
    statement = Statement(account, currency, text_at(head, "MsgId"), made_on, made_on)
    count = text_at(head, "NbOfTxs")
    total = text_at(head, "TtlRtrdIntrBkSttlmAmt", "CtrlSum")
    stated = Sum(
        "group header",
        int(count) if count.isascii() and count.isdigit() and len(count) < 16 else None,
        values.amount(total, "group header", problems) if total else None,
    )
    counted = (transactions, 0, transactions) if against else (transactions, transactions, 0)
    yield Footing(statement, message, *counted, Declared(gross=stated), problems.all())


def _returned(found: dict[str, pa.Array], taken: int, sign: int, made_on: str, problems: Problems) -> pa.RecordBatch:
    length = len(found["amount"])

    def place(row: int) -> str:
        return f"transaction {taken + 1 + row}"

    gross = sign * pc.fill_null(values.amounts(found["amount"], place, problems), 0).to_numpy()
    stated = values.amounts(found["original"], place, problems).to_pylist()
    charged = pc.fill_null(values.amounts(found["charge"], place, problems), 0).to_pylist()
    parted = [original_and_charges(int(a), o, c) for a, o, c in zip(gross, stated, charged, strict=True)]
    days = pc.fill_null(found["booked_on"], made_on or "0001-01-01")
    return as_lines(
        {
            "ordinal": pa.array(np.arange(taken + 1, taken + 1 + length)),
            "place": pa.array([place(row) for row in range(length)]),
            "booked_on": values.days(days, place, problems, "the day of settlement"),
            "amount_minor": pa.array(gross),
            "reference": values.absent(found["reference"], NO_REFERENCES),
            "bank_reference": found["bank_reference"],
            "kind": pa.array([Kind.RETURN.value] * length),
            "reason": found["reason"],
            "original_minor": pa.array([original for original, _ in parted], pa.int64()),
            "charges_minor": pa.array([charges for _, charges in parted], pa.int64()),
            "count": pa.array(np.ones(length, np.int64)),
        }
    )


def _transactions(found: Found, fields: dict[str, Field]) -> dict[str, pa.Array]:
    keys = {name: key for key, name in enumerate(fields)}
    rows = np.cumsum(found.keys == keys["transaction"]) - 1
    length = int(rows[-1]) + 1 if len(rows) else 0
    columns = {name: found.column(key, rows, length) for name, key in keys.items()}
    return columns | {"currency": found.column(keys["amount"], rows, length, currency=True)}


def _group(piece: Piece, name: str, message: str) -> tuple[etree._Element, str, str]:
    header = _required(piece, "GrpHdr", name, message)
    group = _required(piece, "OrgnlGrpInfAndSts", name, message)
    return group, text_at(header, "MsgId"), text_at(header, "CreDtTm")


def _required(piece: Piece, tag: str, name: str, message: str) -> etree._Element:
    found = piece.root.find(f".//{{*}}{tag}")
    if found is None:
        raise InvalidInput(f"{name}: line {piece.root.sourceline or 1}: {message} has no <{tag}>")
    return found


def _said(element: etree._Element, tag: str) -> tuple[str, str]:
    return text_at(element, tag), text_at(element, "StsRsnInf/Rsn/Cd", "StsRsnInf/Rsn/Prtry")
