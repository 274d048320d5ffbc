"""The overview: what is under way, what comes next, what needs somebody now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from engine.access.tokens import NotAuthenticated
from engine.api.breaks import SomeBreaks, severities_of_breaks
from engine.api.custodians import CoverageView, OfCustodian, SomeCustodians, list_of_custodians, show_coverage
from engine.api.fields import LIMIT_MAX
from engine.api.plans import PlanPart, list_of_plans
from engine.api.queues import list_queues
from engine.api.run_views import ProgressView, RunView
from engine.api.runs import OfRun, RunFilter, SomeRuns, list_of_runs, show_progress, show_run_counts
from engine.api.schedules import ScheduleFilter, list_of_schedules
from engine.console.page import ANYONE, Elsewhere, Pages, Shown
from engine.console.pages.needs import needs_of
from engine.console.visits import Visit
from engine.custodian.breaks import SeverityName
from engine.runs.states import AT_WORK, RunState

pages = Pages("/")

RUNS_SHOWN = 12
"""Of those under way; the list of runs has them all."""

CUSTODIANS_SHOWN = 20

_UNDER_WAY = (*AT_WORK, RunState.PREVIEWED)


@dataclass(frozen=True)
class UnderWay:
    """A run that workers are at, or that waits for its approval. `progress`: None where nobody is at it."""

    run: RunView
    progress: ProgressView | None


@dataclass(frozen=True)
class Covered:
    """What a custodian's statements speak of. `through`: the last day up to which none is missing."""

    coverage: CoverageView
    through: date | None


@pages.get("/", ANYONE)
async def overview(visit: Visit) -> Shown | Elsewhere:
    """What is under way. Who has not signed in sees what is public."""
    if visit.visitor is None and visit.is_part:
        raise NotAuthenticated
    if visit.visitor is None:
        return Elsewhere("/public")
    call = visit.call
    runs, number = await _under_way(visit)
    queues = (await list_queues(call)).items
    schedules = (await list_of_schedules(call, ScheduleFilter(limit=LIMIT_MAX))).items
    custodians = (await list_of_custodians(call, SomeCustodians(limit=CUSTODIANS_SHOWN))).items
    coverages = [await show_coverage(call, OfCustodian(custodian=each.custodian)) for each in custodians]
    severities = Counter[SeverityName]()
    for each in (await severities_of_breaks(call, SomeBreaks())).items:
        severities[each.severity] += each.number
    shown = {
        "needs": await needs_of(visit, queues=queues, schedules=schedules, coverages=coverages),
        "runs": runs,
        "runs_under_way": number,
        "is_moving": any(each.progress is not None for each in runs),
        "queues": queues,
        "has_schedules": bool(schedules),
        "slots": sorted((each for each in schedules if each.next_slot), key=lambda each: str(each.next_slot)),
        "is_new": not (number or schedules or custodians) and await _is_empty(visit),
        "custodians": [Covered(each, _through(each)) for each in coverages],
        "severities": [(severity, severities[severity]) for severity in reversed(SeverityName)],
    }
    return Shown("overview/overview.html", shown)


async def _is_empty(visit: Visit) -> bool:
    """Whether there is no plan yet: who looks is told how it begins."""
    return not (await list_of_plans(visit.call, PlanPart(limit=1))).items


async def _under_way(visit: Visit) -> tuple[list[UnderWay], int]:
    """The newest of the runs under way, and how many there are."""
    counts = await show_run_counts(visit.call, SomeRuns())
    states = {state: counts.by_state.get(state, 0) for state in _UNDER_WAY}
    runs: list[RunView] = []
    for state in [state for state, number in states.items() if number]:
        runs += (await list_of_runs(visit.call, RunFilter(state=state, limit=RUNS_SHOWN))).items
    shown = sorted(runs, key=lambda run: run.run_id, reverse=True)[:RUNS_SHOWN]
    return [await _at(visit, run) for run in shown], sum(states.values())


async def _at(visit: Visit, run: RunView) -> UnderWay:
    if run.state not in AT_WORK:
        return UnderWay(run, None)
    return UnderWay(run, await show_progress(visit.call, OfRun(run_id=run.run_id)))


def _through(coverage: CoverageView) -> date | None:
    if not coverage.missing:
        return coverage.last_on
    before = coverage.missing[0] - timedelta(days=1)
    return before if coverage.first_on is not None and before >= coverage.first_on else None
