"""A custodian as its file in config/custodians/ states it: what it takes, what it sends back, what its codes mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field, ValidationError, model_validator

from engine.custodian.layouts import Encoding, Layouts, Separator
from engine.custodian.routes import FolderRoute, Route, Secret
from engine.errors import InvalidInput
from engine.plans.fields import Code, Days, Name, Part, Zone
from engine.plans.rules import BusinessDays
from engine.plans.wrong_keys import as_json, lines_of
from engine.resources import config_dir

StatementFormat = Literal[
    "camt.053", "camt.054", "camt.052", "pain.002", "pacs.004", "mt940", "csv", "daikou", "fixed_width"
]  # fmt: skip

MAX_BYTES_MOST = 128 * 2**20
"""A file is built in memory, because its header states what follows: this bounds it."""

CODE_LENGTH_MAX = 64
"""Characters of a custodian's code for why something came back."""

FORMULA = "=+-@\t\r"
"""What a spreadsheet takes for a formula, as the first character of a field."""


class BookingMode(StrEnum):
    """How the custodian books what it collected; banks change it."""

    GROSS_PER_BATCH = "gross_per_batch"
    """One line for each batch (`PmtInf`) with all its debits; what comes back has lines of its own."""

    NET_PER_FILE = "net_per_file"
    """One line for each file, less what was not paid."""

    PER_DEBIT = "per_debit"
    """A line for every debit."""


class Meaning(StrEnum):
    """Why a debit was not paid, whatever the custodian's own code for it."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_WRONG = "account_wrong"
    ACCOUNT_BLOCKED = "account_blocked"
    DEBITS_FORBIDDEN = "debits_forbidden"
    NO_MANDATE = "no_mandate"
    PAYER_DIED = "payer_died"
    REFUSED_BY_PAYER = "refused_by_payer"
    LIMIT_EXCEEDED = "limit_exceeded"
    DUPLICATE = "duplicate"
    CUSTODIAN_FAULT = "custodian_fault"
    UNSPECIFIED = "unspecified"


class Retry(StrEnum):
    """Whether the same debit may be asked again."""

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"
    """The code hides the real reason: the plan's own rule decides, and no reason alone ends a membership."""


class Reason(Part):
    """What one of the custodian's codes says."""

    means: Meaning
    retry: Retry


UNKNOWN_REASON = Reason(means=Meaning.UNSPECIFIED, retry=Retry.UNCLEAR)
"""Of a code that the profile does not list."""


def _plain(text: str) -> str:
    if text.startswith(tuple(FORMULA)):
        raise ValueError("begin with another character: a spreadsheet takes this for a formula")
    return text


def _pattern(text: str) -> str:
    try:
        pc.match_substring_regex(pa.array([""]), pattern=text)
    except pa.ArrowInvalid as error:
        raise ValueError(f"is no regular expression of the kind known here (RE2): {error}") from None
    return text


Word = Annotated[Name, AfterValidator(_plain)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Currency = Literal["CNY", "EUR"]


class Account(Part):
    """The plan's account at the custodian. All that `…_from` names stands in the environment.

    `stated_from`: the number as its statements write it, where that is not a form of the number itself.
    """

    holder: Annotated[Name, Field(max_length=70)]
    number_from: Secret
    stated_from: Secret | None = None
    creditor_id_from: Secret | None = None
    bic: Annotated[str, Field(pattern="^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$")] | None = None


class Limits(Part):
    """What one file holds at most, and when it must be there.

    `cut_off`: in the custodian's zone, on a business day `lead_days` before the debit day.
    """

    max_items_per_file: Annotated[int, Field(ge=1, le=10_000_000)]
    max_bytes: Annotated[int, Field(ge=10_000, le=MAX_BYTES_MOST)]
    files_per_hour: Annotated[int, Field(ge=1, le=1_000_000)]
    cut_off: time
    lead_days: Days


class Pain008Debits(Part):
    """Debits as ISO 20022 customer direct debits, a `PmtInf` a file, on IBANs with a mandate each.

    `payer_name`: instead of names, which instructions do not carry.
    """

    format: Literal["pain.008.001.08", "pain.008.001.02"]
    instrument: Literal["CORE", "B2B"]
    purpose: Annotated[Name, Field(max_length=140)]
    payer_name: Annotated[Name, Field(max_length=70)] = "NOTPROVIDED"
    account_pattern: Pattern = "[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}"


class Column(Part):
    """A column of a debit file: what it `holds` of each instruction, or one `text` for all."""

    name: Word
    holds: Literal["reference", "account", "amount", "currency", "debit_on", "mandate_id", "signed_on"] | None = None
    text: Word | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.holds is None) == (self.text is None):
            raise ValueError("state what the column holds, or its text; one of both")
        return self


