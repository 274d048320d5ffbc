"""Top-ups that the plan asks for by itself of whoever agreed to it (SCHEMES: waterdrop, at most 50 yuan a month)."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from engine.members.shards import Amounts
from engine.plans import day_number
from engine.plans.member_rules import AutoTopUp
from engine.roster.columns import Columns


def debited(rule: AutoTopUp, columns: Columns, balances: Amounts, asked: Amounts, on: date) -> NDArray[np.bool_]:
    """bool[n]: who is to be debited: in force, not frozen, and with a balance below the rule's.

    `asked`: int64[n] minor units, auto top-ups of this calendar month; what came back counts, so that it is not tried
    without end.
    """
    day = day_number(on)
    in_force = (columns.shares_from <= day) & (day < columns.ended_on)
    frozen = (columns.filled("frozen_from") <= day) & (day < columns.filled("frozen_to"))
    wanted: NDArray[np.bool_] = in_force & ~frozen & (balances < rule.below)
    return wanted & (asked + rule.amount <= rule.per_month_at_most)
