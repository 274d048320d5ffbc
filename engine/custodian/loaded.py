"""What was asked in one run, loaded shard by shard as a statement's lines name it, and what the lines say of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.events import LETTERS
from engine.custodian.instructions import Instructions, State
from engine.custodian.profile import CODE_LENGTH_MAX
from engine.custodian.reference import Kind
from engine.custodian.standing import REASONS_MAX, SentBatch, Standing, holding, read_standing, sent_batches
from engine.ledger.accounts import plan_shard
from engine.plans.days import day_number
from engine.store.tables import SHARD_SEATS, attempts, debit_batches, instruction_events, shards

_NOT_SENT = 0


class Source(NamedTuple):
    """Where the money of a line was before: the day number it was booked on; on suspense, or (not) new in cash."""

    day: int
    from_suspense: bool


class Sources:
    """The days and sources that a statement's lines have, each by a small number from 1 on."""

    def __init__(self) -> None:
        self._all: list[Source] = []

    def __getitem__(self, number: int) -> Source:
        return self._all[number - 1]

    def days(self) -> set[int]:
        """The day numbers of all of them."""
        return {source.day for source in self._all}

    def number(self, source: Source) -> int:
        """The number of a source."""
        if source not in self._all:
            self._all.append(source)
        return self._all.index(source) + 1


