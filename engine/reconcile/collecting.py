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
from engine.custodian.reference import ATTEMPT_MAX, Kind
from engine.custodian.registered import Custodian
from engine.custodian.retries import AskedFile, Step, freed_in, may_come_back, may_retry_of, overdue, retry_day, steps
from engine.custodian.standing import SETTLED_THROUGH, SentBatch, Standing, fold, read_standing, sent_batches
from engine.custodian.statement_rows import lock_custodian
from engine.ledger.accounts import first_seat, plan_shard
from engine.members.collection import Settled, Unpaid, debts_by, exit_unpaid, leaving_day, owed_by
from engine.members.shards import Shard, shard_of, shards_of
from engine.plans import NEVER, PlanRules, date_of, day_number
from engine.reconcile.breaks import clear_missing
from engine.reconcile.calling import call_members
from engine.reconcile.closing import UNDER_WAY, settle_if_done
from engine.reconcile.instructing import Asking, ask_again
from engine.reconcile.locking import first_open_day
from engine.roster.plan import lock_roster, rules_of
from engine.runs.run import Run, lock_run_or_wait
from engine.runs.states import RunState
from engine.store.tables import attempts, breaks, debit_batches, decisions, instruction_events, run_shards, share_runs

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
    """What one pass over a run's debits found: int32[k] rising, places by shard.

    `ask`: with them int32[k], the day numbers before which each may be asked; `give_up`: also by the day of leaving;
    `waiting`: how many came back and wait for the leaving day; `is_open`: some are under way, or may yet come back.
    """

    ask: dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]] = field(default_factory=dict)
    give_up: dict[tuple[int, date], NDArray[np.int32]] = field(default_factory=dict)
    missing: int = 0
    waiting: int = 0
    is_open: bool = False