class DelimitedDebits(Part):
    """Debits as lines of text: `csv` begins with the columns' names, `daikou` (代扣) with `total|sum`."""

    format: Literal["csv", "daikou"]
    encoding: Encoding
    separator: Separator
    line_end: Literal["\n", "\r\n"] = "\n"
    amounts: Literal["major", "minor"] = "major"
    date_format: Literal["%Y-%m-%d", "%Y%m%d"] = "%Y-%m-%d"
    account_pattern: Pattern | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=3)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        held = Counter[str](column.holds for column in self.columns if column.holds)
        missing = [name for name in ("reference", "account", "amount") if name not in held]
        if missing:
            raise ValueError(f"no column holds {' or '.join(missing)}")
        twice = [*_twice(held.elements()), *_twice(column.name for column in self.columns)]
        if twice:
            raise ValueError(f"two columns are alike: {', '.join(twice)}")
        for column in self.columns:
            text = column.name + (column.text or "")
            if self.separator in text or '"' in text:
                raise ValueError(f"the column {column.name!r} has a quote or the separator in its name or text")
            try:
                text.encode(self.encoding)
            except UnicodeEncodeError:
                raise ValueError(f"{self.encoding} cannot write the column {column.name!r}") from None
        return self


class Pain001Payouts(Part):
    """What is paid out as ISO 20022 customer credit transfers, a `PmtInf` a file, to IBANs.

    `payee_name`: instead of names, which instructions do not carry.
    """

    format: Literal["pain.001.001.09", "pain.001.001.03"]
    purpose: Annotated[Name, Field(max_length=140)]
    payee_name: Annotated[Name, Field(max_length=70)] = "NOTPROVIDED"
    account_pattern: Pattern = "[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}"


