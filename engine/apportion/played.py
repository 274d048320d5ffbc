"""What playing a run of rounds answers: every round, and what each kind of seat paid over all of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.apportion.histogram import Histogram
from engine.apportion.seats import UNCOVERED, UNLIMITED, Int64s
from engine.errors import InvalidInput

_MAGIC = b"FP1\x00"
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Round:
    """One case's round: its index among the cases, who shared it and what came of it, in minor units.

    `sharers`: seats counted that weigh something. `shares`: by tier, what a seat pays whose balance suffices.
    `cut`: what `reduce_aid` took off the claim and its fee.
    """

    case: int
    sharers: int
    shares: dict[int, int]
    charged: int
    sponsor: int
    carry_in: int
    carry_out: int
    aid: int
    fee: int
    cut: int


class _Index(NamedTuple):
    """How a row of the histogram is found: the distinct values of its columns, and one ascending key per row."""

    classes: Int64s
    tiers: Int64s
    allowances: Int64s
    keys: Int64s


@dataclass(frozen=True, eq=False)
class Played:
    """A run of rounds, in the order played, with the reading of a Solution; amounts in minor units.

    `histogram`: the seats it was played on, their allowances at most `clip` (None: as they are); `charges`:
    int64[rows], what a seat of each row pays over all rounds. Seats in at least one round: `sharers` were counted,
    `case_capped` stopped by a per-case cap, `allowance_capped` by their balance.
    """

    rounds: tuple[Round, ...]
    carry_in: int
    sharers: int
    case_capped: int
    allowance_capped: int
    clip: int | None
    histogram: Histogram
    charges: Int64s

    @property
    def charged(self) -> int:
        """What the seats pay over all rounds."""
        return sum(each.charged for each in self.rounds)

    @property
    def sponsor(self) -> int:
        """What the sponsor pays over all rounds."""
        return sum(each.sponsor for each in self.rounds)

    @property
    def carry_out(self) -> int:
        """What the last round left."""
        return self.rounds[-1].carry_out if self.rounds else self.carry_in

    @property
    def cut(self) -> int:
        """What `reduce_aid` took off the claims and their fees."""
        return sum(each.cut for each in self.rounds)

    @cached_property
    def by_case(self) -> tuple[Round, ...]:
        """The rounds in the order the cases were given."""
        return tuple(sorted(self.rounds, key=lambda each: each.case))

    @property
    def aids(self) -> tuple[int, ...]:
        """What each case is paid, in the order the cases were given."""
        return tuple(each.aid for each in self.by_case)

    @property
    def fees(self) -> tuple[int, ...]:
        """The fee of each case, in the order the cases were given."""
        return tuple(each.fee for each in self.by_case)

    @property
    def no_sharers(self) -> tuple[int, ...]:
        """Indexes of the cases whose round counted nobody."""
        return tuple(each.case for each in self.by_case if not each.sharers)

    @property
    def share(self) -> int:
        """The most a seat pays that is in every round and whose balance suffices."""
        tiers = {tier for each in self.rounds for tier in each.shares}
        return max((sum(each.shares.get(tier, 0) for each in self.rounds) for tier in tiers), default=0)

    def share_of(self, case: int, tier: int) -> int:
        """What a seat of `tier` pays for the case of this index when its balance suffices; 0 where no such seat was."""
        return self.by_case[case].shares.get(tier, 0)

    def charge_of(self, classes: Int64s, tiers: NDArray[np.integer], allowances: Int64s) -> Int64s:
        """int64[n]: what seats of these kinds pay over all rounds; −1 where no such seat was measured."""
        index = self._index
        if not len(index.keys):
            return np.where(classes == UNCOVERED, np.int64(0), np.int64(-1))
        clipped = np.minimum(allowances, UNLIMITED if self.clip is None else self.clip)
        keys, known = np.zeros(len(classes), dtype=np.int64), np.ones(len(classes), dtype=bool)
        for values, distinct in ((classes, index.classes), (tiers, index.tiers), (clipped, index.allowances)):
            place, there = _find(distinct, values)
            keys = keys * len(distinct) + place
            known &= there
        row, there = _find(index.keys, keys)
        charges = np.where(known & there, self.charges[row], -1)
        charges[classes == UNCOVERED] = 0
        return charges

    @cached_property
    def _index(self) -> _Index:
        rows = self.histogram
        classes, tiers, allowances = (np.unique(column) for column in (rows.classes, rows.tiers, rows.allowances))
        # The rows of a histogram are sorted by exactly these columns, so that their keys ascend.
        keys = np.searchsorted(classes, rows.classes)
        keys = keys * len(tiers) + np.searchsorted(tiers, rows.tiers)
        keys = keys * len(allowances) + np.searchsorted(allowances, rows.allowances)
        return _Index(classes, tiers, allowances, keys)

    def to_bytes(self) -> bytes:
        """Canonical: magic, the rounds as JSON with its length, then the histogram and the charges, little-endian."""
        head = {
            "rounds": [asdict(each) for each in self.rounds],
            "carry_in": self.carry_in,
            "seats": [self.sharers, self.case_capped, self.allowance_capped],
            "clip": self.clip,
            "rows": len(self.histogram),
        }
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        length = len(text).to_bytes(_LENGTH_BYTES, "little")
        return _MAGIC + length + text + self.histogram.to_bytes() + self.charges.astype("<i8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Played:
        """What `to_bytes` wrote. Raises InvalidInput."""
        if not is_played(data):
            raise InvalidInput(f"{len(data)} bytes are not the rounds of a run, as this version writes them")
        start = len(_MAGIC) + _LENGTH_BYTES
        middle = start + int.from_bytes(data[len(_MAGIC) : start], "little")
        head = json.loads(data[start:middle])
        end = len(data) - 8 * head["rows"]
        rounds = tuple(
            Round(**each | {"shares": {int(tier): share for tier, share in each["shares"].items()}})
            for each in head["rounds"]
        )
        charges = np.frombuffer(data, "<i8", offset=end).astype(np.int64)
        histogram = Histogram.from_bytes(data[middle:end])
        sharers, case_capped, allowance_capped = head["seats"]
        return cls(rounds, head["carry_in"], sharers, case_capped, allowance_capped, head["clip"], histogram, charges)

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes: what an approval pins."""
        return hashlib.sha256(self.to_bytes()).digest()


def is_played(data: bytes) -> bool:
    """Whether these bytes are rounds, and no Solution's JSON."""
    return data.startswith(_MAGIC)


def _find(ascending: Int64s, values: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each value stands among distinct ascending ones, and whether it does at all."""
    place = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return place, ascending[place] == values
