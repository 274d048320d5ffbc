"""Journals: those of a plan on an account, of a run or of some days; and one with what lies under its lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from urllib.parse import urlencode

from engine.access.roles import EVERYONE
from engine.api.ledger import (
    AsOf,
    JournalFilter,
    JournalPlace,
    OfPlan,
    TrialLineView,
    chart_of_accounts,
    list_of_journals,
    show_journal,
    show_trial_balance,
)
from engine.console.page import Pages, Shown
from engine.console.views import shown
from engine.console.visits import Visit

pages = Pages("/finance")


@pages.get("/finance/journals/{plan}", EVERYONE)
async def journals(visit: Visit, params: JournalFilter) -> Shown:
    """The journals of a plan; of an account also what it held before and after the days they are of."""
    chart = (await chart_of_accounts(visit.call, OfPlan(plan=params.plan))).accounts
    filtered = params.model_dump(mode="json", exclude={"plan", "after", "limit"}, exclude_none=True)
    return Shown(
        "finance/journals.html",
        {
            "plan": params.plan,
            "journals": shown(await list_of_journals(visit.call, params)),
            "filter": params,
            "is_filtered": any(getattr(params, name) for name in ("account", "kind", "run_id", "first", "last")),
            "accounts": list({each.code: each.name for each in chart}.items()),
            "units": sorted({each.unit for each in chart}, reverse=True),
            "balances": await _balances(visit, params),
            "start": f"/finance/journals/{params.plan}?{urlencode(filtered)}" if params.after else None,
        },
    )


@pages.get("/finance/journals/{plan}/{shard_id}/{seq}", EVERYONE)
async def journal(visit: Visit, params: JournalPlace) -> Shown:
    """One journal: its lines, the detail under them, and its place in the chain of digests."""
    found = await show_journal(visit.call, params)
    return Shown("finance/journal.html", {"plan": params.plan, "journal": shown(found)})


async def _balances(visit: Visit, params: JournalFilter) -> list[tuple[date | None, Mapping[str, object] | None]]:
    """What the account holds, at the end of the day before the first and of the last; None: nothing."""
    if params.account is None:
        return []
    days = [params.last] if params.first is None else [params.first - timedelta(days=1), params.last]
    return [(day, await _held(visit, params, day)) for day in days]


async def _held(visit: Visit, params: JournalFilter, as_of: date | None) -> Mapping[str, object] | None:
    def is_asked_for(line: TrialLineView) -> bool:
        return (line.code, line.unit) == (params.account, params.unit)

    lines = (await show_trial_balance(visit.call, AsOf(plan=params.plan, as_of=as_of))).lines
    return next((shown(line) for line in lines if is_asked_for(line)), None)
