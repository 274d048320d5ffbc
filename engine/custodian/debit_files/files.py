"""Writes a batch of debits as files within the custodian's limits, each with its totals, hash and manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.custodian.debit_files import manifest
from engine.custodian.debit_files.batch import Batch, check, layout_of
from engine.custodian.debit_files.delimited import Delimited
from engine.custodian.debit_files.manifest import Manifest
from engine.custodian.debit_files.pain001 import Pain001
from engine.custodian.debit_files.pain008 import Pain008
from engine.custodian.debit_files.rows import Rows
from engine.custodian.flushed import flush
from engine.custodian.private import new_file
from engine.custodian.profile import AccountNumbers, DelimitedDebits, Pain001Payouts, Profile
from engine.errors import FentanError, InvalidInput
from engine.money import BIGINT_MAX

_COUNT_MOST = 10_000_000


class Rewritten(FentanError):
    """A file of debits was written before with other content; the custodian may have it already."""


class Form(Protocol):
    """A format of debit files: what stands before, in and after the rows."""

    suffix: str
    foot: bytes

    def head(self, reference: str, count: int, amount_minor: int) -> bytes:
        """What stands before the rows of the file with this reference, so many debits and this sum."""
        ...

    def rows(self, debits: pa.RecordBatch) -> Rows:
        """The debits (SCHEMA, checked) as rows."""
        ...


def form_of(profile: Profile, numbers: AccountNumbers, batch: Batch) -> Form:
    """The form that the profile's custodian takes."""
    layout = layout_of(profile, batch.kind)
    if isinstance(layout, DelimitedDebits):
        return Delimited(profile, layout, batch)
    if isinstance(layout, Pain001Payouts):
        return Pain001(profile, layout, numbers, batch)
    return Pain008(profile, layout, numbers, batch)


def write(
    folder: Path, profile: Profile, numbers: AccountNumbers, batch: Batch, debits: Iterable[pa.RecordBatch]
) -> list[Manifest]:
    """Files of the debits (`batch.SCHEMA`, in their order) in `folder`, which exists; what each is known by.

    All appear or none; killed anywhere and run again it gives the same files, byte by byte. Memory is that of two files
    and one record batch. Raises Rewritten where a finished file would change, and InvalidInput for a debit that may not
    leave, for two of one seat in a file, and for a debit that no file can hold.
    """
    with Files(folder, profile, numbers, batch) as files:
        for some in debits:
            files.add(some)
        return files.publish()


class Files:
    """`write`, for who has the debits one part after the other: `add` each, then `publish` them all.

    A full file is hashed and put on the disk in a thread, while the next is filled. Leaving the block drops what was
    not published.
    """

    def __init__(self, folder: Path, profile: Profile, numbers: AccountNumbers, batch: Batch) -> None:
        self._folder, self._profile, self._batch = folder, profile, batch
        self._form = form_of(profile, numbers, batch)
        around = len(self._form.head(batch.file_reference(0), _COUNT_MOST, BIGINT_MAX)) + len(self._form.foot)
        self._items, self._size = profile.limits.max_items_per_file, profile.limits.max_bytes - around
        self._opened = _Opened()
        self._drafts: list[Future[Manifest]] = []
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        for draft in self._drafts:
            if not draft.exception():
                _partial(self._folder / draft.result().file).unlink(missing_ok=True)

    def add(self, debits: pa.RecordBatch) -> None:
        """The next debits, checked, into files as full as the limits allow."""
        seats = check(self._batch, self._profile, debits)
        rows, amounts = self._form.rows(debits), debits.column("amount_minor").to_numpy()
        start = 0
        while start < len(rows):
            end = self._opened.takes(rows, start, items=self._items, size=self._size)
            if end > start:
                self._opened.add(rows, amounts, seats, slice(start, end))
                start = end
            elif self._opened.count:
                self._draft()
            else:
                raise InvalidInput(f"{self._profile.code}: limits.max_bytes holds not even one debit")

    def publish(self) -> list[Manifest]:
        """Every file under its name, with its manifest; what each is known by."""
        if self._opened.count:
            self._draft()
        drafted = [draft.result() for draft in self._drafts]
        for each in drafted:
            _publish(self._folder, each)
        return drafted

    def _draft(self) -> None:
        if self._drafts:
            self._drafts[-1].result()  # one at a time, for the memory
        reference = self._batch.file_reference(self._batch.first_file + len(self._drafts))
        filled, self._opened = self._opened, _Opened()
        self._drafts.append(
            self._thread.submit(_draft, self._folder, self._profile, self._batch, self._form, filled, reference)
        )


