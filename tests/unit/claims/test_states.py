"""The table of a claim's life, pair by pair, and walked at random against a second telling of the rules."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.claims.states import INITIAL, NEXT, ClaimRefused, Event, State, after, possible, sources

LIFE = """
           file publish   object    resolve   pass   reject   withdraw  share   seal   release bill   take_back recover
filed      -    published -         -         -      rejected withdrawn -       -      -       -      -         -
published  -    -         published published passed rejected withdrawn -       -      -       -      -         -
passed     -    -         -         -         -      -        withdrawn sharing -      -       passed shared    passed
sharing    -    -         -         -         -      -        withdrawn -       shared passed  -      shared    sharing
shared     -    -         -         -         -      -        -         -       -      passed  passed -         shared
rejected   -    -         -         -         -      -        -         -       -      -       -      -         -
withdrawn  -    -         -         -         -      -        -         -       -      -       -      -         -
"""


def pairs() -> list[tuple[State, Event, str]]:
    header, *lines = (line.split() for line in LIFE.strip().splitlines())
    return [
        (State(state), Event(event.replace("_", " ")), then)
        for state, *row in lines
        for event, then in zip(header, row, strict=True)
    ]


@pytest.mark.parametrize(("state", "event", "then"), pairs())
def test_every_pair_of_state_and_event(state: State, event: Event, then: str) -> None:
    if then == "-":
        with pytest.raises(ClaimRefused, match=f"a claim that is {state} cannot {event}; possible now: "):
            after(state, event)
    else:
        assert after(state, event) is State(then)


def test_the_table_above_leaves_no_pair_out() -> None:
    assert sorted((state, event) for state, event, _ in pairs()) == sorted(product(State, Event))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (State.FILED, "publish, reject, withdraw"),
        (State.PUBLISHED, "object, resolve, pass, reject, withdraw"),
        (State.SHARED, "release, bill, recover"),
        (State.REJECTED, "nothing, it is final"),
    ],
)
def test_a_refusal_says_what_is_possible(state: State, named: str) -> None:
    with pytest.raises(ClaimRefused, match=f"possible now: {named}$"):
        after(state, Event.FILE)


def test_sources_and_possible_tell_the_same_table() -> None:
    assert {(state, event) for event in Event for state in sources(event)} == NEXT.keys()
    assert {(state, event) for state in State for event in possible(state)} == NEXT.keys()


def test_every_state_can_be_reached() -> None:
    reached = {INITIAL}
    for _ in State:
        reached |= {then for (state, _), then in NEXT.items() if state in reached}
    assert reached == set(State)


class ALife(RuleBasedStateMachine):
    """A claim told by facts (is it noticed, decided, carried, is a stage due) beside the claim told by its state."""

    def __init__(self) -> None:
        super().__init__()
        self.state = INITIAL
        self.noticed = self.passed = self.carried = self.sealed = False
        self.ended: State | None = None

    def happens(self, event: Event, *, allowed: bool) -> None:
        if allowed:
            self.state = after(self.state, event)
            return
        with pytest.raises(ClaimRefused):
            after(self.state, event)

    @property
    def alive(self) -> bool:
        return self.ended is None

    @rule()
    def is_published(self) -> None:
        allowed = self.alive and not self.noticed
        self.happens(Event.PUBLISH, allowed=allowed)
        self.noticed |= allowed

    @rule(event=st.sampled_from([Event.OBJECT, Event.RESOLVE]))
    def is_disputed(self, event: Event) -> None:
        self.happens(event, allowed=self.alive and self.noticed and not self.passed)

    @rule()
    def passes(self) -> None:
        allowed = self.alive and self.noticed and not self.passed
        self.happens(Event.PASS, allowed=allowed)
        self.passed |= allowed

    @rule()
    def is_shared(self) -> None:
        allowed = self.alive and self.passed and not self.carried
        self.happens(Event.SHARE, allowed=allowed)
        self.carried |= allowed

    @rule()
    def is_sealed(self) -> None:
        allowed = self.alive and self.carried and not self.sealed
        self.happens(Event.SEAL, allowed=allowed)
        self.sealed |= allowed

    @rule()
    def is_released(self) -> None:
        allowed = self.alive and self.carried
        self.happens(Event.RELEASE, allowed=allowed)
        if allowed:
            self.carried = self.sealed = False

    @rule()
    def is_billed(self) -> None:
        allowed = self.alive and self.passed and (self.sealed or not self.carried)
        self.happens(Event.BILL, allowed=allowed)
        if allowed:
            self.carried = self.sealed = False

    @rule()
    def a_stage_is_taken_back(self) -> None:
        allowed = self.alive and self.passed and not self.sealed
        self.happens(Event.TAKE_BACK, allowed=allowed)
        if allowed:
            self.carried = self.sealed = True

    @rule()
    def aid_comes_back(self) -> None:
        self.happens(Event.RECOVER, allowed=self.alive and self.passed)

    @rule()
    def is_rejected(self) -> None:
        allowed = self.alive and not self.passed
        self.happens(Event.REJECT, allowed=allowed)
        self.ended = State.REJECTED if allowed else self.ended

    @rule()
    def is_withdrawn(self) -> None:
        allowed = self.alive and not self.sealed
        self.happens(Event.WITHDRAW, allowed=allowed)
        self.ended = State.WITHDRAWN if allowed else self.ended

    @precondition(lambda self: self.ended is not None)
    @rule(event=st.sampled_from(Event))
    def nothing_follows_the_end(self, event: Event) -> None:
        self.happens(event, allowed=False)

    @invariant()
    def state_tells_the_facts(self) -> None:
        told = (
            State.SHARED if self.sealed
            else State.SHARING if self.carried
            else State.PASSED if self.passed
            else State.PUBLISHED if self.noticed
            else State.FILED
        )  # fmt: skip
        assert self.state is (self.ended or told)


test_a_life = ALife.TestCase
