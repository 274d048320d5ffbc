"""Seal a posted run: prove that it adds up, post the plan's side of it, and fix the Merkle root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import DoesNotAddUp, Outcome, advance
from engine.claims.sharing import shared
from engine.ledger.accounts import CURRENCY, Account, account_id, plan_shard
from engine.ledger.journals import Journal, Segment, post
from engine.ledger.seal import sealed_root, tree_root
from engine.runs.run import Inputs, PreviewChanged, Run, digest_of, inputs_of, move, note_moment
from engine.runs.shards import Phase, ShardState
from engine.runs.states import RunEvent
from engine.store.tables import plans, run_shards
from engine.store.views import journal_lines

PLAN_JOURNALS = ("premiums", "claims", "costs", "seal")
"""What a run posts on the plan's shard 0, in order: a credit run first what its surplus comes from."""


async def seal(connection: AsyncConnection, run: Run) -> None:
    """Seal a locked run whose every frozen shard is posted. Raises DoesNotAddUp (I5) or PreviewChanged (I13)."""
    await note_moment(connection, run, "sealing")
    inputs = await inputs_of(connection, run)
    solution = inputs.solution
    assert solution is not None  # approved_digest stands for one
    rows = (
        await connection.execute(
            select(run_shards).where(run_shards.c.run_id == run.run_id).order_by(run_shards.c.shard_id)
        )
    ).all()
    unposted = [row.shard_id for row in rows if (row.phase, row.state) != (Phase.POST, ShardState.DONE)]
    assessed = sum(row.charged_minor + row.waived_minor for row in rows if row.charged_minor is not None)
    if unposted or assessed != solution.charged:
        raise DoesNotAddUp(
            f"{run.name}: shards {unposted[:5]} are not posted"
            if unposted
            else f"{run.name}: the shards were charged {assessed}, the solution says {solution.charged}"
        )
    if await digest_of(connection, inputs) != run.approved_digest:
        raise PreviewChanged(f"{run.name}: what was posted is not what was approved")
    for journal in plan_journals(inputs, solution):
        await post(connection, journal)
    await check_clearing(connection, inputs)
    await shared(connection, inputs.claims, run.run_id, on=run.debit_on)
    previous = await connection.scalar(select(plans.c.last_root).where(plans.c.plan_id == run.plan_id))
    root = sealed_root(previous, tree_root([row.root for row in rows]))
    await connection.execute(update(plans).where(plans.c.plan_id == run.plan_id).values(last_root=root))
    await move(
        connection,
        run,
        RunEvent.SEAL,
        previous_root=previous,
        root=root,
        sealed_pointers=_pointers(inputs, [row.pointers or {} for row in rows]),
    )


def plan_journals(inputs: Inputs, outcome: Outcome) -> Iterator[Journal]:
    """The plan's side of a run, none of whose journals is empty."""
    if inputs.is_credit:
        yield from _surplus_journals(inputs, outcome)
        return
    paid = {number: aid for number, aid in zip(inputs.claim_numbers, outcome.aids, strict=True) if aid}
    lines = {
        Account.RUN_CLEARING: outcome.charged,
        Account.SPONSOR_RECEIVABLE: outcome.sponsor,
        Account.CARRY: outcome.carry_in - outcome.carry_out,
        Account.AID_PAYABLE: -sum(outcome.aids),
        Account.MANAGEMENT_FEE_INCOME: -sum(outcome.fees),
    }
    yield from _journal(inputs, "seal", lines, inputs.unit, paid)


def _surplus_journals(inputs: Inputs, outcome: Outcome) -> Iterator[Journal]:
    """What makes the surplus comes into the reserve from the custodian; what is given comes out of it, in its unit.

    Of a surplus given in cover the money stays in the reserve: it pays for that cover.
    """
    surplus: Mapping[str, Any] = inputs.run.surplus or {}
    for name, amount in (
        ("premiums", surplus["premiums_minor"]),
        ("claims", -surplus["claims_minor"]),
        ("costs", -surplus["costs_minor"]),
    ):
        lines = {Account.CUSTODIAN_CASH: amount, Account.SURPLUS_RESERVE: -amount}
        yield from _journal(inputs, name, lines, CURRENCY)
    given = {
        Account.SURPLUS_RESERVE: sum(case.aid for case in inputs.cases),
        Account.RUN_CLEARING: -outcome.charged,
        Account.CARRY: outcome.carry_in - outcome.carry_out,
    }
    yield from _journal(inputs, "seal", given, inputs.unit)


def _journal(
    inputs: Inputs, kind: str, amounts: Mapping[Account, int], unit: int, aid_by_claim: Mapping[int, int] | None = None
) -> Iterator[Journal]:
    """The journal of these amounts unless all are 0; `aid_by_claim` is the detail of aid payable."""
    plan_id = inputs.run.plan_id
    lines = {account_id(plan_id, code, unit): amount for code, amount in amounts.items() if amount}
    if not lines:
        return
    detail = Segment(
        account_id(plan_id, Account.AID_PAYABLE, unit),
        np.array([-aid for aid in (aid_by_claim or {}).values()], dtype=np.int64),
        np.array(list(aid_by_claim or {}), dtype=np.int32),
    )
    yield Journal(
        shard_id=plan_shard(plan_id),
        key=f"{inputs.run.name}:{kind}",
        kind=kind,
        effective_on=inputs.run.debit_on,
        lines=lines,
        segments=(detail,) if aid_by_claim else (),
        run_id=inputs.run.run_id,
    )


async def check_clearing(connection: AsyncConnection, inputs: Inputs) -> None:
    """The run's clearing account stands at zero over all its journals. Raises DoesNotAddUp."""
    run, clearing = inputs.run, inputs.account(Account.RUN_CLEARING)
    left: Any = await connection.scalar(
        select(func.coalesce(func.sum(journal_lines.c.amount), 0)).where(
            journal_lines.c.run_id == run.run_id, journal_lines.c.account_id == clearing
        )
    )
    if left != 0:
        raise DoesNotAddUp(f"{run.name}: run clearing stands at {left}, not 0")


def _pointers(inputs: Inputs, moves: list[dict[str, int]]) -> dict[str, int]:
    numbered = ({int(tier): seat for tier, seat in move.items()} for move in moves)
    # The old pointers are where the circle begins and ends: a tier that moved is past its own, never compared with it.
    moved = advance({}, numbered, inputs.pointers)
    return {str(tier): seat for tier, seat in (inputs.pointers | moved).items()}
