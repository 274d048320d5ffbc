"""Runs: planned, previewed, approved by another, worked on, paused, voided; what they came to."""

from __future__ import annotations

from collections.abc import Mapping

from engine.access.roles import APPROVERS, EVERYONE, OPS, SCHEDULERS
from engine.api.endpoint import Endpoints
from engine.api.fields import Amount, Code, Day, Digest, Id, Model, Numbered, Page, Paged, Reasoned, Text, Wait, minor
from engine.api.progress import events_of
from engine.api.run_views import (
    OutcomeView,
    PreviewView,
    ProgressView,
    RunShardView,
    RunView,
    ShardMap,
    map_view,
    outcome_view,
    preview_view,
    progress_view,
    run_view,
    shard_view,
)
from engine.api.service import Call, Streamed
from engine.reconcile.run_report import report_of
from engine.roster.plan import plan_of
from engine.runs import control
from engine.runs.credit import plan_credit_run
from engine.runs.headway import headway_of, list_shards, map_of
from engine.runs.planning import plan_run as plan_share_run
from engine.runs.preview import approve
from engine.runs.run import RunKind, Which, count_runs, list_runs, load_run
from engine.runs.shards import ShardState
from engine.runs.states import RunState
from engine.runs.voiding import void

EVENTS = "text/event-stream"

endpoints = Endpoints("runs", "Share runs, from the plan to the seal.")


class OfRun(Model):
    """One run."""

    run_id: Id


class SomeRuns(Model):
    """Which runs: of a plan, of a kind, debited from the first day to the last."""

    plan: Code | None = None
    kind: RunKind | None = None
    first: Day | None = None
    last: Day | None = None


class RunFilter(SomeRuns, Paged):
    """Which runs, and in which state."""

    after: Numbered = None
    state: RunState | None = None


class RunCounts(Model):
    """How many runs there are, and how many in each state that any is in."""

    runs: int
    by_state: Mapping[RunState, int]


class ShardFilter(Paged):
    """Which shards of a run."""

    run_id: Id
    after: Numbered = None
    state: ShardState | None = None


class Listening(Model):
    """How long to wait for news of a run."""

    run_id: Id
    wait_seconds: Wait = 5


class Surplus(Model):
    """Of a period: what its premiums leave of claims and costs goes back to the members."""

    premiums: Amount
    claims: Amount = "0"
    costs: Amount = "0"


class NewRun(Model):
    """A run of all passed claims that wait, to be debited on a day; with a surplus, one that credits its members."""

    plan: Code
    debit_on: Day
    surplus: Surplus | None = None


class Approval(Reasoned):
    """Approval of just the preview that was seen."""

    digest: Digest


class Reason(Model):
    """Why; it goes into the audit log."""

    reason: Text


@endpoints.get("/runs", EVERYONE)
async def list_of_runs(call: Call, params: RunFilter) -> Page[RunView]:
    """The latest runs, newest first."""
    which = await _which(call, params, params.state)
    before = int(params.after) if params.after else None
    runs = await list_runs(call.connection, which, before=before, limit=params.limit + 1)
    return call.page(runs, params.limit, run_view, lambda run: run.run_id)


@endpoints.get("/runs/counts", EVERYONE)
async def show_run_counts(call: Call, params: SomeRuns) -> RunCounts:
    """How many runs there are in each state."""
    found = await count_runs(call.connection, await _which(call, params))
    return RunCounts(runs=sum(found.values()), by_state=found)


async def _which(call: Call, of: SomeRuns, state: RunState | None = None) -> Which:
    plan_id = (await plan_of(call.connection, of.plan)).plan_id if of.plan else None
    return Which(plan_id, state, of.kind, of.first, of.last)


@endpoints.get("/runs/{run_id}", EVERYONE)
async def show_run(call: Call, params: OfRun) -> RunView:
    """One run."""
    return run_view(await load_run(call.connection, params.run_id))


@endpoints.get("/runs/{run_id}/preview", EVERYONE)
async def show_preview(call: Call, params: OfRun) -> PreviewView:
    """What a run would charge, who hits which cap, what the sponsor pays; and the digest that an approval names."""
    return preview_view(await load_run(call.connection, params.run_id))


@endpoints.get("/runs/{run_id}/outcome", EVERYONE)
async def show_outcome(call: Call, params: OfRun) -> OutcomeView:
    """What a run came to: totals that tie, its cases, how long it took, and what is missing to close it."""
    return outcome_view(await report_of(call.connection, params.run_id))


