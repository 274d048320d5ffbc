"""Matching: every line exactly one of matched, break, pending, ignored, as one would find line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.custodian.breaks import Code
from engine.custodian.instructions import AMOUNT_MAX, NO_BATCH, Instructions, State, overdue
from engine.custodian.matching import KNOWN_KINDS, Matcher
from engine.custodian.phases import first_of
from engine.custodian.profile import BookingMode
from engine.custodian.reference import Kind, Reference
from engine.custodian.statement import SCHEMA
from engine.custodian.statement import Kind as LineKind
from engine.custodian.verdicts import NotConserved, Outcome, Stage, named
from engine.errors import InvalidInput
from engine.money.sums import exact_sum
from engine.plans.days import date_of
from tests.unit.custodian import matching_oracle as oracle
from tests.unit.custodian.matching_oracle import Asked, Line, World

RUN = 7
TOP_UPS = {3: 4}


def debit(seat: int, attempt: int = 1, run: int = RUN, kind: Kind = Kind.DEBIT) -> str:
    return str(Reference(kind, run, attempt, seat))


def batch_of(lines: Sequence[Line], first: int = 1) -> pa.RecordBatch:
    rows = [
        {
            "ordinal": first + number,
            "line": first + number,
            "booked_on": None if line.booked_on is None else date_of(line.booked_on),
            "value_on": None,
            "amount_minor": line.amount,
            "reference": line.reference,
            "batch_reference": line.batch_reference,
            "bank_reference": line.bank_reference,
            "kind": line.kind,
            "reason": None,
            "original_minor": line.original,
            "charges_minor": line.charges,
            "count": line.count,
        }
        for number, line in enumerate(lines)
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def instructions_of(world: World) -> list[Instructions]:
    return [
        Instructions(
            kind,
            run,
            np.array([asked.amount for asked in column], np.int64),
            np.array([asked.state for asked in column], np.uint8),
            np.array([asked.attempt for asked in column], np.uint8),
            np.array([asked.batch for asked in column], np.int32),
            sent_on=np.array(column[0].sent_on, np.int32) if column and column[0].sent_on else None,
        )
        for (kind, run), column in world.items()
    ]


def word(verdict: int) -> str:
    what = named(verdict)
    return str(what.code) if what.code else what.outcome.name.lower()


def matched(
    lines: Sequence[Line],
    world: World,
    *,
    cuts: Iterable[int] = (),
    booking: BookingMode = BookingMode.PER_DEBIT,
    known: frozenset[LineKind] = KNOWN_KINDS,
) -> tuple[list[str], Matcher]:
    """The verdicts on lines that come in batches cut at `cuts`, in the lines' order, each given once."""
    matcher = Matcher(instructions_of(world), booking=booking, known_kinds=known, top_ups=TOP_UPS)
    borders = [0, *sorted(cuts), len(lines)]
    parts = [matcher.take(batch_of(lines[a:b], a + 1)) for a, b in pairwise(borders)]
    found: dict[int, str] = {}
    for part in [*parts, matcher.finish()]:
        ordinals = part.lines.column("ordinal").to_pylist()
        for ordinal, verdict in zip(ordinals, part.verdict.tolist(), strict=True):
            if verdict != Outcome.WAITING:
                assert found.setdefault(ordinal, word(verdict)) is not None
                assert list(found).count(ordinal) == 1
    return [found[number] for number in range(1, len(lines) + 1)], matcher


def states_of(matcher: Matcher) -> dict[tuple[Kind, int], list[int]]:
    return {key: each.state.tolist() for key, each in matcher.instructions.items()}


AMOUNTS = st.integers(1, 4)
MISSENT = ["INV-2019-0001", "D00000712345678", "D0000071ZZZZZZ00", "0123456789ABCDEF", "", None]


