"""Rows of a file are what joining their texts one by one gives, whatever the widths and wherever the arrays begin."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.debit_files.rows import in_major, joined

TEXTS = st.text("aZ9é.-", max_size=5)


@given(
    texts=st.lists(st.tuples(TEXTS, TEXTS), max_size=9),
    skipped=st.integers(0, 3),
    around=st.tuples(*[st.binary(max_size=3).filter(lambda part: b"\0" not in part)] * 3),
)
def test_rows_are_their_parts_one_after_another(
    texts: list[tuple[str, str]], skipped: int, around: tuple[bytes, bytes, bytes]
) -> None:
    one, other = (pa.array([pair[at] for pair in texts], pa.string())[skipped:] for at in (0, 1))
    before, between, after = around
    rows = joined([before, one, between, other, after, b"\n"])
    plain = [before + first.encode() + between + second.encode() + after + b"\n" for first, second in texts[skipped:]]
    assert len(rows) == len(plain)
    assert [bytes(rows.data[start:end]) for start, end in zip(rows.bounds, rows.bounds[1:], strict=False)] == plain


@pytest.mark.parametrize("among", [[], [3, 3, 40_000], list(range(-5, 300))])
@pytest.mark.parametrize(
    ("minor", "text"), [(3, "0.03"), (-3, "-0.03"), (120, "1.20"), (99_999_999_999, "999999999.99"), (0, "0.00")]
)
def test_an_amount_is_written_alike_among_whichever_others(among: list[int], minor: int, text: str) -> None:
    assert in_major(pa.array([*among, minor], pa.int64()))[-1].as_py() == text
