"""What goes wrong at a custodian, how often, and to which debits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput


class Fault(StrEnum):
    """One of the nine kinds of faults."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    """Booked, and returned a day or two later: AM04."""
    CLOSED_ACCOUNT = "closed_account"
    """Booked, and returned a day or two later: AC04."""
    DUPLICATE = "duplicate"
    """Booked twice, on the same day or the day after."""
    LATE_RETURN = "late_return"
    """Booked, and returned when everybody takes it for settled: MD06."""
    RETURN_WITH_CHARGES = "return_with_charges"
    """Booked, and returned for insufficient funds with the bank's charges on top."""
    AMOUNT_MISMATCH = "amount_mismatch"
    """Booked with another amount."""
    NOT_OURS = "not_ours"
    """Beside the debit, a line that belongs to nobody's debit."""
    MISSING_LINE = "missing_line"
    """Never booked."""
    TRUNCATED_FILE = "truncated_file"
    """Before a statement comes a copy of it that was cut off."""


OF_DEBITS = tuple(fault for fault in Fault if fault is not Fault.TRUNCATED_FILE)
"""The faults that befall a debit; of one debit at most one."""

HEALTHY = len(OF_DEBITS)

USUAL: Mapping[Fault, float] = MappingProxyType(
    {
        Fault.INSUFFICIENT_FUNDS: 0.008,
        Fault.CLOSED_ACCOUNT: 0.003,
        Fault.DUPLICATE: 0.001,
        Fault.LATE_RETURN: 0.002,
        Fault.RETURN_WITH_CHARGES: 0.002,
        Fault.AMOUNT_MISMATCH: 0.001,
        Fault.NOT_OURS: 0.002,
        Fault.MISSING_LINE: 0.001,
        Fault.TRUNCATED_FILE: 0.1,
    }
)
"""2 % of the debits, and one statement in ten."""


@dataclass(frozen=True)
class Rates:
    """How often each fault happens: of the debits, and of the statements TRUNCATED_FILE."""

    of: Mapping[Fault, float]

    @classmethod
    def read(cls, text: str) -> Rates:
        """USUAL but for what `text` says, like `duplicate=0.01,missing_line=0`; `all=0` sets every one.

        Raises InvalidInput.
        """
        rates = dict(USUAL)
        for each in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = each.partition("=")
            try:
                faults = list(Fault) if name == "all" else [Fault(name)]
                rate = float(value)
            except ValueError:
                known = ", ".join(Fault)
                raise InvalidInput(
                    f"--rates {each!r}: write fault=rate, like duplicate=0.01; known: all, {known}"
                ) from None
            if not 0 <= rate <= 1:
                raise InvalidInput(f"--rates {each!r}: a rate is from 0 to 1")
            rates.update(dict.fromkeys(faults, rate))
        if sum(rates[fault] for fault in OF_DEBITS) > 1:
            raise InvalidInput("--rates: the rates of a debit's faults sum to more than 1; lower some")
        return cls(rates)

    def befall(self, chance: NDArray[np.float64], among: tuple[Fault, ...] = OF_DEBITS) -> NDArray[np.uint8]:
        """uint8[n]: the place in OF_DEBITS of the fault of each, one of `among`, or HEALTHY."""
        bounds = np.cumsum([self.of[fault] if fault in among else 0.0 for fault in OF_DEBITS])
        return np.searchsorted(bounds, chance, side="right").astype(np.uint8)


def chances(seed: int, name: str) -> np.random.Generator:
    """The dice for one file, whatever else there is: the same seed and name, the same throws."""
    return np.random.Generator(np.random.PCG64([seed, crc32(name.encode())]))
