"""A made-up roster: plausible ages, joining along an S-curve, a few who leave. The same numbers, the same people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.money import to_major
from engine.plans import PlanRules, TierBy, day_number
from engine.roster.checks import completed_years, tiers_at
from engine.roster.imports import columns_of

MEMBERS_MAX = 1_000_000_000

_FIELDS = {
    "member_ref": pa.string(),
    "born_on": pa.date32(),
    "joined_on": pa.date32(),
    "ended_on": pa.date32(),
    "tier": pa.int16(),
    "payer_ref": pa.string(),
    "deposit": pa.string(),
    "account": pa.string(),
    "mandate_id": pa.string(),
    "mandate_signed_on": pa.date32(),
}
"""The columns of a roster file (`engine.roster.imports.COLUMNS`)."""

_BATCH_ROWS = 1 << 18
_LEAVERS = 0.03
_PAID_FOR = 0.1
"""By the member before them who pays alone, so that families join together."""
_ENTRIES_MAX = 10
_MORE_THAN_THE_ENTRY = 0.4
"""How many paid in more than a member begins with, up to _ENTRIES_MAX times as much."""
_STEEPNESS = 10.0
_CARD = 62220 * 10**11
"""What the number of eleven digits makes one of sixteen."""
_BANK = 12345678 * 10**10
_COUNTRY_DIGITS = 131400
"""DE as an IBAN's check has it, and two digits not yet known."""
_DAYS_PER_YEAR = 365.2425
_JULIAN_DAYS_PER_YEAR = 365.25
"""So many days a year, rounded up, are never short of a birthday."""
_PYRAMID = ((5, 6.0), (18, 4.0), (25, 9.0), (40, 16.0), (50, 11.0), (60, 8.0), (151, 3.0))
"""Members per year of age, up to before the age named: young parents and their children, few of the old."""


def schema_of(rules: PlanRules) -> pa.Schema:
    """The columns of a made-up roster file: those that the plan's may have; mandates where it debits IBANs."""
    foreign = set() if rules.currency == "EUR" else {"mandate_id", "mandate_signed_on"}
    return pa.schema([(name, _FIELDS[name]) for name in columns_of(rules) if name not in foreign])


def synth(
    members: int, seed: int, rules: PlanRules, *, joined_from: date, joined_until: date
) -> Iterator[pa.RecordBatch]:
    """`members` rows of `schema_of` in the order they joined, between two days; their references rise.

    A pure function of its arguments. Raises InvalidInput when `members` is not 1 to MEMBERS_MAX, `seed` is negative or
    the days are not in order.
    """
    if not 1 <= members <= MEMBERS_MAX:
        raise InvalidInput(f"{members} members: ask for 1 to {MEMBERS_MAX:,}")
    if seed < 0:
        raise InvalidInput(f"seed {seed}: give 0 or more")
    if joined_until < joined_from:
        raise InvalidInput(f"joining from {joined_from} until {joined_until}: the last day is before the first")
    return _batches(members, seed, rules, day_number(joined_from), day_number(joined_until))


def write_synthetic(
    path: Path, members: int, seed: int, rules: PlanRules, *, joined_from: date, joined_until: date
) -> None:
    """`synth` into a Parquet or CSV file, by its extension.

    Raises InvalidInput like `synth`, for other extensions, and where the file cannot be written.
    """
    batches = synth(members, seed, rules, joined_from=joined_from, joined_until=joined_until)
    writers = {".parquet": pyarrow.parquet.ParquetWriter, ".pq": pyarrow.parquet.ParquetWriter}
    writer = (writers | {".csv": pyarrow.csv.CSVWriter}).get(path.suffix.lower())
    if writer is None:
        raise InvalidInput(f"{path.name}: name the file .parquet or .csv, so that its format is known")
    try:
        with writer(path, schema_of(rules)) as file:
            for batch in batches:
                file.write_batch(batch)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error}; name a file in a folder that takes it") from None


