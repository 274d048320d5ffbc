"""Plays a custodian: the orders of a folder in, the statements of the days after out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.ahead import ahead
from engine.custodian.aging import is_business_day
from engine.custodian.debit_files import Manifest
from engine.custodian.debit_files.manifest import SUFFIX, read
from engine.custodian.profile import BookingMode, Profile
from engine.errors import InvalidInput
from engine.simulator import bookings
from engine.simulator.bookings import OF_BOOKINGS, OF_PAYOUTS, Booked
from engine.simulator.diary import Diary, Remembered, alone_in
from engine.simulator.faults import OF_DEBITS, Fault, Rates, chances
from engine.simulator.lines import Lines, WaitingFile, waiting_in
from engine.simulator.orders import orders_in
from engine.simulator.results import NOT_PAID, ResultFile
from engine.simulator.statements import CamtForm, CsvForm, Form, StatementFile
from engine.simulator.top_ups import TopUps
from engine.simulator.truth import Truth, gather

FORMATS = ("csv", "camt.053")

_CUT = "-cut"
_COPY_BYTES = 1 << 20
_BATCHES_AHEAD = 16


@dataclass
class Played:
    """What was written: the statements in their order, how many lines on them, and each fault planted, how often."""

    statements: list[Path]
    lines: int
    planted: dict[Fault, int]


class Custodian:
    """One custodian by its profile, with the dice of a seed. `account`: its number on statements.

    Raises InvalidInput for what the simulated custodian does not play.
    """

    def __init__(
        self, profile: Profile, *, seed: int, rates: Rates, account: str, formats: Sequence[str] = ("csv",)
    ) -> None:
        if profile.booking is BookingMode.NET_PER_FILE and profile.layouts.daikou is None:
            raise InvalidInput(
                f"{profile.code}: books net per file, and has no layouts.daikou by which the simulated custodian could"
                " say which debits were not paid"
            )
        if seed < 0:
            raise InvalidInput(f"seed {seed}: give 0 or more")
        self.profile = profile
        self._seed, self._rates, self._account, self._formats = seed, rates, account, formats
        self._reasons = bookings.reasons_of(profile)
        for name in formats:
            self._form(name, date.min, 0)
        layout = profile.layouts.csv if "csv" in formats else None
        self._charges_apart = layout is not None and "charges" not in layout.fields

    def play(
        self,
        received: Path,
        sent: Path,
        *,
        until: date | None = None,
        truth: Path | None = None,
        top_ups: Path | None = None,
        opening_minor: int = 0,
    ) -> Played:
        """Play the days that are not over yet, up to `until` or till nothing waits: a statement in `sent` for each.

        It takes the files in `received` that it has not taken before, on their day, or on the first that is not over;
        and from `top_ups` what is paid in by itself (`top_ups.TopUps`). The first statement opens with `opening_minor`.
        What it must remember it keeps beside the statements, so that day by day gives what one call gives, and a call
        that was killed goes on where it was. `truth`: write all that was planted since the beginning. Memory does not
        grow with the orders.
        """
        with alone_in(sent):
            code, formats = self.profile.code, tuple(self._formats)
            begins = Remembered(custodian=code, seed=self._seed, formats=formats, closing_minor=opening_minor)
            diary = Diary(sent, begins)
            played = Played(diary.published, 0, dict.fromkeys(Fault, 0))
            if top_ups is not None:
                self._take_top_ups(TopUps.read(top_ups), diary)
            days = self._arrived(received, diary.says)
            while (on := _first_day(days, diary.says)) is not None and (until is None or on <= until):
                self._play_day(received, on, days.pop(on, []), diary, played)
            if until is not None and diary.says.first_open(until) == until:
                diary.write(diary.says.model_copy(update={"through": until}))
            if truth is not None:
                gather(map(diary.truth_of, range(1, diary.says.sequence + 1)), truth)
        return played

    def _arrived(self, received: Path, says: Remembered) -> dict[date, list[Manifest]]:
        """The files that were not taken yet, by the day they are booked on."""
        taken, days = set(says.taken), defaultdict[date, list[Manifest]](list)
        for path in sorted(received.glob(f"*{SUFFIX}")):
            if path.name.removesuffix(SUFFIX) not in taken:
                manifest = read(path)
                days[self._business(says.first_open(manifest.debit_on))].append(manifest)
        return days

    def _take_top_ups(self, paid_in: TopUps, diary: Diary) -> None:
        """Let what members pay in wait for its days, once."""
        says = diary.says
        if paid_in.name in says.taken:
            return
        waiting = list(says.waiting)
        for day, lines in paid_in.by_day(lambda day: self._business(says.first_open(day))):
            waiting.append(f"{day}-{paid_in.name}")
            with WaitingFile(diary.folder / waiting[-1]) as file:
                file.write(lines)
        taken = (*says.taken, paid_in.name)
        diary.write(says.model_copy(update={"waiting": tuple(waiting), "taken": taken}))

    def _play_day(self, received: Path, on: date, manifests: Sequence[Manifest], diary: Diary, played: Played) -> None:
        """Prepare the statement of a day, then remember that it is over, which publishes it."""
        says, sequence = diary.says, diary.says.sequence + 1
        before = says.waiting_on(on)
        files = [
            StatementFile(diary.folder / f"{on}-{sequence:04}{form.suffix}", form, says.closing_minor)
            for form in (self._form(name, on, sequence) for name in self._formats)
        ]
        with Truth(diary.truth_of(sequence), on) as noted:
            results = {each.reference: diary.folder / f"{on}-{sequence:04}-{each.reference}.txt" for each in manifests}
            booked = self._of_day(received, manifests, [diary.folder / name for name in before], results)
            later = self._write(
                booked, files, noted, lambda days: diary.folder / self._waiting_name(on, days, sequence)
            )
            staged = [path for each in files for path in self._cut_sometimes(each.path, noted)]
        played.lines += files[0].totals.count
        played.planted = {fault: played.planted[fault] + noted.counts[fault] for fault in Fault}
        changes = {
            "sequence": sequence,
            "closing_minor": files[0].totals.closing_minor,
            "through": on,
            "taken": (*says.taken, *(manifest.reference for manifest in manifests)),
            "waiting": (*(name for name in says.waiting if name not in before), *(path.name for path in later)),
            "staged": tuple(path.name for path in (*results.values(), *staged) if path.exists()),
        }
        played.statements += diary.write(says.model_copy(update=changes))

    def _write(
        self, booked: Iterable[Booked], files: Sequence[StatementFile], noted: Truth, waits: Callable[[int], Path]
    ) -> list[Path]:
        """What is booked on the day into its statements, the rest into files that wait; those files."""
        later: dict[Path, WaitingFile] = {}
        with ExitStack() as opened:
            for file in files:
                opened.enter_context(file)
            for days_later, lines in ahead(iter(booked), _BATCHES_AHEAD):
                if days_later:
                    path = waits(days_later)
                    if path not in later:
                        later[path] = opened.enter_context(WaitingFile(path))
                    later[path].write(lines)
                    continue
                noted.note(lines)
                for file in files if days_later is not None else ():
                    file.write(lines)
        return list(later)

    def _waiting_name(self, on: date, days_later: int, sequence: int) -> str:
        return f"{self._business(on + timedelta(days=days_later))}-{sequence:04}"

    def _form(self, name: str, on: date, sequence: int) -> Form:
        if name == "csv":
            return CsvForm(self.profile, on, self._account)
        if name == "camt.053":
            return CamtForm(self.profile, on, self._account, sequence)
        raise InvalidInput(f"the simulated custodian writes {' and '.join(FORMATS)}, not {name}")

    def _of_day(
        self, received: Path, manifests: Iterable[Manifest], waiting: Iterable[Path], results: Mapping[str, Path]
    ) -> Iterator[Booked]:
        """What its files bring, then what waited for it."""
        for manifest in manifests:
            for booked in self._of_file(received, manifest, results[manifest.reference]):
                yield from self._charged(booked)
        for path in waiting:
            for lines in waiting_in(path):
                yield Booked(0, lines)

    def _of_file(self, received: Path, manifest: Manifest, result: Path) -> Iterator[Booked]:
        rng, reference = chances(self._seed, manifest.reference), manifest.reference
        chance, dice = rng.random(manifest.count), rng.integers(2**32, size=manifest.count, dtype=np.uint32)
        as_one = self.profile.booking is not BookingMode.PER_DEBIT
        start, pays_out, count, amount_minor = 0, False, 0, 0
        with ExitStack() as opened:
            told: ResultFile | None = None
            for orders in orders_in(received, manifest, self.profile):
                rows, pays_out = slice(start, start + len(orders.amounts)), orders.pays_out
                start = rows.stop
                among = OF_PAYOUTS if pays_out else tuple(f for f in OF_DEBITS if not (as_one and f in OF_BOOKINGS))
                faults = self._rates.befall(chance[rows], among)
                if not as_one:
                    yield from bookings.book(orders, faults, dice[rows], reference, self._reasons)
                    continue
                paid = np.ones(len(faults), np.bool_)
                if self.profile.booking is BookingMode.NET_PER_FILE and not pays_out:
                    if told is None:
                        told = opened.enter_context(self._result_file(result, manifest))
                    told.write(orders, faults)
                    paid = ~np.isin(faults, [OF_DEBITS.index(fault) for fault in NOT_PAID])
                    yield from bookings.never_booked(orders, faults, self._reasons, NOT_PAID)
                count += int(np.count_nonzero(paid))
                amount_minor += int(orders.amounts[paid].sum())
                yield from bookings.come_back(orders.chosen(paid), faults[paid], dice[rows][paid], self._reasons)
                yield from bookings.strangers(faults, dice[rows])
        if count and as_one:
            fault = self._rates.befall(rng.random(1), () if pays_out else OF_BOOKINGS)
            yield from bookings.book_batch(reference, count, amount_minor, fault, dice[:1], pays_out=pays_out)

    def _result_file(self, path: Path, manifest: Manifest) -> ResultFile:
        assert self.profile.layouts.daikou is not None
        return ResultFile(path, self.profile.layouts.daikou, manifest, self._reasons)

    def _charged(self, booked: Booked) -> Iterator[Booked]:
        """The same, with charges as lines of their own where the statement has no field for them."""
        days_later, lines = booked
        if not (self._charges_apart and lines.charges_minor):
            yield booked
            return
        charges = np.full(len(lines), lines.charges_minor)
        yield Booked(days_later, replace(lines, amounts=lines.amounts + charges, charges_minor=0))
        yield Booked(days_later, Lines(pa.nulls(len(lines), pa.string()), -charges, "charge"))

    def _business(self, day: date) -> date:
        """The day itself, or the first business day after it where the profile has them."""
        calendar = self.profile.business_days
        while calendar is not None and not is_business_day(day, holidays=calendar.holidays, worked=calendar.worked):
            day += timedelta(days=1)
        return day

    def _cut_sometimes(self, path: Path, noted: Truth) -> list[Path]:
        """The statement's path; before it, now and then, that of a copy that was cut off."""
        rng = chances(self._seed, path.name)
        if rng.random() >= self._rates.of[Fault.TRUNCATED_FILE]:
            return [path]
        cut = path.with_name(f"{path.stem}{_CUT}{path.suffix}")
        left = int(path.stat().st_size * rng.uniform(0.3, 0.9))
        with path.open("rb") as whole, cut.open("wb") as part:
            while left and (block := whole.read(min(left, _COPY_BYTES))):
                left -= part.write(block)
        noted.note(Lines(pa.array([cut.name]), np.zeros(1, np.int64), "other", fault=Fault.TRUNCATED_FILE))
        return [cut, path]


def _first_day(days: Iterable[date], says: Remembered) -> date | None:
    """The first day for which anything waits."""
    return min((*days, *(date.fromisoformat(name[:10]) for name in says.waiting)), default=None)
