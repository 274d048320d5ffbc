"""The table of a run's life, pair by pair, and walked at random against a second telling of the rules."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.runs.states import AT_WORK, HOLDS_THE_PLAN, TRANSITIONS, NotNow, RunEvent, RunState, after

IN_THE_BOOKS = {RunState.SEALED, RunState.COLLECTING, RunState.SETTLED, RunState.CLOSED}

ONWARD = """
           freeze  measure   measure-again  preview    approve   post     seal
planned    frozen  -         -              -          -         -        -
frozen     -       measured  -              -          -         -        -
measured   -       -         frozen         previewed  -         -        -
previewed  -       -         -              -          approved  -        -
approved   -       -         -              -          -         posting  -
posting    -       -         -              -          -         -        sealed
sealed     -       -         -              -          -         -        -
collecting -       -         -              -          -         -        -
settled    -       -         -              -          -         -        -
closed     -       -         -              -          -         -        -
voiding    -       -         -              -          -         -        -
voided     -       -         -              -          -         -        -
failed     -       -         -              -          -         -        -
"""

THROUGH = """
           collect     settle   close
planned    -           -        -
frozen     -           -        -
measured   -           -        -
previewed  -           -        -
approved   -           -        -
posting    -           -        -
sealed     collecting  settled  -
collecting -           settled  -
settled    -           -        closed
closed     -           -        -
voiding    -           -        -
voided     -           -        -
failed     -           -        -
"""

OUT = """
           drop    fail    reverse  finish-void
