"""What needs somebody now: what only a person can move on, for whoever may do just that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from engine.api.breaks import SomeBreaks, count_of_breaks
from engine.api.custodians import CoverageView
from engine.api.decisions import DecisionFilter, list_of_decisions
from engine.api.fields import LIMIT_MAX, Paged
from engine.api.notices import BoardFilter, list_of_notices
from engine.api.queues import QueueView
from engine.api.runs import RunFilter, list_of_runs
from engine.api.schedules import ScheduleStandingView
from engine.api.workers import list_of_workers
from engine.console.visits import Visit
from engine.decisions import DecisionState
from engine.runs.states import RunState


@dataclass(frozen=True)
class Need:
    """One line. `what`: its kind, which the page has words for; `of`: the queue, the plan or the custodian it is in.

    `tone`: bad where something stands still; `is_least`: there are more than were counted.
    """

    what: str
    number: int
    url: str
    tone: str = "warn"
    of: str | None = None
    is_least: bool = False


async def needs_of(
    visit: Visit,
    *,
    queues: Sequence[QueueView],
    schedules: Sequence[ScheduleStandingView],
    coverages: Sequence[CoverageView],
) -> list[Need]:
    """What waits for the visitor, what stands still first."""
    found = [*await _to_approve(visit), *_of_operations(visit, queues), *_of_the_clock(visit, schedules)]
    if visit.may("drain_worker"):
        workers = (await list_of_workers(visit.call, Paged(limit=LIMIT_MAX))).items
        found.append(Need("no worker", int(all(each.is_lost for each in workers)), "/ops/workers", "bad"))
        found.append(Need("lost workers", sum(each.is_lost for each in workers), "/ops/workers", "bad"))
    if visit.may("pass_claim"):
        board = await list_of_notices(visit.call, BoardFilter(limit=LIMIT_MAX))
        over = [claim for claim in board.items if claim.days_left == 0]
        objected = sum(claim.open_objections > 0 for claim in over)
        is_least = board.next is not None
        found.append(Need("claims to pass", len(over) - objected, "/claims?state=published", is_least=is_least))
        found.append(Need("claims objected to", objected, "/claims?state=published", is_least=is_least))
    if visit.may("assign_break"):
        found += [*await _my_breaks(visit), *_of_custodians(coverages)]
    wanted = [need for need in found if need.number]
    return sorted(wanted, key=lambda need: need.tone != "bad")


async def _to_approve(visit: Visit) -> list[Need]:
    """What others planned or proposed (I13)."""
    found = []
    if visit.may("approve_run"):
        runs = await list_of_runs(visit.call, RunFilter(state=RunState.PREVIEWED, limit=LIMIT_MAX))
        waiting = [run.run_id for run in runs.items if not visit.is_me(run.planned_by)]
        url = f"/runs/{waiting[0]}" if len(waiting) == 1 else "/runs?state=previewed"
        found.append(Need("runs to approve", len(waiting), url, is_least=runs.next is not None))
    if visit.may("approve_decision"):
        asked = DecisionFilter(state=DecisionState.PROPOSED, limit=LIMIT_MAX)
        decisions = await list_of_decisions(visit.call, asked)
        others = [each.decision_id for each in decisions.items if not visit.is_me(each.proposed_by)]
        url = f"/finance/decisions/{others[0]}" if len(others) == 1 else "/finance/decisions?state=proposed"
        found.append(Need("decisions to approve", len(others), url, is_least=decisions.next is not None))
    return found


def _of_operations(visit: Visit, queues: Sequence[QueueView]) -> Iterator[Need]:
    if visit.may("retry_queue"):
        for each in queues:
            yield Need("failures", each.failed, f"/ops/queues/{each.queue}", "bad", each.queue)


def _of_the_clock(visit: Visit, schedules: Sequence[ScheduleStandingView]) -> Iterator[Need]:
    if visit.may("skip_slot"):
        for each in schedules:
            yield Need("missed slots", each.missed_slots, f"/ops/schedules?plan={quote(each.plan)}", "bad", each.plan)
            is_refused = int(each.refusal is not None)
            yield Need("schedule refused", is_refused, f"/ops/schedules?plan={quote(each.plan)}", "bad", each.plan)


async def _my_breaks(visit: Visit) -> list[Need]:
    mine = visit.call.actor
    counts = (await count_of_breaks(visit.call, SomeBreaks(assigned_to=mine))).counts
    number = sum(each.number for each in counts)
    return [Need("my breaks", number, f"/finance/breaks?assigned_to={quote(mine)}")]


def _of_custodians(coverages: Sequence[CoverageView]) -> Iterator[Need]:
    for each in coverages:
        url = f"/finance/custodians/{quote(each.custodian)}"
        yield Need("days missing", each.days_missing, url, "bad", each.custodian)
        yield Need("statements parked", each.parked, url, "warn", each.custodian)