class Loaded:
    """The instructions of one kind of a run by seat (of payouts by the claim's number), and what was said of them.

    `instructions`: for Matcher.hold; `before`: uint8[n], their states at first; `booked`, `returned`: uint8[n] (uint16
    beyond 255 sources), the number of the Source of the line that booked it, of the one that it came back with or was
    rejected by; `reason`: the same, the place in `reasons`. `charges`: by source minor units int64 by shard number.

    Memory: 10 bytes a seat (14 where the custodian books batches; 4 more where an amount is beyond int32), and only for
    the shards that lines named: the pages of the others are never touched. With what is read beside, an import
    stays within 400 MiB up to some 16 M seats named by one statement; 20 M take 432 MiB (docs/benchmarks.md).
    """

    def __init__(
        self, kind: Kind, run: int, plan_id: int, seats: int, sent_on: Sequence[int], *, with_batches: bool
    ) -> None:
        self.kind, self.run, self.plan_id = kind, run, plan_id
        self.before, self.booked, self.returned, self.reason = (np.zeros(seats, np.uint8) for _ in range(4))
        self.reasons: list[str | None] = [None]
        self._place: dict[str | None, int] = {None: 0}
        self.charges: dict[int, NDArray[np.int64]] = defaultdict(lambda: np.zeros(self.numbers + 1, np.int64))
        self._there = np.zeros(self.numbers + 1, np.bool_)
        self._whole = np.zeros(self.numbers + 1, np.bool_)
        self.instructions = Instructions(
            kind,
            run,
            np.zeros(seats, np.int32),
            np.zeros(seats, np.uint8),
            np.zeros(seats, np.uint8),
            np.zeros(seats, np.int32) if with_batches else None,
            np.array(sent_on, np.int32),
        )

    def __len__(self) -> int:
        return len(self.before)

    @property
    def numbers(self) -> int:
        """The number of the last shard; payouts are all of shard 0."""
        return 0 if self.kind is Kind.PAYOUT else -(-len(self) // SHARD_SEATS)

    def number_of(self, seat: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[k]: the numbers of the shards of seats that there are."""
        if self.kind is Kind.PAYOUT:
            return np.zeros(len(seat), np.int64)
        found: NDArray[np.int64] = seat // SHARD_SEATS + 1
        return found

    def at(self, number: int) -> slice:
        """Where the seats of a shard stand."""
        first = max(number - 1, 0) * SHARD_SEATS
        last = len(self) if self.kind is Kind.PAYOUT else min(first + SHARD_SEATS, len(self))
        return slice(first, last)

    def missing(self, seat: NDArray[np.int64]) -> list[int]:
        """The numbers of the shards of these seats, int64[k], that are not loaded; what is no seat is passed over."""
        named = np.zeros(self.numbers + 1, np.bool_)
        named[self.number_of(seat[seat < len(self)])] = True
        return np.flatnonzero(named & ~self._there).tolist()

    def all_missing(self) -> list[int]:
        """The numbers of all shards that are not loaded."""
        first = min(self.numbers, 1)
        return (np.flatnonzero(~self._there[first:]) + first).tolist()

    def put(self, number: int, standing: Standing) -> None:
        """Where a shard's instructions stand; `instructions` may be another object after it."""
        self._there[number] = True
        self._whole[number] = np.array_equal(standing.charged != 0, standing.state != State.NONE)
        first, asked = self.at(number).start, self.instructions
        at = slice(first, first + len(standing))
        if len(standing) and standing.amount_minor.max() > np.iinfo(asked.amount_minor.dtype).max:
            self.instructions = asked = replace(asked, amount_minor=asked.amount_minor.astype(np.int64))
        asked.amount_minor[at] = standing.amount_minor
        asked.state[at], asked.attempt[at] = standing.state, standing.attempt
        if asked.batch is not None:
            asked.batch[at] = standing.batch
        self.before[at] = standing.state

    def everybody(self, number: int, positions: NDArray[np.int32]) -> bool:
        """Whether these positions of a shard, which were asked for, are all that the run charged."""
        return bool(self._whole[number]) and len(positions) == np.count_nonzero(self.before[self.at(number)])

    def mark(self, name: str, seat: NDArray[np.int64], sources: NDArray[np.int64] | int) -> None:
        """Note the sources of lines in `booked` or `returned`."""
        most = sources if isinstance(sources, int) else int(sources.max(initial=0))
        setattr(self, name, holding(getattr(self, name), most))
        getattr(self, name)[seat] = sources

    def explain(self, seat: NDArray[np.int64], reasons: pa.StringArray) -> None:
        """Note the reasons, string[k], of what came back; nothing is kept that is longer than a code.

        Sentences fit no index, and those beyond 65,535 different ones are no codes.
        """
        words = pc.utf8_slice_codeunits(reasons, 0, CODE_LENGTH_MAX).dictionary_encode(null_encoding="encode")
        places = []
        for reason in words.dictionary.to_pylist():
            if reason not in self._place and len(self.reasons) < REASONS_MAX:
                self._place[reason] = len(self.reasons)
                self.reasons.append(reason)
            places.append(self._place.get(reason, 0))
        self.reason = holding(self.reason, max(places, default=0))
        self.reason[seat] = np.array(places, self.reason.dtype)[words.indices.to_numpy()]

    def touched(self) -> list[int]:
        """The numbers of the shards of which something was said, rising."""
        return [number for number in np.flatnonzero(self._there).tolist() if self._is_touched(self.at(number))]

    def _is_touched(self, at: slice) -> bool:
        return bool(
            self.booked[at].any() or self.returned[at].any() or (self.before[at] != self.instructions.state[at]).any()
        )


class Loader:
    """Loads what was asked of a custodian. `with_batches`: lines may book whole batches."""

    def __init__(self, connection: AsyncConnection, custodian_id: int, *, with_batches: bool) -> None:
        self._connection, self._custodian_id, self._with_batches = connection, custodian_id, with_batches
        self._files: dict[tuple[Kind, int], Mapping[int, SentBatch]] = {}
        self.runs: dict[tuple[Kind, int], Loaded | None] = {}

    async def run(self, kind: Kind, run: int) -> Loaded | None:
        """What was asked of one kind in a run, no shard of it loaded yet but of payouts; None: nothing."""
        if (kind, run) not in self.runs:
            self.runs[kind, run] = await self._found(kind, run)
        return self.runs[kind, run]

    async def load(self, loaded: Loaded, numbers: Sequence[int]) -> None:
        """Load shards by their numbers; `instructions` may be another object after it."""
        for number in numbers:
            loaded.put(number, await self._standing(loaded.kind, loaded.run, loaded.plan_id, number))

    async def members(self, loaded: Loaded, number: int, attempt: int) -> NDArray[np.int64]:
        """int64[k] rising: the seats asked for in the file of this number, their shards loaded."""
        batch = [batch_id for batch_id, file in self._files[loaded.kind, loaded.run].items() if file.number == number]
        found = await self._connection.scalars(
            select(instruction_events.c.shard_id)
            .distinct()
            .where(
                instruction_events.c.shard_id.between(plan_shard(loaded.plan_id), plan_shard(loaded.plan_id + 1) - 1),
                instruction_events.c.run_id == loaded.run,
                instruction_events.c.kind == LETTERS[loaded.kind],
                instruction_events.c.attempt == attempt,
                instruction_events.c.batch_id.in_(batch),
            )
        )
        seats = [np.empty(0, np.int64)]
        for shard_id in sorted(found):
            there = shard_id - plan_shard(loaded.plan_id)
            standing = await self._standing(loaded.kind, loaded.run, loaded.plan_id, there)
            at = np.flatnonzero((standing.batch == number) & (standing.attempt == attempt))
            seats.append(at + loaded.at(there).start)
        return np.concatenate(seats)

    async def _standing(self, kind: Kind, run: int, plan_id: int, number: int) -> Standing:
        shard_id = plan_shard(plan_id) + number
        return await read_standing(self._connection, shard_id, run, kind, batches=self._files[kind, run])

    async def _found(self, kind: Kind, run: int) -> Loaded | None:
        asked = select(attempts.c.plan_id, attempts.c.attempt).where(
            attempts.c.run_id == run,
            attempts.c.kind == LETTERS[kind],
            attempts.c.custodian_id == self._custodian_id,
        )
        made = list(await self._connection.execute(asked))
        if not made:
            return None
        plan_id = made[0].plan_id
        self._files[kind, run] = await sent_batches(self._connection, run, kind)
        sent_on = [_NOT_SENT] * (1 + max(each.attempt for each in made))
        for attempt, day in (await sent_days(self._connection, run, kind)).items():
            sent_on[attempt] = day_number(day)
        if kind is Kind.PAYOUT:
            standing = await self._standing(kind, run, plan_id, 0)
            loaded = Loaded(kind, run, plan_id, len(standing), sent_on, with_batches=self._with_batches)
            loaded.put(0, standing)
            return loaded
        seats = await seats_of(self._connection, plan_id)
        return Loaded(kind, run, plan_id, seats, sent_on, with_batches=self._with_batches)


async def seats_of(connection: AsyncConnection, plan_id: int) -> int:
    """One more than the number of the plan's last seat."""
    last = select(func.coalesce(func.max(shards.c.first_seat + shards.c.seats), 0))
    return int((await connection.execute(last.where(shards.c.plan_id == plan_id))).scalar_one())


async def sent_days(connection: AsyncConnection, run: int, kind: Kind) -> dict[int, date]:
    """The first day on which a file of each attempt left; attempts of which none did are not there."""
    found = await connection.execute(
        select(debit_batches.c.attempt, func.min(debit_batches.c.sent_on))
        .where(
            debit_batches.c.run_id == run,
            debit_batches.c.kind == LETTERS[kind],
            debit_batches.c.sent_on.is_not(None),
        )
        .group_by(debit_batches.c.attempt)
    )
    return {row[0]: row[1] for row in found}