@dataclass
class _Opened:
    """A file that still takes debits."""

    count: int = 0
    amount_minor: int = 0
    bytes: int = 0
    parts: list[memoryview] = field(default_factory=list)
    seats: list[NDArray[np.int64]] = field(default_factory=list)

    def takes(self, rows: Rows, start: int, *, items: int, size: int) -> int:
        """The end of those rows from `start` on that it still takes."""
        limit = int(rows.bounds[start]) + size - self.bytes
        fitting = int(np.searchsorted(rows.bounds, limit, side="right")) - 1
        return max(start, min(len(rows), start + items - self.count, fitting))

    def add(self, rows: Rows, amounts: NDArray[np.int64], seats: NDArray[np.int64], at: slice) -> None:
        part = rows.data[rows.bounds[at.start] : rows.bounds[at.stop]]
        self.count += at.stop - at.start
        self.amount_minor += int(amounts[at].sum())
        self.bytes += len(part)
        self.parts.append(part)
        self.seats.append(seats[at])


def _draft(folder: Path, profile: Profile, batch: Batch, form: Form, filled: _Opened, reference: str) -> Manifest:
    """Writes the file under a passing name, unless it stands there finished; raises Rewritten where that differs."""
    _refuse_twice(filled.seats, reference)
    layout = layout_of(profile, batch.kind)
    parts = [memoryview(form.head(reference, filled.count, filled.amount_minor)), *filled.parts, memoryview(form.foot)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    drafted = Manifest(
        file=reference + form.suffix,
        reference=reference,
        profile=profile.code,
        format=layout.format,
        encoding=layout.encoding if isinstance(layout, DelimitedDebits) else "utf-8",
        run=batch.run,
        attempt=batch.attempt,
        debit_on=batch.debit_on,
        sequence=batch.sequence,
        created_at=batch.created_at,
        currency=profile.currency,
        count=filled.count,
        amount_minor=filled.amount_minor,
        bytes=sum(len(part) for part in parts),
        sha256=digest.hexdigest(),
    )
    beside = _beside(folder, drafted)
    if not beside.exists():
        _write(_partial(folder / drafted.file), parts)
    elif manifest.read(beside) != drafted:
        raise Rewritten(f"{drafted.file} was written before with other content; send what changed as another attempt")
    return drafted


def _publish(folder: Path, drafted: Manifest) -> None:
    """Gives a draft its name, then its manifest beside it: whole or not at all, and on the disk before it is named."""
    beside, file = _beside(folder, drafted), folder / drafted.file
    if beside.exists():
        drafted.check(folder)
        return
    _partial(file).replace(file)
    _write(_partial(beside), [memoryview(drafted.text().encode())])
    _partial(beside).replace(beside)
    flush(folder)


def _beside(folder: Path, drafted: Manifest) -> Path:
    return folder / (drafted.reference + manifest.SUFFIX)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _refuse_twice(seats: Sequence[NDArray[np.int64]], reference: str) -> None:
    ordered = np.concatenate(seats)
    if (ordered[1:] <= ordered[:-1]).any():  # in seat order, as they mostly are, nothing needs sorting
        ordered.sort()
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise InvalidInput(f"file {reference}: seat {twice[0]} would be debited twice")


def _write(path: Path, parts: Sequence[memoryview]) -> None:
    try:
        with new_file(path) as file:
            for part in parts:
                file.write(part)
        flush(path)
    except BaseException:  # a disk that is full is not to stay so
        path.unlink(missing_ok=True)
        raise
