"""Solve on the merged histograms, show finance what would happen, and take the approval of someone else (I13)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import ClipTooSmall, Group, Histogram, Solution, merge, solve
from engine.apportion.seats import spans
from engine.claims.sharing import claims_in
from engine.decisions import FourEyes
from engine.errors import FentanError
from engine.money import decimal_text, to_major
from engine.plans.answers import terms
from engine.plans.days import date_of
from engine.plans.rules import NoSharers
from engine.runs.caps import caps_hit
from engine.runs.planning import carry_of, measure_again
from engine.runs.run import (
    Inputs,
    PreviewChanged,
    Run,
    digest_of,
    inputs_of,
    lock_run_or_wait,
    move,
    pack_solution,
)
from engine.runs.states import RunEvent, RunState
from engine.store.audit import record
from engine.store.tables import run_cases, run_shards


class NobodyShares(FentanError):
    """A case has no member who shares it, and the plan's rule no_sharers is hold."""


async def preview(connection: AsyncConnection, run: Run) -> None:
    """Solve a locked, wholly measured run; store solution, preview and the digest that an approval will stand for.

    A clip that was too small sends the run back to be measured again. Raises NobodyShares.
    """
    measured = replace(run, state=await move(connection, run, RunEvent.MEASURE))
    inputs = await inputs_of(connection, measured)
    rows = await connection.execute(
        select(run_shards.c.histogram, run_shards.c.waived_histogram, run_shards.c.cap_histograms).where(
            run_shards.c.run_id == run.run_id
        )
    )
    histograms = list(rows.all())
    try:
        solution = solve(
            merge(Histogram.from_bytes(row.histogram) for row in histograms),
            inputs.gates,
            inputs.cases,
            terms(inputs.rules),
            run.carry_in or 0,
            seed=inputs.seed,
            clip=run.clip,
        )
    except ClipTooSmall as small:
        await measure_again(connection, measured, small.needed)
        return
    if solution.no_sharers and inputs.rules.share.no_sharers is NoSharers.HOLD:
        held = ", ".join(str(inputs.claims[case]) for case in solution.no_sharers)
        raise NobodyShares(f"{NobodyShares.__doc__} Claims: {held}")
    await _store_cases(connection, run, solution)
    waived = merge(Histogram.from_bytes(row.waived_histogram) for row in histograms if row.waived_histogram is not None)
    packed = pack_solution(solution)
    digest = await digest_of(connection, replace(inputs, run=measured, solution=solution))
    hit = caps_hit(inputs, solution, (row.cap_histograms for row in histograms))
    shown = _preview(inputs, solution, *_waived(waived, solution), hit)
    await move(connection, measured, RunEvent.PREVIEW, solution=packed, preview=shown, preview_digest=digest)


async def _store_cases(connection: AsyncConnection, run: Run, solution: Solution) -> None:
    for number, (aid, fee) in enumerate(zip(solution.aids, solution.fees, strict=True), start=1):
        await connection.execute(
            update(run_cases)
            .where(run_cases.c.run_id == run.run_id, run_cases.c.number == number)
            .values(aid_paid_minor=aid, fee_minor=fee)
        )


def _waived(histogram: Histogram, solution: Solution) -> tuple[int, int]:
    """Seats whose share the sponsor pays, and how much; odd units of exact rounding are not known yet."""
    charge = {(group.class_, group.tier, group.allowance): group.charge for group in solution.groups}
    uncapped: dict[tuple[int, int], int] = defaultdict(int)
    for (class_, tier, _), amount in charge.items():
        uncapped[class_, tier] = max(uncapped[class_, tier], amount)
    columns = (histogram.classes, histogram.tiers, histogram.allowances, histogram.seats)
    seats = total = 0
    for class_, tier, allowance, count in zip(*(column.tolist() for column in columns), strict=True):
        seats += count
        total += count * min(uncapped[class_, tier], allowance)
    return seats, total


def _preview(
    inputs: Inputs, solution: Solution, waived_seats: int, waived_minor: int, hit: dict[str, int]
) -> dict[str, Any]:
    """What finance reads before it approves; money as text in major units, counts as numbers."""
    run = inputs.run
    return {
        "plan": run.plan_code,
        "debit_on": run.debit_on.isoformat(),
        "cases": len(inputs.cases),
        "members": run.members,
        "sharers": solution.sharers,
        "aid": to_major(sum(solution.aids)),
        "fee": to_major(sum(solution.fees)),
        "carry_in": to_major(solution.carry_in),
        "carry_out": to_major(solution.carry_out),
        "charged": to_major(solution.charged - waived_minor),
        "sponsor": to_major(solution.sponsor + waived_minor),
        "waived_seats": waived_seats,
        "waived": to_major(waived_minor),
        "share": to_major(max((group.charge for group in solution.groups), default=0)),
        "caps_hit": hit,
        "classes": [_class(inputs, group) for group in solution.groups],
    }


def _class(inputs: Inputs, group: Group) -> dict[str, Any]:
    gates = [date_of(inputs.gates[gate]).isoformat() for span in spans(group.class_) for gate in range(*span)]
    return {
        "tier": inputs.rules.tiers[group.tier].code,
        "gates": gates if len(gates) <= 2 else [gates[0], "…", gates[-1]],
        "allowance": None if group.allowance is None else to_major(group.allowance),
        "seats": group.seats,
        "exact": decimal_text(group.taken),
        "charge": to_major(group.charge),
    }


async def check_unchanged(connection: AsyncConnection, inputs: Inputs) -> None:
    """Refuse to go on with anything but what was previewed. Raises PreviewChanged."""
    if await digest_of(connection, inputs) != inputs.run.preview_digest:
        raise PreviewChanged(f"{inputs.run.name} is not what its preview showed; void it and plan anew")
    if await carry_of(connection, inputs.run.plan_id) != inputs.run.carry_in:
        raise PreviewChanged(f"the carry {inputs.run.name} stands on has changed since; void it and plan anew")
    missing = sorted(set(inputs.claims) - set(await claims_in(connection, inputs.run.run_id)))
    if missing:
        named = ", ".join(map(str, missing))
        raise PreviewChanged(f"claims {named} of {inputs.run.name} were withdrawn; void it and plan anew")


async def approve(connection: AsyncConnection, run_id: int, *, actor: str, digest: str | None = None) -> Run:
    """Approve what the preview shows. `digest` (hex), when given, must be the preview's.

    Raises FourEyes, PreviewChanged, NotNow.
    """
    run = await lock_run_or_wait(connection, run_id)
    if run.state is RunState.PREVIEWED:
        if actor.casefold() == run.planned_by.casefold():
            raise FourEyes(f"{FourEyes.__doc__} ({run.name} was planned by {actor})")
        if digest is not None and run.preview_digest is not None and digest != run.preview_digest.hex():
            raise PreviewChanged(f"{run.name}'s preview has another digest than {digest}; read it again")
        await check_unchanged(connection, await inputs_of(connection, run))
    state = await move(connection, run, RunEvent.APPROVE, approved_by=actor, approved_digest=run.preview_digest)
    await record(connection, actor, "approve run", run.name, {"digest": (run.preview_digest or b"").hex()})
    return replace(run, state=state, approved_by=actor, approved_digest=run.preview_digest)
