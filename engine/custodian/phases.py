"""The phases of matching: what a line may say of an instruction, by the state the instruction is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from engine.custodian.breaks import Code
from engine.custodian.instructions import AMOUNT_MAX, Instructions, State
from engine.custodian.lines import NO_ORIGINAL, Lines
from engine.custodian.verdicts import MATCHED, PENDING, broken

UNKNOWN, DUPLICATE = broken(Code.UNKNOWN_REFERENCE), broken(Code.DUPLICATE_AT_BANK)
CONFLICT, MISMATCH, EARLY = broken(Code.STATUS_CONFLICT), broken(Code.AMOUNT_MISMATCH), broken(Code.WRONG_DATE)


class Phase:
    """What one kind of line does to an instruction.

    `sign`: of the line's amount against the instruction's own. `wins`: in which states an exact line is taken, the
    verdict on it and the state after. `others`: the verdict in every other state. `spoils`: the states that a line
    which is not exact turns into DISPUTED.
    """

    def __init__(
        self,
        sign: int,
        wins: Mapping[State, tuple[np.uint8, State]],
        others: Mapping[State, np.uint8],
        spoils: Collection[State] = (),
    ) -> None:
        self.sign = sign
        self._open, self._spoiled = (np.isin(np.arange(len(State)), list(states)) for states in (wins, spoils))
        self._won, self._after, self._others = (np.zeros(len(State), np.uint8) for _ in range(3))
        for state, (verdict, after) in wins.items():
            self._won[state], self._after[state] = verdict, after
        for state, verdict in others.items():
            self._others[state] = verdict

    def claim(self, instructions: Instructions, lines: Lines, rows: NDArray[np.int64]) -> None:
        """Give these rows, int64[k] rising, their verdicts, and move the states on. Each names a seat that is there.

        The first exact line of an instruction that is open to it wins. What is not exact and comes before it is a
        mismatch; what comes after it is judged by the new state.
        """
        seat = lines.target.seat[rows]
        before = instructions.state[seat]
        fits, early = self._fits(instructions, lines, rows)
        is_open = self._open[before]
        exact = np.flatnonzero(is_open & fits & ~early)
        won = exact[first_of(seat[exact])]
        lines.verdict[rows[won]] = self._won[before[won]]
        instructions.state[seat[won]] = self._after[before[won]]
        if len(won) == len(rows):
            return
        rest = np.ones(len(rows), np.bool_)
        rest[won] = False
        left = np.flatnonzero(rest)
        lines.verdict[rows[left]] = self._others[instructions.state[seat[left]]]
        wrong = left[(is_open & (~fits | early))[left]]
        wrong = wrong[~_follows(wrong, seat[wrong], won, seat[won])]
        lines.verdict[rows[wrong]] = np.where(fits[wrong], EARLY, MISMATCH)
        spoiled = seat[wrong][self._spoiled[instructions.state[seat[wrong]]]]
        instructions.state[spoiled] = State.DISPUTED

    def _fits(
        self, instructions: Instructions, lines: Lines, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool[k]: the amount is what was asked for, less the charges; bool[k]: it was booked before it was sent."""
        seat = lines.target.seat[rows]
        asked, charges = instructions.amount_minor[seat], lines.charges_minor[rows]
        original = lines.original_minor[rows]
        fits = (charges >= 0) & (charges <= AMOUNT_MAX) & ((original == NO_ORIGINAL) | (original == asked))
        fits &= lines.amount_minor[rows] == self.sign * instructions.sign * asked - charges
        if self.sign < 0 or instructions.sent_on is None:
            return fits, np.zeros(len(rows), np.bool_)
        return fits, lines.booked_on[rows] < instructions.sent_on.take(instructions.attempt[seat], mode="clip")


BOOKING = Phase(
    sign=1,
    wins=dict.fromkeys((State.SENT, State.DISPUTED), (MATCHED, State.BOOKED)),
    others={
        State.ASSESSED: PENDING,
        State.REJECTED: CONFLICT,
        State.BOOKED: DUPLICATE,
        State.SETTLED: DUPLICATE,
        State.RETURNED: DUPLICATE,
        State.REOPENED: DUPLICATE,
        State.WRITTEN_OFF: CONFLICT,
    },
    spoils=(State.SENT,),
)
"""The custodian collected the debit, or made the payment."""

RETURN = Phase(
    sign=-1,
    wins={
        State.BOOKED: (MATCHED, State.RETURNED),
        State.SETTLED: (broken(Code.RETURNED_AFTER_SETTLEMENT), State.REOPENED),
    },
    others={
        State.ASSESSED: PENDING,
        State.SENT: PENDING,
        State.REJECTED: CONFLICT,
        State.RETURNED: DUPLICATE,
        State.REOPENED: DUPLICATE,
        State.DISPUTED: MISMATCH,
        State.WRITTEN_OFF: CONFLICT,
    },
)
"""It came back, with or without charges."""

REVERSAL = Phase(
    sign=-1,
    wins={state: (broken(Code.REVERSED), State.DISPUTED) for state in (State.BOOKED, State.SETTLED)},
    others={
        State.ASSESSED: PENDING,
        State.SENT: PENDING,
        **dict.fromkeys((State.REJECTED, State.RETURNED, State.REOPENED, State.DISPUTED, State.WRITTEN_OFF), CONFLICT),
    },
)
"""The custodian took back its own booking."""

_WAIT = np.isin(np.arange(len(State)), [State.ASSESSED, State.SENT, State.REJECTED, State.DISPUTED])


def may_yet_be_booked(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool[n]: a later line of the same statement may book what is in these states, so that a return must wait."""
    return _WAIT[state]


def first_of(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[n]: the elements equal to none before them."""
    if bool(np.all(values[1:] > values[:-1])):
        return np.ones(len(values), np.bool_)
    order = np.argsort(values, kind="stable")
    along = values[order]
    first = np.ones(len(values), np.bool_)
    first[order[1:]] = along[1:] != along[:-1]
    return first


def _follows(
    rows: NDArray[np.int64], seat: NDArray[np.int64], won: NDArray[np.int64], won_seat: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """bool[k]: whether a row stands after the row that won the same seat."""
    if not len(rows) or not len(won):
        return np.zeros(len(rows), np.bool_)
    shared = np.flatnonzero(np.isin(won_seat, seat))
    if not len(shared):
        return np.zeros(len(rows), np.bool_)
    shared = shared[np.argsort(won_seat[shared])]
    at = np.searchsorted(won_seat[shared], seat).clip(max=len(shared) - 1)
    found: NDArray[np.bool_] = (won_seat[shared][at] == seat) & (won[shared][at] < rows)
    return found
