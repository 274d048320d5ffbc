"""Stage 5: what a line without our reference might be, for a person to decide. Nothing here is ever applied.

In a share run everyone pays the same amount, so amount and day alone say nothing: the payer must agree too. The three
together mean something where they occur once among the lines and once among what is open.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LIKELY_MOST = 20
"""A line that might be more than so many instructions tells nothing."""

_WORDS = [re.compile(f"[0-9A-Za-z][0-9A-Za-z{others}]{{1,33}}") for others in ("@._*-", "@._*/:-")]
"""Formats set words apart by / and :, which accounts may hold."""

_SUBFIELD = re.compile(r"\?[0-9]{2}")
_DETAIL = re.compile(r"<(?:[\w.-]+:)?TxDtls[\s>].*?</(?:[\w.-]+:)?TxDtls\s*>", re.DOTALL)
_DETAIL_PLACE = re.compile(r"detail (\d+)$")


class Traits(NamedTuple):
    """What n lines, or n open instructions, can be recognised by.

    `place`: int64[n], which line or instruction; one may have several rows, by different payers. `payer`: int64[n],
    numbers of accounts; `amount_minor`: int64[n], as the account books it. `from_on`, `until_on`: int64[n] day numbers,
    of a line the day it was booked, of an instruction the days it is to be booked on.
    """

    place: NDArray[np.int64]
    payer: NDArray[np.int64]
    amount_minor: NDArray[np.int64]
    from_on: NDArray[np.int64]
    until_on: NDArray[np.int64]


class Likely(NamedTuple):
    """k pairs of a line and an instruction with the same payer and amount, by lines, the likeliest first.

    `line`, `instruction`: int64[k], rows of the two Traits; `is_late`: bool[k], booked after the days it was to be;
    `among`: int64[k], of how many pairs just as good it is one: 1 is a suggestion, anything more a choice.
    """

    line: NDArray[np.int64]
    instruction: NDArray[np.int64]
    is_late: NDArray[np.bool_]
    among: NDArray[np.int64]


def likely(lines: Traits, instructions: Traits) -> Likely:
    """What lines might be: never what was to be booked only later."""
    both = np.stack([np.concatenate([getattr(each, name) for each in (lines, instructions)]) for name in _SAME])
    keys = np.unique(both, axis=1, return_inverse=True)[1].ravel()
    of_lines, of_instructions = keys[: len(lines.place)], keys[len(lines.place) :]
    order = np.argsort(of_instructions, kind="stable")
    first, last = (np.searchsorted(of_instructions[order], of_lines, side) for side in ("left", "right"))
    number = np.where(last - first > LIKELY_MOST, 0, last - first)
    line = np.repeat(np.arange(len(of_lines)), number)
    within = np.arange(len(line)) - np.repeat(np.cumsum(number) - number, number)
    instruction = order[first[line] + within]
    begun = lines.from_on[line] >= instructions.from_on[instruction]
    line, instruction = line[begun], instruction[begun]
    is_late = lines.until_on[line] > instructions.until_on[instruction]
    places = lines.place[line], instructions.place[instruction]
    in_time, all_ = (_among(places, which) for which in (~is_late, np.ones(len(line), np.bool_)))
    among = np.where(is_late, all_, in_time)
    by_line = np.lexsort((instruction, is_late, places[0]))
    return Likely(line[by_line], instruction[by_line], is_late[by_line], among[by_line])


_SAME = ("payer", "amount_minor")


def _among(places: tuple[NDArray[np.int64], NDArray[np.int64]], which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[k]: of each pair's line, and of its instruction, how many pairs are so; the greater of both."""
    counts = [np.bincount(each[which], minlength=int(each.max(initial=0)) + 1)[each] for each in places]
    return np.maximum(*counts)


def words_in(raw: str, place: str) -> Collection[str]:
    """What may be an account in the text of a line at a place of its file, in capitals; in a camt entry, of its detail.

    However a format names who paid, it writes the account as one word.
    """
    if (number := _DETAIL_PLACE.search(place)) is not None:
        details = _DETAIL.findall(raw)
        raw = details[int(number[1]) - 1] if int(number[1]) <= len(details) else raw
    # Swift breaks lines, and numbers its fields, in the middle of words.
    if raw.startswith(":61:"):
        raw = _SUBFIELD.sub(" ", re.sub("[\r\n]+", "", raw))
    return {word.upper() for pattern in _WORDS for word in pattern.findall(raw)}
