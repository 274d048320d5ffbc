"""What became of a run, as finance reads it: its funnel, its breaks, its payouts, and what is missing to close it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import UNRESOLVED, of_run
from engine.custodian.breaks import Code
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.standing import read_standing, sent_batches
from engine.custodian.verdicts import Sum
from engine.ledger.accounts import plan_shard
from engine.money import to_major
from engine.reconcile.closing import Missing, missing_to_close
from engine.reconcile.funnel import Funnel, funnel_of, shown_sum
from engine.runs.run import load_run
from engine.runs.states import RunState
from engine.store.tables import breaks


@dataclass(frozen=True)
class BreaksOfRun:
    """Breaks of one code: how many ever, how many of them still want somebody, and what these come to."""

    found: int
    unresolved: int
    amount_minor: int


@dataclass(frozen=True)
class RunOutcome:
    """A sealed run. `payouts`: its claims' payouts by where they stand; `missing`: what keeps it from being closed."""

    run_id: int
    plan: str
    state: RunState
    debit_on: date
    funnel: Funnel
    breaks: Mapping[Code, BreaksOfRun]
    payouts: Mapping[State, Sum]
    missing: Sequence[Missing]

    def as_json(self) -> dict[str, Any]:
        """Counts as numbers, amounts as text in major units."""
        return {
            "run": self.run_id,
            "plan": self.plan,
            "state": self.state.value,
            "debit_on": self.debit_on.isoformat(),
            "funnel": self.funnel.as_json(),
            "breaks": {
                code.value: {
                    "count": each.found,
                    "unresolved": each.unresolved,
                    "amount": to_major(each.amount_minor),
                }
                for code, each in self.breaks.items()
            },
            "payouts": {state.name.lower(): shown_sum(total) for state, total in self.payouts.items()},
            "missing": [each.text for each in self.missing],
        }


async def outcome_of(connection: AsyncConnection, run_id: int) -> RunOutcome:
    """Everything about a run after its seal. Raises InvalidInput where it is not sealed, FunnelLeaks (I12)."""
    run = await load_run(connection, run_id)
    return RunOutcome(
        run_id,
        run.plan_code,
        run.state,
        run.debit_on,
        await funnel_of(connection, run_id),
        await _breaks(connection, run_id),
        await _payouts(connection, run_id, run.plan_id),
        await missing_to_close(connection, run),
    )


async def _breaks(connection: AsyncConnection, run_id: int) -> dict[Code, BreaksOfRun]:
    """By code, as the codes are ordered."""
    is_left = breaks.c.state.in_(UNRESOLVED)
    left = func.coalesce(func.sum(breaks.c.amount_minor).filter(is_left), 0)
    counted = await connection.execute(
        select(breaks.c.code, func.count(), func.count().filter(is_left), left)
        .where(of_run(run_id))
        .group_by(breaks.c.code)
    )
    found = {Code(code): BreaksOfRun(number, unresolved, int(amount)) for code, number, unresolved, amount in counted}
    return {code: found[code] for code in Code if code in found}


async def _payouts(connection: AsyncConnection, run_id: int, plan_id: int) -> dict[State, Sum]:
    files = await sent_batches(connection, run_id, Kind.PAYOUT)
    standing = await read_standing(connection, plan_shard(plan_id), run_id, Kind.PAYOUT, batches=files)
    found: dict[State, Sum] = {}
    for state in State:
        at = standing.where(state)
        if state is not State.NONE and len(at):
            found[state] = Sum(len(at), int(np.sum(standing.amount_minor[at])))
    return found
