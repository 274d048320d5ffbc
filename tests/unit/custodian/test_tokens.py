"""Account tokens: what is sealed comes back, opens nowhere else, and shows in no repr."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from engine.custodian.tokens import (
    ACCOUNT_MOST,
    MANDATE_MOST,
    UNSIGNED,
    TamperedTokens,
    Tokens,
    key_id_of,
    seal,
    unseal,
)
from engine.plans import day_number

KEY, OTHER = SecretStr("a key of the tests"), SecretStr("another key of the tests")
SIGNED = day_number(date(2019, 1, 1))

LETTERS = st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz@._/*:-")
Seats = list[tuple[str | None, str | None, int]]
SEATS = st.lists(
    st.tuples(
        st.none() | st.text(LETTERS, min_size=1, max_size=ACCOUNT_MOST),
        st.none() | st.text(LETTERS, min_size=1, max_size=MANDATE_MOST),
        st.just(UNSIGNED) | st.integers(-(2**31) + 1, 2**31 - 1),
    ),
    max_size=20,
)


def tokens_of(seats: Seats) -> Tokens:
    accounts, mandates, days = zip(*seats, strict=True) if seats else ((), (), ())
    return Tokens(pa.array(accounts, pa.string()), pa.array(mandates, pa.string()), np.array(days, np.int32))


def seats_of(tokens: Tokens) -> Seats:
    mandates = [None] * len(tokens) if tokens.mandate_id is None else tokens.mandate_id.to_pylist()
    days = [UNSIGNED] * len(tokens) if tokens.signed_on is None else tokens.signed_on.tolist()
    return [*zip(tokens.account.to_pylist(), mandates, days, strict=True)]


@given(SEATS)
def test_what_is_sealed_comes_back(seats: Seats) -> None:
    tokens = unseal(seal(tokens_of(seats), 7, 3, KEY), 7, 3, KEY)
    assert seats_of(tokens) == seats
    tokens.account.validate(full=True)


@given(SEATS, SEATS)
def test_seats_are_added_taken_and_replaced_as_in_a_plain_list(seats: Seats, more: Seats) -> None:
    both = tokens_of(seats).extended(tokens_of(more))
    assert seats_of(both) == seats + more
    order = np.arange(len(both))[::-1]
    assert seats_of(both.taken(order)) == (seats + more)[::-1]
    # The last seats become the first of the others, backwards.
    count = min(len(seats), len(more))
    positions = np.arange(len(seats))[::-1][:count]
    replaced = tokens_of(seats).replaced(positions, tokens_of(more[:count]))
    assert seats_of(replaced) == seats[: len(seats) - count] + more[:count][::-1]


def test_columns_in_which_nobody_has_anything_are_none() -> None:
    plain = Tokens(pa.array(["A1", None]))
    for tokens in (plain, tokens_of([("A1", None, UNSIGNED), (None, None, UNSIGNED)])):
        found = Tokens.unpacked(tokens.packed())
        assert (found.account.to_pylist(), found.mandate_id, found.signed_on) == (["A1", None], None, None)
        assert tokens.packed() == plain.packed()
    assert seats_of(plain.extended(tokens_of([(None, "M1", SIGNED)])))[0] == ("A1", None, UNSIGNED)
    assert seats_of(Tokens.unknown(2)) == [(None, None, UNSIGNED)] * 2


def test_a_day_of_signature_is_a_date_or_null() -> None:
    tokens = tokens_of([("A1", "M1", SIGNED), ("A2", "M2", 0), ("A3", None, UNSIGNED)])
    assert tokens.signed_dates.to_pylist() == [date(2019, 1, 1), date(1970, 1, 1), None]
    assert Tokens.unknown(2).signed_dates.to_pylist() == [None, None]


def test_any_changed_byte_is_refused() -> None:
    blob = seal(tokens_of([("DE89370400440532013000", "M1", SIGNED)]), 7, 3, KEY)
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        with pytest.raises(TamperedTokens, match="shard 7, version 3 are not as they were sealed"):
            unseal(changed, 7, 3, KEY)


@pytest.mark.parametrize(("shard_id", "version", "key"), [(8, 3, KEY), (7, 2, KEY), (7, 3, OTHER)])
def test_a_blob_opens_nowhere_else(shard_id: int, version: int, key: SecretStr) -> None:
    blob = seal(tokens_of([("A1", None, UNSIGNED)]), 7, 3, KEY)
    with pytest.raises(TamperedTokens):
        unseal(blob, shard_id, version, key)


@pytest.mark.parametrize("size", [0, 27])
def test_a_blob_cut_off_is_refused(size: int) -> None:
    with pytest.raises(TamperedTokens, match="cut off"):
        unseal(seal(Tokens.unknown(1), 7, 3, KEY)[:size], 7, 3, KEY)


def test_the_same_tokens_are_never_sealed_alike() -> None:
    assert seal(Tokens.unknown(3), 7, 3, KEY) != seal(Tokens.unknown(3), 7, 3, KEY)


def test_a_blob_shows_nothing_but_its_size() -> None:
    blob = seal(Tokens(pa.array(["6222000000000001"] * 100)), 7, 3, KEY)
    assert b"6222" not in blob
    assert len(blob) == 12 + 8 + 100 * 16 + 16


def test_a_key_id_tells_keys_apart_and_says_nothing_of_them() -> None:
    assert key_id_of(KEY) == key_id_of(SecretStr(KEY.get_secret_value()))
    assert key_id_of(KEY) != key_id_of(OTHER)
    assert len(key_id_of(KEY)) == 8


def test_no_repr_shows_an_account() -> None:
    shown = repr(tokens_of([("DE89370400440532013000", "M1", SIGNED)]))
    assert shown == "Tokens(of 1 seats)"


def test_what_is_too_long_to_be_a_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="at most 34"):
        Tokens(pa.array(["A" * (ACCOUNT_MOST + 1)])).packed()
