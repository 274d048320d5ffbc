"""One run: its life, what it would charge, how far it is, what it came to, its seal, its files."""

from __future__ import annotations

from collections.abc import Mapping

from engine.access.roles import EVERYONE
from engine.api.audit import AuditFilter, list_audit
from engine.api.exports import OfExport, show_export
from engine.api.fields import Id, Paged
from engine.api.jobs import JobFilter, list_of_jobs
from engine.api.ledger import JournalFilter, list_of_journals, show_tie_out
from engine.api.ledger import OfRun as OfTiedRun
from engine.api.run_views import OutcomeView, PlacedShardView, PreviewView, ProgressView, RunShardView, RunView
from engine.api.runs import (
    OfRun,
    ShardFilter,
    list_of_run_shards,
    show_outcome,
    show_preview,
    show_progress,
    show_run,
    show_shard_map,
)
from engine.console.page import Pages, Shown
from engine.console.pages.run_life import life_of
from engine.console.pages.runs import balanced
from engine.console.views import shown
from engine.console.visits import Visit
from engine.jobs.job import Kind, State
from engine.runs.shards import ShardState
from engine.runs.states import AT_WORK, PAUSABLE, VOIDABLE, RunState

pages = Pages("/runs")

ACTS_SHOWN = 100
CASES_SHOWN = 200
CLASSES_SHOWN = 50
EXPORTS_SHOWN = 5
FAILED_SHOWN = 10


class JournalPart(Paged):
    """Which journals of a run."""

    run_id: Id


@pages.get("/runs/{run_id}", EVERYONE)
async def show(visit: Visit, params: OfRun) -> Shown:
    """The page of a run."""
    call, run_id = visit.call, params.run_id
    run = await show_run(call, params)
    outcome, progress = await show_outcome(call, params), await show_progress(call, params)
    preview = await show_preview(call, params) if run.preview_digest is not None else None
    acts = (await list_audit(call, AuditFilter(subject=f"run:{run_id}", limit=ACTS_SHOWN))).items
    context = {
        "run": shown(run),
        "view": run,
        "life": life_of(run, acts),
        "acts": [shown(act) for act in acts],
        "outcome": shown(outcome),
        "preview": None if preview is None else shown(preview),
        "sums": sums_of(outcome, preview),
        "tie_out": shown(await show_tie_out(call, OfTiedRun(run_id=run_id))) if run.is_in_the_books else None,
        "is_booked": run.is_in_the_books,
        "was_posted": RunState.POSTING in run.moments,
        "is_voidable": run.state in VOIDABLE,
        "may_wait": run.state in PAUSABLE,
        "is_own": visit.is_me(run.planned_by),
        "exports": await _exports(visit, run_id) if run.is_in_the_books else [],
        "cases_shown": CASES_SHOWN,
        "classes_shown": CLASSES_SHOWN,
        **await _live(visit, run, progress),
    }
    return Shown("runs/run.html", context)


@pages.get("/runs/{run_id}/live", EVERYONE)
async def show_live(visit: Visit, params: OfRun) -> Shown:
    """The part of the page that changes while the run is at work, by itself."""
    run, progress = await show_run(visit.call, params), await show_progress(visit.call, params)
    return Shown("runs/live.html", {"run": shown(run), **await _live(visit, run, progress)})


@pages.get("/runs/{run_id}/shards", EVERYONE)
async def show_shards(visit: Visit, params: ShardFilter) -> Shown:
    """Where each shard of a run stands, who has it and what went wrong."""
    run = await show_run(visit.call, OfRun(run_id=params.run_id))
    progress = await show_progress(visit.call, OfRun(run_id=params.run_id))
    found = await list_of_run_shards(visit.call, params)
    context = {"run": shown(run), "progress": shown(progress), "shards": shown(found), "asked": params}
    return Shown("runs/shards.html", context)


@pages.get("/runs/{run_id}/journals", EVERYONE)
async def show_journals(visit: Visit, params: JournalPart) -> Shown:
    """What a run posted: its journals, shard by shard."""
    run = await show_run(visit.call, OfRun(run_id=params.run_id))
    asked = JournalFilter(plan=run.plan, run_id=run.run_id, after=params.after, limit=params.limit)
    found = await list_of_journals(visit.call, asked)
    return Shown("runs/journals.html", {"run": shown(run), "journals": shown(found), "asked": params})


def sums_of(outcome: OutcomeView, preview: PreviewView | None) -> Mapping[str, object] | None:
    """The run's line of I5, as decimal text: what was posted once it is sealed, before that what would be."""
    if outcome.totals is not None and outcome.state not in (*AT_WORK, RunState.PREVIEWED, RunState.VOIDED):
        return {**shown(outcome.totals), "is_posted": True}
    if preview is None:
        return None
    return {**balanced(shown(preview)), "is_posted": False}


async def _live(visit: Visit, run: RunView, progress: ProgressView) -> Mapping[str, object]:
    """What the live part shows: all shards while they are worked on or wait for somebody, and those that do."""
    is_at_work, is_stuck, run_id = run.state in AT_WORK, progress.shards_failed > 0, run.run_id
    placed, failed = list[PlacedShardView](), list[RunShardView]()
    if progress.shards and (is_at_work or is_stuck):
        placed = (await show_shard_map(visit.call, OfRun(run_id=run_id))).shards
    if is_stuck:
        asked = ShardFilter(run_id=run_id, state=ShardState.FAILED, limit=FAILED_SHOWN)
        failed = (await list_of_run_shards(visit.call, asked)).items
    return {
        "progress": shown(progress),
        "placed": [shown(shard) for shard in placed],
        "failed": [shown(shard) for shard in failed],
        "is_followed": is_at_work,
    }


async def _exports(visit: Visit, run_id: int) -> list[Mapping[str, object]]:
    """The latest exports of a run, and the files of those that are done."""
    asked = JobFilter(kind=Kind.EXPORT, subject=f"run:{run_id}", limit=EXPORTS_SHOWN)
    jobs = (await list_of_jobs(visit.call, asked)).items
    return [
        {
            **shown(job),
            "files": shown(await show_export(visit.call, OfExport(job_id=job.job_id)))["files"]
            if job.state is State.DONE
            else [],
        }
        for job in jobs
    ]
