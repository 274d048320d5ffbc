"""Columns of text as amounts and days: exact, a whole column at a time, and each wrong value named by its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.custodian.statement import Fault, Problems
from engine.errors import InvalidInput
from engine.money import MINOR_DIGITS, to_minor

WHOLE_DIGITS_MAX = 13
"""Digits before the decimal point of the largest amount a statement may hold: a thousand of them fit an int64."""

Places = Callable[[int], str]
"""From a row of a column to its place in the file."""

_DECIMAL = pa.decimal128(WHOLE_DIGITS_MAX + MINOR_DIGITS, MINOR_DIGITS)
_PLAIN = r"^-?[0-9]+(\.[0-9]+)?$"
_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")
_SHOWN_CHARACTERS = 40
_EMPTY, _NOTHING = pa.array([""]), pa.scalar(None, pa.string())


def different(column: pa.Array) -> pa.Array:
    """The texts of a column: of one that is a dictionary, each different one once."""
    return column.dictionary if pa.types.is_dictionary(column.type) else column


def of_each(column: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """What `read` makes of the texts of a column, row by row; of a dictionary each different text is read once."""
    found = read(different(column))
    return found.take(column.indices) if pa.types.is_dictionary(column.type) else found


def plain(column: pa.Array) -> pa.Array:
    """The column as texts, row by row."""
    return of_each(column, lambda texts: texts)


def amounts(texts: pa.Array, places: Places, problems: Problems, what: str = "amount") -> pa.Array:
    """int64 minor units of a column of text like "1234.50", null where nothing stands.

    What is no amount, or has a part of a minor unit, is a problem and 0: nothing is rounded.
    """
    found = plain_amounts(texts)
    if found is not None:
        return found
    return pa.array(
        [_minor(text, row, places, problems, what) for row, text in enumerate(texts.to_pylist())], pa.int64()
    )


def plain_amounts(texts: pa.Array) -> pa.Array | None:
    """As `amounts`, where every text is a number that is exact to the minor unit; None where one is not."""
    # Members share alike: a column holds few different amounts, and each is read once.
    words = texts.dictionary_encode()
    try:
        if pc.all(pc.match_substring_regex(words.dictionary, _PLAIN), min_count=0).as_py():
            return _unscaled(words.dictionary.cast(_DECIMAL)).take(words.indices)
    except pa.ArrowInvalid:
        pass
    return None


def amount(text: str, place: str, problems: Problems, what: str = "amount") -> int:
    """Minor units of one text; a problem and 0 where it is none."""
    return _minor(text, 0, lambda _: place, problems, what) or 0


def days(texts: pa.Array, places: Places, problems: Problems, what: str) -> pa.Array:
    """date32 of a column of text like "2019-01-21" or "20190121", null where nothing stands; a problem where no day."""
    try:
        words = texts.dictionary_encode()
        return words.dictionary.cast(pa.date32()).take(words.indices)
    except pa.ArrowInvalid:
        pass
    found = []
    for row, text in enumerate(texts.to_pylist()):
        found.append(None if text is None else day(text))
        if text is not None and found[-1] is None:
            problems.add(Fault.UNREADABLE, places(row), f"{what} {shown(text)} is not a day")
    return pa.array(found, pa.date32())


def day(text: str) -> date | None:
    """The day that `text` begins with; None where it is none."""
    match = _DAY.match(text)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def counts(texts: pa.Array, places: Places, problems: Problems, what: str) -> pa.Array:
    """int64 of a column of whole numbers, null where nothing stands; a problem and null where it is none."""
    words = texts.dictionary_encode()
    try:
        if not pc.any(pc.match_substring_regex(words.dictionary, "[^0-9]")).as_py():
            return words.dictionary.cast(pa.int64()).take(words.indices)
    except pa.ArrowInvalid:
        pass
    found = []
    for row, text in enumerate(texts.to_pylist()):
        sound = text is not None and re.fullmatch(r"\d{1,15}", text, re.ASCII)
        found.append(int(text) if sound else None)
        if text is not None and not sound:
            problems.add(Fault.UNREADABLE, places(row), f"{what} {shown(text)} is not a whole number")
    return pa.array(found, pa.int64())


def absent(texts: pa.Array, words: pa.Array = _EMPTY) -> pa.Array:
    """The column, null where one of `words` stands; they hold "" unless it is to stay."""
    # Most texts are longer than any of the words, and lengths are compared in no time.
    if len(texts) and (pc.min(pc.binary_length(texts)).as_py() or 0) > pc.max(pc.binary_length(words)).as_py():
        return texts
    found = pc.is_in(texts, words)
    return pc.if_else(found, _NOTHING, texts) if pc.any(found).as_py() else texts


def shown(text: str) -> str:
    """The text as a message repeats it, shortened."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")


def _unscaled(decimals: pa.Array) -> pa.Array:
    """int64 of a decimal column's unscaled values."""
    offset, length = decimals.offset, len(decimals)
    words = np.frombuffer(decimals.buffers()[1], "<i8")[::2][offset : offset + length]
    if not decimals.null_count:  # in place: pa.array looks for pandas each time
        return pa.Array.from_buffers(pa.int64(), length, [None, pa.py_buffer(np.ascontiguousarray(words))])
    return pa.array(words, mask=pc.is_null(decimals).to_numpy(zero_copy_only=False))


def _minor(text: str | None, row: int, places: Places, problems: Problems, what: str) -> int | None:
    if text is None:
        return None
    try:
        minor = to_minor(text)
    except InvalidInput as error:
        problems.add(Fault.INEXACT_AMOUNT, places(row), f"{what} {error}")
        return 0
    if abs(minor) >= 10 ** (WHOLE_DIGITS_MAX + MINOR_DIGITS):
        problems.add(Fault.INEXACT_AMOUNT, places(row), f"{what} {shown(text)} is larger than an account can hold")
        return 0
    return minor
