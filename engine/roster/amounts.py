"""Amounts in files of people: text in major units, read a column at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.roster.files import Problems

AMOUNT_MAX_MINOR = 100_000_000_00
"""More than one member pays or gets at once: an amount beyond it is a slip."""


def amounts_of(batch: pa.RecordBatch, name: str, problems: Problems, read: Callable[[str], int]) -> NDArray[np.int64]:
    """int64[n] minor units of a column of text, 0 where nothing stands; each distinct text is read once.

    `read` gives the amount of a text, and raises InvalidInput with what is wrong with it: that goes to `problems`, as
    does an amount beyond AMOUNT_MAX_MINOR.
    """
    encoded = batch[name].dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy()
    found = np.zeros(len(encoded.dictionary) + 1, dtype=np.int64)  # the last is where nothing stands
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            amount, wrong = read(text), ""
        except InvalidInput as error:
            amount, wrong = 0, str(error)
        if abs(amount) > AMOUNT_MAX_MINOR:
            amount, wrong = 0, "is more than one member pays or gets at once"
        found[code] = amount
        if wrong:
            problems.add_where(batch, name, codes == code, wrong)
    amounts: NDArray[np.int64] = found.take(codes)
    return amounts
