"""Rosters: members come in by files, which workers take; what came when, and how the shards of a plan stand."""

from __future__ import annotations

from enum import StrEnum

from engine.access.roles import EVERYONE, FINANCE, SCHEDULERS
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Digest, Model, Moment, Numbered, Page, Paged
from engine.api.jobs import JobView, asked
from engine.api.service import Call, Upload
from engine.jobs.job import Kind
from engine.roster.changes import ShardRoster, shard_rosters
from engine.roster.imports import Import, list_imports
from engine.roster.plan import plan_of

endpoints = Endpoints("rosters", "Who is a member: files of members, of what happens to them, of their accounts.")


class FileFormat(StrEnum):
    """How a file of people is written."""

    CSV = "csv"
    PARQUET = "parquet"


class RosterKind(StrEnum):
    """What a file holds: members who come in, what happens to members, or their accounts."""

    ROSTER = "roster"
    CHANGES = "changes"
    ACCOUNTS = "accounts"


class UploadedPeople(Model):
    """A file of people of a plan."""

    plan: Code
    format: FileFormat = FileFormat.CSV


class UploadedRoster(UploadedPeople):
    """A file of members."""

    kind: RosterKind = RosterKind.ROSTER


class PartOfPlan(Paged):
    """A list about a plan."""

    plan: Code
    after: Numbered = None


class ImportView(Model):
    """A file that was taken, once, known by its bytes."""

    import_id: int
    kind: str
    sha256: Digest
    rows: int
    taken_at: Moment


class ShardRosterView(Model):
    """The roster of a shard. `changes_waiting`: what happened since `version`, which the next run will have."""

    shard_id: int
    number: int
    first_seat: int
    seats: int
    version: int
    changes_waiting: int


@endpoints.post("/plans/{plan}/roster", SCHEDULERS, status=202, moves_money=True)
async def upload_roster(call: Call, params: UploadedRoster, body: Upload) -> JobView:
    """Bring in members, what happens to members, or their accounts, from a file; a worker does it.

    The same bytes again change nothing. A file with anything wrong in it changes nothing either; the job says what is
    wrong, line by line.
    """
    return await _people(call, params, Kind(params.kind.value), body)


@endpoints.post("/plans/{plan}/top-ups", FINANCE, status=202, moves_money=True)
async def upload_top_ups(call: Call, params: UploadedPeople, body: Upload) -> JobView:
    """Take what members of a prepaid plan paid in, from a file; a worker does it, once for the same bytes."""
    return await _people(call, params, Kind.TOP_UPS, body)


async def _people(call: Call, params: UploadedPeople, kind: Kind, upload: Upload) -> JobView:
    plan = await plan_of(call.connection, params.plan)
    detail = {"plan": plan.code, "file": f"{kind}.{params.format}"}
    return await asked(call, kind, f"plan:{plan.code}", detail, upload)


@endpoints.get("/plans/{plan}/imports", EVERYONE)
async def list_of_imports(call: Call, params: PartOfPlan) -> Page[ImportView]:
    """The files of people that a plan took, the latest first."""
    plan = await plan_of(call.connection, params.plan)
    before = int(params.after) if params.after else None
    found = await list_imports(call.connection, plan.plan_id, before=before, limit=params.limit + 1)
    return call.page(found, params.limit, _import, lambda each: each.import_id)


def _import(each: Import) -> ImportView:
    return ImportView(
        import_id=each.import_id,
        kind=each.kind,
        sha256=each.sha256.hex(),
        rows=each.rows,
        taken_at=each.recorded_at,
    )


@endpoints.get("/plans/{plan}/roster", EVERYONE)
async def show_roster(call: Call, params: PartOfPlan) -> Page[ShardRosterView]:
    """The shards of a plan: their seats, the version of their roster, the changes that wait."""
    plan = await plan_of(call.connection, params.plan)
    after = int(params.after) if params.after else 0
    found = await shard_rosters(call.connection, plan.plan_id, after=after, limit=params.limit + 1)
    return call.page(found, params.limit, _shard, lambda each: each.number)


def _shard(each: ShardRoster) -> ShardRosterView:
    return ShardRosterView(**each._asdict())
