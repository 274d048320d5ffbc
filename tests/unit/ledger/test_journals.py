"""Segments and journals before they reach the database."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.accounts import Account, account_id, account_of
from engine.ledger.journals import Journal, Segment, SegmentMismatch, Unbalanced
from engine.ledger.statement import Entry, Statement
from engine.ledger.trial_balance import TrialLine, difference
from engine.money.sums import exact_sum

RECEIVABLE, WAIVERS, CLEARING = 3_001_210, 3_001_310, 3_003_111
amounts = st.integers(-(2**63), 2**63 - 1)


def journal(**changes: object) -> Journal:
    segment = Segment(RECEIVABLE, np.array([1, 2], dtype=np.int64))
    fields: dict[str, object] = {
        "shard_id": 3_000_001,
        "key": "run:7:charge",
        "kind": "charge",
        "effective_on": date(2019, 1, 21),
        "lines": {RECEIVABLE: 3, CLEARING: -3},
        "segments": (segment,),
        "run_id": 7,
    }
    return Journal(**(fields | changes))  # type: ignore[arg-type]


def segment_of(*values: int, account: int = RECEIVABLE) -> Segment:
    return Segment(account, np.array(values, dtype=np.int64))


@given(st.lists(st.sampled_from([0, 0, 0, 5, -7]), max_size=60))
def test_either_form_of_a_segment_says_the_same(values: list[int]) -> None:
    dense = np.array(values, dtype=np.int64)
    segment = Segment.of(RECEIVABLE, dense)
    assert segment.dense(len(values)).tolist() == values
    assert segment.total == sum(values)
    assert segment.negated().dense(len(values) + 3).tolist() == [-value for value in values] + [0, 0, 0]
    assert segment.amounts.nbytes + (segment.positions.nbytes if segment.positions is not None else 0) <= dense.nbytes


def test_a_sparse_and_a_dense_segment_have_different_digests() -> None:
    dense = segment_of(5, 6)
    sparse = dataclasses.replace(dense, positions=np.array([0, 1], dtype=np.int32))
    moved = dataclasses.replace(dense, positions=np.array([0, 2], dtype=np.int32))
    other = dataclasses.replace(dense, account_id=WAIVERS)
    assert len({segment.digest for segment in (dense, sparse, moved, other, dense.negated())}) == 5


@given(st.lists(amounts, max_size=50))
def test_exact_sums_do_not_wrap(values: list[int]) -> None:
    assert exact_sum(np.array(values, dtype=np.int64)) == sum(values)


def test_I1_an_unbalanced_journal_is_refused_before_the_database_sees_it() -> None:
    for lines in ({RECEIVABLE: 3, CLEARING: -2}, {RECEIVABLE: 3}, {}):
        with pytest.raises(Unbalanced, match=r"\[I1\]"):
            journal(lines=lines)


@pytest.mark.parametrize(
    ("case", "segments"),
    [
        ("missing", ()),
        ("extra", (segment_of(1, 2), segment_of(4, account=WAIVERS))),
        ("twice", (segment_of(1, 2), segment_of(1, 2))),
        ("wrong total", (segment_of(1, 3),)),
        ("of an account without a subledger", (segment_of(1, 2), segment_of(-3, account=CLEARING))),
    ],
)
def test_I2_a_segment_that_does_not_tie_is_refused(case: str, segments: tuple[Segment, ...]) -> None:
    with pytest.raises(SegmentMismatch, match=r"\[I2\]"):
        journal(segments=segments)


def test_I3_a_fingerprint_is_the_content_and_nothing_else() -> None:
    same = journal()
    others = [
        journal(kind="void"),
        journal(run_id=8),
        journal(effective_on=date(2019, 1, 22)),
        journal(segments=(segment_of(2, 1),)),
        journal(lines={CLEARING: -3, RECEIVABLE: 3}),
        journal(lines={RECEIVABLE: 3, CLEARING: -4, 3_004_111: 1}),
    ]
    assert same.fingerprint == journal(key="another", shard_id=3_000_002).fingerprint
    assert len({each.fingerprint for each in [same, *others]}) == 1 + len(others)


def test_the_order_of_segments_is_that_of_the_lines() -> None:
    first, second = segment_of(1, 2), segment_of(4, account=WAIVERS)
    lines = {RECEIVABLE: 3, WAIVERS: 4, CLEARING: -7}
    assert (
        journal(lines=lines, segments=(first, second)).fingerprint
        == journal(lines=lines, segments=(second, first)).fingerprint
    )


def test_a_digest_covers_place_key_and_the_journal_before() -> None:
    digests = {
        journal().digest(1, b""),
        journal().digest(2, b""),
        journal().digest(1, b"\0"),
        journal(key="run:8:charge").digest(1, b""),
        journal(shard_id=3_000_002).digest(1, b""),
    }
    assert len(digests) == 5


@pytest.mark.parametrize("code", list(Account))
def test_an_account_id_says_its_code(code: Account) -> None:
    assert account_of(account_id(3, code)) is code
    assert code.is_control == (code in (1210, 1310, 2110, 2120, 2210, 2410))


def test_a_statement_runs_a_balance_for_each_account() -> None:
    steps = [(RECEIVABLE, 3), (WAIVERS, 5), (RECEIVABLE, 4), (RECEIVABLE, -7)]
    entries = [
        Entry(3_000_001, seq, account, 2, "charge", 7, date(2019, 1, 21), amount)
        for seq, (account, amount) in enumerate(steps, 1)
    ]
    statement = Statement(3_000_001, 2, tuple(entries))
    assert [balance for _, balance in statement.running()] == [3, 5, 7, 0]
    assert (statement.owed, statement.waived) == (0, 5)


def test_a_trial_balance_differs_by_what_is_not_balanced() -> None:
    assert difference([TrialLine(RECEIVABLE, 3, 0), TrialLine(CLEARING, 0, 3)]) == 0
    assert difference([TrialLine(RECEIVABLE, 3, 0), TrialLine(CLEARING, 0, 1)]) == 2
