"""Batches: several instructions that a custodian books as one line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.custodian.breaks import Code
from engine.custodian.instructions import Instructions, State
from engine.custodian.profile import BookingMode
from engine.custodian.verdicts import MATCHED, broken
from engine.money.sums import exact_sum

_BOOKED_BY: dict[BookingMode, list[State]] = {
    BookingMode.PER_DEBIT: [],
    BookingMode.GROSS_PER_BATCH: [State.SENT, State.REJECTED, State.DISPUTED],
    BookingMode.NET_PER_FILE: [State.SENT, State.DISPUTED],
}
"""The states of members that a batch's line books."""

_COUNTED_BESIDE: dict[BookingMode, list[State]] = {
    BookingMode.PER_DEBIT: [],
    BookingMode.GROSS_PER_BATCH: [State.BOOKED, State.SETTLED, State.RETURNED, State.REOPENED, State.WRITTEN_OFF],
    BookingMode.NET_PER_FILE: [],
}
"""The states of members that are in a batch's gross line though another line spoke of them before."""


@dataclass(frozen=True)
class Members:
    """The instructions of a run by the batch they were sent in."""

    instructions: Instructions
    booking: BookingMode

    def has(self, number: int) -> bool:
        """Whether there is a batch of this number."""
        first, end = self._span(number)
        return first < end

    def book(self, number: int, attempt: int, amount_minor: int, count: int) -> tuple[np.uint8, NDArray[np.int64]]:
        """The verdict on one line for the whole batch, and the seats int64[k] it is about; their states move on.

        Σ members = line, exactly; a `count` above 1 is what the line says of their number. A second line for a batch is
        a duplicate.
        """
        of_batch = self.instructions
        seats = self._seats(number)
        seats = seats[of_batch.attempt[seats] == attempt]
        state = of_batch.state[seats]
        due = np.isin(state, _BOOKED_BY[self.booking])
        booked = seats[due]
        if not len(booked) and self.booking is not BookingMode.PER_DEBIT:
            return (broken(Code.DUPLICATE_AT_BANK) if len(seats) else broken(Code.UNKNOWN_REFERENCE)), booked
        counted = seats[due | np.isin(state, _COUNTED_BESIDE[self.booking])]
        asked = of_batch.sign * exact_sum(of_batch.amount_minor[counted].astype(np.int64))
        difference = (amount_minor - asked) * of_batch.sign or (count - len(counted) if count > 1 else 0)
        # Where another line spoke of a member before, the gross line says it a second time.
        verdict = MATCHED if len(counted) == len(booked) else broken(Code.STATUS_CONFLICT)
        if difference:
            verdict = broken(Code.BATCH_SHORT if difference < 0 else Code.BATCH_OVER)
        of_batch.state[booked] = State.BOOKED if verdict == MATCHED else State.DISPUTED
        return verdict, booked

    def _seats(self, number: int) -> NDArray[np.int64]:
        first, end = self._span(number)
        return np.arange(first, end) if self._order is None else self._order[first:end].astype(np.int64)

    def _span(self, number: int) -> tuple[int, int]:
        if not 0 <= number <= np.iinfo(np.int32).max:
            return 0, 0
        first, end = np.searchsorted(self._sorted, np.array([number, number + 1]))
        return int(first), int(end)

    @cached_property
    def _batch(self) -> NDArray[np.int32]:
        batch = self.instructions.batch
        return np.empty(0, np.int32) if batch is None else batch

    @cached_property
    def _order(self) -> NDArray[np.int32] | None:
        """int32[n] seats by batch; None where they lie in that order."""
        if bool(np.all(self._batch[1:] >= self._batch[:-1])):
            return None
        return np.argsort(self._batch, kind="stable").astype(np.int32)

    @cached_property
    def _sorted(self) -> NDArray[np.int32]:
        return self._batch if self._order is None else self._batch[self._order]
