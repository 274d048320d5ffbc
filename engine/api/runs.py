"""Runs: planned, previewed, approved by another, paused, voided; what they came to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from engine.access.roles import APPROVERS, EVERYONE, SCHEDULERS
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Digest, Id, Model, Moment, Page, Paged
from engine.api.service import Call
from engine.roster.plan import plan_of
from engine.runs.planning import plan_run as plan_share_run
from engine.runs.preview import approve
from engine.runs.run import Run, list_runs, load_run
from engine.runs.states import RunState

endpoints = Endpoints("runs", "Share runs, from the plan to the seal.")


class OfRun(Model):
    """One run."""

    run_id: Id


class RunFilter(Paged):
    """Which runs."""

    plan: Code | None = None


class NewRun(Model):
    """A run of all passed claims that wait, to be debited on a day."""

    plan: Code
    debit_on: Day


class Approval(Model):
    """Approval of just the preview that was seen."""

    digest: Digest


class RunView(Model):
    """A run, as it stands."""

    run_id: int
    plan: str
    kind: str
    debit_on: Day
    state: RunState
    is_paused: bool
    planned_by: str
    approved_by: str | None
    preview_digest: str | None
    root: str | None
    moments: Mapping[str, Moment]
    failure: str | None


def view(run: Run) -> RunView:
    """A run as answers show it."""
    return RunView(
        run_id=run.run_id,
        plan=run.plan_code,
        kind=run.kind,
        debit_on=run.debit_on,
        state=run.state,
        is_paused=run.paused,
        planned_by=run.planned_by,
        approved_by=run.approved_by,
        preview_digest=run.preview_digest.hex() if run.preview_digest else None,
        root=run.root.hex() if run.root else None,
        moments={name: datetime.fromisoformat(moment) for name, moment in run.moments.items()},
        failure=run.failure,
    )


@endpoints.get("/runs", EVERYONE)
async def list_of_runs(call: Call, params: RunFilter) -> Page[RunView]:
    """The latest runs, newest first."""
    plan_id = (await plan_of(call.connection, params.plan)).plan_id if params.plan else None
    runs = await list_runs(call.connection, plan_id, limit=params.limit + 1)
    return call.page(runs, params.limit, view, lambda run: run.run_id)


@endpoints.get("/runs/{run_id}", EVERYONE)
async def show_run(call: Call, params: OfRun) -> RunView:
    """One run."""
    return view(await load_run(call.connection, params.run_id))


@endpoints.post("/runs", SCHEDULERS, status=202, moves_money=True)
async def plan_run(call: Call, body: NewRun) -> RunView:
    """Plan a run; the workers freeze, measure and preview it."""
    run = await plan_share_run(
        call.connection, await plan_of(call.connection, body.plan), body.debit_on, actor=call.actor
    )
    call.created(f"/v1/runs/{run.run_id}")
    call.ring(run.run_id, "planned")
    return view(run)


@endpoints.post("/runs/{run_id}/approve", APPROVERS, moves_money=True, changes=show_run)
async def approve_run(call: Call, params: OfRun, body: Approval) -> RunView:
    """Approve a preview; by someone else than who planned it."""
    run = await approve(call.connection, params.run_id, actor=call.actor, digest=body.digest)
    call.ring(run.run_id, "approved")
    return await show_run(call, params)
