"""What was asked of a custodian, by seat: the debits, refunds or payouts of one run, and where each stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from engine.custodian.reference import Kind
from engine.errors import InvalidInput

AMOUNT_MAX = 2**62 - 1
"""Minor units: twice as much, and a sum of two of them, still fit an int64."""

NO_BATCH = -1


class State(IntEnum):
    """Where an instruction stands; columns hold the value."""

    NONE = 0
    """Nothing is asked of the seat."""
    ASSESSED = 1
    """Asked for; no file that holds it is known to have left."""
    SENT = 2
    REJECTED = 3
    """The custodian's status report refused it."""
    BOOKED = 4
    """On a statement, exactly; its run is not settled yet."""
    SETTLED = 5
    """Booked, and its run settled."""
    RETURNED = 6
    """Booked and returned on statements."""
    REOPENED = 7
    """Returned after it settled."""
    DISPUTED = 8
    """On a statement, but not as it was asked for: a break says how."""
    WRITTEN_OFF = 9


@dataclass(frozen=True)
class Instructions:
    """The instructions of one kind of one run, an element per seat (of payouts: per case).

    `amount_minor` int64[n] (or int32[n], where all amounts fit), above 0 where `state` uint8[n] is not NONE, whichever
    way the money goes. `attempt`
    uint8[n], the last one made. `batch` int32[n], the number of the file it was in (net per file: of what is booked as
    one), or NO_BATCH; None when nothing is booked in batches. `sent_on` int32[m], the day number each attempt was sent
    on; None when nobody knows. Raises InvalidInput when lengths differ or amounts are not 0 to AMOUNT_MAX.
    """

    kind: Kind
    run: int
    amount_minor: NDArray[np.int64] | NDArray[np.int32]
    state: NDArray[np.uint8]
    attempt: NDArray[np.uint8]
    batch: NDArray[np.int32] | None = None
    sent_on: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        name = f"{self.kind.name.lower()}s of run {self.run}"
        lengths = {
            len(column) for column in (self.amount_minor, self.state, self.attempt, self.batch) if column is not None
        }
        if len(lengths) > 1:
            raise InvalidInput(f"{name}: columns of {sorted(lengths)} seats; give every column an element per seat")
        if len(self) and not 0 <= self.amount_minor.min() <= self.amount_minor.max() <= AMOUNT_MAX:
            raise InvalidInput(f"{name}: an amount is not 0 to {AMOUNT_MAX} minor units")
        if len(self) and self.state.max() > max(State):
            raise InvalidInput(f"{name}: state {self.state.max()} is none; the last is {max(State)}")

    def __len__(self) -> int:
        return len(self.state)

    @property
    def sign(self) -> int:
        """+1 where the account is credited when the instruction is carried out, -1 where it pays."""
        return 1 if self.kind.is_debit else -1

    def playable(self) -> Instructions:
        """The same with a `state` of its own, to be changed."""
        return replace(self, state=self.state.copy())


def overdue(instructions: Instructions, sent_until: int) -> NDArray[np.int64]:
    """The seats, int64[k] rising, that were sent on or before the day number `sent_until` and are on no statement.

    What is disputed is not among them: a break says already what is wrong. Each is MISSING_AT_BANK (短款). Raises
    InvalidInput when the instructions do not say when they were sent.
    """
    if instructions.sent_on is None:
        raise InvalidInput(f"nobody says when run {instructions.run} was sent; give sent_on")
    late = np.zeros(int(np.iinfo(np.uint8).max) + 1, np.bool_)
    late[: len(instructions.sent_on)] = instructions.sent_on <= sent_until
    return np.flatnonzero((instructions.state == State.SENT) & late[instructions.attempt])
