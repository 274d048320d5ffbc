"""A statement while it is matched: what its lines name is loaded, and what becomes of them is noted until it is posted.

Nothing grows with the length of a statement: seats have marks, days have sums, and only what did not match is rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.breaks import Code
from engine.custodian.instructions import Instructions
from engine.custodian.lines import KINDS, Lines
from engine.custodian.loaded import Loaded, Loader, Source, Sources
from engine.custodian.matching import Matcher
from engine.custodian.profile import BookingMode
from engine.custodian.reference import INSTRUCTED, OF_PLANS, Kind, Reference
from engine.custodian.registered import Custodian
from engine.custodian.statement import Kind as LineKind
from engine.custodian.statement_rows import Decided, PendingLine, add_lines, decide_lines, pending_lines
from engine.custodian.verdicts import (
    MATCHED,
    PENDING,
    Named,
    Outcome,
    Stage,
    Sum,
    Tally,
    broken,
    named,
    outcome_of,
)  # fmt: skip
from engine.ledger.accounts import Account
from engine.plans.days import NEVER, date_of, day_number
from engine.reconcile.rejected import reject
from engine.reconcile.top_ups import TopUps
from engine.store.tables import share_runs

LATE = broken(Code.RETURNED_AFTER_SETTLEMENT)
"""A break that is posted all the same: the debit is open again."""

_RUN_BITS = 32
_SUSPENSE = len(KINDS)
_BY_TYPE = {LineKind.CHARGE: Account.BANK_CHARGES, LineKind.INTEREST: Account.INTEREST}


class Matched:
    """One statement: its lines in, then `finish`; then everything that `settling` posts.

    `books`: it books, and does not only inform. `rejects`: a line of no amount that came back says of its instruction
    that it was refused. `on`: the day of lines that name none. `general`: by plan and day number, what is posted on
    accounts that are nobody's, minor units by account, debits positive. `decides_breaks`: some of the
    lines that waited had become breaks over it.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        custodian: Custodian,
        statement_id: int,
        *,
        books: bool,
        rejects: bool,
        on: date,
    ) -> None:
        self.statement_id, self.custodian = statement_id, custodian
        self._connection, self._books, self._rejects, self._on = connection, books, rejects, day_number(on)
        booking, known = custodian.profile.booking, frozenset(map(LineKind, custodian.profile.known_lines))
        self._in_batches = booking is not BookingMode.PER_DEBIT
        self.loader = Loader(connection, custodian.custodian_id, with_batches=self._in_batches)
        # A circle, in which the arrays would outlive the statement: closed only where batches are booked.
        told = self._batch_booked if self._in_batches else None
        self.matcher = Matcher([], booking=booking, known_kinds=known, informs_only=not books, batch_booked=told)
        self.sources = Sources()
        self.general: dict[tuple[int, int], Counter[Account]] = defaultdict(Counter)
        self.top_ups = TopUps(connection, custodian.plans)
        self._plans: dict[tuple[Kind, int], int] = {}
        self.decides_breaks = False
        self._earlier: list[PendingLine] = []
        self._of_earlier = Tally()

    async def take_pending(self) -> None:
        """First of all: the lines of earlier statements that wait for this one."""
        async for names, batch in pending_lines(self._connection, self.custodian.custodian_id):
            first = len(self._earlier)
            self._earlier += names
            # What is not of this statement is told apart by its ordinal.
            ordinals = pa.array(-np.arange(first + 1, len(self._earlier) + 1))
            await self.take(Lines.of(batch.set_column(0, batch.schema.field(0), ordinals)))

    async def take(self, lines: Lines) -> None:
        """The next lines."""
        self.matcher.read(lines)
        await self._load(lines)
        self.matcher.judge(lines)
        await self._note(lines)

    async def finish(self) -> None:
        """After the last line. Raises NotConserved [I10]."""
        await self._note(self.matcher.rest())

    def tally(self) -> Iterator[tuple[Named, Sum]]:
        """What became of the statement's own lines."""
        earlier = dict(self._of_earlier)
        for what, total in self.matcher.tally:
            other = earlier.get(what, Sum())
            if total.count > other.count:
                yield what, Sum(total.count - other.count, total.amount_minor - other.amount_minor)

    def loaded(self) -> list[Loaded]:
        """Everything of which something was loaded, by kind and run."""
        return [each for _, each in sorted(self.loader.runs.items()) if each is not None]

    async def _load(self, lines: Lines) -> None:
        """Whatever the lines name and is not there yet; what they refuse is refused."""
        if self._rejects:
            profile = self.custodian.profile
            await reject(lines, profile, self.loader, self._hold, lambda rows: self._source_numbers(lines, rows))
        for (kind, run), rows in _by_run(lines):
            await self._know_plan(kind, run)
            undecided = rows[lines.verdict[rows] == 0]
            if kind is Kind.TOP_UP:
                await self.top_ups.refuse(lines, undecided, run, self._days(lines))
                if run in self.top_ups.by_plan:
                    self.matcher.top_ups[run] = self.top_ups.by_plan[run].seats
            elif kind is Kind.SPONSOR:
                if run in self.custodian.plans:
                    lines.verdict[undecided], lines.stage[undecided] = MATCHED, Stage.KNOWN
            elif kind is Kind.BATCH:
                if self._in_batches and len(undecided):
                    for each in INSTRUCTED:
                        await self._load_whole(each, run)
            elif len(undecided) and (loaded := await self.loader.run(kind, run)) is not None:
                await self._hold(loaded, loaded.missing(lines.target.seat[undecided]))

    async def _load_whole(self, kind: Kind, run: int) -> None:
        loaded = await self.loader.run(kind, run)
        if loaded is not None:
            await self._hold(loaded, loaded.all_missing())

    async def _hold(self, loaded: Loaded, numbers: list[int]) -> None:
        await self.loader.load(loaded, numbers)
        self.matcher.hold(loaded.instructions)

    async def _know_plan(self, kind: Kind, run: int) -> None:
        """Whose books take what is about a run: the plan's, if its money is here at all."""
        if (kind, run) in self._plans:
            return
        plan_id: int | None = run if kind in OF_PLANS else None
        for each in INSTRUCTED if kind is Kind.BATCH else (kind,):
            if kind not in OF_PLANS and (loaded := await self.loader.run(each, run)) is not None:
                plan_id = loaded.plan_id
        if plan_id is None and kind in (Kind.DEBIT, Kind.PAYOUT, Kind.BATCH):
            plan_id = await self._connection.scalar(select(share_runs.c.plan_id).where(share_runs.c.run_id == run))
        self._plans[kind, run] = plan_id if plan_id in self.custodian.plans else self.custodian.home_plan

    def _days(self, lines: Lines) -> NDArray[np.int32]:
        return np.where(lines.booked_on == NEVER, self._on, lines.booked_on).astype(np.int32)

    def _source_numbers(self, lines: Lines, rows: NDArray[np.int64]) -> NDArray[np.int64] | int:
        """int64[k], or one for all: the numbers of the sources of rows."""
        days = self._days(lines)[rows]
        earlier = self._are_earlier(lines, rows)
        if not len(rows) or (not earlier.any() and bool((days == days[0]).all())):
            return self.sources.number(Source(int(days[0]), from_suspense=False)) if len(rows) else 0
        different, at = np.unique(days.astype(np.int64) * 2 + earlier, return_inverse=True)
        numbers = [self.sources.number(Source(each // 2, bool(each % 2))) for each in different.tolist()]
        found: NDArray[np.int64] = np.array(numbers, np.int64)[at]
        return found

    def _are_earlier(self, lines: Lines, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not self._earlier:
            return np.zeros(len(rows), np.bool_)
        earlier: NDArray[np.bool_] = lines.batch.column("ordinal").to_numpy()[rows] < 0
        return earlier

    async def _note(self, lines: Lines) -> None:
        """What became of lines: those that wait come again."""
        verdict = lines.verdict
        posted = (verdict == MATCHED) | (verdict == LATE)
        by_type = posted & (lines.stage == Stage.KNOWN)
        for (kind, run), rows in _by_run(lines, posted & ~by_type & (lines.amount_minor != 0)):
            if kind is Kind.TOP_UP:
                self._pay_in(lines, rows, run)
            elif kind is not Kind.BATCH:
                loaded = await self.loader.run(kind, run)
                assert loaded is not None
                self._mark(loaded, lines, rows)
        outcome = outcome_of(verdict)
        open_ = (outcome == Outcome.BREAK) | (outcome == Outcome.PENDING)
        if open_.any() or by_type.any() or self._earlier:
            await self._note_rows(lines, by_type, open_)

    def _mark(self, loaded: Loaded, lines: Lines, rows: NDArray[np.int64]) -> None:
        """Bookings and returns of one run, by the seat."""
        seat, numbers = lines.target.seat[rows], self._source_numbers(lines, rows)
        own_way = (lines.amount_minor[rows] > 0) == (loaded.instructions.sign > 0)
        books = own_way & ~lines.is_kind(LineKind.RETURN)[rows]
        charged = np.flatnonzero(lines.charges_minor[rows])
        if len(charged):
            of_rows = np.broadcast_to(np.asarray(numbers), len(rows))[charged]
            for number in np.unique(of_rows).tolist():
                there = charged[of_rows == number]
                charges = lines.charges_minor[rows[there]]
                np.add.at(loaded.charges[number], loaded.number_of(seat[there]), charges)
        if books.all():
            loaded.mark("booked", seat, numbers)
            return
        back = ~books
        loaded.mark("booked", seat[books], numbers if isinstance(numbers, int) else numbers[books])
        loaded.mark("returned", seat[back], numbers if isinstance(numbers, int) else numbers[back])
        loaded.explain(seat[back], lines.batch.column("reason").take(pa.array(rows[back])))

    def _batch_booked(self, of_run: Instructions, seats: NDArray[np.int64], lines: Lines, row: int) -> None:
        loaded = self.loader.runs[of_run.kind, of_run.run]
        assert loaded is not None
        loaded.mark("booked", seats, self._source_numbers(lines, np.array([row])))

    def _pay_in(self, lines: Lines, rows: NDArray[np.int64], plan_id: int) -> None:
        depositors, days = self.top_ups.by_plan[plan_id], self._days(lines)[rows]
        for day in np.unique(days).tolist():
            there = rows[days == day]
            depositors.pay_in(Source(day, from_suspense=False), lines.target.seat[there], lines.amount_minor[there])

    async def _note_rows(self, lines: Lines, by_type: NDArray[np.bool_], open_: NDArray[np.bool_]) -> None:
        """What is posted on accounts that are nobody's, and every line that did not match as a row."""
        every = np.arange(len(lines))
        earlier = self._are_earlier(lines, every)
        days = self._days(lines)
        await self._decide_earlier(lines, every[earlier & (lines.verdict != Outcome.WAITING)], days)
        self._post_general(lines, every[by_type & ~earlier], days)
        rows = every[open_ & ~earlier]
        if not len(rows):
            return
        became = [(named(lines.verdict[row]), int(lines.stage[row])) for row in rows.tolist()]
        await add_lines(self._connection, self.statement_id, lines.batch.take(pa.array(rows)), became)
        self._post_general(lines, rows[lines.verdict[rows] != LATE], days)
        ordinals = lines.batch.column("ordinal").to_pylist()
        broken_rows = rows[outcome_of(lines.verdict[rows]) == Outcome.BREAK].tolist()
        openings = [self._opening(lines, row, days, self.statement_id, ordinals[row]) for row in broken_rows]
        await open_breaks(self._connection, self.custodian.custodian_id, openings)

    def _post_general(self, lines: Lines, rows: NDArray[np.int64], days: NDArray[np.int32]) -> None:
        """What is known by its type goes to its account, everything else to suspense."""
        target, by_type = lines.target, (lines.verdict == MATCHED)[rows]
        alike = pa.table(
            {
                "kind": np.where(target.valid, target.kind, 0)[rows],
                "run": target.run[rows],
                "day": days[rows],
                "account": np.where(by_type, lines.kind[rows], _SUSPENSE),
                "amount": lines.amount_minor[rows],
            }
        )
        sums = alike.group_by(["kind", "run", "day", "account"]).aggregate([("amount", "sum")])
        for each in sums.to_pylist():
            kind, amount = each["kind"], each["amount_sum"]
            plan_id = self._plans[Kind(kind), each["run"]] if kind else self.custodian.home_plan
            account = Account.SUSPENSE if each["account"] == _SUSPENSE else _account_of(KINDS[each["account"]])
            self.general[plan_id, each["day"]].update({Account.CUSTODIAN_CASH: amount, account: -amount})

    async def _decide_earlier(self, lines: Lines, rows: NDArray[np.int64], days: NDArray[np.int32]) -> None:
        """What this statement makes of lines that were pending; what is a break now stays on suspense."""
        if not len(rows):
            return
        amounts, verdict = lines.amount_minor[rows], lines.verdict[rows]
        self._of_earlier.decide(amounts, verdict)
        rows = rows[verdict != PENDING]
        decided, openings = [], []
        for row in rows.tolist():
            was = self._earlier[-lines.batch.column("ordinal")[row].as_py() - 1]
            what, amount = named(lines.verdict[row]), int(lines.amount_minor[row])
            decided.append(Decided(was.statement_id, was.ordinal, amount, was.was, what, int(lines.stage[row])))
            self.decides_breaks |= was.is_break
            if what.code is not None:
                opening = self._opening(lines, row, days, was.statement_id, was.ordinal)
                # Until today its money was on suspense by the break that it had.
                openings.append(replace(opening, opened_on=date_of(self._on)) if was.is_break else opening)
        if decided:
            await decide_lines(self._connection, self.statement_id, decided)
            await open_breaks(self._connection, self.custodian.custodian_id, openings)

    def _opening(self, lines: Lines, row: int, days: NDArray[np.int32], statement_id: int, ordinal: int) -> Opening:
        """The break of one line; of a line that moves no money the amount is the one it is about."""
        amount, reference = int(lines.amount_minor[row]), lines.target.reference(row)
        opening = Opening(
            code=named(lines.verdict[row]).code or Code.MISSING_IN_LEDGER,
            plan_id=self._plan(reference),
            amount_minor=amount or max(int(lines.original_minor[row]), 0),
            suspense_minor=0 if lines.verdict[row] == LATE else amount,
            opened_on=date_of(int(days[row])),
            statement_id=statement_id,
            ordinal=ordinal,
        )
        return opening if reference is None else opening.about(reference)

    def _plan(self, reference: Reference | None) -> int:
        return self._plans[reference.kind, reference.run] if reference else self.custodian.home_plan


def _account_of(kind: LineKind) -> Account:
    """Where a line goes of which nothing was asked: what is of no known type has the sponsor's reference."""
    return _BY_TYPE.get(kind, Account.SPONSOR_RECEIVABLE)


def _by_run(
    lines: Lines, wanted: NDArray[np.bool_] | None = None
) -> Iterator[tuple[tuple[Kind, int], NDArray[np.int64]]]:
    """The rows that name a reference, of those wanted, int64[k] rising, by its kind and run."""
    rows = np.flatnonzero(lines.target.valid if wanted is None else lines.target.valid & wanted)
    if not len(rows):
        return
    keys = (lines.target.kind[rows].astype(np.int64) << _RUN_BITS) | lines.target.run[rows]
    different = keys[:1] if bool(np.all(keys == keys[0])) else np.unique(keys)
    for key in different.tolist():
        yield (
            (Kind(key >> _RUN_BITS), key % (1 << _RUN_BITS)),
            rows if len(different) == 1 else rows[keys == key],
        )
