"""Exports: asked for of a run or of a custodian's account, written by a worker, and handed out file by file."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.custodians import SomeCustodians, list_of_custodians
from engine.api.exports import OfExport, show_export
from engine.api.fields import LIMIT_MAX, Code, Id, Numbered, Paged
from engine.api.jobs import JobFilter, OfJob, list_of_jobs, show_job
from engine.api.runs import OfRun, show_run
from engine.console.page import Pages, Shown
from engine.console.rendering import etag_of
from engine.console.views import shown
from engine.console.visits import Visit
from engine.errors import NotFound
from engine.jobs.job import Kind, State

pages = Pages("/finance")


class Exports(Paged):
    """Which exports: all, or those about a run or a custodian's account."""

    after: Numbered = None
    run_id: Id | None = None
    custodian: Code | None = None


@pages.get("/finance/exports", EVERYONE)
async def exports(visit: Visit, params: Exports) -> Shown:
    """The exports that were asked for, newest first, and the forms that ask for one."""
    subject = f"run:{params.run_id}" if params.run_id else f"custodian:{params.custodian}" if params.custodian else None
    jobs = await list_of_jobs(
        visit.call, JobFilter(kind=Kind.EXPORT, subject=subject, after=params.after, limit=params.limit)
    )
    custodians = (await list_of_custodians(visit.call, SomeCustodians(limit=LIMIT_MAX))).items
    run = None if params.run_id is None else await show_run(visit.call, OfRun(run_id=params.run_id))
    return Shown(
        "finance/exports.html",
        {
            "jobs": shown(jobs),
            "seen": {each.job_id: etag_of(each) for each in jobs.items if each.state is State.FAILED},
            "waits": any(each.state is State.QUEUED for each in jobs.items),
            "custodians": [(each.custodian, each.name) for each in custodians],
            "run": None if run is None else shown(run),
            "is_sealed": run is not None and run.is_in_the_books,
            "asked": params,
            "is_first": params.after is None,
        },
    )


@pages.get("/finance/exports/{job_id}", EVERYONE)
async def one_export(visit: Visit, params: OfExport) -> Shown:
    """One export: how far it is, and what it holds once it is done."""
    job = await show_job(visit.call, OfJob(job_id=params.job_id))
    if job.kind is not Kind.EXPORT:
        raise NotFound(f"job {params.job_id} is no export")
    held = await show_export(visit.call, params) if job.state is State.DONE else None
    return Shown(
        "finance/export.html",
        {
            "job": shown(job),
            "seen": etag_of(job),
            "waits": job.state is State.QUEUED,
            "export": None if held is None else shown(held),
        },
    )
