"""References: told apart, found damaged, and never an error for what is not ours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.reference import ATTEMPT_MAX, LENGTH, RUN_MAX, SEAT_MAX, Kind, Reference, decode, encode
from engine.errors import InvalidInput

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

REFERENCES = st.builds(
    Reference,
    st.sampled_from(list(Kind)),
    st.integers(0, RUN_MAX),
    st.integers(0, ATTEMPT_MAX),
    st.integers(0, SEAT_MAX),
)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (Reference(Kind.DEBIT, 14, 1, 1000), "D00000E10000RS48"),
        (Reference(Kind.DEBIT, 0, 0, 0), "D0000000000000TT"),
        (Reference(Kind.BATCH, RUN_MAX, ATTEMPT_MAX, SEAT_MAX), "BZZZZZZZZZZZZZMS"),
    ],
)
def test_what_a_reference_looks_like_never_changes(reference: Reference, text: str) -> None:
    assert str(reference) == text
    assert Reference.read(text) == reference
    assert Reference.read(f" {text[:1]} {text[1:7]} {text[7:].lower()}\n") == reference


def by_hand(text: str) -> bool:
    """ISO 7064 MOD 1271-36 as its text has it: a sum over characters, by their places from the right."""
    return bool(sum(DIGITS.index(character) * 36**place for place, character in enumerate(reversed(text))) % 1271 == 1)


@given(REFERENCES)
def test_a_reference_is_read_as_it_was_written_and_keeps_the_standard(reference: Reference) -> None:
    text = str(reference)
    assert len(text) == LENGTH
    assert set(text) <= set(DIGITS)
    assert Reference.read(text) == reference
    assert by_hand(text)


@given(REFERENCES)
def test_every_single_wrong_character_is_found(reference: Reference) -> None:
    text = str(reference)
    wrong = [text[:at] + digit + text[at + 1 :] for at in range(LENGTH) for digit in DIGITS if digit != text[at]]
    assert not decode(pa.array(wrong)).valid.any()


@given(REFERENCES, st.sampled_from([1, 2]))
def test_two_neighbours_swapped_are_found_and_two_around_another(reference: Reference, apart: int) -> None:
    text = str(reference)
    swapped = []
    for at in range(LENGTH - apart):
        letters = list(text)
        letters[at], letters[at + apart] = letters[at + apart], letters[at]
        swapped.append("".join(letters))
    assert not decode(pa.array([each for each in swapped if each != text], pa.string())).valid.any()


@given(st.lists(st.one_of(st.none(), st.text(max_size=18), REFERENCES.map(str)), max_size=40), st.integers(0, 5))
def test_many_are_read_as_one_by_one_whatever_stands_between_them(texts: list[str | None], skipped: int) -> None:
    found = decode(pa.array(texts, pa.string()).slice(skipped))
    for row, text in enumerate(texts[skipped:]):
        try:
            expected = Reference.read(text) if text and text == "".join(text.split()).upper() else None
        except InvalidInput:
            expected = None
        assert bool(found.valid[row]) == (expected is not None)
        if expected:
            seen = Reference(Kind(int(found.kind[row])), found.run[row], found.attempt[row], found.seat[row])
            assert seen == expected
        else:
            assert (found.kind[row], found.run[row], found.attempt[row], found.seat[row]) == (0, 0, 0, 0)


def test_arrays_of_every_part_come_back_with_their_types() -> None:
    random = np.random.default_rng(7)
    run, attempt = random.integers(0, RUN_MAX + 1, 100_000), random.integers(0, ATTEMPT_MAX + 1, 100_000)
    seat = random.integers(0, SEAT_MAX + 1, 100_000, dtype=np.int64)
    references = encode(Kind.REFUND, run, attempt.astype(np.uint8), seat)
    assert references.type == pa.string()
    found = decode(pa.chunked_array([references.slice(0, 33), references.slice(33)]))
    assert found.valid.all()
    assert (found.kind == Kind.REFUND).all()
    for seen, meant, kept in (
        (found.run, run, np.int64),
        (found.attempt, attempt, np.uint8),
        (found.seat, seat, np.int64),
    ):
        assert seen.dtype == kept
        assert (seen == meant).all()
    assert len(np.unique(references.to_numpy(zero_copy_only=False))) == 100_000


def test_large_strings_and_dictionaries_are_read_too() -> None:
    references = encode(Kind.TOP_UP, 3, 0, np.arange(5))
    for other in (references.cast(pa.large_string()), references.dictionary_encode()):
        assert (decode(other).seat == np.arange(5)).all()


def test_nothing_is_nothing() -> None:
    assert len(encode(Kind.DEBIT, 1, 1, np.empty(0, np.int64))) == 0
    assert len(decode(pa.array([], pa.string()))) == 0
    assert not decode(pa.nulls(3, pa.string())).valid.any()


@pytest.mark.parametrize(
    ("run", "attempt", "seat", "words"),
    [
        (RUN_MAX + 1, 1, [1], "run 2176782336 does not fit a reference; it goes from 0 to 2176782335"),
        (-1, 1, [1], "run -1 does not fit"),
        (1, 36, [1], "attempt 36 does not fit"),
        (1, 1, [5, SEAT_MAX + 1], "seat 2176782336 does not fit"),
        (1, 1, [-1], "seat -1 does not fit"),
        (1, 1, [0.5], "seat is a whole number"),
        (1, 1, np.array([2**63], np.uint64), "seat 9223372036854775808 does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(run: int, attempt: int, seat: list[int], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        encode(Kind.DEBIT, run, attempt, seat)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("D00000E1", "it has 16 characters"),
        ("D00000E10000RS4é", "digits and letters A to Z"),
        ("D00000E10000RS84", "look for a character mistyped or two swapped"),
        ("X00000E10000RS48", "none of debit D, refund R, payout P, top-up T, auto top-up A, levy L, batch B"),
    ],
)
def test_a_person_is_told_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Reference.read(text)


def test_a_check_of_the_same_remainder_is_none_of_ours() -> None:
    same = [str(Reference(Kind.DEBIT, run, 1, 1)) for run in range(3000)]
    small = next(text for text in same if DIGITS.index(text[14]) * 36 + DIGITS.index(text[15]) < 25)
    value = DIGITS.index(small[14]) * 36 + DIGITS.index(small[15]) + 1271
    alias = small[:14] + DIGITS[value // 36] + DIGITS[value % 36]
    assert by_hand(alias)
    assert not decode(pa.array([alias])).valid[0]
