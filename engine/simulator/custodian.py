"""Plays a custodian: the debit files of a folder in, the statements of the days after out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from engine.custodian.aging import is_business_day
from engine.custodian.debit_files import Manifest
from engine.custodian.debit_files.manifest import all_in
from engine.custodian.profile import BookingMode, DelimitedDebits, Profile
from engine.errors import InvalidInput
from engine.simulator.bookings import Booked, book, book_batch, come_back, lines_of, strangers
from engine.simulator.debits import debits_in
from engine.simulator.faults import OF_DEBITS, Fault, Rates, chances
from engine.simulator.statements import CamtForm, CsvForm, Form, StatementFile

FORMATS = ("csv", "camt.053")

_OF_BOOKINGS = (Fault.DUPLICATE, Fault.AMOUNT_MISMATCH, Fault.MISSING_LINE)
"""What befalls a line of booking, be it for a debit or for a whole batch."""

_CUT = "-cut"
_TRUTH = pa.schema(
    [("fault", pa.string()), ("on", pa.date32()), ("reference", pa.string()), ("amount_minor", pa.int64())]
)
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Played:
    """What was written: the statements in their order, how many lines on them, and each fault planted, how often."""

    statements: tuple[Path, ...]
    lines: int
    planted: dict[Fault, int]


@dataclass
class _Day:
    """What waits for one day."""

    files: list[Manifest] = field(default_factory=list)
    lines: list[pa.RecordBatch] = field(default_factory=list)


class Truth:
    """What was planted, for tests: counted, and written as CSV where a path is given."""

    def __init__(self, path: Path | None) -> None:
        self.counts = dict.fromkeys(Fault, 0)
        self._writer = None if path is None else pyarrow.csv.CSVWriter(path, _TRUTH)

    def note(self, on: date, lines: pa.RecordBatch) -> None:
        """The lines (LINES) of a day; those in which nothing was planted are passed over."""
        found = lines.filter(lines.column("fault").is_valid())
        for each in found.column("fault").value_counts().to_pylist():
            self.counts[Fault(each["values"])] += each["counts"]
        if self._writer is not None and len(found):
            named = found.column("reference").fill_null("")
            of_batch = found.column("batch_reference").fill_null("")
            references = pc.if_else(pc.equal(named, ""), of_batch, named)
            day = pa.repeat(pa.scalar(on), len(found))
            columns = [found.column("fault"), day, references, found.column("amount_minor")]
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_TRUTH))

    def close(self) -> None:
        """The file is whole."""
        if self._writer is not None:
            self._writer.close()


class Custodian:
    """One custodian by its profile, with the dice of a seed. `account`: its number on statements.

    Raises InvalidInput for what the simulated custodian does not play.
    """

    def __init__(self, profile: Profile, *, seed: int, rates: Rates, account: str) -> None:
        if profile.booking is BookingMode.NET_PER_FILE:
            raise InvalidInput(
                f"{profile.code}: the simulated custodian books per_debit or gross_per_batch, not {profile.booking}"
            )
        if not isinstance(profile.debits, DelimitedDebits):
            raise InvalidInput(
                f"{profile.code}: the simulated custodian takes csv and daikou files, not {profile.debits.format}"
            )
        if seed < 0:
            raise InvalidInput(f"seed {seed}: give 0 or more")
        self.profile, self._debits = profile, profile.debits
        self._seed, self._rates, self._account = seed, rates, account

    def play(
        self,
        received: Path,
        sent: Path,
        *,
        formats: Sequence[str],
        until: date | None = None,
        truth: Path | None = None,
    ) -> Played:
        """Take the debit files in `received`, write a statement in `sent` for each day with lines, up to `until`.

        A pure function of files, profile, seed and rates: played again, also with the files of later debit days
        beside the first, it writes the same statements again. Memory does not grow with the debits, but for the
        returns that wait.
        """
        days: dict[date, _Day] = defaultdict(_Day)
        for manifest in all_in(received):
            days[self._business(manifest.debit_on)].files.append(manifest)
        noted, statements, lines, opening = Truth(truth), list[Path](), 0, 0
        sequence = 0
        try:
            while days and (until is None or min(days) <= until):
                on = min(days)
                sequence += 1
                files = [
                    StatementFile(sent / f"{on}-{sequence:04}{form.suffix}", form, opening)
                    for form in (self._form(name, on, sequence) for name in formats)
                ]
                self._play_day(received, on, days, files, noted)
                lines += files[0].totals.count
                opening = files[0].totals.closing_minor
                for each in files:
                    statements += self._cut_sometimes(on, each.path, noted)
                del days[on]
        finally:
            noted.close()
        return Played(tuple(statements), lines, noted.counts)

    def _form(self, name: str, on: date, sequence: int) -> Form:
        if name == "csv":
            return CsvForm(self.profile, on, self._account)
        if name == "camt.053":
            return CamtForm(self.profile, on, self._account, sequence)
        raise InvalidInput(f"the simulated custodian writes {' and '.join(FORMATS)}, not {name}")

    def _play_day(
        self, received: Path, on: date, days: dict[date, _Day], files: Sequence[StatementFile], noted: Truth
    ) -> None:
        with ExitStack() as opened:
            for file in files:
                opened.enter_context(file)
            for booked in self._of_day(received, days[on]):
                if booked.days_later:
                    if len(booked.lines):
                        days[self._business(on + timedelta(days=booked.days_later))].lines.append(booked.lines)
                    continue
                noted.note(on, booked.lines)
                for file in files if booked.days_later is not None else ():
                    file.write(booked.lines)

    def _of_day(self, received: Path, day: _Day) -> Iterator[Booked]:
        """What its files bring, then what waited for it."""
        for manifest in day.files:
            yield from self._of_file(received, manifest)
        for lines in day.lines:
            yield Booked(0, lines)

    def _of_file(self, received: Path, manifest: Manifest) -> Iterator[Booked]:
        rng = chances(self._seed, manifest.reference)
        gross = self.profile.booking is BookingMode.GROSS_PER_BATCH
        among = tuple(fault for fault in OF_DEBITS if not (gross and fault in _OF_BOOKINGS))
        faults = self._rates.befall(rng.random(manifest.count), among)
        dice = rng.integers(2**32, size=manifest.count, dtype=np.uint32)
        start = 0
        for debits in debits_in(received, manifest, self._debits):
            at = slice(start, start + len(debits))
            start += len(debits)
            if gross:
                yield from come_back(debits, faults[at], dice[at])
                yield strangers(faults[at], dice[at])
            else:
                yield from book(debits, faults[at], dice[at], manifest.reference)
        if gross:
            fault = self._rates.befall(rng.random(1), _OF_BOOKINGS)
            yield from book_batch(manifest.reference, manifest.count, manifest.amount_minor, fault, dice[:1])

    def _business(self, day: date) -> date:
        """The day itself, or the first business day after it where the profile has them."""
        calendar = self.profile.business_days
        while calendar is not None and not is_business_day(day, holidays=calendar.holidays, worked=calendar.worked):
            day += timedelta(days=1)
        return day

    def _cut_sometimes(self, on: date, path: Path, noted: Truth) -> list[Path]:
        """The statement's path; before it, now and then, that of a copy that was cut off."""
        rng = chances(self._seed, path.name)
        if rng.random() >= self._rates.of[Fault.TRUNCATED_FILE]:
            return [path]
        cut = path.with_name(f"{path.stem}{_CUT}{path.suffix}")
        left = int(path.stat().st_size * rng.uniform(0.3, 0.9))
        with path.open("rb") as whole, cut.open("wb") as part:
            while left and (block := whole.read(min(left, _COPY_BYTES))):
                left -= part.write(block)
        noted.note(on, lines_of(pa.array([cut.name]), np.zeros(1, np.int64), "other", fault=Fault.TRUNCATED_FILE))
        return [cut, path]
