"""Periods: the sealed runs, what each collected and paid, and nothing of a member."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Id, Model, Moment, Money, Numbered, Page, Paged
from engine.api.service import Call
from engine.roster.plan import plan_of
from engine.runs.periods import Helped, PaidCase, Period, helped, paid_cases, period_of, periods

endpoints = Endpoints("periods", "What sealed runs collected and paid, with nothing of the members.")


class OfPeriod(Model):
    """One sealed run."""

    run_id: Id


class PeriodFilter(Paged):
    """Which sealed runs."""

    after: Numbered = None
    plan: Code | None = None


class CasePart(Paged):
    """Which cases of a sealed run."""

    run_id: Id
    after: Numbered = None


class PeriodView(Model):
    """A sealed run. `share`: the most that one seat paid, or was given; `charged`: what members paid, or the surplus.

    `money_in` and `money_out` are equal (I5). `unit`: a currency, or cover. `root`: of the seal, which covers the
    plan's `previous_root`.
    """

    run_id: int
    plan: str
    name: str
    kind: str
    unit: str
    debit_on: Day
    sealed_at: Moment
    members: int
    sharers: int
    cases: int
    share: Money
    charged: Money
    sponsor: Money
    carry_in: Money
    money_in: Money
    aid: Money
    fee: Money
    carry_out: Money
    money_out: Money
    previous_root: str | None
    root: str


class PaidCaseView(Model):
    """A case of a sealed run, by the number of its claim in the plan; null: a surplus. `aid_paid`: after any cut."""

    number: int
    claim_number: int | None
    gate_on: Day
    aid: Money
    aid_paid: Money
    fee: Money


class HelpedView(Model):
    """What the sealed runs of a plan came to."""

    plan: str
    name: str
    currency: str
    runs: int
    cases: int
    aid: Money


class HelpedViews(Model):
    """The same of every plan, by code."""

    plans: list[HelpedView]


@endpoints.get("/periods", EVERYONE)
async def list_of_periods(call: Call, params: PeriodFilter) -> Page[PeriodView]:
    """What sealed runs collected and paid, newest first, for all to see."""
    plan_id = None if params.plan is None else (await plan_of(call.connection, params.plan)).plan_id
    before = int(params.after) if params.after else None
    found = await periods(call.connection, plan_id, before=before, limit=params.limit + 1)
    return call.page(found, params.limit, _period, lambda period: period.run_id)


@endpoints.get("/periods/totals", EVERYONE)
async def show_help(call: Call) -> HelpedViews:
    """How many cases each plan's sealed runs carried, and the aid they came to."""
    return HelpedViews(plans=[_helped(each) for each in await helped(call.connection)])


@endpoints.get("/periods/{run_id}", EVERYONE)
async def show_period(call: Call, params: OfPeriod) -> PeriodView:
    """What one sealed run collected and paid."""
    return _period(await period_of(call.connection, params.run_id))


@endpoints.get("/periods/{run_id}/cases", EVERYONE)
async def list_of_cases(call: Call, params: CasePart) -> Page[PaidCaseView]:
    """What a sealed run paid case by case, with nothing of the members."""
    after = int(params.after or 0)
    found = await paid_cases(call.connection, params.run_id, after=after, limit=params.limit + 1)
    return call.page(found, params.limit, _case, lambda case: case.number)


def _period(period: Period) -> PeriodView:
    sums = period.sums
    return PeriodView(
        run_id=period.run_id,
        plan=period.plan_code,
        name=period.plan_name,
        kind=period.kind,
        unit=period.unit,
        debit_on=period.debit_on,
        sealed_at=period.sealed_at,
        members=period.members,
        sharers=period.sharers,
        cases=period.cases,
        share=period.share,
        money_in=sums.money_in,
        money_out=sums.money_out,
        previous_root=period.previous_root.hex() if period.previous_root else None,
        root=period.root.hex(),
        **sums._asdict(),
    )


def _case(case: PaidCase) -> PaidCaseView:
    return PaidCaseView(**case._asdict())


def _helped(of: Helped) -> HelpedView:
    return HelpedView(
        plan=of.plan_code, name=of.plan_name, currency=of.currency, runs=of.runs, cases=of.cases, aid=of.aid
    )
