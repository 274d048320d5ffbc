"""Bring changes in: a file of what happens to members, each line checked against what the member's seat says now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Text, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.plans import NEVER, PlanRules
from engine.roster.changes import Kind, current_columns
from engine.roster.checks import check_births, check_in_plan, check_refs, check_tiers, tiers_of
from engine.roster.columns import ALONE, Columns
from engine.roster.cover import claims_from, weighs_from
from engine.roster.files import CODE, DAY, TEXT, Column, PeopleFile, Problems, days_of, is_null
from engine.roster.imports import Imported, Progress, imported_rows, note_import
from engine.roster.members import Place, enrol, newcomers, next_place
from engine.roster.plan import Plan, lock_living, rules_of
from engine.roster.standing import Change, Standing, payer_refusal, refusal
from engine.store.arrays import copy_in
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, imports, members, roster_changes

COLUMNS = {
    "kind": Column(TEXT),
    "member_ref": Column(TEXT),
    "from": Column(DAY),
    "until": Column(DAY, required=False, filled=False),
    "born_on": Column(DAY, required=False, filled=False),
    "tier": Column(CODE, required=False, filled=False),
    "payer_ref": Column(TEXT, required=False, filled=False),
}
"""What a file of changes holds: `until` for freezes, `born_on` for joins, `tier` for joins and choices of another,
`payer_ref` for joins and changes of payer, where empty is the member. Of a choice `from` is the day it was asked."""

_JOINS, _FREEZES, _TIERS, _PAYERS = (Kind.JOIN,), (Kind.FREEZE,), (Kind.JOIN, Kind.TIER), (Kind.JOIN, Kind.PAYER)


async def change_roster(
    connection: AsyncConnection,
    plan: Plan,
    path: Path,
    *,
    tag_key: bytes,
    progress: Progress = lambda _count: None,
) -> Imported:
    """Append every change of a Parquet or CSV file, in its order; a join gives its seat at once.

    One transaction, the caller's: raises InvalidInput, with up to 20 wrong values by line and field, and then
    nothing may be committed. The same bytes again change nothing. Runs see the changes once they fold (`fold`).
    """
    await lock_living(connection, plan.plan_id)
    rules = await rules_of(connection, plan.plan_id, plan.version)
    weighed_from = cache(partial(weighs_from, rules))
    with PeopleFile(path, COLUMNS) as file:
        sha256, rows = await asyncio.to_thread(file.sha256), 0
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
                standings = await _standings(connection, plan.plan_id, _named(changes))
                place = await next_place(connection, plan.plan_id)
                book = _Book(plan.plan_id, rules, standings, place, file.problems, weighed_from)
                taken = [both for change in changes if (both := book.take(change)) is not None]
                await _enrol(connection, plan.plan_id, taken, tag_key)
                await _record(connection, import_id, taken)
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
    offered = _kinds_of(rules)

    def are(which: Sequence[Kind]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = pc.is_in(kinds, pa.array(list(which), TEXT)).to_numpy(zero_copy_only=False)
        return found

    problems.add_where(batch, "kind", ~are(offered) & ~is_null(kinds), f"is none of {', '.join(offered)}")
    for name, lines, wrong in (
        ("born_on", are(_JOINS) & is_null(batch["born_on"]), "is missing; a join needs one"),
        ("born_on", ~are(_JOINS) & ~is_null(batch["born_on"]), "is for joins only"),
        ("tier", are((Kind.TIER,)) & is_null(batch["tier"]), "is missing; say which tier was chosen"),
        ("tier", ~are(_TIERS) & ~is_null(batch["tier"]), "is for joins and choices of another tier only"),
        ("until", ~are(_FREEZES) & ~is_null(batch["until"]), "is for freezes only"),
        ("until", days_of(batch["until"], NEVER) <= days_of(batch["from"], -NEVER), "is not after from"),
        ("payer_ref", ~are(_PAYERS) & ~is_null(batch["payer_ref"]), "is for joins and changes of payer only"),
        ("payer_ref", ~is_null(batch["payer_ref"]) & (not rules.family_payers), f"in {rules.code} each pays alone"),
    ):
        problems.add_where(batch, name, lines, wrong)
    check_births(batch, "from", rules, problems)
    check_in_plan(batch.filter(pa.array(are(_JOINS))), "from", rules, problems)
    check_tiers(batch, "from", rules, problems)


def _kinds_of(rules: PlanRules) -> list[Kind]:
    """The changes that the plan knows."""
    unknown = {Kind.TIER: rules.cover_change is None, Kind.PAYER: not rules.family_payers}
    return [kind for kind in Kind if not unknown.get(kind, False)]


def _changes(batch: pa.RecordBatch, rules: PlanRules) -> list[Change]:
    columns = (
        batch["line"].to_pylist(),
        map(Kind, batch["kind"].to_pylist()),
        batch["member_ref"].to_pylist(),
        days_of(batch["from"], 0).tolist(),
        days_of(batch["until"], NEVER).tolist(),
        days_of(batch["born_on"], 0).tolist(),
        tiers_of(batch, "from", rules).tolist(),
        batch["payer_ref"].to_pylist(),
    )
    return [Change(*values) for values in zip(*columns, strict=True)]


def _named(changes: list[Change]) -> set[str]:
    """Every member whose standing decides about the changes."""
    return {ref for change in changes for ref in (change.member_ref, change.payer_ref) if ref is not None}


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
            standings[member_ref] = _standing(columns, shard_id, seat, spell)
    return standings


def _standing(columns: Columns, shard_id: int, seat: int, spell: int) -> Standing:
    at = seat % SHARD_SEATS

    def value(name: str, missing: int = 0) -> int:
        column = getattr(columns, name)
        return missing if column is None else int(column[at])

    chosen_from = value("next_tier_from")
    return Standing(
        shard_id,
        seat,
        spell,
        shares_from=value("shares_from"),
        ended_on=value("ended_on"),
        frozen_from=value("frozen_from"),
        frozen_to=value("frozen_to"),
        tier=value("next_tier" if chosen_from else "tier"),
        tier_from=chosen_from,
        payer=value("payer", ALONE),
    )


@dataclass
class _Book:
    """Where the members of a file stand, line after line: every change against what those before it left.

    Joins take the seats from `place` on; what cannot be goes to `problems`. `weighs_from`: of `engine.roster.cover`.
    """

    plan_id: int
    rules: PlanRules
    standings: dict[str, Standing]
    place: Place
    problems: Problems
    weighs_from: Callable[[int], int]

    def take(self, change: Change) -> tuple[Change, Standing] | None:
        """The change as it is recorded, and the seat it happens to as it stands then; None when it cannot be."""
        before = self.standings.get(change.member_ref)
        wrong = refusal(before, change)
        if wrong is not None:
            self.problems.add(change.line, "member_ref", change.member_ref, wrong)
            return None
        if change.payer_ref is not None:
            payer = self.standings.get(change.payer_ref)
            wrong = payer_refusal(payer, change)
            if wrong is not None or payer is None:
                self.problems.add(change.line, "payer_ref", change.payer_ref, wrong or "")
                return None
            change = change._replace(payer=payer.seat)
        if change.kind is Kind.JOIN or before is None:
            change, now = self._joined(change, before)
        else:
            if change.kind is Kind.TIER:
                until_day = claims_from(self.rules, before.tier, change.tier, change.from_day)
                change = change._replace(from_day=self.weighs_from(change.from_day), until_day=until_day)
            now = before.after(change)
        self.standings[change.member_ref] = now
        return change, now

    def _joined(self, change: Change, before: Standing | None) -> tuple[Change, Standing]:
        """On the next free seat; until the wait is over, which may be another for who comes back."""
        claims, place = self.rules.claims, self.place
        wait = claims.waiting_days if before is None or claims.rejoining_days is None else claims.rejoining_days
        shard_id, seat = self.plan_id * PLAN_STRIDE + place.number, place.first_seat + place.seats
        spell = 1 if before is None else before.spell + 1
        now = Standing(shard_id, seat, spell, change.from_day, tier=change.tier, payer=change.payer)
        self.place = place.after(1)
        return change._replace(until_day=change.from_day + wait), now


async def _record(connection: AsyncConnection, import_id: int, taken: list[tuple[Change, Standing]]) -> None:
    rows = [
        (
            at.shard_id,
            at.seat,
            change.kind.value,
            change.from_day,
            change.until_day if change.kind in (Kind.JOIN, Kind.FREEZE, Kind.TIER) else None,
            change.tier if change.kind in _TIERS else None,
            None if change.payer == ALONE else change.payer,
            import_id,
        )
        for change, at in taken
    ]
    names = ["shard_id", "seat", "kind", "from_day", "until_day", "tier", "payer", "import_id"]
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
