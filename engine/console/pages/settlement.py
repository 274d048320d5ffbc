"""The settlement of a run: where its shares are, what was paid of its aid, and what is missing to close it."""

from __future__ import annotations

from collections.abc import Mapping

from engine.access.roles import EVERYONE
from engine.api.decisions import DecisionFilter, list_of_decisions
from engine.api.jobs import JobFilter, list_of_jobs
from engine.api.plans import OfPlan, RulesOf, show_plan, show_rules
from engine.api.reconciliation import FunnelView, show_reconciliation
from engine.api.runs import OfRun, show_run
from engine.console.language import N_
from engine.console.page import Pages, Shown
from engine.console.views import shown
from engine.console.visits import Visit
from engine.jobs.job import Kind, State
from engine.reconcile.closing import Lack
from engine.runs.corrections import Against
from engine.runs.states import RunState

pages = Pages("/runs")

SEATS_ASKED = 3
"""Rows of the form for a correction; the API takes more."""

_DECISIONS_SHOWN = 20

_TONES = {
    "assessed": "plain",
    "sent": "busy",
    "drawn": "good",
    "settled": "good",
    "in_flight": "busy",
    "returned": "warn",
    "written_off": "bad",
    "waived": "idle",
}

LACKS: Mapping[Lack, str] = {
    Lack.NOT_SETTLED: N_("Its debits are not all through."),
    Lack.FUNNEL_LEAKS: N_("Its debits and the ledger do not say the same."),
    Lack.DEBITS_OWED: N_("%(amount)s is owed and not in yet; debits in flight: %(count)s."),
    Lack.DEBITS_RETURNED: N_("Debits that came back and are not written off: %(count)s, %(amount)s."),
    Lack.AID_UNPAID: N_("Aid that is not paid: %(amount)s; claims: %(count)s."),
    Lack.PAYOUTS_UNDER_WAY: N_("On no statement yet: the payouts to claims %(claims)s."),
    Lack.BREAKS_UNRESOLVED: N_("Breaks that are not resolved: %(count)s × %(breaks)s."),
}
"""What is missing to close a run, in words."""


@pages.get("/runs/{run_id}/settlement", EVERYONE)
async def settlement(visit: Visit, params: OfRun) -> Shown:
    """A sealed run's money: each share in one place, its aid, its corrections, and what keeps it open."""
    call = visit.call
    run, found = await show_run(call, params), await show_reconciliation(call, params)
    plan, rules = await show_plan(call, OfPlan(plan=run.plan)), (await show_rules(call, RulesOf(plan=run.plan))).rules
    subject = f"run:{params.run_id}"
    decided = await list_of_decisions(call, DecisionFilter(plan=run.plan, subject=subject, limit=_DECISIONS_SHOWN))
    jobs = (await list_of_jobs(call, JobFilter(kind=Kind.INSTRUCT, subject=subject, limit=1))).items
    context = {
        "view": run,
        "run": shown(run),
        "found": shown(found),
        "custodian": plan.custodian,
        "steps": _steps(found.funnel),
        "lacks": LACKS,
        "decisions": shown(decided),
        "job": shown(jobs[0]) if jobs else None,
        "is_busy": bool(jobs) and jobs[0].state is State.QUEUED,
        "may_ask": run.state in (RunState.SEALED, RunState.COLLECTING) and plan.custodian is not None,
        "may_close": run.state is RunState.SETTLED and not found.missing,
        "is_open": run.state is not RunState.CLOSED,
        "againsts": list(Against),
        "seats_asked": SEATS_ASKED,
        "today": call.today(rules["time_zone"]).isoformat(),
    }
    return Shown("finance/settlement.html", context)


def _steps(funnel: FunnelView) -> list[Mapping[str, object]]:
    counted = shown(funnel)
    return [
        {"name": name, "value": counted[name]["count"], "amount": counted[name]["amount"], "tone": tone}
        for name, tone in _TONES.items()
    ]
