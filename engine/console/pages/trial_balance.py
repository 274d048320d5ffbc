"""The trial balance of a plan: every account, debit or credit, as of a day; and how far its books are locked."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.decisions import DecisionFilter, list_of_decisions
from engine.api.fields import LIMIT_MAX, Code, Day, Model
from engine.api.ledger import AsOf, Unit, show_trial_balance
from engine.api.plans import PlanPart, list_of_plans
from engine.console.page import Pages, Shown
from engine.console.views import shown
from engine.console.visits import Visit
from engine.decisions import DecisionState, Kind
from engine.errors import NotFound

pages = Pages("/finance")


class Books(Model):
    """Whose books; the first plan's unless one is given. `as_of`: at the end of that day."""

    plan: Code | None = None
    as_of: Day | None = None


@pages.get("/finance/trial-balance", EVERYONE)
async def trial_balance(visit: Visit, params: Books) -> Shown:
    """Every account of a plan that has a line, by what it is kept in, and whether both sides are the same."""
    call = visit.call
    plans = (await list_of_plans(call, PlanPart(limit=LIMIT_MAX))).items
    context: dict[str, object] = {
        "plans": [(each.plan, each.name) for each in plans],
        "as_of": params.as_of,
        "balance": None,
    }
    if params.plan is None and not plans:
        return Shown("finance/trial_balance.html", context)
    plan = next((each for each in plans if params.plan in (None, each.plan)), None)
    if plan is None:
        raise NotFound(f"there is no plan {params.plan}")
    locks = DecisionFilter(plan=plan.plan, kind=Kind.PERIOD_LOCK, state=DecisionState.PROPOSED)
    context |= {
        "plan": shown(plan),
        "balance": shown(await show_trial_balance(call, AsOf(plan=plan.plan, as_of=params.as_of))),
        "units": list(Unit),
        "locks": [shown(each) for each in (await list_of_decisions(call, locks)).items],
    }
    return Shown("finance/trial_balance.html", context)
