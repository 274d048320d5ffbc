"""Statements of a custodian, as the preset generic-csv lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from engine.money import to_major

BOOKED_ON = date(2019, 7, 15)
"""A Monday, the day after the debit."""

TODAY = date(2019, 7, 20)
HEAD = "booked_on,value_on,amount,reference,batch_reference,bank_reference,kind,reason,original,charges,count"


@dataclass(frozen=True)
class Line:
    """A line of a statement; amounts in minor units."""

    amount: int
    reference: str = ""
    kind: str = "debit"
    on: date = BOOKED_ON
    reason: str = ""
    original: int | None = None
    charges: int = 0
    batch: str = ""
    count: int = 1

    def row(self) -> str:
        original = "" if self.original is None else to_major(self.original)
        charges = to_major(self.charges) if self.charges else ""
        fields = (self.on, self.on, to_major(self.amount), self.reference, self.batch, "", self.kind, self.reason)
        return ",".join(map(str, (*fields, original, charges, self.count)))


def statement(lines: Sequence[Line], opening: int = 0, *, closing: int | None = None, note: str = "") -> str:
    """A statement that ties unless another `closing` is given."""
    amounts = [line.amount for line in lines]
    paid_in, paid_out = sum(each for each in amounts if each > 0), -sum(each for each in amounts if each < 0)
    closing = opening + paid_in - paid_out if closing is None else closing
    head = [f"#opening,{to_major(opening)}", *([f"#{note}"] if note else []), HEAD]
    foot = [f"#entries,{len(lines)}", f"#credits,{to_major(paid_in)}", f"#debits,{to_major(paid_out)}"]
    return "\n".join([*head, *(line.row() for line in lines), *foot, f"#closing,{to_major(closing)}", ""])
