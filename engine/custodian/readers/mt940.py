"""MT940, SWIFT's statement of an account, as banks write it: a field `:61:` for each booking, balances around them."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from engine.custodian.readers import values
from engine.custodian.readers.entries import NO_REFERENCES, original_and_charges
from engine.custodian.readers.kinds import GERMAN_CODES, SWIFT_TYPES
from engine.custodian.readers.text_lines import text_lines
from engine.custodian.statement import SCHEMA, Declared, Fault, Footing, Kind, Part, Problems, Statement, as_lines
from engine.errors import InvalidInput
from engine.money import grouped

MESSAGE = "MT940"

_BATCH_LINES = 8192
_FIELD_CHARACTERS = 64 << 10

_TAG = re.compile(r":(\d\d[A-Z]?|NS):")
_INTERIM = {"13", "13D", "34F"}
_BALANCE = re.compile(r"([DC])(\d{6})([A-Z]{3})(\d[\d,]*)")
_ENTRY = re.compile(
    r"(?P<value>\d{6})(?P<booked>\d{4})?(?P<mark>R?[DC]|E[DC])[A-Z]?(?P<amount>\d[\d,]*)"
    r"(?P<type>[A-Z][A-Z0-9 ]{3})(?P<own>(?:(?!//)[^\n])*)(?://(?P<banks>[^\n]*))?(?P<more>.*)",
    re.DOTALL,
)
_SIGNS = {"C": 1, "RD": 1, "EC": 1, "D": -1, "RC": -1, "ED": -1}

_SUBFIELD = re.compile(r"\?(\d\d)")
_KEYWORD = re.compile(r"(EREF|KREF|MREF|CRED|DEBT|SVWZ|OAMT|COAM|ABWA|ABWE|PREF|MTLG)[+:]")
_END_TO_END = re.compile(r"/EREF/([^/]+)")
_RETURNED_FOR = re.compile(r"/RTRN/(\w+)")
_MONEY = re.compile(r"/(OCMT|CHGS)/([A-Z]{3})(\d[\d,]*)")


def read(blocks: Iterable[bytes], name: str) -> Iterator[Part]:
    """The statements in `blocks` (bytes, cut anywhere): the lines of each, then its footing.

    Pages of one statement are joined. Raises InvalidInput, with the line, for what is no MT940 or breaks off.
    """
    head: dict[str, str] = {}
    account: _Account | None = None
    line, is_begun = 1, False
    for line, tag, text in _fields(blocks, name):
        inside = account is not None and not account.ended
        if tag == "20" or (tag == "25" and inside):
            if inside:
                raise InvalidInput(f"{name}: line {line}: :{tag}: stands in a statement that has not closed (:62F:)")
            head, is_begun = {"20": text}, True
        elif not head:
            raise InvalidInput(f"{name}: line {line}: :{tag}: stands before :20:, with which a statement begins")
        elif tag in {"60F", "60M"}:
            if account is None or not account.goes_on(head, tag):
                if account is not None:
                    yield from account.closed()
                account = _Account(name, head)
            account.open(line, text)
            is_begun = False
        elif tag in {"61", "62F", "62M"} and (account is None or not inside):
            raise InvalidInput(f"{name}: line {line}: :{tag}: stands before an opening balance (:60F:)")
        elif account is not None and inside:
            yield from account.take(line, tag, text)
        else:
            head[tag] = text
    if account is None or not account.ended or is_begun:
        what = "breaks off: no closing balance (:62F:) ends it" if account else "no opening balance (:60F:) is in it"
        raise InvalidInput(f"{name}: line {line}: {what}")
    yield from account.closed()


def _fields(blocks: Iterable[bytes], name: str) -> Iterator[tuple[int, str, str]]:
    """Each field's line, tag and text; what stands outside of fields is the envelope of a message."""
    tag, text, at = "", "", 0
    for line, raw in text_lines(blocks, name):
        shown = raw.decode("utf-8", "replace")
        begins = _TAG.match(shown)
        ends = shown.startswith(("-", "{")) and not begins
        if begins or ends:
            if tag:
                yield at, tag, text
            tag, text, at = (begins[1], shown[begins.end() :], line) if begins else ("", "", line)
        elif tag:
            text += f"\n{shown}"
        if len(text) > _FIELD_CHARACTERS:
            raise InvalidInput(f"{name}: line {at}: :{tag}: is longer than {_FIELD_CHARACTERS >> 10} KiB")
        if tag in _INTERIM or re.search(r"\{2:[IO]942", shown):
            raise InvalidInput(
                f"{name}: line {line}: this is an MT942, an interim report, which no balances prove; "
                "take the MT940 of the day"
            )
    if tag:
        yield at, tag, text


