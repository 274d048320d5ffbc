"""What becomes of debits that did not come in: asked again, given up, or missed. Pure arithmetic on days and states."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.custodian.aging import business_days
from engine.custodian.events import Event
from engine.custodian.instructions import State
from engine.custodian.profile import Profile, Retry
from engine.custodian.reference import ATTEMPT_MAX
from engine.custodian.schedule import reachable_day
from engine.custodian.standing import DONE, Standing

_DAY = timedelta(days=1)
_ATTEMPT_BITS = 32


class Step(IntEnum):
    """What is to be done about what a seat owes; columns hold the value."""

    NONE = 0
    ASK = 1
    """Ask once more, before its days are over."""
    ASK_ANYWAY = 2
    """Ask whatever the day: it was never asked for, or a person freed it."""
    WAIT = 3
    """Not asked again, for its reason forbids it; given up with the others, once their days are over."""
    GIVE_UP = 4
    """Its days to pay are over."""


def steps(
    standing: Standing,
    owed: NDArray[np.int64],
    may_retry: NDArray[np.bool_],
    freed: NDArray[np.bool_],
    is_over: NDArray[np.bool_],
    *,
    ends_unpaid: bool,
) -> NDArray[np.uint8]:
    """uint8[n] `Step` of debits by where they stand and what seats still owe, int64[n] minor units.

    `may_retry`, `freed`: bool[n], what `may_retry_of` and `freed_in` say; what a person lets be asked again is asked
    whatever the reason and the day. `ends_unpaid`: the plan has a rule for who does not pay, and asks until then;
    `is_over` bool[n]: its leaving day is reached. What came back after it had settled is asked again while the days
    last, and never given up by rule; what is disputed or under way is let be. What is owed on top of what is done with
    (a correction raised it) is asked for by every plan, once; then its own days run.
    """
    state, owing = standing.state, owed > 0
    back = owing & np.isin(state, (State.RETURNED, State.REJECTED))
    found = np.zeros(len(standing), np.uint8)
    if ends_unpaid:
        found[back] = np.where(is_over, Step.GIVE_UP, Step.WAIT)[back]
        found[(back | (owing & (state == State.REOPENED))) & may_retry & ~is_over] = Step.ASK
    raised = owing & np.isin(state, DONE)
    found[(back & freed) | raised] = Step.ASK_ANYWAY
    return found


def may_retry_of(profile: Profile, reasons: Sequence[str | None], reason: NDArray[Any]) -> NDArray[np.bool_]:
    """bool[n]: whether the custodian's code, a place in `reasons`, lets the same be asked again.

    A code that hides the real reason does: the plan's own rule decides, and asks while its days last.
    """
    allowed = np.array([profile.reason(code).retry is not Retry.NO for code in reasons], np.bool_)
    found: NDArray[np.bool_] = allowed[reason]
    return found


def freed_in(events: Iterable[Event], whole: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    """bool[n]: whether the last that was written down of an instruction is that a person freed it (`Event.frees`).

    `whole`: the positions that an event without any names.
    """
    freed = np.zeros(n, np.bool_)
    for event in events:
        freed[whole if event.positions is None else event.positions] = event.frees
    return freed


class AskedFile(NamedTuple):
    """A file of instructions: its attempt and number, the day it left, and the day it asked for."""

    attempt: int
    number: int
    sent_on: date | None
    debit_on: date


def overdue(
    state: NDArray[np.uint8],
    attempt: NDArray[np.uint8],
    batch: NDArray[np.int32],
    files: Iterable[AskedFile],
    profile: Profile,
    on: date,
) -> NDArray[np.int32]:
    """int32[k] rising: the instructions SENT so long ago that their absence from every statement is a break (短款).

    A file's days count from when it left or, where that is later, from the day it asks for.
    """
    late = [file for file in files if file.sent_on is not None and _is_over(file, profile, on)]
    return _in_files(state == State.SENT, attempt, batch, late)


def may_come_back(
    state: NDArray[np.uint8],
    attempt: NDArray[np.uint8],
    batch: NDArray[np.int32],
    files: Iterable[AskedFile],
    profile: Profile,
    on: date,
) -> NDArray[np.int32]:
    """int32[k] rising: the instructions BOOKED so lately that they may still come back as most do that come back.

    The days are those after which their absence from every statement would be a break.
    """
    lately = [file for file in files if not _is_over(file, profile, on)]
    return _in_files(state == State.BOOKED, attempt, batch, lately)


def _is_over(file: AskedFile, profile: Profile, on: date) -> bool:
    since = max(file.sent_on or file.debit_on, file.debit_on)
    business = profile.business_days
    calendar = {} if business is None else {"holidays": business.holidays, "worked": business.worked}
    return since < on and business_days(since, on, **calendar) > profile.in_transit_days


def _in_files(
    chosen: NDArray[np.bool_], attempt: NDArray[np.uint8], batch: NDArray[np.int32], files: Collection[AskedFile]
) -> NDArray[np.int32]:
    """int32[k] rising: of those chosen, which were last asked for in one of the files."""
    found = np.flatnonzero(chosen) if files else np.empty(0, np.int64)
    keys = (attempt[found].astype(np.int64) << _ATTEMPT_BITS) + batch[found]
    wanted = [(file.attempt << _ATTEMPT_BITS) + file.number for file in files]
    return found[np.isin(keys, wanted)].astype(np.int32)


def retry_day(
    profile: Profile, *, on: date, now: datetime, last_attempt: int, last_debit_on: date, count: int
) -> date | None:
    """The day for which so many instructions are asked again; None: not today, or not any more.

    One attempt for a day, and none while the last one's day is still to come; on the first day the custodian can reach.
    """
    if last_debit_on > on or last_attempt >= ATTEMPT_MAX:
        return None
    files = -(-count // profile.limits.max_items_per_file)
    return reachable_day(profile, max(on, last_debit_on + _DAY), now=now, files=files)