@st.composite
def asked(draw: st.DrawFn, sent_on: tuple[int, ...] | None) -> Asked:
    return Asked(
        draw(AMOUNTS),
        draw(st.sampled_from([State.SENT, State.SENT, State.BOOKED, *State])),
        draw(st.integers(1, 2)),
        draw(st.integers(NO_BATCH, 1)),
        sent_on,
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world: World = {}
    for key in draw(st.sets(st.sampled_from([(Kind.DEBIT, RUN), (Kind.DEBIT, 8), (Kind.PAYOUT, RUN)]), min_size=1)):
        sent_on = draw(st.sampled_from([None, (0, 1, 2)]))
        world[key] = draw(st.lists(asked(sent_on), min_size=1, max_size=4))
    return world


@st.composite
def references(draw: st.DrawFn) -> str | None:
    """One of ours that may belong to nothing, or none."""
    any_of_ours = st.builds(
        lambda kind, run, attempt, seat: str(Reference(kind, run, attempt, seat)),
        st.sampled_from(Kind),
        st.sampled_from([RUN, 8, 3]),
        st.integers(1, 2),
        st.integers(0, 4),
    )
    return draw(any_of_ours | st.sampled_from(MISSENT))


@st.composite
def statement_lines(draw: st.DrawFn, world: World) -> Line:
    """Mostly what a custodian would say of an instruction there is, sometimes with something wrong."""
    (kind, run), column = draw(st.sampled_from(sorted(world.items())))
    seat = draw(st.integers(0, len(column) - 1))
    asked = column[seat]
    sign = 1 if kind is Kind.DEBIT else -1
    what = draw(st.sampled_from([LineKind.DEBIT, LineKind.DEBIT, LineKind.RETURN, LineKind.RETURN, LineKind.REVERSAL]))
    reference = str(Reference(kind, run, asked.attempt, seat))
    line = Line(sign * asked.amount if what is LineKind.DEBIT else -sign * asked.amount, what.value, reference)
    if draw(st.integers(0, 4)) == 0:
        members = [each for each in column if each.batch == asked.batch and each.attempt == asked.attempt]
        paid = [each for each in members if draw(st.booleans()) or each.state is State.SENT]
        line = Line(
            sign * sum(each.amount for each in paid),
            "batch",
            batch_reference=str(Reference(Kind.BATCH, run, asked.attempt, max(asked.batch, 0))),
            count=draw(st.sampled_from([1, len(paid), len(paid) + 1])),
        )
    changes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {},
        optional={
            "amount": st.integers(-5, 5),
            "kind": st.sampled_from(LineKind).map(str),
            "reference": references(),
            "batch_reference": references(),
            "bank_reference": references() | st.just(reference),
            "booked_on": st.none() | st.integers(0, 3),
            "original": AMOUNTS,
            "charges": st.integers(-1, 2),
            "count": st.integers(1, 3),
        },
    )
    changed = replace(line, **draw(st.one_of(st.just({}), changes)))
    return replace(changed, amount=changed.amount - changed.charges) if draw(st.booleans()) else changed


@st.composite
def statements(draw: st.DrawFn) -> tuple[World, list[Line]]:
    world = draw(worlds())
    return world, draw(st.lists(statement_lines(world), max_size=12))


@settings(max_examples=300)
@given(
    statements(),
    st.sets(st.integers(0, 12), max_size=4),
    st.sampled_from(BookingMode),
    st.frozensets(st.sampled_from([LineKind.CHARGE, LineKind.INTEREST, LineKind.TRANSFER])),
)
def test_I10_every_line_is_what_the_oracle_finds(
    statement: tuple[World, list[Line]], cuts: set[int], booking: BookingMode, known: frozenset[LineKind]
) -> None:
    world, lines = statement
    found, matcher = matched(lines, world, cuts={min(cut, len(lines)) for cut in cuts}, booking=booking, known=known)
    expected = oracle.match(lines, world, booking=booking, top_ups=TOP_UPS, known=frozenset(map(str, known)))
    assert found == expected
    assert states_of(matcher) == {key: [each.state for each in column] for key, column in world.items()}
    assert matcher.tally.taken.amount_minor == sum(line.amount for line in lines)
    assert sum(total.count for _, total in matcher.tally) == len(lines)


