"""The life of a claim: which event leads from which state to which (DESIGN §1).

A claim that is paid in stages (SCHEMES: meituan) goes round: passed, sharing, shared, and with the next bill passed
again, until all of its aid was shared. What was shared in sealed runs stays, whatever becomes of the rest: of such a
claim only the stage that waits can be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from engine.errors import FentanError


class ClaimRefused(FentanError):
    """The claim does not allow this now."""


class State(StrEnum):
    """Where a claim stands."""

    FILED = "filed"
    PUBLISHED = "published"
    PASSED = "passed"
    SHARING = "sharing"
    SHARED = "shared"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can happen to a claim; each one is a row of its history."""

    FILE = "file"
    PUBLISH = "publish"
    OBJECT = "object"
    RESOLVE = "resolve"
    PASS = "pass"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    SHARE = "share"
    SEAL = "seal"
    RELEASE = "release"
    BILL = "bill"
    TAKE_BACK = "take back"
    RECOVER = "recover"


INITIAL = State.FILED
"""Where `file` puts a new claim; nothing leads back to it."""

NEXT: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.FILED, Event.PUBLISH): State.PUBLISHED,
        (State.FILED, Event.REJECT): State.REJECTED,
        (State.FILED, Event.WITHDRAW): State.WITHDRAWN,
        (State.PUBLISHED, Event.OBJECT): State.PUBLISHED,
        (State.PUBLISHED, Event.RESOLVE): State.PUBLISHED,
        (State.PUBLISHED, Event.PASS): State.PASSED,
        (State.PUBLISHED, Event.REJECT): State.REJECTED,
        (State.PUBLISHED, Event.WITHDRAW): State.WITHDRAWN,
        (State.PASSED, Event.SHARE): State.SHARING,
        (State.PASSED, Event.WITHDRAW): State.WITHDRAWN,
        (State.SHARING, Event.SEAL): State.SHARED,
        (State.SHARING, Event.RELEASE): State.PASSED,
        (State.SHARING, Event.WITHDRAW): State.WITHDRAWN,
        # A sealed run can still be voided (DESIGN §6); its claims must then find another run.
        (State.SHARED, Event.RELEASE): State.PASSED,
        # The next stage; one that comes while another waits is added to it.
        (State.SHARED, Event.BILL): State.PASSED,
        (State.PASSED, Event.BILL): State.PASSED,
        (State.PASSED, Event.TAKE_BACK): State.SHARED,
        (State.SHARING, Event.TAKE_BACK): State.SHARED,
        # Wrongly paid aid comes back, also while a later stage is under way.
        (State.SHARED, Event.RECOVER): State.SHARED,
        (State.PASSED, Event.RECOVER): State.PASSED,
        (State.SHARING, Event.RECOVER): State.SHARING,
    }
)
"""(state, event) → state. What is not here is refused."""


def possible(state: State) -> tuple[Event, ...]:
    """The events a claim in `state` allows, in the order of Event; none when the state is final."""
    return tuple(event for event in Event if (state, event) in NEXT)


def after(state: State, event: Event) -> State:
    """The state that `event` leads to. Raises ClaimRefused with what is possible instead."""
    try:
        return NEXT[state, event]
    except KeyError:
        instead = ", ".join(possible(state)) or "nothing, it is final"
        raise ClaimRefused(f"a claim that is {state} cannot {event}; possible now: {instead}") from None


def sources(event: Event) -> tuple[State, ...]:
    """The states in which `event` is allowed, in the order of State."""
    return tuple(state for state in State if (state, event) in NEXT)
