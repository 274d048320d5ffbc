"""The trial balance of a plan: every account, debit or credit, as of a day."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.fields import LIMIT_MAX, Code, Day, Model
from engine.api.ledger import AsOf, Unit, show_trial_balance
from engine.api.plans import PlanPart, list_of_plans
from engine.console.page import Pages, Shown
from engine.console.visits import Visit

pages = Pages("/finance")


class Books(Model):
    """Whose books; the first plan's unless one is given. `as_of`: at the end of that day."""

    plan: Code | None = None
    as_of: Day | None = None


@pages.get("/finance/trial-balance", EVERYONE)
async def trial_balance(visit: Visit, params: Books) -> Shown:
    """Every account of a plan that has a line, by what it is kept in, and whether both sides are the same."""
    plans = (await list_of_plans(visit.call, PlanPart(limit=LIMIT_MAX))).items
    plan = params.plan or (plans[0].plan if plans else None)
    found = None if plan is None else await show_trial_balance(visit.call, AsOf(plan=plan, as_of=params.as_of))
    return Shown(
        "finance/trial_balance.html",
        {
            "plans": [(each.plan, each.name) for each in plans],
            "plan": next((each.model_dump(mode="json") for each in plans if each.plan == plan), None),
            "balance": None if found is None else found.model_dump(mode="json"),
            "units": list(Unit),
            "as_of": params.as_of,
        },
    )