async def collect_day(
    engine: AsyncEngine, custodian: Custodian, desk: Desk, *, on: date, now: datetime, actor: str
) -> CollectedDay:
    """Go through the runs of a custodian's plans, each in its own transaction, once a day's statements are taken.

    What was sent and stands on no statement in the days the custodian has for it becomes a break, once; one that was
    found since is cleared. What came back is asked for again where its reason and the plan's rule allow it, as one
    attempt for a day; and what a correction raised a debit by after it was booked, once that can hardly come back. From
    the leaving day on who has not paid leaves, and the debt is written off; what was raised has days of its own, from
    the first day it was asked for. A run is settled once nothing is under way and the days are over in which most of
    what comes back does. At last the plans' calls of the day are made. Killed anywhere and run again it is
    the same; and so is the same day twice.
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
        # The run, then its plan, as a correction or a void locks them; breaks before the plan, as who proposes does.
        run = await lock_run_or_wait(connection, run_id)
        await clear_missing(connection, run_id, on=self.on, actor=self.actor)
        rules = await rules_of(connection, run.plan_id, run.rules_version)
        if rules.unpaid is not None and leaving_day(rules, run.debit_on) <= self.on:
            await lock_roster(connection, run.plan_id)
        found = await self._look(run, rules)
        unpaid = await self._give_up(run, found.give_up)
        asked = await self._ask(run, found.ask)
        missing = found.missing + await self._missing_payouts(run)
        state = run.state
        if not found.is_open and asked is None:
            to_ask_again = found.waiting + _count(found.ask)
            state = await settle_if_done(connection, run_id, on=self.on, actor=self.actor, to_ask_again=to_ask_again)
        return CollectedRun(run_id, missing, asked, unpaid, state)

    async def _look(self, run: Run, rules: PlanRules) -> _Found:
        """Go through the run's debits, shard by shard."""
        found = _Found()
        if run.state is RunState.SETTLED and not await self._moved_since(run):
            return found
        files = await _files(self.connection, run.run_id, Kind.DEBIT)
        batches = await sent_batches(self.connection, run.run_id, Kind.DEBIT)
        of_run = set(await self.connection.scalars(_SHARDS, {"of_run": run.run_id}))
        ends = await self._ends(run, rules)
        for shard in await shards_of(self.connection, run.plan_id):
            if shard.shard_id not in of_run:
                continue
            standing, step = await self._steps(run, shard, batches, ends)
            fresh = self._fresh(standing, files)
            # A return names its attempt: while that is likely it stays the last one.
            step[fresh] = Step.NONE
            until = np.where(step == Step.ASK, ends[standing.since], NEVER).astype(np.int32)
            if len(at := _at(step, Step.ASK, Step.ASK_ANYWAY)):
                found.ask[shard.shard_id] = at, until[at]
            at = _at(step, Step.GIVE_UP)
            for leaves_on in np.unique(ends[standing.since[at]]).tolist():
                leaving = at[ends[standing.since[at]] == leaves_on]
                found.give_up[shard.shard_id, date_of(leaves_on)] = leaving
            found.waiting += len(_at(step, Step.WAIT))
            found.is_open |= bool(standing.where(*UNDER_WAY).size or fresh.size)
            found.missing += await self._open_missing(
                *(run.plan_id, run.run_id, Kind.DEBIT), standing, files, shard.first_seat
            )
        return found

    async def _ends(self, run: Run, rules: PlanRules) -> NDArray[np.int32]:
        """By attempt, the day number on which who was first asked by it leaves unpaid; NEVER where nobody does."""
        ends = np.full(ATTEMPT_MAX + 1, NEVER, np.int32)
        if rules.unpaid is None:
            return ends
        made = select(attempts.c.attempt, attempts.c.debit_on)
        rows = await self.connection.execute(
            made.where(attempts.c.run_id == run.run_id, attempts.c.kind == LETTERS[Kind.DEBIT])
        )
        ends[0] = day_number(leaving_day(rules, run.debit_on))  # who was never asked
        for attempt, debit_on in rows:
            ends[attempt] = day_number(leaving_day(rules, debit_on))
        return ends

    async def _steps(
        self, run: Run, shard: Shard, batches: Mapping[int, SentBatch], ends: NDArray[np.int32]
    ) -> tuple[Standing, NDArray[np.uint8]]:
        """Where a shard's debits stand, and the next step of each."""
        events = await read_events(self.connection, shard.shard_id, run.run_id, Kind.DEBIT)
        charged, owed = await debts_by(self.connection, shard, run.name)
        standing = fold(charged, events, batches, settled_through=SETTLED_THROUGH.get(run.state, 0))
        step = steps(
            standing,
            owed,
            may_retry_of(self.custodian.profile, standing.reasons, standing.reason),
            freed_in(events, np.flatnonzero(charged), shard.seats),
            ends[standing.since] <= day_number(self.on),
            ends_unpaid=bool(ends[0] != NEVER),
        )
        return standing, step

    def _fresh(self, standing: Standing, files: list[AskedFile]) -> NDArray[np.int32]:
        """The debits that may still come back as most do."""
        where = (standing.state, standing.attempt, standing.batch)
        return may_come_back(*where, files, self.custodian.profile, self.on)

    async def _moved_since(self, run: Run) -> bool:
        """Whether any debit of a settled run came back, or was corrected or decided on by people."""
        events, made = instruction_events.c, decisions.c
        later = or_(events.state == State.REOPENED, events.source.startswith("decision:"))
        of_run = (events.run_id == run.run_id, events.kind == LETTERS[Kind.DEBIT])
        about = (made.plan_id == run.plan_id, made.subject == run.name, made.kind == "correction", made.state == "done")
        moved = or_(select(1).where(*of_run, later).exists(), select(1).where(*about).exists())
        return bool(await self.connection.scalar(select(moved)))

    async def _give_up(self, run: Run, give_up: Mapping[tuple[int, date], NDArray[np.int32]]) -> Unpaid:
        """Let who did not pay leave, and write off what they owe."""
        ended, seats, amount = 0, 0, 0
        for (shard_id, leaves_on), positions in give_up.items():
            await self._write_down(run, shard_id, positions)
            posted_on = await first_open_day(self.connection, run.plan_id, leaves_on)
            unpaid = await exit_unpaid(
                self.connection, run.run_id, shard_id, positions, leaves_on=leaves_on, posted_on=posted_on
            )
            ended += unpaid.ended
            seats += unpaid.written_off.seats
            amount += unpaid.written_off.amount_minor
        return Unpaid(ended, Settled(seats, amount))

    async def _write_down(self, run: Run, shard_id: int, positions: NDArray[np.int32]) -> None:
        """Write down that what these seats owe is let go, before it is."""
        events = await read_events(self.connection, shard_id, run.run_id, Kind.DEBIT)
        before = len({event.source for event in events if event.source.startswith(BY_RULE)})
        source = BY_RULE if not before else f"{BY_RULE}:{before + 1}"
        batches = await sent_batches(self.connection, run.run_id, Kind.DEBIT)
        standing = await read_standing(self.connection, shard_id, run.run_id, Kind.DEBIT, batches=batches)
        owed = await owed_by(self.connection, await shard_of(self.connection, shard_id), run.name)
        attempt = standing.attempt[positions]
        written_off = []
        for which in np.unique(attempt).tolist():
            at = positions[attempt == which]
            written_off.append((shard_id, Event(which, State.WRITTEN_OFF, source, positions=at, amounts=owed[at])))
        await append(self.connection, run.run_id, Kind.DEBIT, written_off)

    async def _ask(self, run: Run, ask: Mapping[int, tuple[NDArray[np.int32], NDArray[np.int32]]]) -> Asking | None:
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
        ).one_or_none()
        debit_on = retry_day(
            self.custodian.profile,
            on=self.on,
            now=self.now,
            last_attempt=last.attempt if last else 0,
            last_debit_on=last.debit_on if last else run.debit_on,
            count=_count(ask),
        )
        if debit_on is None:
            return None
        chosen = {shard_id: at[until > day_number(debit_on)] for shard_id, (at, until) in ask.items()}
        chosen = {shard_id: at for shard_id, at in chosen.items() if len(at)}
        if not chosen:
            return None
        asking = await ask_again(
            self.connection, run.run_id, chosen, self.desk, debit_on=debit_on, now=self.now, actor=self.actor
        )
        return asking if asking.instructions else None

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


def _at(step: NDArray[np.uint8], *wanted: Step) -> NDArray[np.int32]:
    """int32[k] rising: the places of these steps."""
    return np.flatnonzero(np.isin(step, wanted)).astype(np.int32)


def _count(ask: Mapping[int, tuple[NDArray[np.int32], NDArray[np.int32]]]) -> int:
    return sum(len(at) for at, _ in ask.values())


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
