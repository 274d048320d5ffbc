"""The caps of a run by name: what each leaves every seat, and how many seats each stops (DESIGN §5, SCHEMES §1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.apportion import UNLIMITED, Histogram, Outcome, Seats, Solution, measure, merge
from engine.apportion.seats import Int32s, Int64s, Integers
from engine.ledger.balances import Used
from engine.money import ceiling, floor
from engine.plans.answers import members_share, run_cap, year_caps
from engine.plans.days import date_of, day_number
from engine.plans.member_rules import Funding
from engine.plans.rules import CapYear, PlanRules
from engine.runs.run import Inputs
from engine.store.tables import SHARD_SEATS

_HEAD = Struct("<16sq")
"""Before each histogram of a shard: the name of its cap, and its length in bytes."""

YEAR_DAYS = 366
"""No two days of one membership year are further apart."""


def standing_caps(rules: PlanRules, debit_on: date) -> tuple[str, ...]:
    """The caps that together make the allowance of a run debited on that day, by name; per_case is none of them."""
    if not members_share(rules, debit_on):
        return ()
    stands = {
        "per_run": run_cap(rules) is not None,
        "per_year": any(cap is not None for year in cap_years(rules, debit_on) for cap in year_caps(rules, year)),
        "balance": rules.funding is Funding.PREPAID,
    }
    return tuple(name for name, is_there in stands.items() if is_there)


def cap_years(rules: PlanRules, debit_on: date) -> tuple[int, ...]:
    """The years whose cap can hold on a debit day: a membership year may have begun in the year before."""
    return (debit_on.year,) if rules.caps.year is CapYear.CALENDAR else (debit_on.year - 1, debit_on.year)


def anniversaries(joined: Int32s, on: date) -> Int32s:
    """The first day of each seat's membership year that holds on a day: int32[n] day numbers, of int32[n] joining days.

    Who joined on 29 February has it on 1 March in other years. Before the first the answer lies before joining.
    """
    if not len(joined):
        return joined
    low, high = int(joined.min()), int(joined.max())
    if high - low < len(joined):  # seats join on far fewer days than there are seats
        return _anniversaries(np.arange(low, high + 1), on).take(joined - low)
    return _anniversaries(joined, on)


def _anniversaries(joined: Integers, on: date) -> Int32s:
    days = joined.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    january = 12 * (on.year - 1970)
    # What is added to a month that lacks the day runs on into the next.
    this_year = (months.astype(np.int64) % 12 + january).astype("datetime64[M]").astype("datetime64[D]")
    last_year = (months.astype(np.int64) % 12 + january - 12).astype("datetime64[M]").astype("datetime64[D]")
    day_of_month = days - months.astype("datetime64[D]")
    latest = np.where(this_year + day_of_month <= np.datetime64(on), this_year, last_year) + day_of_month
    numbers: Int32s = latest.astype(np.int64).astype(np.int32)
    return numbers


def used_in_membership_year(joined: Int32s, began: Int32s, on: date, used: Iterable[Used]) -> Int64s:
    """What each seat was charged in its membership year that `began` (see anniversaries) and holds on a day: int64[n].

    `used`: of all days up to YEAR_DAYS before and after; later ones are of runs that were posted out of turn.
    """
    total = np.zeros(len(joined), dtype=np.int64)
    for day, segment in used:
        counts = began <= day if day <= day_number(on) else anniversaries(joined, date_of(day)) == began
        total += np.where(counts, segment.dense(SHARD_SEATS)[: len(joined)], 0)
    return total


def left_of(caps: Sequence[int | None], row: NDArray[np.integer[Any]], used: Int64s) -> Int64s | int:
    """What a cap leaves each seat in minor units; `row`: which of `caps` is the seat's. One amount where all are alike.

    What was given back beyond what was charged leaves no more than the cap; without a cap it is UNLIMITED.
    """
    table = np.array([UNLIMITED if cap is None else cap for cap in caps], dtype=np.int64)
    if (table == table[0]).all():
        most = int(table[0])
        return np.clip(most - used, 0, most) if most != UNLIMITED and used.any() else most
    cap = table.take(row)
    return np.where(cap == UNLIMITED, UNLIMITED, np.clip(cap - used, 0, cap))


def least_of(caps: Iterable[Int64s | int]) -> Int64s | int | None:
    """The least of all caps, seat by seat; None where there is none."""
    least: Int64s | int | None = None
    for cap in caps:
        if least is None:
            least = cap
        elif isinstance(least, int) and isinstance(cap, int):
            least = min(least, cap)
        else:
            least = np.minimum(least, cap)
    return least


def histograms_of(seats: Seats, caps: Mapping[str, Int64s | int], gates: tuple[int, ...], clip: int | None) -> bytes:
    """One shard's seats counted by class, tier and what each cap by itself leaves them, clipped like the allowance."""
    counted = {name: measure(replace(seats, allowance=left), gates, clip=clip) for name, left in caps.items()}
    return pack_histograms(counted)


def pack_histograms(histograms: Mapping[str, Histogram]) -> bytes:
    """One shard's histograms by the name of their cap."""
    packed = ((name, histogram.to_bytes()) for name, histogram in histograms.items())
    return b"".join(_HEAD.pack(name.encode(), len(data)) + data for name, data in packed)


def unpack_histograms(packed: bytes) -> dict[str, Histogram]:
    """What pack_histograms packed."""
    found, start = {}, 0
    while start < len(packed):
        name, length = _HEAD.unpack_from(packed, start)
        start += _HEAD.size
        found[name.rstrip(b"\0").decode()] = Histogram.from_bytes(packed[start : start + length])
        start += length
    return found


def caps_hit(inputs: Inputs, outcome: Outcome, packed: Iterable[bytes | None]) -> dict[str, int]:
    """How many seats each cap stopped, by its name; a seat that two stop counts in both.

    `packed`: the `cap_histograms` of the run's shards, which are there only where several caps stand.
    """
    hit: dict[str, int] = {}
    if any(case.cap is not None for case in inputs.cases):
        hit["per_case"] = outcome.case_capped
    names = standing_caps(inputs.rules, inputs.run.debit_on)
    if len(names) == 1:
        hit[names[0]] = outcome.allowance_capped
    elif isinstance(outcome, Solution):
        by_shard = [unpack_histograms(data) for data in packed if data is not None]
        for name in names:
            hit[name] = _stopped(merge(found[name] for found in by_shard), outcome)
    return hit


def _stopped(histogram: Histogram, solution: Solution) -> int:
    """Seats whose share is more than this one cap leaves them."""
    enough: dict[tuple[int, int], int] = {}
    for group in solution.groups:
        kind = (group.class_, group.tier)
        # What others were spared stands at the largest allowance of its kind, and would have been more.
        spent = group.allowance_capped and group.allowance is not None and group.allowance >= group.share
        enough[kind] = max(enough.get(kind, 0), floor(group.share) + 1 if spent else ceiling(group.share))
    columns = (histogram.classes, histogram.tiers, histogram.allowances, histogram.seats)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return sum(seats for class_, tier, left, seats in rows if left < enough.get((class_, tier), 0))
