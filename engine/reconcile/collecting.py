"""A custodian's day after its statements: what is missing, what is asked again, who leaves unpaid, what is settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.breaks import Code
from engine.custodian.desk import Desk
from engine.custodian.events import LATELY, LETTERS, Event, append, asked_beside_runs, read_events, shards_asked
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.custodian.retries import AskedFile, Step, decided_in, may_come_back, may_retry_of, overdue, retry_day, steps
from engine.custodian.standing import SentBatch, Standing, charged_by, fold, read_standing, sent_batches
from engine.custodian.statement_rows import lock_custodian
from engine.ledger.accounts import first_seat, plan_shard
from engine.members.collection import Settled, Unpaid, exit_unpaid, leaving_day, owed_by
from engine.members.shards import Shard, shards_of
from engine.reconcile.breaks import clear_missing
from engine.reconcile.calling import call_members
from engine.reconcile.closing import UNDER_WAY, settle_if_done
from engine.reconcile.instructing import Asking, ask_again
from engine.reconcile.locking import first_open_day
from engine.roster.plan import lock_roster, rules_of
from engine.runs.run import Run, load_run, lock_run_or_wait
from engine.runs.states import RunState
from engine.store.tables import attempts, breaks, debit_batches, instruction_events, run_shards, share_runs

BY_RULE = "rule:unpaid"
"""What says that debts were written off because their days were over; a second time on a shard, `rule:unpaid:2`."""


@dataclass(frozen=True)
class CollectedRun:
    """What a day brought a run: instructions found missing, the next attempt, who left unpaid, its state then."""

    run_id: int
    missing: int
    asked: Asking | None
    unpaid: Unpaid
    state: RunState


@dataclass(frozen=True)
class CollectedDay:
    """What a day brought every run of a custodian's plans that is collecting, or has debits that came back later.

    `called`: what the plans asked of members beside (`engine.reconcile.calling`). `missing`: how many refunds, auto
    top-ups and levies were found missing, which are of no run.
    """

    on: date
    runs: tuple[CollectedRun, ...]
    called: tuple[Asking, ...] = ()
    missing: int = 0


@dataclass
class _Found:
    """What one pass over a run's debits found. `ask`, `give_up`: int32[k] rising, places by shard.

    `waiting`: how many came back and wait for the leaving day; `is_open`: some are under way, or may yet come back.
    """

    ask: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    give_up: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    missing: int = 0
    waiting: int = 0
    is_open: bool = False


async def collect_day(
    engine: AsyncEngine, custodian: Custodian, desk: Desk, *, on: date, now: datetime, actor: str
) -> CollectedDay:
    """Go through the runs of a custodian's plans, each in its own transaction, once a day's statements are taken.

    What was sent and stands on no statement in the days the custodian has for it becomes a break, once; one that was
    found since is cleared. What came back is asked for again where its reason and the plan's rule allow it, as one
    attempt for a day. From the leaving day on who has not paid leaves, and the debt is written off. A run is settled
    once nothing is under way and the days are over in which most of what comes back does. At last the plans' calls of
    the day are made. Killed anywhere and run again it is the same; and so is the same day twice.
    """
    async with engine.connect() as connection:
        run_ids = await _runs(connection, custodian)
    found = []
    for run_id in run_ids:
        async with engine.begin() as connection:
            day = _Day(connection, custodian, desk, on, now, actor)
            found.append(await day.collect(run_id))
    async with engine.begin() as connection:
        missing = await _Day(connection, custodian, desk, on, now, actor).missing_beside_runs()
    called: list[Asking] = []
    for plan_id in custodian.plans:
        async with engine.begin() as connection:
            await lock_custodian(connection, custodian.custodian_id)
            called += await call_members(connection, custodian, plan_id, desk, on=on, now=now, actor=actor)
    return CollectedDay(on, tuple(found), tuple(called), missing)


async def _runs(connection: AsyncConnection, custodian: Custodian) -> list[int]:
    """The runs to go through: collecting; and settled, whose payouts may be missing and debits may have come back."""
    chosen = share_runs.c.plan_id.in_(custodian.plans)
    states = share_runs.c.state.in_([RunState.COLLECTING, RunState.SETTLED])
    return list(await connection.scalars(select(share_runs.c.run_id).where(chosen, states).order_by("run_id")))


@dataclass(frozen=True)
class _Day:
    """The day of one custodian, in one transaction for one run."""

    connection: AsyncConnection
    custodian: Custodian
    desk: Desk
    on: date
    now: datetime
    actor: str

    async def collect(self, run_id: int) -> CollectedRun:
        """One run."""
        connection = self.connection
        await lock_custodian(connection, self.custodian.custodian_id)
        run = await load_run(connection, run_id)
        rules = await rules_of(connection, run.plan_id, run.rules_version)
        ends_on = None if rules.unpaid is None else leaving_day(rules, run.debit_on)
        if ends_on is not None and ends_on <= self.on:
            await lock_roster(connection, run.plan_id)
        run = await lock_run_or_wait(connection, run_id)
        await clear_missing(connection, run_id, on=self.on, actor=self.actor)
        found = await self._look(run, ends_on)
        unpaid = await self._give_up(run, found.give_up, ends_on)
        asked = await self._ask(run, found.ask, ends_on)
        missing = found.missing + await self._missing_payouts(run)
        state = run.state
        if not found.is_open and asked is None:
            to_ask_again = found.waiting + sum(map(len, found.ask.values()))
            state = await settle_if_done(connection, run_id, on=self.on, actor=self.actor, to_ask_again=to_ask_again)
        return CollectedRun(run_id, missing, asked, unpaid, state)

    async def _look(self, run: Run, ends_on: date | None) -> _Found:
        """Go through the run's debits, shard by shard."""
        found = _Found()
        if run.state is RunState.SETTLED and not await self._moved_since(run):
            return found
        files = await _files(self.connection, run.run_id, Kind.DEBIT)
        batches = await sent_batches(self.connection, run.run_id, Kind.DEBIT)
        of_run = set(await self.connection.scalars(_SHARDS, {"of_run": run.run_id}))
        for shard in await shards_of(self.connection, run.plan_id):
            if shard.shard_id not in of_run:
                continue
            standing, step = await self._steps(run, shard, batches, ends_on)
            for into, what in ((found.ask, Step.ASK), (found.give_up, Step.GIVE_UP)):
                at = np.flatnonzero(step == what).astype(np.int32)
                if len(at):
                    into[shard.shard_id] = at
            found.waiting += int(np.count_nonzero(step == Step.WAIT))
            found.is_open |= bool(standing.where(*UNDER_WAY).size or self._fresh(standing, files).size)
            found.missing += await self._open_missing(
                *(run.plan_id, run.run_id, Kind.DEBIT), standing, files, shard.first_seat
            )
        return found

    async def _steps(
        self, run: Run, shard: Shard, batches: Mapping[int, SentBatch], ends_on: date | None
    ) -> tuple[Standing, NDArray[np.uint8]]:
        """Where a shard's debits stand, and the next step of each; of who owes nothing any more there is none."""
        events = await read_events(self.connection, shard.shard_id, run.run_id, Kind.DEBIT)
        charged = await charged_by(self.connection, shard.shard_id, run.run_id, shard.seats)
        standing = fold(charged, events, batches, settled=run.state is not RunState.COLLECTING)
        step = steps(
            standing.state,
            may_retry_of(self.custodian.profile, standing.reasons, standing.reason),
            decided_in(events, np.flatnonzero(charged), shard.seats),
            ends_unpaid=ends_on is not None,
            is_over=ends_on is not None and ends_on <= self.on,
        )
        if step.any():
            step[await owed_by(self.connection, shard, run.name) <= 0] = Step.NONE
        return standing, step

    def _fresh(self, standing: Standing, files: list[AskedFile]) -> NDArray[np.int32]:
        """The debits that may still come back as most do."""
        where = (standing.state, standing.attempt, standing.batch)
        return may_come_back(*where, files, self.custodian.profile, self.on)

    async def _moved_since(self, run: Run) -> bool:
        """Whether any debit of a settled run came back, or was decided on by a person."""
        events = instruction_events.c
        later = or_(events.state == State.REOPENED, events.source.startswith("decision:"))
        of_run = (events.run_id == run.run_id, events.kind == LETTERS[Kind.DEBIT])
        return bool(await self.connection.scalar(select(select(1).where(*of_run, later).exists())))

    async def _give_up(self, run: Run, give_up: Mapping[int, NDArray[np.int32]], ends_on: date | None) -> Unpaid:
        """Let who did not pay leave, and write off what they owe."""
        ended, seats, amount = 0, 0, 0
        posted_on = ends_on and await first_open_day(self.connection, run.plan_id, ends_on)
        for shard_id, positions in give_up.items():
            unpaid = await exit_unpaid(self.connection, run.run_id, shard_id, positions, posted_on=posted_on)
            await self._write_down(run, shard_id, positions)
            ended += unpaid.ended
            seats += unpaid.written_off.seats
            amount += unpaid.written_off.amount_minor
        return Unpaid(ended, Settled(seats, amount))

    async def _write_down(self, run: Run, shard_id: int, positions: NDArray[np.int32]) -> None:
        events = await read_events(self.connection, shard_id, run.run_id, Kind.DEBIT)
        before = len({event.source for event in events if event.source.startswith(BY_RULE)})
        source = BY_RULE if not before else f"{BY_RULE}:{before + 1}"
        batches = await sent_batches(self.connection, run.run_id, Kind.DEBIT)
        standing = await read_standing(self.connection, shard_id, run.run_id, Kind.DEBIT, batches=batches)
        attempt = standing.attempt[positions]
        written_off = [
            Event(which, State.WRITTEN_OFF, source, positions=standing.compact(positions[attempt == which]))
            for which in np.unique(attempt).tolist()
        ]
        await append(self.connection, shard_id, run.run_id, Kind.DEBIT, written_off)

    async def _ask(self, run: Run, ask: Mapping[int, NDArray[np.int32]], ends_on: date | None) -> Asking | None:
        """One more attempt for all that may be asked again, where there is a day for it."""
        if not ask:
            return None
        made = attempts.c
        last = (
            await self.connection.execute(
                select(made.attempt, made.debit_on)
                .where(made.run_id == run.run_id, made.kind == LETTERS[Kind.DEBIT])
                .order_by(made.attempt.desc())
                .limit(1)
            )
        ).one()
        is_over = ends_on is not None and ends_on <= self.on
        debit_on = retry_day(
            self.custodian.profile,
            on=self.on,
            now=self.now,
            last_attempt=last.attempt,
            last_debit_on=last.debit_on,
            ends_on=None if is_over else ends_on,
            count=sum(map(len, ask.values())),
        )
        if debit_on is None:
            return None
        return await ask_again(
            self.connection, run.run_id, ask, self.desk, debit_on=debit_on, now=self.now, actor=self.actor
        )

    async def _missing_payouts(self, run: Run) -> int:
        files = await _files(self.connection, run.run_id, Kind.PAYOUT)
        if not files:
            return 0
        batches = await sent_batches(self.connection, run.run_id, Kind.PAYOUT)
        shard_id = plan_shard(run.plan_id)
        standing = await read_standing(self.connection, shard_id, run.run_id, Kind.PAYOUT, batches=batches)
        return await self._open_missing(run.plan_id, run.run_id, Kind.PAYOUT, standing, files, 0)

    async def missing_beside_runs(self) -> int:
        """Open what is missing of what was asked lately and is of no run; of what was before it was opened then."""
        await lock_custodian(self.connection, self.custodian.custodian_id)
        missing = 0
        for plan_id, kind, number in await asked_beside_runs(
            self.connection, self.custodian.custodian_id, self.on - LATELY
        ):
            files = await _files(self.connection, number, kind)
            batches = await sent_batches(self.connection, number, kind)
            for shard_id in await shards_asked(self.connection, number, kind):
                standing = await read_standing(self.connection, shard_id, number, kind, batches=batches)
                there = (standing, files, first_seat(shard_id))
                missing += await self._open_missing(plan_id, number, kind, *there)
        return missing

    async def _open_missing(
        self, plan_id: int, run_id: int, kind: Kind, standing: Standing, files: list[AskedFile], first_seat: int
    ) -> int:
        """Open a break for each instruction that is overdue, where none was opened for it before; how many."""
        where = (standing.state, standing.attempt, standing.batch)
        late = overdue(*where, files, self.custodian.profile, self.on)
        if not len(late):
            return 0
        of_run = (breaks.c.run_id == run_id, breaks.c.kind == LETTERS[kind])
        these = breaks.c.seat.between(first_seat, first_seat + len(standing) - 1)
        rows = await self.connection.execute(
            select(breaks.c.attempt, breaks.c.seat).where(*of_run, these, breaks.c.code == Code.MISSING_AT_BANK)
        )
        known = {(attempt, seat) for attempt, seat in rows}
        each = Opening(Code.MISSING_AT_BANK, plan_id, 0, 0, self.on, run_id=run_id, kind=kind)
        sign = 1 if kind.is_debit else -1
        asked = zip((sign * standing.amount_minor[late]).tolist(), standing.attempt[late].tolist(), late, strict=True)
        openings = [
            replace(each, amount_minor=amount, attempt=attempt, seat=first_seat + int(position))
            for amount, attempt, position in asked
            if (attempt, first_seat + position) not in known
        ]
        return await open_breaks(self.connection, self.custodian.custodian_id, openings)


_SHARDS = select(run_shards.c.shard_id).where(run_shards.c.run_id == bindparam("of_run"))


async def _files(connection: AsyncConnection, run_id: int, kind: Kind) -> list[AskedFile]:
    """The files of one kind of a run."""
    files = debit_batches.c
    found = await connection.execute(
        select(files.attempt, files.number, files.sent_on, attempts.c.debit_on)
        .select_from(debit_batches.join(attempts))
        .where(files.run_id == run_id, files.kind == LETTERS[kind])
    )
    return [AskedFile(*row) for row in found]
