"""What is asked of a custodian, in files: each part is written while the next is read, then all is put on record.

Files, their rows in `debit_batches` and the events of their instructions belong together: the files count once the
transaction that names them is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files import Batch, Files, Manifest
from engine.custodian.debit_files.batch import MandateSequence, layout_of
from engine.custodian.debit_files.manifest import SUFFIX
from engine.custodian.desk import Desk
from engine.custodian.events import LETTERS, Event, append
from engine.custodian.instructions import State
from engine.custodian.profile import AccountNumbers, DelimitedDebits, Profile, account_numbers
from engine.custodian.reference import INSTRUCTED, LENGTH, Kind, Reference, decode
from engine.store.tables import debit_batches

FILES_MOST = 1_000_000
"""Of one kind, run and attempt, by the numbers in their references."""

_FIRST_FILE = {kind: place * FILES_MOST + 1 for place, kind in enumerate(INSTRUCTED)}
_BEFORE_FIRST_DEBITS = FILES_MOST // 2
"""Numbers left to the files of recurring debits, which are written beside those of first ones."""

_NUMBER_AT = 8
"""Where the number begins in a file's reference, after kind, run and attempt."""

_SEQUENCES: tuple[MandateSequence, ...] = ("FRST", "RCUR")
"""In the order they are sent."""


@dataclass(frozen=True)
class Part:
    """Instructions of one shard, all of one `sequence`, in the order of their file; n is above 0.

    `positions` int32[n], places in the shard (of payouts claims' numbers); `amounts` int64[n] minor units; `rows`: the
    same as a record batch of `debit_files.SCHEMA`. `is_whole`: they are all that the run charged in the shard;
    `as_charged`: each amount is what it charged.
    """

    shard_id: int
    positions: NDArray[np.int32]
    amounts: NDArray[np.int64]
    rows: pa.RecordBatch
    sequence: MandateSequence = "RCUR"
    is_whole: bool = False
    as_charged: bool = False


@dataclass(frozen=True)
class _Kept:
    """What of a part is kept until its files are cut: two bytes a seat, where amounts are as charged."""

    shard_id: int
    positions: NDArray[Any]
    amounts: NDArray[np.int64] | None
    is_whole: bool

    @classmethod
    def of(cls, part: Part) -> _Kept:
        smallest = np.min_scalar_type(int(part.positions.max()))
        amounts = None if part.as_charged else part.amounts
        return cls(part.shard_id, part.positions.astype(smallest), amounts, part.is_whole)

    def event(self, attempt: int, batch_id: int, first: int, end: int) -> Event:
        """ASSESSED of the instructions from `first` to `end` of the part, in one file."""
        positions = amounts = None
        if not (self.is_whole and self.amounts is None and end - first == len(self.positions)):
            order = np.argsort(self.positions[first:end], kind="stable")
            positions = self.positions[first:end][order].astype(np.int32)
            amounts = None if self.amounts is None else self.amounts[first:end][order]
        source = f"batch:{batch_id}"
        return Event(attempt, State.ASSESSED, source, batch_id=batch_id, positions=positions, amounts=amounts)


@dataclass
class _Opened:
    """The files of one mandate sequence, and what went into them."""

    files: Files
    kept: list[_Kept] = field(default_factory=list)


async def write_batches(
    connection: AsyncConnection, profile: Profile, batch: Batch, parts: AsyncIterator[Part], desk: Desk
) -> list[Manifest]:
    """Write the files of one attempt, whose row in `attempts` is there; their rows and ASSESSED events with them.

    `batch`: what its files have in common; their numbers and sequences are given here. The caller's transaction holds
    the attempt, so that files of it that lie there are left over from one that never committed: they make way. Memory
    is two files for each mandate sequence, and two bytes a seat. Raises InvalidInput as `debit_files.write` does.
    """
    folder = desk.folder(profile.code, "debits")
    named = not isinstance(layout_of(profile, batch.kind), DelimitedDebits)  # text files name no account of ours
    numbers = account_numbers(profile.account, desk.environment) if named else AccountNumbers("")
    await asyncio.to_thread(_clear, folder, batch)
    manifests: list[Manifest] = []
    async with _Writing() as writing:
        async for part in parts:
            opened = writing.by_sequence.get(part.sequence)
            if opened is None:
                of_sequence = replace(batch, sequence=part.sequence, first_file=_first_file(batch.kind, part.sequence))
                opened = writing.opens(Files(folder, profile, numbers, of_sequence), part.sequence)
            opened.kept.append(_Kept.of(part))
            await writing.next(opened.files, part.rows)
        for sequence in _SEQUENCES:
            if sequence in writing.by_sequence:
                opened = writing.by_sequence[sequence]
                written = await writing.published(opened.files)
                await _record(connection, batch, opened.kept, written)
                manifests += written
    return manifests