@endpoints.get("/runs/{run_id}/progress", EVERYONE)
async def show_progress(call: Call, params: OfRun) -> ProgressView:
    """How far a run is, how fast it goes, and how long it will take."""
    return progress_view(await headway_of(call.connection, params.run_id))


@endpoints.get("/runs/{run_id}/events", EVERYONE, media_type=EVENTS)
async def follow_run(call: Call, params: Listening) -> Streamed:
    """Server-sent events of a run: state, progress, and end once it rests or nothing is new for wait_seconds."""
    headway = await headway_of(call.connection, params.run_id)
    call.headers["X-Accel-Buffering"] = "no"  # a proxy that collects an answer would hold the news back
    return Streamed(EVENTS, events_of(call.service, headway, params.wait_seconds))


@endpoints.get("/runs/{run_id}/shards", EVERYONE)
async def list_of_run_shards(call: Call, params: ShardFilter) -> Page[RunShardView]:
    """Where each shard of a run stands, in their order."""
    await load_run(call.connection, params.run_id)
    after = int(params.after) if params.after else 0
    found = await list_shards(call.connection, params.run_id, state=params.state, after=after, limit=params.limit + 1)
    return call.page(found, params.limit, shard_view, lambda shard: shard.number)


@endpoints.get("/runs/{run_id}/shards/map", EVERYONE)
async def show_shard_map(call: Call, params: OfRun) -> ShardMap:
    """The state of every shard of a run, in their order: little for each, and all of them at once."""
    await load_run(call.connection, params.run_id)
    return map_view(params.run_id, await map_of(call.connection, params.run_id))


@endpoints.post("/runs", SCHEDULERS, status=202, moves_money=True)
async def plan_run(call: Call, body: NewRun) -> RunView:
    """Plan a run; the workers freeze, measure and preview it."""
    plan = await plan_of(call.connection, body.plan)
    if (of := body.surplus) is None:
        run = await plan_share_run(call.connection, plan, body.debit_on, actor=call.actor)
    else:
        run = await plan_credit_run(
            call.connection,
            plan,
            body.debit_on,
            premiums_minor=minor(of.premiums),
            claims_minor=minor(of.claims),
            costs_minor=minor(of.costs),
            actor=call.actor,
        )
    call.created(f"/v1/runs/{run.run_id}")
    call.ring(run.run_id, "planned")
    return run_view(run)


@endpoints.post("/runs/{run_id}/approve", APPROVERS, moves_money=True, changes=show_run)
async def approve_run(call: Call, params: OfRun, body: Approval) -> RunView:
    """Approve a preview; by someone else than who planned it."""
    await approve(call.connection, params.run_id, actor=call.actor, digest=body.digest, reason=body.reason)
    call.ring(params.run_id, "approved")
    return await show_run(call, params)


@endpoints.post("/runs/{run_id}/pause", SCHEDULERS | OPS, changes=show_run)
async def pause_run(call: Call, params: OfRun) -> RunView:
    """Let workers finish the shards in hand and take no other."""
    await control.set_paused(call.connection, params.run_id, paused=True, actor=call.actor)
    return await show_run(call, params)


@endpoints.post("/runs/{run_id}/resume", SCHEDULERS | OPS, changes=show_run)
async def resume_run(call: Call, params: OfRun) -> RunView:
    """Let workers go on."""
    await control.set_paused(call.connection, params.run_id, paused=False, actor=call.actor)
    call.ring(params.run_id, "resumed")
    return await show_run(call, params)


@endpoints.post("/runs/{run_id}/retry", SCHEDULERS | OPS)
async def retry_run(call: Call, params: OfRun) -> ProgressView:
    """Give the failed shards of a run a new set of attempts."""
    await control.retry_failed(call.connection, params.run_id, actor=call.actor)
    call.ring(params.run_id, "retried")
    return await show_progress(call, params)


@endpoints.post("/runs/{run_id}/void", SCHEDULERS | APPROVERS, moves_money=True, changes=show_run)
async def void_run(call: Call, params: OfRun, body: Reason) -> RunView:
    """Drop a run that posted nothing, reverse one that did; nothing is deleted."""
    await void(call.connection, params.run_id, actor=call.actor, reason=body.reason)
    call.ring(params.run_id, "void")
    return await show_run(call, params)
