"""What became of a run: one apportionment, or the rounds of an event plan. Both read alike, and are stored alike."""

from __future__ import annotations

import zlib

from engine.apportion.played import Played, is_played
from engine.apportion.solution import Solution

Outcome = Solution | Played
"""Both know charged, sponsor, carry_in, carry_out, cut, aids, fees, sharers, no_sharers, case_capped, allowance_capped,
share and digest()."""


def pack(outcome: Outcome) -> bytes:
    """The outcome's canonical bytes, compressed."""
    return zlib.compress(outcome.to_bytes() if isinstance(outcome, Played) else outcome.to_json().encode())


def unpack(packed: bytes) -> Outcome:
    """What `pack` packed. Raises InvalidInput."""
    data = zlib.decompress(packed)
    return Played.from_bytes(data) if is_played(data) else Solution.from_json(data.decode())
