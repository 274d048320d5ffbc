"""Public pages: claims under notice, what each period collected and paid, the rules of each plan, the seals.

They show sealed runs alone and nothing of any member, and are kept for some seconds: whoever looks, the database is
asked for a bounded part once in a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from engine.api.fields import Code, Id, Model, Numbered
from engine.api.notices import BoardFilter, SomeBoards, list_of_notices, show_boards
from engine.api.periods import (
    CasePart,
    OfPeriod,
    PeriodFilter,
    list_of_cases,
    list_of_periods,
    show_help,
    show_period,
)
from engine.api.plans import OfPlan, RulesOf, show_plan, show_rules
from engine.console.page import ANYONE, Pages, Shown
from engine.console.views import plans_of, shown
from engine.console.visits import Visit

pages = Pages("")

KEPT_SECONDS = 10
NOTICES_SHOWN = 50
PERIODS_SHOWN = 12
PERIODS_OF_PLAN = 24
CASES_SHOWN = 100


class NoticePart(Model):
    """Which part of the notice board."""

    after: Numbered = None


class PlanPart(Model):
    """A plan, and which of its periods."""

    plan: Code
    after: Numbered = None


class PeriodPart(Model):
    """A sealed run, and which of its cases."""

    run_id: Id
    after: Numbered = None


@pages.get("/public", ANYONE, kept_seconds=KEPT_SECONDS)
async def show_all(visit: Visit, params: NoticePart) -> Shown:
    """The first page: what stands under notice now, the plans, the latest periods, and what they came to."""
    call = visit.call
    notices = await list_of_notices(call, BoardFilter(after=params.after, limit=NOTICES_SHOWN))
    boards = (await show_boards(call, SomeBoards())).plans
    periods = (await list_of_periods(call, PeriodFilter(limit=PERIODS_SHOWN))).items
    helped = [shown(each) for each in (await show_help(call)).plans]
    plans = await plans_of(visit)
    latest = {period.plan: shown(period) for period in reversed(periods)}
    context = {
        "board": shown(notices),
        "under_notice": sum(board.under_notice for board in boards),
        "over": sum(board.due + board.objected for board in boards),
        "periods": [shown(period) for period in periods],
        "plans": plans,
        "helped": {each["plan"]: each for each in helped},
        "latest": latest,
        "totals": _totals(helped),
        "currencies": {plan["plan"]: plan["currency"] for plan in plans},
        "names": {plan["plan"]: plan["name"] for plan in plans},
        "asked": params,
    }
    return Shown("public/public.html", context)


@pages.get("/public/{plan}", ANYONE, kept_seconds=KEPT_SECONDS)
async def show_one_plan(visit: Visit, params: PlanPart) -> Shown:
    """A plan: its rules in plain words, what stands under notice, and its periods."""
    call, of = visit.call, OfPlan(plan=params.plan)
    plan = await show_plan(call, of)
    told = shown(await show_rules(call, RulesOf(plan=params.plan)))
    notices = await list_of_notices(call, BoardFilter(plan=params.plan, limit=NOTICES_SHOWN))
    periods = await list_of_periods(call, PeriodFilter(plan=params.plan, after=params.after, limit=PERIODS_OF_PLAN))
    rules: Any = told["rules"]
    context = {
        "plan": shown(plan),
        "rules": rules,
        "fee": percents(rules["share"]["fee"]),
        "first_stage": percents(rules["aid_stages"]["first"]) if rules["aid_stages"] else None,
        "every_rule": told["words"],
        "board": shown(notices)["items"],
        "periods": shown(periods),
        "asked": params,
    }
    return Shown("public/plan.html", context)


@pages.get("/public/runs/{run_id}", ANYONE, kept_seconds=KEPT_SECONDS)
async def show_run(visit: Visit, params: PeriodPart) -> Shown:
    """A sealed run: money in and money out, who shared, its cases without names, and its seal."""
    period = await show_period(visit.call, OfPeriod(run_id=params.run_id))
    asked = CasePart(run_id=params.run_id, after=params.after, limit=CASES_SHOWN)
    cases = await list_of_cases(visit.call, asked)
    return Shown("public/run.html", {"period": shown(period), "cases": shown(cases), "asked": params})


def percents(rate: str) -> str:
    """A rate as percents: `8` of `2/25`, `33.33` of `1/3`; nothing of 0."""
    whole = Fraction(rate) * 100
    return "" if not whole else f"{float(whole):.2f}".rstrip("0").rstrip(".")


def _totals(helped: Sequence[Mapping[str, Any]]) -> list[Mapping[str, object]]:
    """Cases and aid by currency, of the plans that keep their books in it."""
    by_currency = dict[str, tuple[int, Decimal]]()
    for each in helped:
        cases, aid = by_currency.get(each["currency"], (0, Decimal(0)))
        by_currency[each["currency"]] = (cases + each["cases"], aid + Decimal(each["aid"]))
    return [{"currency": currency, "cases": cases, "aid": str(aid)} for currency, (cases, aid) in by_currency.items()]
