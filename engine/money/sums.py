"""Sums of more than an int64 holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def exact_sum(amounts: NDArray[np.int64]) -> int:
    """Σ of int64[n] as a Python integer, where an int64 sum could wrap."""
    return (int((amounts >> 32).sum()) << 32) + int((amounts & 0xFFFFFFFF).sum())