def one(state: State = State.SENT, amount: int = 1000, kind: Kind = Kind.DEBIT, attempt: int = 1) -> World:
    return {(kind, RUN): [Asked(amount, state, attempt)]}


BOOKED = Line(1000, "debit", debit(0))
BACK = Line(-1000, "return", debit(0), original=1000)


@pytest.mark.parametrize(
    ("world", "lines", "expected", "state"),
    [
        (one(), [BOOKED], ["matched"], State.BOOKED),
        (one(), [BOOKED, BACK], ["matched", "matched"], State.RETURNED),
        # An Alipay bill begins with what came last.
        (one(), [BACK, BOOKED], ["matched", "matched"], State.RETURNED),
        (one(), [BACK], ["pending"], State.SENT),
        (one(State.ASSESSED), [BOOKED], ["pending"], State.ASSESSED),
        # Seen in a real file: 15.50 = 10.00 + 3.00 + 2.50.
        (one(State.BOOKED), [Line(-1550, "return", debit(0), original=1000, charges=550)], ["matched"], State.RETURNED),
        (one(State.BOOKED), [Line(-1550, "return", debit(0), original=1000)], ["AMOUNT_MISMATCH"], State.BOOKED),
        (one(State.BOOKED), [Line(-1550, "return", debit(0), charges=550)], ["matched"], State.RETURNED),
        (one(State.BOOKED), [replace(BACK, original=999)], ["AMOUNT_MISMATCH"], State.BOOKED),
        (one(), [BOOKED, BOOKED], ["matched", "DUPLICATE_AT_BANK"], State.BOOKED),
        (one(), [replace(BOOKED, amount=1001)], ["AMOUNT_MISMATCH"], State.DISPUTED),
        (one(), [replace(BOOKED, amount=1001), BOOKED], ["AMOUNT_MISMATCH", "matched"], State.BOOKED),
        (one(), [BOOKED, replace(BOOKED, amount=1001)], ["matched", "DUPLICATE_AT_BANK"], State.BOOKED),
        (one(State.SETTLED), [BACK], ["RETURNED_AFTER_SETTLEMENT"], State.REOPENED),
        (one(State.SETTLED), [BACK, BACK], ["RETURNED_AFTER_SETTLEMENT", "DUPLICATE_AT_BANK"], State.REOPENED),
        (one(), [Line(-1000, "reversal", debit(0)), BOOKED], ["REVERSED", "matched"], State.DISPUTED),
        (one(State.REJECTED), [BOOKED], ["STATUS_CONFLICT"], State.REJECTED),
        (one(attempt=2), [BOOKED], ["DUPLICATE_AT_BANK"], State.SENT),
        (one(), [Line(1000, "debit", debit(0, attempt=2))], ["UNKNOWN_REFERENCE"], State.SENT),
        (one(), [Line(1000, "debit", debit(1))], ["UNKNOWN_REFERENCE"], State.SENT),
        (one(), [Line(1000, "debit", debit(0, run=99))], ["UNKNOWN_REFERENCE"], State.SENT),
        (one(), [Line(1000, "debit", debit(0)[:-1] + "#")], ["MISSING_IN_LEDGER"], State.SENT),
        (one(), [Line(1000, "transfer", "INV-2019-0001")], ["MISSING_IN_LEDGER"], State.SENT),
        (one(), [Line(-5, "charge")], ["matched"], State.SENT),
        (one(), [Line(0, "debit", debit(0))], ["ignored"], State.SENT),
        (one(), [Line(500, "top-up", str(Reference(Kind.TOP_UP, 3, 0, 3)))], ["matched"], State.SENT),
        (one(kind=Kind.PAYOUT), [Line(-1000, "payout", debit(0, kind=Kind.PAYOUT))], ["matched"], State.BOOKED),
        (
            one(State.BOOKED, kind=Kind.PAYOUT),
            [Line(980, "return", debit(0, kind=Kind.PAYOUT), original=1000, charges=20)],
            ["matched"],
            State.RETURNED,
        ),
    ],
)
def test_what_a_line_says_of_an_instruction(world: World, lines: list[Line], expected: list[str], state: State) -> None:
    found, matcher = matched(lines, world)
    assert found == expected
    assert [each.state[0] for each in matcher.instructions.values()] == [state]