def _batches(members: int, seed: int, rules: PlanRules, first: int, last: int) -> Iterator[pa.RecordBatch]:
    random = np.random.Generator(np.random.PCG64(seed))
    # A source of its own, so that a plan's rules about payers and deposits change nothing else.
    belongings = np.random.Generator(np.random.PCG64([seed, 1]))
    schema = schema_of(rules)
    number = 10**10 + int(random.integers(10**8))
    for start in range(0, members, _BATCH_ROWS):
        rank = np.arange(start, min(start + _BATCH_ROWS, members))
        joined_on = _joined(rank, members, first, last)
        ended_on, leaves = _ended(random, joined_on, last)
        numbers = number + np.cumsum(random.integers(1, 8, len(rank)))
        number = int(numbers[-1])
        chosen = random.integers(len(rules.tiers), size=len(rank), dtype=np.int16)
        born_on = joined_on - _ages(random, len(rank), rules)
        # Ten digits: the leading one of eleven becomes the letter.
        refs = pc.utf8_replace_slice(pa.array(numbers).cast(pa.string()), 0, 1, "M")
        columns = {
            "member_ref": refs,
            "born_on": _dates(born_on),
            "joined_on": _dates(joined_on),
            "ended_on": _dates(ended_on, mask=~leaves),
            "tier": pa.array(
                chosen if rules.tier_by is TierBy.CHOICE else tiers_at(rules, _completed(born_on, joined_on))
            ),
        }
        if rules.family_payers:
            columns["payer_ref"] = refs.take(_payers(belongings, leaves))
        if rules.prepaid is not None:
            columns["deposit"] = _deposits(belongings, len(rank), rules.prepaid.entry)
        if rules.currency == "EUR":
            columns["account"] = _ibans(numbers)
            columns["mandate_id"] = pc.binary_join_element_wise("MD", refs, "")
            columns["mandate_signed_on"] = columns["joined_on"]
        else:
            columns["account"] = pa.array(_CARD + numbers).cast(pa.string())
        yield pa.RecordBatch.from_pydict(columns, schema=schema)


def _payers(random: np.random.Generator, leaves: NDArray[np.bool_]) -> pa.Array:
    """int64[n] rows of who pays, null for who pays alone: the last before who neither is paid for nor leaves."""
    paid_for = random.random(len(leaves)) < _PAID_FOR
    rows = np.where(paid_for | leaves, -1, np.arange(len(leaves)))
    payers = np.maximum.accumulate(rows)
    return pa.array(payers, mask=~paid_for | (payers < 0))


def _deposits(random: np.random.Generator, count: int, entry: int) -> pa.Array:
    """string[n]: what each paid in, in major units; most what a member begins with."""
    times = np.where(random.random(count) < _MORE_THAN_THE_ENTRY, random.integers(2, _ENTRIES_MAX + 1, size=count), 1)
    return pa.array([to_major(number * entry) for number in range(_ENTRIES_MAX + 1)]).take(pa.array(times))


def _ibans(numbers: NDArray[np.int64]) -> pa.Array:
    """string[n]: German IBANs of a bank that is none, with their check digits (ISO 7064 mod 97-10)."""
    accounts = _BANK + numbers % 10**10
    checks = 98 - (accounts % 97 * 10**6 + _COUNTRY_DIGITS) % 97
    digits = pa.array([f"DE{check:02}" for check in range(99)]).take(pa.array(checks))
    return pc.binary_join_element_wise(digits, pa.array(accounts).cast(pa.string()), "")


def _joined(rank: NDArray[np.int64], members: int, first: int, last: int) -> NDArray[np.int64]:
    """int64[n] day numbers along a logistic curve: slow at both ends, quick between."""
    share = (rank + 0.5) / members
    way = np.clip(0.5 + np.log(share / (1 - share)) / _STEEPNESS, 0, 1)
    return first + np.floor(way * (last - first) + 0.5).astype(np.int64)


def _ended(
    random: np.random.Generator, joined_on: NDArray[np.int64], last: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64[n] first days not covered, after joining and up to `last`, and bool[n]: who leaves at all."""
    leaves = (random.random(len(joined_on)) < _LEAVERS) & (joined_on < last)
    stayed = random.random(len(joined_on)) * (last - joined_on)
    return np.minimum(joined_on + 1 + stayed.astype(np.int64), last), leaves


def _ages(random: np.random.Generator, count: int, rules: PlanRules) -> NDArray[np.int64]:
    """int64[n] days lived at joining, within the plan's limits."""
    years = np.arange(rules.claims.minimum_age_years, rules.claims.maximum_age_years + 1)
    weights = np.array([next(weight for before, weight in _PYRAMID if year < before) for year in years])
    row = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(count), side="right")
    # A little short of the next birthday, whatever leap years lie between.
    part = random.random(count) * 0.99
    lived = ((years.take(row, mode="clip") + part) * _DAYS_PER_YEAR).astype(np.int64)
    old_enough = int(np.ceil(years[0] * _JULIAN_DAYS_PER_YEAR))
    days: NDArray[np.int64] = np.maximum(lived, max(old_enough, rules.claims.minimum_age_days))
    return days


def _completed(born_on: NDArray[np.int64], joined_on: NDArray[np.int64]) -> NDArray[np.int64]:
    return completed_years(born_on.astype(np.int32), joined_on.astype(np.int32))


def _dates(days: NDArray[np.int64], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(days.astype(np.int32), pa.int32(), mask=mask).cast(pa.date32())
