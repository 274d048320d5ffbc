"""A batch of debits: what all have in common, and the check that every one may leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.profile import DelimitedDebits, Pain001Payouts, Pain008Debits, Profile
from engine.custodian.reference import Kind, Reference, decode
from engine.errors import InvalidInput

SCHEMA = pa.schema(
    [
        pa.field("reference", pa.string(), nullable=False),
        pa.field("account", pa.string(), nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("mandate_id", pa.string()),
        pa.field("signed_on", pa.date32()),
    ]
)
"""A debit: the payer's account as the custodian knows it, and no name. `mandate_id` and `signed_on` may be absent where
the format has no place for them."""

AMOUNT_MOST = 99_999_999_999
"""Minor units of one debit, the most that SEPA takes; ten million of them still sum in 64 bits."""

_FIRST = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LATER = _FIRST + "@._/*:-"
"""What a text of a debit is made of: no format needs to quote it, and no spreadsheet takes it for a formula."""

MandateSequence = Literal["FRST", "RCUR", "OOFF", "FNAL"]
"""Which debit of its mandate: the first, a recurring one, the only one, the last."""


@dataclass(frozen=True)
class Batch:
    """Debits of one run (or call) and attempt, collected on one day; or payouts or refunds, paid on it.

    `created_at`: with its zone, stored with the batch, so that writing it again gives the same bytes. `sequence`: of
    all its mandates (formats without mandates ignore it). `first_file`: number of the first file; batches of the same
    run and attempt count on. `kind`: of its references.
    """

    run: int
    attempt: int
    debit_on: date
    created_at: datetime
    sequence: MandateSequence = "RCUR"
    first_file: int = 1
    kind: Kind = Kind.DEBIT

    def __post_init__(self) -> None:
        if self.created_at.tzinfo is None:
            raise InvalidInput("a batch's created_at needs its time zone")

    def file_reference(self, number: int) -> str:
        """What the custodian knows one file of the batch by, of 16 characters."""
        return str(Reference(Kind.BATCH, self.run, self.attempt, number))


def layout_of(profile: Profile, kind: Kind) -> Pain008Debits | Pain001Payouts | DelimitedDebits:
    """How the custodian takes files of this kind. Raises InvalidInput where its profile does not say."""
    return profile.debits if kind.is_debit else profile.pays_by


def columns_of(profile: Profile, kind: Kind = Kind.DEBIT) -> Sequence[str]:
    """The columns of SCHEMA that the profile's files of this kind are made of."""
    layout = layout_of(profile, kind)
    if isinstance(layout, Pain008Debits):
        return list(SCHEMA.names)
    if isinstance(layout, Pain001Payouts):
        return ["reference", "account", "amount_minor"]
    held = {column.holds for column in layout.columns}
    return ["reference", "account", "amount_minor", *(name for name in ("mandate_id", "signed_on") if name in held)]


def check(batch: Batch, profile: Profile, debits: pa.RecordBatch) -> NDArray[np.int64]:
    """The seats int64[n] of debits that may leave. Raises InvalidInput that names the first that may not.

    It names a debit by its place and, where that is ours, its reference; it never shows a payer's account.
    """
    needed, pattern = columns_of(profile, batch.kind), layout_of(profile, batch.kind).account_pattern
    word = batch.kind.words
    for name in needed:
        if name not in debits.schema.names or debits.schema.field(name).type != SCHEMA.field(name).type:
            raise InvalidInput(f"{word}s of {profile.code} need a column {name} of {SCHEMA.field(name).type}")
        _refuse(word, debits, debits.column(name).is_null(), f"{name}: missing, and {profile.code} needs it")
    found = decode(debits.column("reference"))
    ours = found.valid & (found.kind == batch.kind) & (found.run == batch.run) & (found.attempt == batch.attempt)
    _refuse(
        word, debits, pa.array(~ours), f"reference: is none of a {word} of run {batch.run}, attempt {batch.attempt}"
    )
    amounts = debits.column("amount_minor").to_numpy()
    wrong = (amounts < 1) | (amounts > AMOUNT_MOST)
    _refuse(word, debits, pa.array(wrong), f"amount_minor: is not from 1 to {AMOUNT_MOST} minor units")
    for name in ("account", "mandate_id"):
        if name in needed:
            _refuse(word, debits, unsafe_texts(debits.column(name), _TEXT_MOST), f"{name}: {safe_words(_TEXT_MOST)}")
    if pattern:
        table = "debits" if batch.kind.is_debit else "payouts"
        unlike = pc.invert(pc.match_substring_regex(debits.column("account"), f"^(?:{pattern})$"))
        _refuse(word, debits, unlike, f"account: is none that {profile.code} takes ({table}.account_pattern)")
    if "signed_on" in needed:
        late = pc.greater(debits.column("signed_on"), pa.scalar(batch.debit_on))
        _refuse(word, debits, late, f"signed_on: the mandate is signed after the debit day {batch.debit_on}")
    return found.seat


_TEXT_MOST = 35
"""Characters that ISO 20022 has for a mandate, and for an account that is no IBAN one less."""


def safe_words(most: int) -> str:
    """What is said of a text that `unsafe_texts` finds."""
    return f"is not of 1 to {most} letters, digits and, but for the first, {_LATER.removeprefix(_FIRST)}"


def unsafe_texts(texts: pa.StringArray, most: int) -> pa.BooleanArray:
    """bool[n]: which texts are longer than `most`, empty, null, or could mean something to what reads the file."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(bounds)
    unsafe = (lengths < 1) | (lengths > most)
    if data is not None and data.size:
        letters = np.frombuffer(data, np.uint8)
        unsafe |= ~_IS_FIRST[letters.take(bounds[:-1], mode="clip")]
        within = letters[bounds[0] : bounds[-1]]
        # Mostly digits and letters, which arithmetic tells apart faster than a table.
        others = np.flatnonzero((within - 48 >= 10) & ((within | 32) - 97 >= 26))
        wrong = others[~_IS_LATER[within[others]]] + bounds[0]
        unsafe[np.searchsorted(bounds, wrong, side="right") - 1] = True
    return pa.array(unsafe)


_IS_FIRST, _IS_LATER = (
    np.isin(np.arange(256), np.frombuffer(letters.encode(), np.uint8)) for letters in (_FIRST, _LATER)
)


def _refuse(word: str, debits: pa.RecordBatch, wrong: pa.BooleanArray, why: str) -> None:
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        reference = debits.column("reference").slice(row, 1)
        known = f" ({reference[0]})" if decode(reference).valid[0] else ""
        raise InvalidInput(f"{word} {row + 1}{known}: {why}")
