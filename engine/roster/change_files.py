"""Bring changes in: a file of joins, exits and freezes, each line checked against what the member's seat says now."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Text, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.plans import NEVER, PlanRules
from engine.roster.changes import Kind, current_columns
from engine.roster.checks import check_births, check_in_plan, check_refs, check_tiers, tiers_of
from engine.roster.files import CODE, DAY, TEXT, Column, PeopleFile, Problems, days_of, is_null
from engine.roster.imports import Imported, Progress, imported_rows, note_import
from engine.roster.members import Place, enrol, newcomers, next_place
from engine.roster.plan import Plan, lock_roster, rules_of
from engine.roster.standing import Change, Standing, refusal
from engine.store.arrays import copy_in
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, imports, members, roster_changes

COLUMNS = {
    "kind": Column(TEXT),
    "member_ref": Column(TEXT),
    "from": Column(DAY),
    "until": Column(DAY, required=False, filled=False),
    "born_on": Column(DAY, required=False, filled=False),
    "tier": Column(CODE, required=False, filled=False),
}
"""What a file of changes holds; `until` is for freezes, `born_on` and `tier` are for joins."""


async def change_roster(
    connection: AsyncConnection,
    plan: Plan,
    path: Path,
    *,
    tag_key: bytes,
    progress: Progress = lambda _count: None,
) -> Imported:
    """Append every join, exit and freeze of a Parquet or CSV file, in its order; a join gives its seat at once.

    One transaction, the caller's: raises InvalidInput, with up to 20 wrong values by line and field, and then
    nothing may be committed. The same bytes again change nothing. Runs see the changes once they fold (`fold`).
    """
    await lock_roster(connection, plan.plan_id)
    rules = await rules_of(connection, plan.plan_id, plan.version)
    with PeopleFile(path, COLUMNS) as file:
        sha256, rows = file.sha256(), 0
        known = await imported_rows(connection, plan.plan_id, "changes", sha256)
        if known is not None:
            return Imported(known, repeated=True)
        import_id = await note_import(connection, plan.plan_id, "changes", sha256, 0)
        for batch in file.batches():
            _check(batch, rules, file.problems)
            if file.problems.full:
                break
            # From the first problem on the rest is only checked: what a line may say rests on those before.
            if not file.problems.found:
                changes = _changes(batch, rules)
                standings = await _standings(connection, plan.plan_id, {change.member_ref for change in changes})
                place = await next_place(connection, plan.plan_id)
                taken = _taken(changes, standings, plan.plan_id, place, file.problems)
                await _enrol(connection, plan.plan_id, taken, tag_key)
                await _record(connection, import_id, taken, rules.claims.waiting_days)
            rows += batch.num_rows
            progress(batch.num_rows)
        file.problems.refuse()
        if rows == 0:
            raise InvalidInput(f"{path.name}: holds no changes; nothing was changed")
    await connection.execute(update(imports).where(imports.c.import_id == import_id).values(rows=rows))
    return Imported(rows, repeated=False)


def _check(batch: pa.RecordBatch, rules: PlanRules, problems: Problems) -> None:
    """What can be told from the line alone."""
    check_refs(batch, problems)
    kinds = batch["kind"]
    known = pc.is_in(kinds, pa.array([kind.value for kind in Kind])).to_numpy(zero_copy_only=False)
    problems.add_where(batch, "kind", ~known & ~is_null(kinds), f"is none of {', '.join(Kind)}")
    joins, freezes = (
        pc.equal(kinds, kind.value).fill_null(False).to_numpy(zero_copy_only=False) for kind in (Kind.JOIN, Kind.FREEZE)
    )
    for name, lines, wrong in (
        ("born_on", joins & is_null(batch["born_on"]), "is missing; a join needs one"),
        ("born_on", ~joins & ~is_null(batch["born_on"]), "is for joins only"),
        ("tier", ~joins & ~is_null(batch["tier"]), "is for joins only"),
        ("until", ~freezes & ~is_null(batch["until"]), "is for freezes only"),
        ("until", days_of(batch["until"], NEVER) <= days_of(batch["from"], -NEVER), "is not after from"),
    ):
        problems.add_where(batch, name, lines, wrong)
    check_births(batch, "from", rules, problems)
    check_in_plan(batch.filter(pa.array(joins)), "from", rules, problems)
    check_tiers(batch, "from", rules, problems)


def _changes(batch: pa.RecordBatch, rules: PlanRules) -> list[Change]:
    columns = (
        batch["line"].to_pylist(),
        map(Kind, batch["kind"].to_pylist()),
        batch["member_ref"].to_pylist(),
        days_of(batch["from"], 0).tolist(),
        days_of(batch["until"], NEVER).tolist(),
        days_of(batch["born_on"], 0).tolist(),
        tiers_of(batch, "from", rules).tolist(),
    )
    return [Change(*values) for values in zip(*columns, strict=True)]


async def _standings(connection: AsyncConnection, plan_id: int, member_refs: set[str]) -> dict[str, Standing]:
    """What the last seat of each of the members says now; who never joined is absent."""
    found = await connection.execute(
        select(members.c.shard_id, members.c.seat, members.c.spell, members.c.member_ref)
        .where(members.c.plan_id == plan_id)
        .where(members.c.member_ref == any_(literal(sorted(member_refs), ARRAY(Text))))
        .order_by(members.c.spell)
    )
    last = {row.member_ref: tuple(row) for row in found}
    standings = {}
    for shard_id, seats in groupby(sorted(last.values()), key=itemgetter(0)):
        _, _, columns = await current_columns(connection, shard_id)
        for _, seat, spell, member_ref in seats:
            at = seat % SHARD_SEATS
            days = [
                0 if column is None else int(column[at])
                for column in (columns.shares_from, columns.ended_on, columns.frozen_from, columns.frozen_to)
            ]
            standings[member_ref] = Standing(shard_id, seat, spell, *days)
    return standings


def _taken(
    changes: list[Change], standings: dict[str, Standing], plan_id: int, place: Place, problems: Problems
) -> list[tuple[Change, Standing]]:
    """Each change with the seat it happens to, in order, every one against what those before it left.

    Joins take the seats from `place` on; what cannot be goes to `problems`. `standings` is brought up to date.
    """
    taken = []
    for change in changes:
        before = standings.get(change.member_ref)
        wrong = refusal(before, change)
        if wrong is not None:
            problems.add(change.line, "member_ref", change.member_ref, wrong)
            continue
        if change.kind is Kind.JOIN or before is None:
            seat, spell = place.first_seat + place.seats, 1 if before is None else before.spell + 1
            now = Standing(plan_id * PLAN_STRIDE + place.number, seat, spell, change.from_day)
            place = place.after(1)
        else:
            now = before.after(change)
        standings[change.member_ref] = now
        taken.append((change, now))
    return taken


async def _record(
    connection: AsyncConnection, import_id: int, taken: list[tuple[Change, Standing]], waiting_days: int
) -> None:
    rows = []
    for change, at in taken:
        until: int | None = change.until_day if change.kind is Kind.FREEZE else None
        tier: int | None = None
        if change.kind is Kind.JOIN:
            until, tier = change.from_day + waiting_days, change.tier
        rows.append((at.shard_id, at.seat, change.kind.value, change.from_day, until, tier, import_id))
    names = ["shard_id", "seat", "kind", "from_day", "until_day", "tier", "import_id"]
    await copy_in(connection, roster_changes, names, rows)


async def _enrol(
    connection: AsyncConnection, plan_id: int, taken: list[tuple[Change, Standing]], tag_key: bytes
) -> None:
    """Seat those who join, a shard at a time."""
    joins = [(change, at) for change, at in taken if change.kind is Kind.JOIN]
    for shard_id, group in groupby(joins, key=lambda join: join[1].shard_id):
        joining = list(group)
        people = newcomers(
            plan_id,
            Place(shard_id % PLAN_STRIDE, joining[0][1].seat % SHARD_SEATS),
            pa.array([change.member_ref for change, _ in joining]),
            np.array([change.born_on for change, _ in joining], np.int32),
            np.array([change.line for change, _ in joining]),
            np.array([at.spell for _, at in joining], np.int16),
            tag_key=tag_key,
        )
        await enrol(connection, people)
