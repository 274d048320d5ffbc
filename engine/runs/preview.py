"""Solve on the merged histograms, show finance what would happen, and take the approval of someone else (I13)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import (
    ClipTooSmall,
    Group,
    Histogram,
    Outcome,
    OverCap,
    Played,
    Round,
    give,
    merge,
    pack,
    play,
    solve,
)
from engine.apportion.seats import spans
from engine.claims.sharing import claims_in
from engine.decisions import FourEyes
from engine.errors import FentanError
from engine.money import decimal_text, to_major
from engine.plans.answers import floor_minor, members_share, terms
from engine.plans.days import date_of
from engine.plans.rules import NoSharers, Trigger
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
)
from engine.runs.spread import spread_of
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
        outcome = solved(inputs, merge(Histogram.from_bytes(row.histogram) for row in histograms))
    except ClipTooSmall as small:
        await measure_again(connection, measured, small.needed)
        return
    _refuse_no_sharers(inputs, outcome)
    await _store_cases(connection, run, outcome)
    waived = merge(Histogram.from_bytes(row.waived_histogram) for row in histograms if row.waived_histogram is not None)
    digest = await digest_of(connection, replace(inputs, run=measured, solution=outcome))
    hit = caps_hit(inputs, outcome, (row.cap_histograms for row in histograms))
    shown = _preview(inputs, outcome, *waived_of(waived, outcome), hit)
    await move(connection, measured, RunEvent.PREVIEW, solution=pack(outcome), preview=shown, preview_digest=digest)


def solved(inputs: Inputs, histogram: Histogram) -> Outcome:
    """What becomes of a run on its seats: shared at once, played round by round, or given. Raises ClipTooSmall."""
    rules, run, money = inputs.rules, inputs.run, terms(inputs.rules)
    if not members_share(rules, run.debit_on):
        money = replace(money, over_cap=OverCap.SPONSOR)  # not even a plan that else reduces the aid does so then
    carry_in = run.carry_in or 0
    if inputs.is_credit:
        (surplus,) = inputs.cases
        return give(histogram, surplus, money, carry_in)
    if rules.share.trigger is Trigger.EVENT:
        return play(histogram, inputs.gates, inputs.cases, money, carry_in, floor=floor_minor(rules), clip=run.clip)
    return solve(histogram, inputs.gates, inputs.cases, money, carry_in, seed=inputs.seed, clip=run.clip)


def _refuse_no_sharers(inputs: Inputs, outcome: Outcome) -> None:
    """Raises NobodyShares, unless the plan lets the sponsor pay, as it does anyway once members share no more."""
    holds = inputs.rules.share.no_sharers is NoSharers.HOLD and members_share(inputs.rules, inputs.run.debit_on)
    if not outcome.no_sharers or not holds:
        return
    if inputs.is_credit:
        raise NobodyShares("Nobody has a part in the surplus, and the plan's rule no_sharers is hold.")
    held = ", ".join(str(inputs.claims[case]) for case in outcome.no_sharers)
    raise NobodyShares(f"{NobodyShares.__doc__} Claims: {held}")


async def _store_cases(connection: AsyncConnection, run: Run, outcome: Outcome) -> None:
    for number, (aid, fee) in enumerate(zip(outcome.aids, outcome.fees, strict=True), start=1):
        await connection.execute(
            update(run_cases)
            .where(run_cases.c.run_id == run.run_id, run_cases.c.number == number)
            .values(aid_paid_minor=aid, fee_minor=fee)
        )


def waived_of(histogram: Histogram, outcome: Outcome) -> tuple[int, int]:
    """Seats whose share the sponsor pays, and how much; odd units of exact rounding are not known yet."""
    if isinstance(outcome, Played):
        charges = outcome.charge_of(histogram.classes, histogram.tiers, histogram.allowances)
        return int(histogram.seats.sum()), int((charges * histogram.seats).sum())
    uncapped: dict[tuple[int, int], int] = defaultdict(int)
    for group in outcome.groups:
        uncapped[group.class_, group.tier] = max(uncapped[group.class_, group.tier], group.charge)
    columns = (histogram.classes, histogram.tiers, histogram.allowances, histogram.seats)
    seats = total = 0
    for class_, tier, allowance, count in zip(*(column.tolist() for column in columns), strict=True):
        seats += count
        total += count * min(uncapped[class_, tier], allowance)
    return seats, total


def _preview(
    inputs: Inputs, outcome: Outcome, waived_seats: int, waived_minor: int, hit: dict[str, int]
) -> dict[str, Any]:
    """What finance reads before it approves; money as text in major units, counts as numbers."""
    run = inputs.run
    surplus = sum(case.aid for case in inputs.cases) if inputs.is_credit else None
    return {
        "plan": run.plan_code,
        "debit_on": run.debit_on.isoformat(),
        "cases": len(inputs.cases),
        "members": run.members,
        "sharers": outcome.sharers,
        "aid": to_major(sum(outcome.aids)),
        "fee": to_major(sum(outcome.fees)),
        "carry_in": to_major(outcome.carry_in),
        "carry_out": to_major(outcome.carry_out),
        "charged": to_major(outcome.charged - waived_minor if surplus is None else surplus),
        "sponsor": to_major(outcome.sponsor + waived_minor),
        "waived_seats": waived_seats,
        "waived": to_major(waived_minor),
        "share": to_major(outcome.share),
        "caps_hit": hit,
        **spread_of(outcome, [tier.code for tier in inputs.rules.tiers]),
        **_detail(inputs, outcome),
    }


def _detail(inputs: Inputs, outcome: Outcome) -> dict[str, Any]:
    """Who pays what: by class, or by round of an event plan; of a credit run also what its surplus comes from."""
    if isinstance(outcome, Played):
        return {"rounds": [_round(inputs, each) for each in outcome.rounds]}
    classes = {"classes": [_class(inputs, group) for group in outcome.groups]}
    if inputs.run.surplus is None:
        return classes
    parts = {name: to_major(inputs.run.surplus[f"{name}_minor"]) for name in ("premiums", "claims", "costs")}
    return {"surplus": parts} | classes


def _round(inputs: Inputs, played: Round) -> dict[str, Any]:
    return {
        "claim": inputs.claims[played.case],
        "sharers": played.sharers,
        "shares": {inputs.rules.tiers[tier].code: to_major(share) for tier, share in sorted(played.shares.items())},
        "charged": to_major(played.charged),
        "aid": to_major(played.aid),
        "fee": to_major(played.fee),
        "sponsor": to_major(played.sponsor),
        "carry": to_major(played.carry_out),
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
    if await carry_of(connection, inputs.run.plan_id, inputs.unit) != inputs.run.carry_in:
        raise PreviewChanged(f"the carry {inputs.run.name} stands on has changed since; void it and plan anew")
    missing = sorted(set(inputs.claims) - set(await claims_in(connection, inputs.run.run_id)))
    if missing:
        named = ", ".join(map(str, missing))
        raise PreviewChanged(f"claims {named} of {inputs.run.name} were withdrawn; void it and plan anew")


async def approve(
    connection: AsyncConnection, run_id: int, *, actor: str, digest: str | None = None, reason: str | None = None
) -> Run:
    """Approve what the preview shows. `digest` (hex), when given, must be the preview's; the audit log keeps `reason`.

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
    said = {"digest": (run.preview_digest or b"").hex()}
    await record(connection, actor, "approve run", run.name, said, reason=reason)
    return replace(run, state=state, approved_by=actor, approved_digest=run.preview_digest)
