"""From the fields of a text statement, as its layout names them, to lines: whole columns at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.layouts import Layout
from engine.custodian.readers import values
from engine.custodian.statement import Fault, Kind, Problems, as_lines
from engine.money.sums import exact_sum

_NEITHER = ("/", "不计收支", "中性交易")
"""Directions of personal bills on lines that move no money."""

_CURRENCIES = {"人民币": "CNY", "人民币元": "CNY", "RMB": "CNY", "156": "CNY", "欧元": "EUR"}
"""How else files write them; the last but one is ISO 4217's number."""

_NO_REFERENCE = pa.array(["", "/", "-", "--"])

_RETURN = pa.scalar(Kind.RETURN.value)

EACH_ITS_OWN = frozenset({"reference", "bank_reference", "balance"})
"""What columns hold of which hardly two rows are alike; in all others many are."""

_DECORATION = r"[¥￥,+元]|^-+$"


@dataclass
class Taken:
    """The lines of one statement so far. `asked_minor`: with those whose money did not move, `moved_minor`: without."""

    layout: Layout[Any]
    problems: Problems = field(default_factory=Problems)
    lines: int = 0
    credits: int = 0
    debits: int = 0
    asked_minor: int = 0
    moved_minor: int = 0
    account: str = ""
    currency: str = ""

    def take(self, fields: Mapping[str, pa.Array], numbers: NDArray[np.int64]) -> pa.RecordBatch:
        """Lines of SCHEMA from columns of text by what each holds; `numbers` int64[n]: their lines in the file."""
        known = {name: _trimmed(column, self.layout.strip) for name, column in fields.items()}

        def place(row: int) -> str:
            return f"line {numbers[row]}"

        gross, moved = self._amounts(known, place)
        settled = moved & self._settled(known, len(numbers))
        amounts = np.where(settled, gross, 0)
        kind = self._kinds(known, moved, settled)
        original, charges = self._parts(known, kind, gross, amounts, place)
        self._check_shared(known, place)
        first, self.lines = self.lines + 1, self.lines + len(numbers)
        self.credits += int((amounts > 0).sum())
        self.debits += int((amounts < 0).sum())
        self.asked_minor += exact_sum(np.abs(gross))
        self.moved_minor += exact_sum(np.abs(amounts))
        columns = {
            "ordinal": pa.array(np.arange(first, self.lines + 1)),
            "line": pa.array(numbers),
            "booked_on": self._days(known, "booked_on", place),
            "value_on": self._days(known, "value_on", place),
            "amount_minor": pa.array(amounts),
            "kind": kind,
            "reason": _reasons(known, kind),
            "original_minor": original,
            "charges_minor": charges,
        }
        for name in ("reference", "batch_reference", "bank_reference"):
            if name in known:
                columns[name] = values.of_each(known[name], lambda texts: values.absent(texts, _NO_REFERENCE))
        if "count" in known:
            columns["count"] = pc.fill_null(values.counts(known["count"], place, self.problems, "the count"), 1)
        return as_lines(columns)

    def money(self, column: pa.Array, place: values.Places, what: str) -> pa.Array:
        """int64 minor units of a column as the layout writes amounts, null where nothing stands."""
        if column.null_count == len(column):
            return pa.nulls(len(column), pa.int64())
        if self.layout.amounts == "major" and (found := values.plain_amounts(column)) is not None:
            return found
        return values.amounts(values.of_each(column, self._undecorated), place, self.problems, what)

    def _undecorated(self, texts: pa.Array) -> pa.Array:
        texts = pc.replace_substring_regex(texts, _DECORATION, "")
        texts = pc.replace_substring_regex(pc.replace_substring_regex(texts, "^D ?", "-"), "^C ?", "")
        texts = values.absent(texts)
        if self.layout.amounts == "minor":
            # 1250 is 12.50: written so, both kinds of amounts are read by one rule.
            texts = pc.replace_substring_regex(texts, r"^(-?)([0-9]{1,2})$", r"\100\2")
            texts = pc.replace_substring_regex(texts, r"^(-?[0-9]+)([0-9]{2})$", r"\1.\2")
        return texts

    def _amounts(
        self, known: Mapping[str, pa.Array], place: values.Places
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """int64[n] amounts, credits positive, and bool[n]: whether the line's direction moves money."""
        if "amount" not in known:
            credit, debit = (self.money(known[name], place, f"the {name}") for name in ("credit", "debit"))
            self._check_present(pc.and_(pc.is_null(credit), pc.is_null(debit)), place)
            into, out = (np.abs(pc.fill_null(column, 0).to_numpy()) for column in (credit, debit))
            return into - out, np.ones(len(into), np.bool_)
        found = self.money(known["amount"], place, "the amount")
        self._check_present(pc.is_null(found), place)
        gross = pc.fill_null(found, 0).to_numpy()
        if "direction" not in known:
            return gross, np.ones(len(gross), np.bool_)
        ways = values.plain(known["direction"]).fill_null("").dictionary_encode()
        signs = {"credit": 1, "debit": -1}
        words = ways.dictionary.to_pylist()
        sign = np.array([signs.get(self.layout.directions.get(word, ""), 0) for word in words], np.int64)
        at = ways.indices.to_numpy()
        unknown = np.array([not sign[n] and word not in _NEITHER for n, word in enumerate(words)], np.bool_)
        for row in np.flatnonzero(unknown[at]).tolist():
            message = f"the direction {values.shown(words[at[row]])} is none the layout knows"
            self.problems.add(Fault.UNREADABLE, place(row), message)
        moved: NDArray[np.bool_] = sign[at] != 0
        return np.where(moved, np.abs(gross) * sign[at], gross), moved

    def _check_present(self, missing: pa.Array, place: values.Places) -> None:
        for row in np.flatnonzero(missing.to_numpy(zero_copy_only=False)).tolist():
            self.problems.add(Fault.UNREADABLE, place(row), "has no amount")

    def _settled(self, known: Mapping[str, pa.Array], length: int) -> NDArray[np.bool_]:
        if "status" not in known or not self.layout.settled:
            return np.ones(length, np.bool_)
        found = values.of_each(known["status"], lambda texts: pc.is_in(texts, pa.array(self.layout.settled)))
        settled: NDArray[np.bool_] = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return settled

    def _kinds(self, known: Mapping[str, pa.Array], moved: NDArray[np.bool_], settled: NDArray[np.bool_]) -> pa.Array:
        if "kind" in known:
            words = known["kind"].dictionary_encode()
            by_word = [self.layout.kinds.get(word, Kind.OTHER).value for word in words.dictionary.to_pylist()]
            kind = pa.array(by_word, pa.string()).take(words.indices).fill_null(Kind.OTHER.value)
        else:
            # Where a line has a status it answers a debit; elsewhere only its reference tells.
            alone = Kind.DEBIT if "status" in known else Kind.OTHER
            kind = pa.array([alone.value]).take(pa.array(np.zeros(len(moved), np.int64)))
        if settled.all():
            return kind
        still = pc.if_else(pa.array(moved), pa.scalar(Kind.RETURN.value), pa.scalar(Kind.OTHER.value))
        return pc.if_else(pa.array(settled), kind, still)

    def _parts(
        self,
        known: Mapping[str, pa.Array],
        kind: pa.Array,
        gross: NDArray[np.int64],
        amounts: NDArray[np.int64],
        place: values.Places,
    ) -> tuple[pa.Array, pa.Array]:
        """int64 originals, null but of returns and of lines that moved nothing, and int64 charges."""
        nothing = pa.nulls(len(gross), pa.int64())
        is_return = pc.equal(kind, _RETURN).to_numpy(zero_copy_only=False) & (amounts != 0)
        shown = is_return | (amounts == 0)
        stated = self.money(known["original"], place, "the original amount") if "original" in known else nothing
        charged = self.money(known["charges"], place, "the charges") if "charges" in known else nothing
        charges = np.abs(pc.fill_null(charged, 0).to_numpy())
        if not shown.any():
            return nothing, pa.array(charges)
        against = np.where(gross > 0, -1, 1)
        implied = np.where(amounts != 0, np.abs(gross) - against * charges, np.abs(gross))
        original = pc.coalesce(pc.abs(stated), pa.array(implied))
        rest = against * (np.abs(gross) - original.to_numpy())
        return pc.if_else(pa.array(shown), original, nothing), pa.array(
            np.where(is_return & (rest >= 0), rest, charges)
        )

    def _days(self, known: Mapping[str, pa.Array], name: str, place: values.Places) -> pa.Array:
        column = known.get(name)
        if column is None:
            return pa.nulls(len(next(iter(known.values()))), pa.date32())
        what = "the day of booking" if name == "booked_on" else "the value day"
        if self.layout.date_format.startswith("%Y-%m-%d"):
            if self.layout.date_format != "%Y-%m-%d":
                column = values.of_each(column, lambda texts: pc.utf8_slice_codeunits(texts, 0, 10))
            return values.days(column, place, self.problems, what)
        parsed = values.of_each(column, self._moments)
        lost = pc.and_(pc.is_null(parsed), pc.is_valid(column)).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lost).tolist():
            message = f"{what} {values.shown(column[row].as_py())} is not a day"
            self.problems.add(Fault.UNREADABLE, place(row), message)
        return parsed.cast(pa.date32(), safe=False)

    def _moments(self, texts: pa.Array) -> pa.Array:
        return pc.strptime(texts, format=self.layout.date_format, unit="s", error_is_null=True)

    def _check_shared(self, known: Mapping[str, pa.Array], place: values.Places) -> None:
        """All lines are of one account and in one currency."""
        if "currency" in known:
            words = known["currency"].dictionary_encode()
            codes = pa.array([_CURRENCIES.get(word, word) for word in words.dictionary.to_pylist()], pa.string())
            self.currency = self._shared(codes.take(words.indices), self.currency, Fault.CURRENCY_MISMATCH, place)

    def _shared(self, column: pa.Array, before: str, fault: Fault, place: values.Places) -> str:
        if not before:
            before = next((text for text in column.to_pylist() if text), "")
        other = pc.fill_null(pc.not_equal(column, before), False).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(other).tolist():
            self.problems.add(fault, place(row), f"is {values.shown(column[row].as_py())}, and before it {before}")
        return before


def _trimmed(column: pa.Array, characters: str) -> pa.Array:
    if column.null_count == len(column):
        return column
    texts = values.different(column)
    trimmed = pc.ascii_trim(texts, characters=characters)
    if trimmed.nbytes == texts.nbytes:
        return column
    trimmed = values.absent(trimmed)
    return trimmed.take(column.indices).dictionary_encode() if pa.types.is_dictionary(column.type) else trimmed


def _reasons(known: Mapping[str, pa.Array], kind: pa.Array) -> pa.Array:
    """Of returns the reason or, where none stands, the status; null of everything else."""
    returned, nothing = pc.equal(kind, _RETURN), pa.nulls(len(kind), pa.string())
    if not pc.any(returned).as_py():
        return nothing
    told = [values.plain(known[name]) for name in ("reason", "status") if name in known]
    return pc.if_else(returned, pc.coalesce(*told, nothing), nothing)
