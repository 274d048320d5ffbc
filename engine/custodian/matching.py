"""Matching: every line of a statement to what it is, by its reference, which is an index into arrays by seat.

Each line ends as exactly one of matched, break, pending, ignored (I10). The lines are a set: one pass takes them in
the file's order, and the few that hang on what other lines say wait for `finish`. So it is as if the statement was
read once for each phase: bookings, bookings of whole batches, returns, reversals; within a phase the first exact line
wins, and one after it is a duplicate. The stages are those treasury knows:

1 exact reference · 2 returns, the original and the charges apart · 3 batches by booking mode · 4 our reference found in
another field · 5 suggestions (engine.custodian.suggestions; never applied) · 6 known by their type · 7 in transit
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.batches import Members
from engine.custodian.breaks import Code
from engine.custodian.instructions import Instructions, State
from engine.custodian.lines import KINDS, Lines, joined
from engine.custodian.phases import BOOKING, CONFLICT, DUPLICATE, RETURN, REVERSAL, UNKNOWN, may_yet_be_booked
from engine.custodian.profile import BookingMode
from engine.custodian.reference import INSTRUCTED, decode
from engine.custodian.reference import Kind as Asked
from engine.custodian.statement import Kind
from engine.custodian.verdicts import MATCHED, PENDING, Ignored, Outcome, Stage, Tally, Verdicts, broken, ignored
from engine.errors import InvalidInput

KNOWN_KINDS = frozenset({Kind.CHARGE, Kind.INTEREST})
"""What most accounts have without anybody asking for it."""

BatchBooked = Callable[[Instructions, NDArray[np.int64], Lines, int], None]
"""Told of the seats int64[k] that one row of lines booked as a batch."""

_OUR_SHAPE = f"^[{''.join(chr(kind) for kind in Asked)}][0-9A-Z]{{15}}$"
_RUN_BITS = 32


class Matcher:
    """The lines of one statement against the instructions they may be about.

    `instructions`: one of each kind and run, not changed; `self.instructions` are copies of which the states move on.
    `known_kinds`: lines that need no reference. `top_ups`: by the run their references name, how many seats may pay in.
    `informs_only`: another message books the account. Raises InvalidInput for two of the same kind and run.

        matcher = Matcher(…)
        for batch in batches: matcher.take(batch)
        matcher.finish()

    Who does not know beforehand what the lines name takes them in two steps, and loads in between what they name:

        lines = matcher.read(Lines.of(batch)); …; matcher.hold(…); matcher.judge(lines); …; matcher.rest()
    """

    def __init__(
        self,
        instructions: Iterable[Instructions],
        *,
        booking: BookingMode = BookingMode.PER_DEBIT,
        known_kinds: Collection[Kind] = KNOWN_KINDS,
        top_ups: Mapping[int, int] | None = None,
        informs_only: bool = False,
        batch_booked: BatchBooked | None = None,
    ) -> None:
        self.instructions: dict[tuple[Asked, int], Instructions] = {}
        for each in instructions:
            if (each.kind, each.run) in self.instructions:
                raise InvalidInput(f"run {each.run} comes twice with {each.kind.name.lower()}s; give each once")
            self.instructions[each.kind, each.run] = each.playable()
        self.tally = Tally()
        self._booking, self._batch_booked = booking, batch_booked
        self._known = np.isin(np.arange(len(KINDS)), [KINDS.index(kind) for kind in known_kinds])
        self.top_ups = dict(top_ups or {})
        self._informs_only = informs_only
        self._held: list[Lines] = []
        self._returns_held: dict[tuple[Asked, int], NDArray[np.bool_]] = {}

    def hold(self, instructions: Instructions) -> None:
        """Play on these as they are, in place of any of their kind and run: their states move on, uncopied.

        They may be filled in later, before a line that names what is new is judged.
        """
        self.instructions[instructions.kind, instructions.run] = instructions

    def take(self, batch: pa.RecordBatch) -> Verdicts:
        """What becomes of the next lines of the statement (a batch of SCHEMA); WAITING is left to `finish`."""
        lines = self.read(Lines.of(batch))
        self.judge(lines)
        return lines.verdicts()

    def finish(self) -> Verdicts:
        """What becomes of the lines that waited, in their order. Raises NotConserved [I10]."""
        return self.rest().verdicts()

    def read(self, lines: Lines) -> Lines:
        """The next lines of the statement: what they name, and what their type alone says of them."""
        self.tally.take(lines.amount_minor)
        self._by_type(lines)
        self._find_references(lines)
        return lines

    def judge(self, lines: Lines) -> None:
        """Give the lines read their verdicts, but those that have one; WAITING is left to `rest`."""
        self._without_reference(lines)
        for key, rows in _by_instructions(lines):
            self._take_of(key, lines, rows)
        waiting = np.flatnonzero(lines.verdict == Outcome.WAITING)
        if len(waiting):
            self._held.append(lines.chosen(waiting))
        self._decided(lines)

    def rest(self) -> Lines:
        """The lines that waited, in their order, with their verdicts. Raises NotConserved [I10]."""
        lines = joined(self._held)
        self._held.clear()
        self._returns_held.clear()
        batches = np.flatnonzero(lines.target.kind == Asked.BATCH)
        if len(batches):
            held = self.instructions.items()
            members = {key: Members(each, self._booking) for key, each in held if each.batch is not None}
            for row in batches.tolist():
                self._book_batch(members, lines, row)
        of_instructions = list(_by_instructions(lines))
        for phase, wanted in ((RETURN, ~lines.is_kind(Kind.REVERSAL)), (REVERSAL, lines.is_kind(Kind.REVERSAL))):
            for key, rows in of_instructions:
                phase.claim(self.instructions[key], lines, rows[wanted[rows]])
        self._decided(lines)
        self.tally.prove()
        return lines

    def _decided(self, lines: Lines) -> None:
        lines.stage[lines.verdict == PENDING] = Stage.TRANSIT
        self.tally.decide(lines.amount_minor, lines.verdict)

    def _by_type(self, lines: Lines) -> None:
        """What its type alone decides, whatever reference stands beside it."""
        if self._informs_only:
            lines.verdict[:] = ignored(Ignored.INFORMS_ONLY)
            return
        lines.verdict[lines.amount_minor == 0] = ignored(Ignored.NOT_BOOKED)
        for kind, unexpected in ((Kind.CHARGE, Code.FEE_UNEXPECTED), (Kind.INTEREST, Code.MISSING_IN_LEDGER)):
            rows = lines.is_kind(kind) & (lines.verdict == 0)
            lines.verdict[rows] = MATCHED if self._known[KINDS.index(kind)] else broken(unexpected)
            lines.stage[rows] = Stage.KNOWN

    def _find_references(self, lines: Lines) -> None:
        """Where its own field holds none of our references: the batch's, for a line of a batch; else the bank's."""
        open_ = lines.verdict == 0
        lines.stage[open_] = Stage.REFERENCE
        of_batch = np.flatnonzero(open_ & (lines.is_kind(Kind.BATCH) | (lines.count > 1)) & ~_names_batch(lines))
        lines.read_also("batch_reference", of_batch)
        rows = np.flatnonzero(open_ & ~lines.target.valid)
        lines.stage[lines.read_also("bank_reference", rows)] = Stage.SECONDARY

    def _without_reference(self, lines: Lines) -> None:
        rows = np.flatnonzero((lines.verdict == 0) & ~lines.target.valid)
        if not len(rows):
            return
        lines.stage[rows] = Stage.KNOWN
        chosen = pa.array(rows)
        shaped = pc.match_substring_regex(lines.batch.column("reference").take(chosen), _OUR_SHAPE).fill_null(False)
        ours = shaped.to_numpy(zero_copy_only=False) | decode(lines.batch.column("batch_reference").take(chosen)).valid
        foreign = np.where(self._known[lines.kind[rows]], MATCHED, broken(Code.MISSING_IN_LEDGER))
        lines.verdict[rows] = np.where(ours, UNKNOWN, foreign)

    def _take_of(self, key: tuple[Asked, int], lines: Lines, rows: NDArray[np.int64]) -> None:
        """The rows int64[k] that name one run's instructions of one kind."""
        kind, run = key
        if kind is Asked.TOP_UP:
            self._top_up(lines, rows, self.top_ups.get(run, 0))
        elif kind is Asked.BATCH:
            lines.stage[rows[lines.stage[rows] == Stage.REFERENCE]] = Stage.BATCH
        elif key not in self.instructions:
            lines.verdict[rows] = UNKNOWN
        else:
            self._take_known(key, lines, self._there(self.instructions[key], lines, rows))

    def _top_up(self, lines: Lines, rows: NDArray[np.int64], seats: int) -> None:
        known = lines.target.seat[rows] < seats
        lines.verdict[rows] = np.where(known, np.where(lines.amount_minor[rows] > 0, MATCHED, CONFLICT), UNKNOWN)

    def _there(self, instructions: Instructions, lines: Lines, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that name the last attempt at an instruction that there is; the others have their verdict."""
        seat = lines.target.seat[rows]
        inside = seat < len(instructions)
        if not inside.all():
            lines.verdict[rows[~inside]] = UNKNOWN
            rows, seat = rows[inside], seat[inside]
        attempt, last = lines.target.attempt[rows], instructions.attempt[seat]
        known = (instructions.state[seat] != State.NONE) & (attempt == last)
        if known.all():
            return rows
        # A new attempt is made only of what came back: another line of an old one says again what was said.
        again = (instructions.state[seat] != State.NONE) & (attempt < last)
        lines.verdict[rows[~known]] = np.where(again, DUPLICATE, UNKNOWN)[~known]
        there: NDArray[np.int64] = rows[known]
        return there

    def _take_known(self, key: tuple[Asked, int], lines: Lines, rows: NDArray[np.int64]) -> None:
        instructions = self.instructions[key]
        reverses = lines.is_kind(Kind.REVERSAL)[rows]
        own_way = (lines.amount_minor[rows] > 0) == (instructions.sign > 0)
        books = own_way & ~reverses & ~lines.is_kind(Kind.RETURN)[rows]
        if books.all():
            BOOKING.claim(instructions, lines, rows)
            return
        BOOKING.claim(instructions, lines, rows[books])
        back = rows[~books]
        lines.stage[back[lines.stage[back] == Stage.REFERENCE]] = Stage.RETURN
        returns = rows[~books & ~reverses]
        held = self._returns_held.setdefault(key, np.zeros(len(instructions), np.bool_))
        seat = lines.target.seat[returns]
        # In their order: one that comes after one that waits, waits.
        waits = may_yet_be_booked(instructions.state[seat]) | held[seat]
        held[seat[waits]] = True
        RETURN.claim(instructions, lines, returns[~waits])

    def _book_batch(self, of_runs: Mapping[tuple[Asked, int], Members], lines: Lines, row: int) -> None:
        number, attempt, run = (int(getattr(lines.target, name)[row]) for name in ("seat", "attempt", "run"))
        for kind in INSTRUCTED:
            members = of_runs.get((kind, run))
            if members is not None and members.has(number):
                amount, count = int(lines.amount_minor[row]), int(lines.count[row])
                lines.verdict[row], booked = members.book(number, attempt, amount, count)
                if lines.verdict[row] == MATCHED and self._batch_booked is not None:
                    self._batch_booked(members.instructions, booked, lines, row)
                return
        lines.verdict[row] = UNKNOWN


def _names_batch(lines: Lines) -> NDArray[np.bool_]:
    named: NDArray[np.bool_] = lines.target.valid & (lines.target.kind == Asked.BATCH)
    return named


def _by_instructions(lines: Lines) -> Iterator[tuple[tuple[Asked, int], NDArray[np.int64]]]:
    """The undecided rows that name a reference, int64[k] rising, by its kind and run."""
    rows = np.flatnonzero((lines.verdict == 0) & lines.target.valid)
    if not len(rows):
        return
    keys = (lines.target.kind[rows].astype(np.int64) << _RUN_BITS) | lines.target.run[rows]
    different = keys[:1] if bool(np.all(keys == keys[0])) else np.unique(keys)
    for key in different.tolist():
        named = rows if len(different) == 1 else rows[keys == key]
        yield (Asked(key >> _RUN_BITS), key % (1 << _RUN_BITS)), named
