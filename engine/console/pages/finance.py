"""Finance: that books and custodians agree day by day, and each custodian with its files and what it is asked to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise

from engine.access.roles import EVERYONE
from engine.api.batches import BatchFilter, list_of_batches
from engine.api.breaks import SomeBreaks, severities_of_breaks
from engine.api.custodians import (
    CoverageView,
    CustodianView,
    OfCustodian,
    SomeCustodians,
    list_of_custodians,
    show_coverage,
    show_custodian,
)
from engine.api.decisions import DecisionFilter, list_of_decisions
from engine.api.fields import LIMIT_MAX, Day, Model
from engine.api.jobs import JobFilter, list_of_jobs
from engine.api.plans import PlanPart, list_of_plans
from engine.api.reconciliation import DayView, ProofDay, ProofDays, list_of_days, show_proof_of_day, show_reconciled
from engine.api.reconciliation import OfCustodian as Reconciling
from engine.console.page import Pages, Shown
from engine.console.pages.decisions import subject_of
from engine.console.views import shown
from engine.console.visits import Visit
from engine.custodian.breaks import Code as BreakCode
from engine.custodian.breaks import SeverityName
from engine.custodian.outbox import FileKind, FileState
from engine.custodian.profile import presets
from engine.decisions import DecisionState
from engine.jobs.job import State
from engine.money import to_major

pages = Pages("/finance")

STRIP_DAYS = 30

_CUSTODIANS_MAX = 20
_DECISIONS_SHOWN = 5
_JOBS_SHOWN = 5


class Until(Model):
    """The last day that is shown of each account; without one the last that there is something to say of."""

    until: Day | None = None


class CustodianPage(BatchFilter):
    """One custodian, the files of it that are shown, the days, and the day whose proof is open."""

    until: Day | None = None
    day: Day | None = None


@pages.get("/finance", EVERYONE)
async def home(visit: Visit, params: Until) -> Shown:
    """Whether each account ties, what statements are missing, what is open, and what waits for a second person."""
    call = visit.call
    custodians = (await list_of_custodians(call, SomeCustodians(limit=_CUSTODIANS_MAX))).items
    accounts = []
    for each in custodians:
        coverage = await show_coverage(call, OfCustodian(custodian=each.custodian))
        accounts.append(
            {
                "custodian": shown(each),
                "coverage": shown(coverage),
                **await _strip(visit, each, coverage, params.until),
            }
        )
    numbers, suspense = Counter[SeverityName](), Counter[SeverityName]()
    for found in (await severities_of_breaks(call, SomeBreaks())).items:
        numbers[found.severity] += found.number
        suspense[found.severity] += found.suspense
    proposed = DecisionFilter(state=DecisionState.PROPOSED, limit=_DECISIONS_SHOWN)
    waiting = await list_of_decisions(call, proposed)
    context = {
        "accounts": accounts,
        "severities": [(each, numbers[each], to_major(suspense[each])) for each in reversed(SeverityName)],
        "decisions": shown(waiting),
        "subjects": {each.decision_id: subject_of(each) for each in waiting.items},
        "presets": sorted(set(presets()) - {each.custodian for each in custodians}),
    }
    return Shown("finance/home.html", context)


@pages.get("/finance/custodians/{custodian}", EVERYONE)
async def one_custodian(visit: Visit, params: CustodianPage) -> Shown:
    """One custodian: whose money it holds, its proofs, the files it is asked with, and what was asked of it."""
    call, of = visit.call, OfCustodian(custodian=params.custodian)
    custodian, coverage = await show_custodian(call, of), await show_coverage(call, of)
    strip = await _strip(visit, custodian, coverage, params.until or params.day)
    day = params.day or strip["last"]
    proof = await show_proof_of_day(call, ProofDay(custodian=params.custodian, day=day))
    files = await list_of_batches(call, BatchFilter(**params.model_dump(exclude={"until", "day"})))
    jobs = (await list_of_jobs(call, JobFilter(subject=f"custodian:{params.custodian}", limit=_JOBS_SHOWN))).items
    plans = (await list_of_plans(call, PlanPart(limit=LIMIT_MAX))).items if visit.may("assign_plan") else []
    context = {
        "view": custodian,
        "custodian": shown(custodian),
        "coverage": shown(coverage),
        "reconciled": shown(await show_reconciled(call, Reconciling(custodian=params.custodian))),
        **strip,
        "proof": shown(proof),
        "files": shown(files),
        "filter": params,
        "kinds": list(FileKind),
        "states": list(FileState),
        "jobs": [shown(each) for each in jobs],
        "is_busy": any(each.state is State.QUEUED for each in jobs),
        "free_plans": [each.plan for each in plans if each.custodian is None and each.ended_on is None],
        "today": call.today(custodian.time_zone).isoformat(),
    }
    return Shown("finance/custodian.html", context)


async def _strip(
    visit: Visit, custodian: CustodianView, coverage: CoverageView, until: date | None
) -> Mapping[str, object]:
    """An account's last days, as cells; and the days before and after which there are more."""
    today = visit.call.today(custodian.time_zone)
    last = until or today
    if until is None and coverage.last_on is not None and today - coverage.last_on >= timedelta(days=STRIP_DAYS):
        # Nothing came for a month: the days it did come are worth more than a row of gaps.
        last = coverage.last_on
    # One day more, to tell what each day adds to what is missing.
    first = last - timedelta(days=STRIP_DAYS)
    asked = ProofDays(custodian=custodian.custodian, first=first, last=last, limit=STRIP_DAYS + 1)
    days = (await list_of_days(visit.call, asked)).items
    return {
        "days": _cells(coverage, days),
        "first": first + timedelta(days=1),
        "last": last,
        "before": first,
        "after": min(last + timedelta(days=STRIP_DAYS), today) if last < today else None,
    }


def _cells(coverage: CoverageView, days: Sequence[DayView]) -> list[Mapping[str, object]]:
    """A cell for each day but the first. `state`: as charts.html knows it."""
    return [
        {
            "day": day.day,
            "state": _state(coverage, before, day),
            "difference": to_major(day.difference) if day.difference else None,
            "url": f"/finance/custodians/{coverage.custodian}?day={day.day}#proof",
        }
        for before, day in pairwise(days)
    ]


def _state(coverage: CoverageView, before: DayView, day: DayView) -> str:
    """How a day stands by all statements that came: one that opens as the last closed covers the days between."""
    if _is_missing(coverage, before, day):
        return "gap"
    if coverage.first_on is None or coverage.last_on is None or not coverage.first_on <= day.day <= coverage.last_on:
        return "none"
    if day.difference:
        return "differs"
    if day.pending.count > before.pending.count or any(_grew(before, day, code) for code in day.breaks):
        return "open"
    return "carried" if day.pending.count or day.breaks else "ok"


def _is_missing(coverage: CoverageView, before: DayView, day: DayView) -> bool:
    if len(coverage.missing) == coverage.days_missing or day.day <= coverage.missing[-1]:
        return day.day in coverage.missing
    # The coverage names no more of them: each day says how many were missing by then.
    return day.coverage.missing_days > before.coverage.missing_days


def _grew(before: DayView, day: DayView, code: BreakCode) -> bool:
    """Whether more breaks of a code are open than the day before."""
    return code not in before.breaks or day.breaks[code].count > before.breaks[code].count
