"""Apportionment: measure → solve → charge, exact and pure (DESIGN §5).

`measure` counts one shard into a histogram, `solve` shares the pool out over the merged histogram, `charge`
says what each seat of a shard pays; `play` solves an event plan round after round instead, `give` shares a surplus
out. The same inputs give the same amounts whatever the order of the shards.
"""

from __future__ import annotations

from engine.apportion.charge import Charges, Offset, advance, charge, offsets
from engine.apportion.credit import give
from engine.apportion.errors import ClipTooSmall, DoesNotAddUp, OverCharged, PoolTooLarge, TooManyDraws
from engine.apportion.histogram import Histogram, merge
from engine.apportion.measure import measure
from engine.apportion.outcome import Outcome, pack, unpack
from engine.apportion.played import Played, Round
from engine.apportion.rounds import play
from engine.apportion.seats import UNLIMITED, Seats
from engine.apportion.solution import Group, Odd, Solution
from engine.apportion.solve import solve
from engine.apportion.terms import CapBasis, Case, OverCap, Rounding, Terms

__all__ = [
    "UNLIMITED",
    "CapBasis",
    "Case",
    "Charges",
    "ClipTooSmall",
    "DoesNotAddUp",
    "Group",
    "Histogram",
    "Odd",
    "Offset",
    "Outcome",
    "OverCap",
    "OverCharged",
    "Played",
    "PoolTooLarge",
    "Round",
    "Rounding",
    "Seats",
    "Solution",
    "Terms",
    "TooManyDraws",
    "advance",
    "charge",
    "give",
    "measure",
    "merge",
    "offsets",
    "pack",
    "play",
    "solve",
    "unpack",
]
