"""What a custodian books for orders, and when: most at once, some again, some back, some never."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.custodian.profile import Meaning, Profile
from engine.simulator.faults import OF_DEBITS, Fault
from engine.simulator.lines import Lines, at
from engine.simulator.orders import Orders

LATE_DAYS = 20
"""After so many days nobody expects a return any more."""

OF_BOOKINGS = (Fault.DUPLICATE, Fault.AMOUNT_MISMATCH, Fault.MISSING_LINE)
"""What befalls a line of booking, be it for a debit or for a whole batch."""

OF_PAYOUTS = (Fault.CLOSED_ACCOUNT,)
"""What befalls a payment: it comes back."""

CHARGES_MINOR = 550
_STRANGE_MOST = 100_000
_MEANS = {
    Fault.INSUFFICIENT_FUNDS: (Meaning.INSUFFICIENT_FUNDS, "AM04"),
    Fault.CLOSED_ACCOUNT: (Meaning.ACCOUNT_CLOSED, "AC04"),
    Fault.RETURN_WITH_CHARGES: (Meaning.INSUFFICIENT_FUNDS, "AM04"),
    Fault.LATE_RETURN: (Meaning.REFUSED_BY_PAYER, "MD06"),
}
"""Why debits come back, and the code where the custodian has none of its own for it."""

Dice = NDArray[np.uint32]
Faults = NDArray[np.uint8]


class Booked(NamedTuple):
    """`lines` to be booked so many days after the orders' own day; None: never."""

    days_later: int | None
    lines: Lines


def reasons_of(profile: Profile) -> dict[Fault, str]:
    """The custodian's own codes for what comes back."""
    return {
        fault: next((code for code, reason in profile.reasons.items() if reason.means is means), usual)
        for fault, (means, usual) in _MEANS.items()
    }


def book(
    orders: Orders, faults: Faults, dice: Dice, batch_reference: str, reasons: Mapping[Fault, str]
) -> Iterator[Booked]:
    """The lines of orders booked one by one, with what its fault makes of each.

    `faults`: uint8[n], places in OF_DEBITS or HEALTHY; `dice`: uint32[n], for what a fault leaves open.
    """
    amounts, kind = (-orders.amounts, "payout") if orders.pays_out else (orders.amounts, "debit")
    yield from _bookings(Lines(orders.references, amounts, kind, batch_reference), faults, dice)
    yield from come_back(orders, faults, dice, reasons)
    yield from strangers(faults, dice)


def book_batch(
    batch_reference: str, count: int, amount_minor: int, faults: Faults, dice: Dice, *, pays_out: bool = False
) -> Iterator[Booked]:
    """One line for a whole batch, with what its fault, uint8[1], makes of it; like `book`."""
    amount = np.array([-amount_minor if pays_out else amount_minor])
    yield from _bookings(Lines(pa.nulls(1, pa.string()), amount, "batch", batch_reference, count=count), faults, dice)


def _bookings(lines: Lines, faults: Faults, dice: Dice) -> Iterator[Booked]:
    """Lines as they should be booked, and what becomes of some."""
    twice, wrong, missing = (faults == OF_DEBITS.index(fault) for fault in OF_BOOKINGS)
    spoiled = wrong | missing
    yield Booked(0, lines.chosen(~spoiled) if spoiled.any() else lines)
    rows = np.flatnonzero(wrong)
    if len(rows):
        other = _other(lines.amounts[rows], dice[rows])
        yield Booked(0, replace(lines.chosen(rows), amounts=other, fault=Fault.AMOUNT_MISMATCH))
    rows = np.flatnonzero(missing)
    if len(rows):
        yield Booked(None, replace(lines.chosen(rows), fault=Fault.MISSING_LINE))
    for later in (0, 1):
        rows = np.flatnonzero(twice & (dice % 2 == later))
        if len(rows):
            yield Booked(later, replace(lines.chosen(rows), fault=Fault.DUPLICATE))


def _other(amounts: NDArray[np.int64], dice: Dice) -> NDArray[np.int64]:
    """Another amount of the same sign: more, or a unit less where something is left."""
    more = np.where((dice % 2 == 0) & (np.abs(amounts) > 1), -1, 1 + (dice % 99).astype(np.int64))
    other: NDArray[np.int64] = amounts + np.sign(amounts) * more
    return other


def come_back(orders: Orders, faults: Faults, dice: Dice, reasons: Mapping[Fault, str]) -> Iterator[Booked]:
    """The returns of orders, however they were booked."""
    for fault, reason in reasons.items():
        struck = faults == OF_DEBITS.index(fault)
        charges = CHARGES_MINOR if fault is Fault.RETURN_WITH_CHARGES else 0
        for days_later in (LATE_DAYS,) if fault is Fault.LATE_RETURN else (1, 2):
            rows = np.flatnonzero(struck if days_later == LATE_DAYS else struck & (dice % 2 == days_later - 1))
            if len(rows):
                back = orders.amounts[rows] if orders.pays_out else -orders.amounts[rows]
                references = at(orders.references, rows)
                yield Booked(
                    days_later,
                    Lines(references, back - charges, "return", reason=reason, charges_minor=charges, fault=fault),
                )


def never_booked(
    orders: Orders, faults: Faults, reasons: Mapping[Fault, str], refused: Iterable[Fault]
) -> Iterator[Booked]:
    """Debits that were refused before they were booked."""
    for fault in refused:
        rows = np.flatnonzero(faults == OF_DEBITS.index(fault))
        if len(rows):
            back = Lines(at(orders.references, rows), -orders.amounts[rows], "return", reason=reasons[fault])
            yield Booked(None, replace(back, fault=fault))


def strangers(faults: Faults, dice: Dice) -> Iterator[Booked]:
    """Lines that belong to nobody's debit: payments from who knows, with a reference of their own or none."""
    numbers = dice[faults == OF_DEBITS.index(Fault.NOT_OURS)].astype(np.int64)
    if not len(numbers):
        return
    invoices = pc.binary_join_element_wise("INV", pa.array(numbers).cast(pa.string()), "-")
    references = pc.if_else(pa.array(numbers % 4 > 0), invoices, pa.scalar(None, pa.string()))
    yield Booked(0, Lines(references, 1 + numbers % _STRANGE_MOST, "top-up", fault=Fault.NOT_OURS))