def batched(*states: State) -> World:
    return {(Kind.DEBIT, RUN): [Asked(10 + seat, state, 1, batch=4) for seat, state in enumerate(states)]}


SENT, REJECTED, IN_BREAK = State.SENT, State.REJECTED, State.DISPUTED
GROSS, NET = BookingMode.GROSS_PER_BATCH, BookingMode.NET_PER_FILE


@pytest.mark.parametrize(
    ("booking", "states", "line", "expected", "after"),
    [
        (GROSS, (SENT, SENT), Line(21, "batch"), "matched", [State.BOOKED, State.BOOKED]),
        (GROSS, (SENT, SENT), Line(21, "batch", count=2), "matched", [State.BOOKED, State.BOOKED]),
        (GROSS, (SENT, SENT), Line(21, "batch", count=3), "BATCH_OVER", [IN_BREAK, IN_BREAK]),
        (GROSS, (SENT, REJECTED), Line(21, "batch"), "matched", [State.BOOKED, State.BOOKED]),
        (NET, (SENT, REJECTED), Line(10, "batch"), "matched", [State.BOOKED, REJECTED]),
        (NET, (SENT, REJECTED), Line(21, "batch"), "BATCH_OVER", [IN_BREAK, REJECTED]),
        (NET, (SENT, SENT), Line(20, "batch"), "BATCH_SHORT", [IN_BREAK, IN_BREAK]),
        (GROSS, (State.BOOKED, State.BOOKED), Line(21, "batch"), "DUPLICATE_AT_BANK", [State.BOOKED, State.BOOKED]),
        (GROSS, (SENT, State.BOOKED), Line(21, "batch"), "STATUS_CONFLICT", [IN_BREAK, State.BOOKED]),
        (BookingMode.PER_DEBIT, (SENT, SENT), Line(21, "batch"), "BATCH_OVER", [SENT, SENT]),
    ],
)
def test_a_batch_is_booked_as_its_custodian_does(
    booking: BookingMode, states: tuple[State, ...], line: Line, expected: str, after: list[State]
) -> None:
    named_in_batch = replace(line, batch_reference=str(Reference(Kind.BATCH, RUN, 1, 4)))
    found, matcher = matched([named_in_batch], batched(*states), booking=booking)
    assert found == [expected]
    assert matcher.instructions[Kind.DEBIT, RUN].state.tolist() == after


def test_what_came_back_of_a_gross_batch_is_found_wherever_it_stands() -> None:
    batch = Line(21, "batch", str(Reference(Kind.BATCH, RUN, 1, 4)))
    lines = [Line(-11, "return", debit(1), original=11), batch]
    found, matcher = matched(lines, batched(SENT, SENT), booking=GROSS, cuts=[1])
    assert found == ["matched", "matched"]
    assert matcher.instructions[Kind.DEBIT, RUN].state.tolist() == [State.BOOKED, State.RETURNED]


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        (BOOKED, Stage.REFERENCE),
        (replace(BACK), Stage.RETURN),
        (replace(BOOKED, reference="NOTPROVIDED", bank_reference=debit(0)), Stage.SECONDARY),
        (Line(-5, "charge"), Stage.KNOWN),
        (Line(5, "other", "INV-1"), Stage.KNOWN),
        (Line(0, "debit", debit(0)), Stage.NONE),
    ],
)
def test_a_line_says_at_which_stage_it_was_decided(line: Line, stage: Stage) -> None:
    matcher = Matcher(instructions_of(one(State.BOOKED)))
    assert matcher.take(batch_of([line])).stage.tolist() == [stage]


def test_what_waits_for_the_next_statement_is_in_transit() -> None:
    matcher = Matcher(instructions_of(one()))
    assert word(int(matcher.take(batch_of([BACK])).verdict[0])) == "waiting"
    last = matcher.finish()
    assert (last.rows(Outcome.PENDING).tolist(), last.stage.tolist()) == ([0], [Stage.TRANSIT])
    assert last.target.seat.tolist() == [0]


