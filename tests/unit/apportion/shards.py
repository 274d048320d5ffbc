"""Seats cut into shards, as a plan is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from engine.apportion import Seats


def shards_of(seats: Seats, cuts: list[int]) -> list[Seats]:
    edges = [0, *sorted(cut % (len(seats) + 1) for cut in cuts), len(seats)]
    assert isinstance(seats.allowance, np.ndarray)
    assert seats.frozen_from is not None
    assert seats.frozen_to is not None
    return [
        replace(
            seats,
            shares_from=seats.shares_from[a:b],
            ended_on=seats.ended_on[a:b],
            tier=seats.tier[a:b],
            frozen_from=seats.frozen_from[a:b],
            frozen_to=seats.frozen_to[a:b],
            allowance=seats.allowance[a:b],
            first_seat=a,
        )
        for a, b in pairwise(edges)
    ]
