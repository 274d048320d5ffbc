"""Stage 5: suggestions, only where nothing else could be meant."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.custodian.suggestions import NOBODY, Traits, suggest

TRAITS = st.tuples(st.integers(-3, 3), st.integers(0, 2), st.integers(NOBODY, 3))


def traits(rows: list[tuple[int, int, int]]) -> Traits:
    amount, on, payer = zip(*rows, strict=True) if rows else ((), (), ())
    return Traits(np.array(amount, np.int64), np.array(on, np.int32), np.array(payer, np.int64))


@given(st.lists(TRAITS, max_size=12), st.lists(TRAITS, max_size=12))
def test_suggested_is_what_occurs_once_on_both_sides(
    lines: list[tuple[int, int, int]], instructions: list[tuple[int, int, int]]
) -> None:
    of_lines, of_instructions = Counter(lines), Counter(instructions)
    expected = [
        (place, instructions.index(each))
        for place, each in enumerate(lines)
        if each[2] != NOBODY and of_lines[each] == of_instructions[each] == 1
    ]
    found = suggest(traits(lines), traits(instructions))
    assert list(zip(*(each.tolist() for each in found), strict=True)) == expected


def test_equal_amounts_alone_suggest_nothing() -> None:
    everyone = [(3, 1, payer) for payer in (7, 8)]
    assert [each.tolist() for each in suggest(traits([(3, 1, NOBODY)]), traits(everyone))] == [[], []]
    assert [each.tolist() for each in suggest(traits([(3, 1, 8)]), traits(everyone))] == [[0], [1]]