def test_a_statement_that_only_informs_moves_nothing() -> None:
    matcher = Matcher(instructions_of(one()), informs_only=True)
    assert matcher.take(batch_of([BOOKED])).rows(Outcome.IGNORED).tolist() == [0]
    assert matcher.finish().rows(Outcome.MATCHED).tolist() == []
    assert matcher.instructions[Kind.DEBIT, RUN].state.tolist() == [State.SENT]
    assert matcher.tally.of(Outcome.IGNORED).amount_minor == 1000


def test_the_same_statement_again_matches_nothing() -> None:
    lines = [BOOKED, Line(20, "debit", debit(1)), replace(BACK)]
    world: World = {(Kind.DEBIT, RUN): [Asked(1000, SENT, 1), Asked(20, SENT, 1)]}
    _, first = matched(lines, world)
    again = Matcher(first.instructions.values())
    again.take(batch_of(lines))
    again.finish()
    assert again.tally.of(Outcome.MATCHED).count == 0
    assert again.tally.of(Outcome.BREAK, Code.DUPLICATE_AT_BANK).count == 3
    assert states_of(again) == states_of(first)


def test_the_callers_arrays_stay() -> None:
    given_in = instructions_of(one())
    matcher = Matcher(given_in)
    matcher.take(batch_of([BOOKED]))
    assert given_in[0].state.tolist() == [State.SENT]


def test_I10_a_lost_line_is_noticed() -> None:
    matcher = Matcher(instructions_of(one()))
    matcher.take(batch_of([BACK]))
    matcher._held.clear()
    with pytest.raises(NotConserved, match=r"1 lines of -1000 .* 0 of 0 .*\[I10\]"):
        matcher.finish()


def test_sums_do_not_wrap() -> None:
    amounts = np.array([2**63 - 1, 2**63 - 1, -(2**63)], np.int64)
    assert exact_sum(amounts) == 2**63 - 2
    lines = [Line(2**63 - 1, "debit", debit(0)), Line(-(2**63), "return", debit(0), charges=2**63 - 1), BOOKED]
    found, matcher = matched(lines, one())
    assert found == ["AMOUNT_MISMATCH", "AMOUNT_MISMATCH", "matched"]
    assert matcher.tally.taken.amount_minor == 999


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3], [3, 1, 3, 1, 2], [0, 0, 0]])
def test_first_of(values: list[int]) -> None:
    assert first_of(np.array(values, np.int64)).tolist() == [
        value not in values[:place] for place, value in enumerate(values)
    ]


def test_what_no_statement_shows_is_overdue() -> None:
    states = [State.SENT, State.BOOKED, State.SENT, State.DISPUTED, State.NONE]
    attempts = np.array([1, 1, 2, 1, 0], np.uint8)
    sent_on = np.array([0, 100, 110], np.int32)
    sent = Instructions(Kind.DEBIT, RUN, np.ones(5, np.int64), np.array(states, np.uint8), attempts, sent_on=sent_on)
    assert overdue(sent, 99).tolist() == []
    assert overdue(sent, 105).tolist() == [0]
    assert overdue(sent, 110).tolist() == [0, 2]
    with pytest.raises(InvalidInput, match="sent_on"):
        overdue(replace(sent, sent_on=None), 110)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((np.ones(2, np.int64), np.zeros(1, np.uint8), np.zeros(2, np.uint8)), "columns of"),
        ((np.array([-1]), np.zeros(1, np.uint8), np.zeros(1, np.uint8)), "minor units"),
        ((np.array([AMOUNT_MAX + 1]), np.zeros(1, np.uint8), np.zeros(1, np.uint8)), "minor units"),
        ((np.ones(1, np.int64), np.full(1, 99, np.uint8), np.zeros(1, np.uint8)), "state 99"),
    ],
)
def test_what_cannot_be_instructions_is_refused(columns: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Instructions(Kind.DEBIT, RUN, *columns)


def test_a_run_comes_once() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        Matcher(instructions_of(one()) * 2)
