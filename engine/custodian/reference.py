"""The reference of an instruction: 16 characters that say whose it is, so that a statement line becomes an array index.

    D 00000E 1 0000RS 48     kind, run, attempt, seat, check; written without the spaces, digits of base 36

It fits every format that must carry it back: MT940 holds 16 characters, pain.008 35. The two check characters are those
of ISO 7064 MOD 1271-36: they find every single wrong character and every two neighbours swapped (check characters too),
and any two characters with one between them swapped. Other damage passes once in 1,271 times.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from engine.errors import InvalidInput

LENGTH = 16
"""Characters of a reference."""

RUN_MAX = SEAT_MAX = 36**6 - 1
ATTEMPT_MAX = 35

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MODULUS = 1271
_PAIR = 36**2
_BLOCK = 8_192
"""References worked on at a time, so that what is between stays in the processor's cache."""


class Kind(IntEnum):
    """What a reference asks for; the value is the byte of its letter."""

    DEBIT = ord("D")
    REFUND = ord("R")
    PAYOUT = ord("P")
    TOP_UP = ord("T")
    AUTO_TOP_UP = ord("A")
    LEVY = ord("L")
    BATCH = ord("B")
    """A file of instructions, its number in place of the seat."""
    SPONSOR = ord("S")
    """What a plan's sponsor pays in, or is paid back."""

    @property
    def is_debit(self) -> bool:
        """Whether it asks members for money: for a share of a run, or by a call (`engine.custodian.calls`)."""
        return self in (Kind.DEBIT, Kind.AUTO_TOP_UP, Kind.LEVY)

    @property
    def is_of_run(self) -> bool:
        """Whether its number is a run's.

        A refund has its decision's there, an auto top-up and a levy their call's, what is of a plan (`OF_PLANS`) the
        plan's.
        """
        return self in (Kind.DEBIT, Kind.PAYOUT, Kind.BATCH)

    @property
    def words(self) -> str:
        """One of them, for people: `"auto top-up"`."""
        return self.name.lower().replace("top_up", "top-up").replace("_", " ")


INSTRUCTED = (Kind.DEBIT, Kind.REFUND, Kind.PAYOUT, Kind.AUTO_TOP_UP, Kind.LEVY)
"""What custodians are asked for in files, in the order in which these are numbered."""


OF_PLANS = (Kind.TOP_UP, Kind.SPONSOR)
"""Payments that nobody asked for by file: the run is the plan."""


@dataclass(frozen=True)
class Decoded:
    """What n references say: `kind` uint8[n], of `Kind`; `run` int64[n]; `attempt` uint8[n]; `seat` int64[n].

    Where `valid` bool[n] is false the text is none of our references, and the others are 0.
    """

    kind: NDArray[np.uint8]
    run: NDArray[np.int64]
    attempt: NDArray[np.uint8]
    seat: NDArray[np.int64]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.valid)

    def reference(self, row: int) -> Reference | None:
        """What one of them says; None where it is none of ours."""
        if not self.valid[row]:
            return None
        run, attempt, seat = (int(part[row]) for part in (self.run, self.attempt, self.seat))
        return Reference(Kind(int(self.kind[row])), run, attempt, seat)


@dataclass(frozen=True)
class Reference:
    """One reference, for people: `str()` writes it, `Reference.read` reads it."""

    kind: Kind
    run: int
    attempt: int
    seat: int

    def __str__(self) -> str:
        text: str = encode(self.kind, self.run, self.attempt, [self.seat])[0].as_py()
        return text

    @classmethod
    def read(cls, text: str) -> Reference:
        """The reference in `text`, small letters and spaces forgiven. Raises InvalidInput."""
        written = "".join(text.split()).upper()
        if len(written) != LENGTH or not set(written) <= set(_DIGITS):
            raise InvalidInput(f"{text[:40]!r} is no reference: it has {LENGTH} characters, digits and letters A to Z")
        found = decode(pa.array([written]))
        read = found.reference(0)
        if read is None:
            letters = ", ".join(f"{kind.words} {chr(kind)}" for kind in Kind)
            raise InvalidInput(
                f"{text[:40]!r} is no reference of ours: its check characters do not fit the rest, or its first letter"
                f" none of {letters}; look for a character mistyped or two swapped"
            )
        return read