@dataclass
class _Account:
    """A statement while its fields come in."""

    name: str
    head: dict[str, str]
    problems: Problems = field(default_factory=Problems)
    currency: str = ""
    opening: tuple[int, date] | None = None
    closing: tuple[int, date] | None = None
    closed_by: str = ""
    credits: int = 0
    debits: int = 0
    entry: tuple[int, str] | None = None
    rows: list[dict[str, object]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the page at hand has its closing balance."""
        return bool(self.closed_by)

    def goes_on(self, head: dict[str, str], tag: str) -> bool:
        """Whether an opening balance `tag` under `head` begins the next page of this statement."""
        return tag == "60M" and self.closed_by == "62M" and head.get("25") == self.head.get("25")

    def open(self, line: int, text: str) -> None:
        """The opening balance of a page."""
        balance = self._balance(line, "opening", text)
        if self.closing is not None and balance[0] != self.closing[0]:
            message = f"opens with {grouped(balance[0])}; the page before it closed with {grouped(self.closing[0])}"
            self.problems.add(Fault.BALANCE_BREAK, f"line {line}", message)
        self.opening = self.opening or balance
        self.closed_by = ""

    def take(self, line: int, tag: str, text: str) -> Iterator[Part]:
        """A field between the balances, or the closing balance."""
        if tag == "86" and self.entry is not None:
            self._book(text)
        elif tag in {"61", "62F", "62M"}:
            self._book("")
            if tag == "61":
                self.entry = (line, text)
            else:
                self.closing, self.closed_by = self._balance(line, "closing", text), tag
            if len(self.rows) >= _BATCH_LINES:
                yield self._batch()

    def closed(self) -> Iterator[Part]:
        """What is left of its lines, then its footing."""
        assert self.opening is not None
        assert self.closing is not None
        if self.rows:
            yield self._batch()
        number = self.head.get("28C", self.head.get("28", "")).strip()
        sequence, _, page = number.partition("/")
        statement = Statement(
            account=self.head.get("25", "").strip(),
            currency=self.currency,
            identity=" ".join(filter(None, (self.head["20"].strip(), number))),
            from_on=self.opening[1],
            to_on=self.closing[1],
            opening_minor=self.opening[0],
            closing_minor=self.closing[0],
        )
        if not statement.account:
            self.problems.add(Fault.ACCOUNT_MISMATCH, "statement", "names no account (:25:)")
        declared = Declared(
            page=int(page) if re.fullmatch(r"[0-9]{1,9}", page) else 1,
            last_page=self.closed_by == "62F",
            sequence=int(sequence) if re.fullmatch(r"[0-9]{1,9}", sequence) else None,
        )
        entries = self.credits + self.debits
        yield Footing(statement, MESSAGE, entries, self.credits, self.debits, declared, self.problems.all())

    def _balance(self, line: int, which: str, text: str) -> tuple[int, date]:
        match = _BALANCE.match(text)
        on = _day(match[2]) if match else None
        if match is None or on is None:
            raise InvalidInput(f"{self.name}: line {line}: the {which} balance {values.shown(text)} is none")
        amount = values.amount(_decimal(match[4]), f"line {line}", self.problems, f"{which} balance")
        self._check_currency(match[3], line)
        return (-amount if match[1] == "D" else amount), on

    def _check_currency(self, currency: str, line: int) -> None:
        self.currency = self.currency or currency
        if currency != self.currency:
            message = f"is in {currency}, and the account in {self.currency}"
            self.problems.add(Fault.CURRENCY_MISMATCH, f"line {line}", message)

    def _book(self, information: str) -> None:
        """The entry at hand, with what `:86:` says of it."""
        if self.entry is None:
            return
        (line, text), self.entry = self.entry, None
        match = _ENTRY.fullmatch(text)
        value_on = _day(match["value"]) if match else None
        if match is None or value_on is None:
            raise InvalidInput(f"{self.name}: line {line}: the entry {values.shown(text)} is not what :61: should be")
        sign = _SIGNS[match["mark"]]
        amount = sign * values.amount(_decimal(match["amount"]), f"line {line}", self.problems)
        self.credits += sign > 0
        self.debits += sign < 0
        told = _Told(information, match["more"] or "", self.currency)
        own = None if match["own"].strip() in _NOT_OWN else match["own"].strip()
        kind = told.kind or SWIFT_TYPES.get(match["type"][1:])
        if kind is None:
            kind = Kind.REVERSAL if match["mark"].startswith("R") else Kind.OTHER
        original, charges = None, told.charges(line, self.problems)
        if kind is Kind.RETURN:
            original, charges = original_and_charges(amount, told.original(line, self.problems), charges)
        self.rows.append(
            {
                "line": line,
                "booked_on": _booked_on(match["booked"], value_on),
                "value_on": value_on,
                "amount_minor": amount,
                "reference": told.end_to_end or own,
                "batch_reference": own if told.end_to_end else None,
                "bank_reference": (match["banks"] or "").strip() or None,
                "kind": kind.value,
                "reason": told.reason if kind is Kind.RETURN else None,
                "original_minor": original,
                "charges_minor": charges,
            }
        )

    def _batch(self) -> pa.RecordBatch:
        rows, self.rows = self.rows, []
        last = self.credits + self.debits
        columns: dict[str, pa.Array] = {"ordinal": pa.array(range(last - len(rows) + 1, last + 1), pa.int64())}
        for name in rows[0]:
            columns[name] = pa.array([row[name] for row in rows], SCHEMA.field(name).type)
        return as_lines(columns)


_NOT_OWN = {*NO_REFERENCES.to_pylist(), "N", "KREF+", "EREF", "EREF+", "NREF"}


class _Told:
    """What `:86:` and the second line of `:61:` say of an entry: structured by "?20EREF+", or by "/EREF/"."""

    def __init__(self, information: str, more: str, currency: str) -> None:
        joined = information.replace("\n", "")
        code, *subfields = _SUBFIELD.split(joined)
        parts = dict(zip(subfields[::2], subfields[1::2], strict=True))
        purpose = "".join(text for number, text in parts.items() if "20" <= number <= "29" or "60" <= number <= "63")
        _, *keywords = _KEYWORD.split(purpose)
        self.words = {word: text.strip() for word, text in zip(keywords[::2], keywords[1::2], strict=True)}
        self.kind = GERMAN_CODES.get(code.strip()) if parts else None
        slashed = _END_TO_END.search(joined)
        told = self.words.get("EREF") or (slashed[1].strip() if slashed else "")
        self.end_to_end = None if told in _NOT_OWN else told
        returned_for = _RETURNED_FOR.search(joined)
        self.reason = returned_for[1] if returned_for else parts.get("34")
        self.money = {what: amount for what, unit, amount in _MONEY.findall(more) if unit == currency}

    def original(self, line: int, problems: Problems) -> int | None:
        """What a return returns, in minor units."""
        text = self.money.get("OCMT") or self.words.get("OAMT")
        return values.amount(_decimal(text), f"line {line}", problems, "original amount") if text else None

    def charges(self, line: int, problems: Problems) -> int:
        """Charges in it, in minor units."""
        text = self.money.get("CHGS") or self.words.get("COAM")
        return values.amount(_decimal(text), f"line {line}", problems, "charges") if text else 0


def _decimal(text: str) -> str:
    return text.replace(",", ".").removesuffix(".").strip()


def _day(text: str) -> date | None:
    """The day of YYMMDD. Banks that count months of 30 days write 30 February: it is the month's last."""
    year, month, day = int(text[:2]), int(text[2:4]), int(text[4:])
    year += 1900 if year >= 80 else 2000
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    last = calendar.monthrange(year, month)[1]
    if day > last and (month, day) not in {(2, 29), (2, 30)}:
        return None
    return date(year, month, min(day, last))


def _booked_on(text: str | None, value_on: date) -> date:
    """The day of MMDD that is nearest to the value day; the value day where there is none."""
    if text is None:
        return value_on
    found = [_day(f"{year % 100:02}{text}") for year in range(value_on.year - 1, value_on.year + 2)]
    return min((day for day in found if day), key=lambda day: abs(day - value_on), default=value_on)
