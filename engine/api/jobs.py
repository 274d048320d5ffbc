"""Jobs: what was asked for that takes long, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.access.roles import EVERYONE, FINANCE, OPS, SCHEDULERS
from engine.api.endpoint import Endpoints
from engine.api.fields import Id, Model, Moment, Numbered, Page, Paged, Text
from engine.api.service import Call, Upload
from engine.jobs.job import Job, Kind, State, ask, job_of, keep_file, list_jobs, retry

endpoints = Endpoints("jobs", "Long work, done by the workers: imports, statements, custodians' days, exports.")


class OfJob(Model):
    """One job."""

    job_id: Id


class JobFilter(Paged):
    """Which jobs. `subject`: what they are about, as the audit log says it: `run:7`."""

    after: Numbered = None
    kind: Kind | None = None
    state: State | None = None
    subject: Text | None = None


class JobView(Model):
    """A job. While `queued` it waits, or since `started_at` a worker does it; `outcome` and `error` say how it ended.

    `tries`: how often a worker began it: one that is lost loses nothing but time.
    """

    job_id: int
    kind: Kind
    subject: str
    detail: Mapping[str, Any]
    state: State
    asked_by: str
    asked_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    tries: int
    outcome: Mapping[str, Any] | None
    error: str | None


def view(job: Job) -> JobView:
    """A job as answers show it."""
    return JobView(
        job_id=job.job_id,
        kind=job.kind,
        subject=job.subject,
        detail=job.detail,
        state=job.state,
        asked_by=job.asked_by,
        asked_at=job.asked_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        tries=job.tries,
        outcome=job.outcome,
        error=job.error,
    )


async def asked(
    call: Call, kind: Kind, subject: str, detail: Mapping[str, Any], upload: Upload | None = None
) -> JobView:
    """Ask for a job, about a file if there is one, which `detail` names; the header Location says where it is found."""
    if upload is not None:
        detail = {**detail, "sha256": upload.sha256.hex(), "bytes": upload.size_bytes}
    job = await ask(call.connection, kind, subject, detail, actor=call.actor)
    if upload is not None:
        await keep_file(call.service.settings.data_dir, job.job_id, upload.path, detail["file"])
    call.created(f"/v1/jobs/{job.job_id}")
    call.ring_for_job(job.job_id)
    return view(job)


@endpoints.get("/jobs", EVERYONE)
async def list_of_jobs(call: Call, params: JobFilter) -> Page[JobView]:
    """The latest jobs, newest first."""
    before = int(params.after) if params.after else None
    found = await list_jobs(
        call.connection,
        kind=params.kind,
        state=params.state,
        subject=params.subject,
        before=before,
        limit=params.limit + 1,
    )
    return call.page(found, params.limit, view, lambda job: job.job_id)


@endpoints.get("/jobs/{job_id}", EVERYONE)
async def show_job(call: Call, params: OfJob) -> JobView:
    """One job."""
    return view(await job_of(call.connection, params.job_id))


@endpoints.post("/jobs/{job_id}/retry", SCHEDULERS | FINANCE | OPS, moves_money=True, changes=show_job)
async def retry_job(call: Call, params: OfJob) -> JobView:
    """Let a job that failed be tried again."""
    job = await retry(call.connection, params.job_id)
    call.ring_for_job(job.job_id)
    return view(job)