class _Writing:
    """The files being written, in a thread of their own: one part at a time, while the caller reads the next."""

    def __init__(self) -> None:
        self.by_sequence: dict[MandateSequence, _Opened] = {}
        self._pending: asyncio.Task[None] | None = None
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pending is not None:  # a thread cannot be stopped; nothing is taken from under it
            await asyncio.gather(self._pending, return_exceptions=True)
        self._stack.close()

    def opens(self, files: Files, sequence: MandateSequence) -> _Opened:
        opened = self.by_sequence[sequence] = _Opened(self._stack.enter_context(files))
        return opened

    async def next(self, files: Files, rows: pa.RecordBatch) -> None:
        """Wait until the part before is written, then begin this one."""
        await self._settled()
        self._pending = asyncio.create_task(asyncio.to_thread(files.add, rows))

    async def published(self, files: Files) -> list[Manifest]:
        await self._settled()
        return await asyncio.to_thread(files.publish)

    async def _settled(self) -> None:
        if self._pending is not None:
            await asyncio.shield(self._pending)
            self._pending = None


def _first_file(kind: Kind, sequence: MandateSequence) -> int:
    return _FIRST_FILE[kind] + (_BEFORE_FIRST_DEBITS if sequence == "FRST" else 0)


def _clear(folder: Path, batch: Batch) -> None:
    """Delete the files of this attempt and kind; the manifest before its file, which is none without it."""
    left = sorted(folder.glob(f"{batch.file_reference(0)[:_NUMBER_AT]}*"), key=lambda path: SUFFIX not in path.name)
    found = decode(pa.array([path.name[:LENGTH] for path in left], pa.string()))
    of_kind = found.valid & ((found.seat - 1) // FILES_MOST == (_FIRST_FILE[batch.kind] - 1) // FILES_MOST)
    for path, is_left_over in zip(left, of_kind.tolist(), strict=True):
        if is_left_over:
            path.unlink(missing_ok=True)


async def _record(
    connection: AsyncConnection, batch: Batch, kept: Sequence[_Kept], written: Sequence[Manifest]
) -> None:
    """The rows of the files, and on each shard an event for every file that holds instructions of it."""
    rows = [
        {
            "run_id": batch.run,
            "kind": LETTERS[batch.kind],
            "attempt": batch.attempt,
            "number": Reference.read(each.reference).seat,
            "reference": each.reference,
            "file": each.file,
            "sha256": bytes.fromhex(each.sha256),
            "bytes": each.bytes,
            "count": each.count,
            "amount_minor": each.amount_minor,
        }
        for each in written
    ]
    stored = insert(debit_batches).returning(debit_batches.c.batch_id, sort_by_parameter_order=True)
    batch_ids = list(await connection.scalars(stored, rows))
    for part, pieces in _cut(kept, [each.count for each in written]):
        events = [
            (part.shard_id, part.event(batch.attempt, batch_ids[file], first, end)) for file, first, end in pieces
        ]
        await append(connection, batch.run, batch.kind, events)


def _cut(kept: Sequence[_Kept], counts: Sequence[int]) -> Iterator[tuple[_Kept, list[tuple[int, int, int]]]]:
    """Each part with the files that hold instructions of it: the file's place, and from and to where in the part."""
    ends = np.cumsum(counts)
    start = 0
    for part in kept:
        stop = start + len(part.positions)
        files = range(int(np.searchsorted(ends, start, "right")), int(np.searchsorted(ends, stop, "left")) + 1)
        starts = [int(ends[file]) - counts[file] for file in files]
        yield (
            part,
            [
                (file, max(start, first) - start, min(stop, first + counts[file]) - start)
                for file, first in zip(files, starts, strict=True)
            ],
        )
        start = stop
