"""From camt entries and their details, as columns of text, to the lines of a statement, a piece at a time."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.readers import values
from engine.custodian.readers.kinds import kinds
from engine.custodian.statement import SCHEMA, Fault, Kind, Problems

NO_REFERENCES = pa.array(["", "NOTPROVIDED", "NOT PROVIDED", "NOTAVAILABLE", "NONREF"])
"""What banks write where there is no end-to-end id."""

# Made once: pyarrow makes a scalar in 60 µs, of which a piece would need dozens.
_BOOKED, _CREDIT, _DEBIT, _RETURN = (pa.scalar(word) for word in ("BOOK", "CRDT", "DBIT", Kind.RETURN.value))
_TRUE = pa.array(["true", "1"])
_NOTHING = pa.scalar(None, pa.string())
_KINDS = [pa.scalar(kind.value) for kind in (Kind.OTHER, Kind.RETURN, Kind.REVERSAL, Kind.BATCH)]


_Columns = TypeVar("_Columns", pa.Array, pa.RecordBatch)


class Entries(NamedTuple):
    """Entries of one statement as lines of SCHEMA, and how many there were; pending ones count in `entries` only."""

    lines: pa.RecordBatch
    entries: int
    credit_entries: int
    debit_entries: int
    currency: str


class _Amounts(NamedTuple):
    """Amounts in minor units.

    Of m entries: gross, signs and how many details each has, int64[m]; booked bool[m]. Of k details:
    int64[k], and where there is none, bool[k].
    """

    gross: NDArray[np.int64]
    signs: NDArray[np.int64]
    booked: NDArray[np.bool_]
    of_details: NDArray[np.int64]
    missing: NDArray[np.bool_]
    details: NDArray[np.int64]


def lines_of(
    entries: pa.RecordBatch,
    details: pa.RecordBatch,
    owner: NDArray[np.int64],
    taken: int,
    lines: int,
    currency: str,
    problems: Problems,
) -> Entries:
    """The lines of entries, after `taken` entries and `lines` lines of the same statement.

    `owner`: the entry of each detail, int64[k] from 0, rising. An entry is one line, or a line for each detail where
    the details' amounts add up to it. `currency`: the account's; where it is "", that of the first entry.
    """

    def place(entry: int) -> str:
        return f"entry {taken + 1 + entry}"

    if entries.num_rows and not currency:
        currency = entries["currency"][0].as_py() or ""
    _check_currency(entries, currency, place, problems)
    amounts = _amounts(entries, details, owner, place, problems)
    stated = _transactions(entries, place, problems)
    split = _split(entries, details, owner, amounts, stated)
    of = np.repeat(np.arange(entries.num_rows), np.where(split, amounts.details, 1))
    within = np.arange(len(of)) - np.searchsorted(of, of)
    first = np.cumsum(amounts.details) - amounts.details
    at = np.where(split[of] | (amounts.details[of] == 1), first[of] + within, -1)
    gross = np.where(split[of], amounts.of_details[at] if len(owner) else 0, amounts.gross[of]) * amounts.signs[of]
    counts = np.where(split[of], 1, np.maximum(np.maximum(stated, amounts.details), 1)[of])
    days = [
        _taken(values.days(pc.utf8_slice_codeunits(entries[name], 0, 10), place, problems, what), of)
        for name, what in (("booked_on", "the day of booking"), ("value_on", "the value day"))
    ]
    entry, detail = _taken(entries, of), _taken(details, at)
    places = _places(taken + 1 + of, np.where(split[of], within + 1, 0))
    columns = _told(entry, detail, gross, counts, amounts.booked[of], lambda line: place(int(of[line])), problems)
    ordinals = pa.array(np.arange(lines + 1, lines + 1 + len(of)))
    batch = pa.RecordBatch.from_arrays(
        [ordinals, pa.nulls(len(of), pa.int64()), places, *days, *columns, pa.array(counts)], schema=SCHEMA
    )
    signs = amounts.signs[amounts.booked]
    return Entries(batch, entries.num_rows, int((signs > 0).sum()), int((signs < 0).sum()), currency)


def _taken(column: _Columns, rows: NDArray[np.int64]) -> _Columns:
    """What stands in `rows` int64[k], null where one is below 0; taken only where they are not simply all rows."""
    if len(rows) == len(column) and bool((rows == np.arange(len(rows))).all()):
        return column
    return column.take(pa.array(rows, mask=rows < 0))


def original_and_charges(booked: int, original: int | None, charges: int) -> tuple[int, int]:
    """Of a return booked at `booked` (credit positive): what it returns and the charges in it, in minor units.

    15.50 booked against us = 10.00 returned + 5.50 charges; 9.00 booked for us = 10.00 returned - 1.00 charges. Where
    the original is stated it decides, for banks state their own charges and leave out those of others.
    """
    against = -1 if booked > 0 else 1
    if original is None:
        return max(abs(booked) - against * charges, 0), charges
    rest = against * (abs(booked) - original)
    return original, rest if rest >= 0 else charges


def _amounts(
    entries: pa.RecordBatch, details: pa.RecordBatch, owner: NDArray[np.int64], place: values.Places, problems: Problems
) -> _Amounts:
    found = values.amounts(entries["amount"], place, problems)
    gross = pc.fill_null(found, 0).to_numpy()
    for entry in np.flatnonzero(_flags(pc.is_null(found)) | (gross < 0)).tolist():
        problems.add(Fault.UNREADABLE, place(entry), "has no amount, or one below zero")
    credit, debit = (_flags(pc.equal(entries["sign"], word)) for word in (_CREDIT, _DEBIT))
    for entry in np.flatnonzero(~credit & ~debit).tolist():
        problems.add(Fault.UNREADABLE, place(entry), "is neither a credit (CRDT) nor a debit (DBIT)")
    of_details = values.amounts(details["amount"], lambda row: place(int(owner[row])), problems)
    return _Amounts(
        gross=gross,
        signs=credit.astype(np.int64) - debit,
        booked=~_flags(pc.not_equal(entries["status"], _BOOKED)),
        of_details=pc.fill_null(of_details, 0).to_numpy(),
        missing=_flags(pc.is_null(of_details)),
        details=np.bincount(owner, minlength=entries.num_rows),
    )


def _check_currency(entries: pa.RecordBatch, currency: str, place: values.Places, problems: Problems) -> None:
    for entry in np.flatnonzero(_flags(pc.not_equal(entries["currency"], pa.scalar(currency)))).tolist():
        message = f"is in {entries['currency'][entry]}, and the account in {currency}"
        problems.add(Fault.CURRENCY_MISMATCH, place(entry), message)


def _transactions(entries: pa.RecordBatch, place: values.Places, problems: Problems) -> NDArray[np.int64]:
    """int64[m]: how many transactions each entry says it is; 0 where it says nothing."""
    texts = entries["transactions"]
    if pc.all(pc.match_substring_regex(texts, "^[0-9]{1,15}$"), min_count=0).as_py():
        stated: NDArray[np.int64] = pc.fill_null(texts.cast(pa.int64()), 0).to_numpy()
        return stated
    found = np.zeros(entries.num_rows, np.int64)
    for entry in np.flatnonzero(_flags(pc.is_valid(texts))).tolist():
        for text in texts[entry].as_py().split():
            if text.isascii() and text.isdigit() and len(text) < 16:
                found[entry] += int(text)
            else:
                problems.add(Fault.UNREADABLE, place(entry), f"{values.shown(text)} is no number of transactions")
    return found


def _split(
    entries: pa.RecordBatch,
    details: pa.RecordBatch,
    owner: NDArray[np.int64],
    amounts: _Amounts,
    stated: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """bool[m]: entries that are a line for each detail, because the details alone add up to them."""
    several = amounts.details >= 2
    if not several.any():
        return several
    at = pa.array(owner)
    same = _flags(pc.equal(details["currency"], entries["currency"].take(at)))
    sound = same & ~amounts.missing & (amounts.of_details >= 0)
    against = _flags(pc.not_equal(details["sign"], entries["sign"].take(at)))
    ends = np.cumsum(amounts.details)

    def per_entry(of_details: NDArray[np.int64]) -> NDArray[np.int64]:
        upto = np.concatenate([[0], np.cumsum(of_details)])
        sums: NDArray[np.int64] = upto[ends] - upto[ends - amounts.details]
        return sums

    opposed = per_entry(against.astype(np.int64))
    # Some banks give each detail the direction of the order, against that of the booking; a mixture stays one sum.
    agreed = (opposed == 0) | (opposed == amounts.details)
    whole = (stated == 0) | (stated == amounts.details)
    adds_up = per_entry(amounts.of_details) == amounts.gross
    split: NDArray[np.bool_] = several & agreed & whole & adds_up & (per_entry(sound * 1) == amounts.details)
    return split


def _places(entries: NDArray[np.int64], details: NDArray[np.int64]) -> pa.Array:
    """string[k]: "entry 3", or "entry 3 detail 2" of an entry that is several lines."""
    places = pc.binary_join_element_wise("entry", pa.array(entries).cast(pa.string()), " ")
    if not details.any():
        return places
    longer = pc.binary_join_element_wise(places, pa.array(details).cast(pa.string()), " detail ")
    return pc.if_else(pa.array(details > 0), longer, places)


def _told(
    entry: pa.RecordBatch,
    detail: pa.RecordBatch,
    gross: NDArray[np.int64],
    counts: NDArray[np.int64],
    is_booked: NDArray[np.bool_],
    place: values.Places,
    problems: Problems,
) -> list[pa.Array]:
    """The columns of SCHEMA from `amount_minor` to `charges_minor`."""
    booked, nothing = pa.array(is_booked), _NOTHING
    kind = _kinds(entry, detail, counts, booked)
    originals, charges = _returns(entry, detail, _flags(pc.equal(kind, _RETURN)), gross, place, problems)
    return [
        pa.array(np.where(is_booked, gross, 0)),
        pc.if_else(pa.array(counts == 1), values.absent(detail["reference"], NO_REFERENCES), nothing),
        pc.coalesce(detail["batch_reference"], entry["batch_reference"]),
        pc.coalesce(detail["bank_reference"], entry["bank_reference"]),
        kind,
        pc.if_else(booked, detail["reason"], entry["status"]),
        pc.if_else(booked, originals, pa.array(np.abs(gross))),
        charges,
    ]


def _kinds(entry: pa.RecordBatch, detail: pa.RecordBatch, counts: NDArray[np.int64], booked: pa.Array) -> pa.Array:
    """string[k]: by what the line says of itself, then by the code of its transaction."""
    by_code = kinds(pc.coalesce(detail["code"], entry["code"]))
    returned = pc.or_(pc.equal(by_code, _RETURN), pc.is_valid(detail["returned"]))
    taken_back = pc.is_in(entry["reversal"], _TRUE)
    return pc.case_when(
        pc.make_struct(pc.invert(booked), returned, taken_back, pa.array(counts > 1)),
        *_KINDS,
        by_code,
    )


def _returns(
    entry: pa.RecordBatch,
    detail: pa.RecordBatch,
    is_return: NDArray[np.bool_],
    gross: NDArray[np.int64],
    place: values.Places,
    problems: Problems,
) -> tuple[pa.Array, pa.Array]:
    """int64[k] original amounts, null but of returns, and int64[k] charges."""
    originals, charges = np.zeros((2, len(gross)), np.int64)
    charged = pc.coalesce(detail["charges"], entry["charges"])
    few = np.flatnonzero(is_return | _flags(pc.is_valid(charged))).tolist()
    asked, asked_in = (
        pc.coalesce(detail[name], entry[name]).take(pa.array(few, pa.int64())).to_pylist()
        for name in ("instructed", "instructed_currency")
    )
    currencies = entry["currency"].take(pa.array(few, pa.int64())).to_pylist()
    texts = charged.take(pa.array(few, pa.int64())).to_pylist()
    for line, text, wanted, wanted_in, currency in zip(few, texts, asked, asked_in, currencies, strict=True):
        stated = _charges(text, currency, place(line), problems)
        original = values.amount(wanted, place(line), problems) if wanted and wanted_in == currency else None
        charges[line] = stated
        if is_return[line]:
            originals[line], charges[line] = original_and_charges(int(gross[line]), original, stated)
    return pa.array(originals, mask=~is_return), pa.array(charges)


def _charges(text: str | None, currency: str, place: str, problems: Problems) -> int:
    """Σ of charges written "3.00@EUR -1.00@EUR", those in another currency left out."""
    each = (charge.split("@") for charge in (text or "").split())
    return sum(values.amount(charge[0], place, problems, "charge") for charge in each if charge[1:] == [currency])


def _flags(values_: pa.Array) -> NDArray[np.bool_]:
    """bool[n]: true where the column is true, false where it is not or nothing stands."""
    flags: NDArray[np.bool_] = pc.fill_null(values_, False).to_numpy(zero_copy_only=False)
    return flags