def encode(kind: Kind, run: ArrayLike, attempt: ArrayLike, seat: ArrayLike) -> pa.StringArray:
    """References, string[n]: `run`, `attempt` and `seat` are int or int[n], those that are int the same for all.

    Raises InvalidInput for what does not fit: a run or seat above 36⁶ - 1, an attempt above 35, none below 0.
    """
    runs, attempts, seats = (
        _fitting(name, values, most)
        for name, values, most in (("run", run, RUN_MAX), ("attempt", attempt, ATTEMPT_MAX), ("seat", seat, SEAT_MAX))
    )
    n = np.broadcast(runs, attempts, seats).size
    pairs = np.empty((n, LENGTH // 2), np.uint16)
    for start in range(0, n, _BLOCK):
        at = slice(start, start + _BLOCK)
        _encode(pairs[at], kind, *(part[at] if part.size > 1 else part for part in (runs, attempts, seats)))
    return _text(pairs)


def decode(references: pa.StringArray | pa.ChunkedArray) -> Decoded:
    """What the references string[n] say; null, of another length or failing the check is not valid, never an error."""
    if isinstance(references, pa.ChunkedArray):
        references = references.combine_chunks()
    starts, data, whole = _located(references)
    n = len(references)
    found = Decoded(
        np.zeros(n, np.uint8),
        np.zeros(n, np.int64),
        np.zeros(n, np.uint8),
        np.zeros(n, np.int64),
        np.zeros(n, np.bool_),
    )
    rows = None if whole.all() else np.flatnonzero(whole)
    for start in range(0, n if rows is None else len(rows), _BLOCK):
        at = slice(start, start + _BLOCK) if rows is None else rows[start : start + _BLOCK]
        first = starts[at]
        if rows is None:  # without gaps: the bytes are the table
            table = data[first[0] : first[0] + LENGTH * len(first)].reshape(-1, LENGTH)
        else:
            table = data[first[:, None] + np.arange(LENGTH)]
        _decode(table, found, at)
    return found


def _digit_pairs() -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
    """Two characters as one uint16, by their value 0 to 1295; and back, _BAD for what are no two digits."""
    digits = np.frombuffer(_DIGITS.encode(), np.uint8)
    written = np.stack([np.repeat(digits, 36), np.tile(digits, 36)], axis=1).copy().view(np.uint16).ravel()
    values = np.full(2**16, _BAD, np.uint32)
    values[written] = np.arange(_PAIR)
    return written, values


_BAD = 2**11
"""A bit that no value of a pair has."""

_WRITTEN, _VALUES = _digit_pairs()
_WEIGHTS = [pow(_PAIR, 7 - place, _MODULUS) for place in range(8)]
_IS_KIND = np.isin(np.arange(36), [_DIGITS.index(chr(kind)) for kind in Kind])
_LETTER = np.frombuffer(_DIGITS.encode(), np.uint8)


def _fitting(name: str, values: ArrayLike, most: int) -> NDArray[np.uint32]:
    numbers = np.atleast_1d(np.asarray(values))
    if numbers.size and not np.issubdtype(numbers.dtype, np.integer):
        raise InvalidInput(f"a reference's {name} is a whole number")
    if numbers.size and (numbers.min() < 0 or numbers.max() > most):
        wrong = numbers[(numbers < 0) | (numbers > most)][0]
        raise InvalidInput(f"{name} {wrong} does not fit a reference; it goes from 0 to {most}")
    return numbers.astype(np.uint32, copy=False)


def _divided(values: NDArray[np.uint32], by: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """`np.divmod`, in a tenth of the time: the remainder by multiplication."""
    whole = values // by
    return whole, values - whole * by


def _encode(
    out: NDArray[np.uint16],
    kind: Kind,
    run: NDArray[np.uint32],
    attempt: NDArray[np.uint32],
    seat: NDArray[np.uint32],
) -> None:
    """Writes the references as pairs of characters, uint16[n, 8]; parts are uint32[n] or [1]."""
    first, last = divmod(run, 36)
    upper, lowest = _divided(seat, _PAIR)
    values = [
        _DIGITS.index(chr(kind)) * 36 + first // _PAIR**2,
        first // _PAIR % _PAIR,
        first % _PAIR,
        last * 36 + attempt,
        *_divided(upper, _PAIR),
        lowest,
    ]
    total = reduce(np.add, (value * (_MODULUS - weight) for value, weight in zip(values, _WEIGHTS, strict=False)))
    for place, value in enumerate([*values, _divided(1 + total, _MODULUS)[1]]):
        out[:, place] = _WRITTEN.take(value)


def _decode(table: NDArray[np.uint8], found: Decoded, at: slice | NDArray[np.int64]) -> None:
    """Reads the characters uint8[n, 16] into the rows `at` of `found`."""
    pairs, heads = table.view(np.uint16), table.view(np.uint64)[:, 0]
    # Kind, run and attempt are the first eight characters, and mostly the same for all: then they are read once.
    head = pairs[:1, :4] if (heads == heads[0]).all() else pairs[:, :4]
    values = [_VALUES.take(column) for column in (*head.T, *pairs[:, 4:].T)]
    kind = values[0] // 36
    # A check of 1271 to 1295 is the same modulo 1271 as one that we write, and is none of ours.
    valid = (reduce(np.bitwise_or, values) < _BAD) & (values[7] < _MODULUS) & _IS_KIND.take(kind, mode="clip")
    total = reduce(np.add, (value * weight for value, weight in zip(values, _WEIGHTS, strict=True)))
    valid &= _divided(total, _MODULUS)[1] == 1
    run = ((values[0] % 36 * _PAIR + values[1]) * _PAIR + values[2]) * 36 + values[3] // 36
    seat = (values[4] * _PAIR + values[5]) * _PAIR + values[6]
    found.kind[at] = _LETTER.take(kind, mode="clip") * valid
    found.run[at] = run * valid
    found.attempt[at] = values[3] % 36 * valid
    found.seat[at] = seat * valid
    found.valid[at] = valid


def _text(pairs: NDArray[np.uint16]) -> pa.StringArray:
    n = len(pairs)
    if n * LENGTH > np.iinfo(np.int32).max:
        raise InvalidInput(f"{n} references at once are too many for one array; make them shard by shard")
    offsets = np.arange(0, (n + 1) * LENGTH, LENGTH, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(pairs))


def _located(texts: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.bool_]]:
    """Where each text begins int64[n], the bytes they lie in, and which are neither null nor of another length."""
    if pa.types.is_dictionary(texts.type) or not pa.types.is_string(texts.type):
        texts = texts.cast(pa.string())
    _, offsets, data = texts.buffers()
    n = len(texts)
    if not n or data is None:
        return np.zeros(n, np.int64), np.empty(0, np.uint8), np.zeros(n, np.bool_)
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + n + 1]
    whole = np.diff(bounds) == LENGTH
    if texts.null_count:
        whole &= texts.is_valid().to_numpy(zero_copy_only=False)
    return bounds[:-1].astype(np.int64), np.frombuffer(data, np.uint8), whole