class Profile(Part):
    """A custodian. All money is in `currency`, all days are those of `time_zone`.

    `books_from`: the one kind of statement that books; all others in `statements` only inform. `in_transit_days`:
    business days a debit may be under way before its absence is a break. `known_lines`: what the account's terms have
    beside what was asked for; a charge or interest that they do not is a break. `layouts`: of statements that are text.
    `reasons`: what its codes mean; a code not there is UNKNOWN_REASON. `payouts`: how it takes files of aid and
    refunds; absent, as it takes debits. `payer_known_by`: its own name of an account, or the plan's reference of the
    member. `transport`: how files reach it, and how it answers.
    """

    code: Code
    name: Name
    currency: Currency
    time_zone: Zone
    account: Account
    limits: Limits
    business_days: BusinessDays | None = None
    debits: Annotated[Pain008Debits | DelimitedDebits, Field(discriminator="format")]
    payouts: Annotated[Pain001Payouts | DelimitedDebits, Field(discriminator="format")] | None = None
    statements: Annotated[tuple[StatementFormat, ...], Field(min_length=1)]
    books_from: StatementFormat
    booking: BookingMode
    in_transit_days: Days
    known_lines: tuple[Literal["charge", "interest"], ...] = ("charge", "interest")
    payer_known_by: Literal["account", "member_ref"] = "account"
    transport: Route = FolderRoute()
    layouts: Layouts = Layouts()
    reasons: dict[Annotated[str, Field(min_length=1, max_length=CODE_LENGTH_MAX)], Reason] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        problems = []
        if self.books_from not in self.statements:
            problems.append(f"books_from: {self.books_from} is none of statements")
        if self.books_from in ("pain.002", "pacs.004"):
            problems.append(f"books_from: {self.books_from} holds no bookings, only what became of instructions")
        if isinstance(self.debits, Pain008Debits) and (not self.account.creditor_id_from or not self.account.bic):
            problems.append(f"account: {self.debits.format} needs creditor_id_from and bic")
        if self.payer_known_by == "member_ref" and self._asks_mandates:
            problems.append("payer_known_by: a mandate is of an account; the debits of this custodian hold mandates")
        if isinstance(self.payouts, Pain001Payouts) and not self.account.bic:
            problems.append(f"account: {self.payouts.format} needs bic")
        for name, layout in self.layouts:
            if (layout is None) == (name in self.statements):
                problems.append(
                    f"layouts.{name}: missing, for {name} is in statements"
                    if layout is None
                    else f"layouts.{name}: {name} is none of statements"
                )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def _asks_mandates(self) -> bool:
        if isinstance(self.debits, Pain008Debits):
            return True
        return any(column.holds in ("mandate_id", "signed_on") for column in self.debits.columns)

    @property
    def informs(self) -> tuple[StatementFormat, ...]:
        """The statements that only inform: they change what is known, never the books."""
        return tuple(each for each in self.statements if each != self.books_from)

    @property
    def pays_by(self) -> Pain001Payouts | DelimitedDebits:
        """How it takes files of aid and refunds. Raises InvalidInput where its profile does not say."""
        layout = self.payouts or self.debits
        if isinstance(layout, Pain008Debits):
            raise InvalidInput(f"{self.code} does not say how it pays out; give its profile a table payouts")
        return layout

    def reason(self, code: str | None) -> Reason:
        """What a code of this custodian says."""
        return self.reasons.get(code or "", UNKNOWN_REASON)


@dataclass(frozen=True)
class AccountNumbers:
    """What the environment holds of an account; never logged, never stored, not in its own repr."""

    number: str = field(repr=False)
    creditor_id: str | None = field(default=None, repr=False)


def account_numbers(account: Account, environment: Mapping[str, str]) -> AccountNumbers:
    """The values behind the account's names. Raises InvalidInput that names each variable not set or not right."""
    names = [name for name in (account.number_from, account.creditor_id_from) if name]
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise InvalidInput(f"set {' and '.join(missing)} in the environment: the custodian's profile names it")
    wrong = [name for name in names if not _NUMBER.fullmatch(environment[name])]
    if wrong:
        raise InvalidInput(f"{' and '.join(wrong)}: write letters and digits, without spaces, at most 34")
    return AccountNumbers(*(environment[name] for name in names))


_NUMBER = re.compile("[0-9A-Za-z][0-9A-Za-z@._-]{0,33}")


def parse(text: str, source: str) -> Profile:
    """The profile in the TOML `text` of the file `source`. Raises InvalidInput, a line for every wrong key."""
    try:
        return Profile.model_validate_json(as_json(text, source))
    except ValidationError as error:
        raise InvalidInput("\n".join(f"{source}: {line}" for line in lines_of(error, Profile))) from None


def presets() -> list[str]:
    """The custodians that come with Fentan, by their codes."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load(name: str) -> Profile:
    """The profile of a preset's code, or of a file. Raises InvalidInput."""
    known = presets()
    path = _folder() / f"{name}.toml" if name in known else Path(name)
    try:
        return parse(path.read_text("utf-8-sig"), path.name)
    except FileNotFoundError:
        raise InvalidInput(f"no custodian {name}; known: {', '.join(known)}, or give the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name}: cannot be read: {error}") from None


def _folder() -> Path:
    return config_dir() / "custodians"


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
