"""Stage 5: what a line might be is what agrees in payer and amount, and how many others do as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.suggestions import LIKELY_MOST, Traits, likely, words_in

Rows = list[tuple[int, int, int, int]]
"""Payer, amount, and the days: of lines the same twice."""

AGREE = st.tuples(st.integers(0, 2), st.integers(0, 2))
LINES = st.lists(st.builds(lambda both, on: (*both, on, on), AGREE, st.integers(0, 4)), max_size=8)
DEBITS = st.lists(
    st.builds(lambda both, on, days: (*both, on, on + days), AGREE, st.integers(0, 4), st.integers(0, 2)), max_size=8
)


def traits(rows: Rows) -> Traits:
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Traits(np.arange(len(rows)), *table.T)


def found(lines: Rows, debits: Rows) -> list[tuple[int, int, bool, int]]:
    columns = likely(traits(lines), traits(debits))
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(LINES, DEBITS)
def test_likely_is_who_agrees_in_payer_and_amount_and_was_asked_by_then(lines: Rows, debits: Rows) -> None:
    pairs = [
        (at, which, line[2] > debit[3])
        for at, line in enumerate(lines)
        for which, debit in enumerate(debits)
        if line[:2] == debit[:2] and line[2] >= debit[2]
    ]
    expected = []
    for at, which, is_late in pairs:
        as_good = [pair for pair in pairs if is_late or not pair[2]]
        among = max(sum(pair[0] == at for pair in as_good), sum(pair[1] == which for pair in as_good))
        expected.append((at, which, is_late, among))
    assert found(lines, debits) == sorted(expected, key=lambda each: (each[0], each[2], each[1]))


def test_one_that_is_in_time_is_not_doubted_for_one_that_is_late() -> None:
    line, old, new = (1, 300, 20, 20), (1, 300, 1, 4), (1, 300, 18, 21)
    assert found([line], [old, new]) == [(0, 1, False, 1), (0, 0, True, 2)]


def test_who_pays_for_a_crowd_tells_nothing() -> None:
    line, debit = (1, 300, 5, 5), (1, 300, 4, 6)
    assert len(found([line], [debit] * LIKELY_MOST)) == LIKELY_MOST
    assert found([line], [debit] * (LIKELY_MOST + 1)) == []


ENTRY = "<Ntry><TxDtls><IBAN>DE11</IBAN></TxDtls><n:TxDtls x='1'><IBAN>de22</IBAN></n:TxDtls></Ntry>"


@pytest.mark.parametrize(
    ("raw", "place", "accounts"),
    [
        ("2019-07-15,9.00,,62220001@bank", "line 3", {"62220001@BANK"}),
        ("20190715|6222 0001|张三(6222000-1)|9.00", "line 3", {"6222000-1", "0001"}),
        (ENTRY, "entry 1 detail 2", {"DE22"}),
        (ENTRY, "entry 1", {"DE11", "DE22"}),
        (":61:190715C9,NDDT\r\n:86:166?00LAST?31DE33\r\n001122?32MAX", "line 3", {"DE33001122"}),
        (":61:190715C9,NDDT\n:86:/IBAN/DE440055/NAME/MAX/REMI/x", "line 3", {"DE440055"}),
        ("9.00,A/B:C*1", "line 3", {"A/B:C*1"}),
    ],
)
def test_an_account_is_a_word_of_its_line(raw: str, place: str, accounts: set[str]) -> None:
    assert accounts <= set(words_in(raw, place))


def test_the_other_details_of_an_entry_are_another_lines() -> None:
    assert "DE11" not in words_in(ENTRY, "entry 1 detail 2")