planned    voided  failed  -        -
frozen     voided  failed  -        -
measured   voided  failed  -        -
previewed  voided  failed  -        -
approved   voided  failed  -        -
posting    -       -       voiding  -
sealed     -       -       voiding  -
collecting -       -       -        -
settled    -       -       -        -
closed     -       -       -        -
voiding    -       -       -        voided
voided     -       -       -        -
failed     -       -       -        -
"""


def pairs() -> list[tuple[RunState, RunEvent, str]]:
    told = []
    for table in (ONWARD, THROUGH, OUT):
        header, *lines = (line.split() for line in table.strip().splitlines())
        events = [RunEvent(event.replace("-", " ")) for event in header]
        told += [
            (RunState(state), event, then) for state, *row in lines for event, then in zip(events, row, strict=True)
        ]
    return told


@pytest.mark.parametrize(("state", "event", "then"), pairs())
def test_every_pair_of_state_and_event(state: RunState, event: RunEvent, then: str) -> None:
    if then == "-":
        with pytest.raises(NotNow, match=f"^a {state} run cannot {event}; possible: "):
            after(state, event)
    else:
        assert after(state, event) is RunState(then)


def test_the_tables_above_leave_no_pair_out() -> None:
    assert sorted((state, event) for state, event, _ in pairs()) == sorted(product(RunState, RunEvent))
    assert {(state, event) for state, event, then in pairs() if then != "-"} == TRANSITIONS.keys()


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        (RunState.PLANNED, "drop, fail, freeze"),
        (RunState.MEASURED, "drop, fail, measure again, preview"),
        (RunState.POSTING, "reverse, seal"),
        (RunState.SEALED, "collect, reverse, settle"),
        (RunState.COLLECTING, "settle"),
        (RunState.SETTLED, "close"),
        (RunState.CLOSED, "nothing"),
        (RunState.VOIDED, "nothing"),
        (RunState.FAILED, "nothing"),
    ],
)
def test_a_refusal_says_what_is_possible(state: RunState, possible: str) -> None:
    with pytest.raises(NotNow, match=f"possible: {possible}$"):
        after(state, RunEvent.FINISH_VOID if state is not RunState.VOIDING else RunEvent.SEAL)


def test_every_state_can_be_reached() -> None:
    reached = {RunState.PLANNED}
    for _ in RunState:
        reached |= {then for (state, _), then in TRANSITIONS.items() if state in reached}
    assert reached == set(RunState)


@pytest.mark.parametrize("state", RunState)
def test_a_run_ends_sealed_closed_voided_or_failed(state: RunState) -> None:
    """From wherever it stands there is a way to an end: no run can hold its plan for ever."""
    reached = {state}
    for _ in RunState:
        reached |= {then for (at, _), then in TRANSITIONS.items() if at in reached}
    assert reached & {RunState.SEALED, RunState.CLOSED, RunState.VOIDED, RunState.FAILED}


def test_workers_move_every_state_but_those_that_rest() -> None:
    rests = {RunState.PREVIEWED, *IN_THE_BOOKS, RunState.VOIDED, RunState.FAILED}
    assert set(AT_WORK) == set(RunState) - rests


def test_a_run_holds_its_plan_from_its_freeze_to_its_end() -> None:
    free = {RunState.PLANNED, *IN_THE_BOOKS, RunState.VOIDED, RunState.FAILED}
    assert set(RunState) - free == HOLDS_THE_PLAN


class ALife(RuleBasedStateMachine):
    """A run told by facts (is it fixed, shown, approved, in the books) beside the run told by its state."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RunState.PLANNED
        self.fixed = self.measured = self.shown = self.approved = False
        self.begun = self.sealed = self.undoing = False
        self.asked = self.through = self.closed = False
        self.ended: RunState | None = None

    def allowed(self, event: RunEvent) -> bool:
        """The rules once more, in facts."""
        if self.ended is not None:
            return False
        if self.undoing:
            return event is RunEvent.FINISH_VOID
        return {
            RunEvent.FREEZE: not self.fixed,
            RunEvent.MEASURE: self.fixed and not self.measured,
            RunEvent.MEASURE_AGAIN: self.measured and not self.shown,
            RunEvent.PREVIEW: self.measured and not self.shown,
            RunEvent.APPROVE: self.shown and not self.approved,
            RunEvent.POST: self.approved and not self.begun,
            RunEvent.SEAL: self.begun and not self.sealed,
            RunEvent.DROP: not self.begun,
            RunEvent.FAIL: not self.begun,
            RunEvent.COLLECT: self.sealed and not self.asked and not self.through,
            RunEvent.SETTLE: self.sealed and not self.through,
            RunEvent.CLOSE: self.through and not self.closed,
            RunEvent.REVERSE: self.begun and not self.asked and not self.through,
            RunEvent.FINISH_VOID: False,
        }[event]

    def note(self, event: RunEvent) -> None:
        """What the event makes a fact."""
        match event:
            case RunEvent.FREEZE:
                self.fixed = True
            case RunEvent.MEASURE:
                self.measured = True
            case RunEvent.MEASURE_AGAIN:
                self.measured = False
            case RunEvent.PREVIEW:
                self.shown = True
            case RunEvent.APPROVE:
                self.approved = True
            case RunEvent.POST:
                self.begun = True
            case RunEvent.SEAL:
                self.sealed = True
            case RunEvent.COLLECT:
                self.asked = True
            case RunEvent.SETTLE:
                self.through = True
            case RunEvent.CLOSE:
                self.closed = True
            case RunEvent.REVERSE:
                self.undoing = True
            case RunEvent.DROP | RunEvent.FINISH_VOID:
                self.ended = RunState.VOIDED
            case RunEvent.FAIL:
                self.ended = RunState.FAILED

    @rule(event=st.sampled_from(RunEvent))
    def happens(self, event: RunEvent) -> None:
        if self.allowed(event):
            self.state = after(self.state, event)
            self.note(event)
        else:
            with pytest.raises(NotNow):
                after(self.state, event)

    @invariant()
    def nothing_is_posted_that_nobody_approved(self) -> None:
        if self.state in (RunState.POSTING, *IN_THE_BOOKS, RunState.VOIDING):
            assert self.approved

    @invariant()
    def what_is_in_the_books_is_sealed_or_reversed_never_dropped(self) -> None:
        if self.state is RunState.FAILED:
            assert not self.begun
        if self.state is RunState.VOIDED and self.begun:
            assert self.undoing


TestALife = ALife.TestCase
TestALife.settings = settings(max_examples=60, stateful_step_count=25)
