"""Plans: what they are, what their rules say, when they debit, what comes next; levies, and their end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from engine.access.roles import ADMINS, EVERYONE, FINANCE
from engine.api.days import happened_on
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Model, Money, Page, Paged, Text, Year, whole
from engine.api.proposed import Proposal, proposal
from engine.api.service import Call
from engine.members.levies import levy
from engine.plans import PlanRules, slots, to_json
from engine.plans.answers import paid_by
from engine.plans.calendar import begins_on_any_day
from engine.plans.explanation import explain
from engine.roster.plan import Plan, PlanFacts, enter_plan, facts_of, list_plans, plan_of, rules_of
from engine.roster.presets import load_plan
from engine.runs.ending import propose_wind_down
from engine.runs.forecast import Forecast, forecast

endpoints = Endpoints("plans", "Mutual-aid plans: their rules in words, their calendar, what comes next.")


class OfPlan(Model):
    """One plan."""

    plan: Code


class PlanPart(Paged):
    """Which plans."""

    after: Code | None = None


class PlanView(Model):
    """A registered plan. `version`: of its newest rules. `seats`: ever given, also to members who left since."""

    plan: str
    name: str
    currency: str
    version: int
    seats: int
    custodian: str | None
    locked_through: Day | None
    ended_on: Day | None


class RulesOf(OfPlan):
    """Rules of a plan; the newest unless a version is given."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(whole)] | None = None


class RulesView(Model):
    """A version of a plan's rules: in words by topic, and as they are kept."""

    plan: str
    version: int
    words: Mapping[str, str]
    rules: Mapping[str, Any]


class YearOf(OfPlan):
    """A year of a plan."""

    year: Year


class SlotView(Model):
    """A period: a notice begins, it has ended, its claims are debited. `gate_on`: its 00:00 decides who shares."""

    notice_on: Day
    ends_on: Day
    debit_on: Day
    gate_on: Day
    paid_by: str


class CalendarView(Model):
    """A plan's periods in a year; none where every claim's notice begins on a day of its own (`any_day`)."""

    plan: str
    year: int
    time_zone: str
    any_day: bool
    slots: list[SlotView]


class DayOf(OfPlan):
    """A plan on a day; today unless one is given."""

    on: Day | None = None


class ExpectedClaims(Model):
    """Claims of a coming run; those with an open objection are not in the estimate."""

    passed: int
    under_notice: int
    objected: int


class ForecastView(Model):
    """An estimate of the next run, no charge; `charged` without waived shares, `sponsor` with them.

    `share`: the most a member pays; `shares`: the same by tier. `gates`: the days that decide who shares.
    """

    plan: str
    is_estimate: bool
    on: Day
    debit_on: Day
    gates: list[Day]
    claims: ExpectedClaims
    sharers: int
    share: Money
    shares: Mapping[str, Money]
    aid: Money
    fee: Money
    carry_in: Money
    pool: Money
    charged: Money
    sponsor: Money
    carry_out: Money
    unshared_claims: int


class NewPlan(Model):
    """A plan of config/plans, or what its file says by now."""

    plan: Code


class End(Model):
    """The day the books are closed; today unless one is given."""

    on: Day | None = None


class NewLevy(Model):
    """A levy that the plan's rules name, charged to who owes it by a day; today unless one is given."""

    name: Text
    on: Day | None = None


class LevyView(Model):
    """What a levy came to. `short`: seats whose balance did not suffice; `repeated`: nothing changed."""

    plan: str
    name: str
    on: Day
    seats: int
    amount: Money
    short: int
    short_amount: Money
    repeated: bool


def view(facts: PlanFacts) -> PlanView:
    """A plan as answers show it."""
    return PlanView(
        plan=facts.code,
        name=facts.name,
        currency=facts.currency,
        version=facts.version,
        seats=facts.seats,
        custodian=facts.custodian,
        locked_through=facts.locked_through,
        ended_on=facts.ended_on,
    )


async def plan_and_rules(call: Call, code: str) -> tuple[Plan, PlanRules]:
    """A plan and the newest version of its rules. Raises NotFound."""
    plan = await plan_of(call.connection, code)
    return plan, await rules_of(call.connection, plan.plan_id, plan.version)


@endpoints.get("/plans", EVERYONE)
async def list_of_plans(call: Call, params: PlanPart) -> Page[PlanView]:
    """The registered plans, by code."""
    found = await list_plans(call.connection, after=params.after or "", limit=params.limit + 1)
    return call.page(found, params.limit, view, lambda plan: plan.code)


@endpoints.get("/plans/{plan}", EVERYONE)
async def show_plan(call: Call, params: OfPlan) -> PlanView:
    """One plan."""
    return view(await facts_of(call.connection, await plan_of(call.connection, params.plan)))


@endpoints.get("/plans/{plan}/rules", EVERYONE)
async def show_rules(call: Call, params: RulesOf) -> RulesView:
    """What a plan's rules say, in words and as they are kept."""
    plan = await plan_of(call.connection, params.plan)
    version = params.version or plan.version
    rules = await rules_of(call.connection, plan.plan_id, version)
    return RulesView(plan=plan.code, version=version, words=explain(rules), rules=json.loads(to_json(rules)))


@endpoints.get("/plans/{plan}/calendar", EVERYONE)
async def show_calendar(call: Call, params: YearOf) -> CalendarView:
    """When the notices of a year begin and end, their debit days and gates, and who pays."""
    plan, rules = await plan_and_rules(call, params.plan)
    any_day = begins_on_any_day(rules)
    found = [] if any_day else slots(rules, date(params.year, 1, 1), date(params.year, 12, 31))
    return CalendarView(
        plan=plan.code,
        year=params.year,
        time_zone=rules.time_zone,
        any_day=any_day,
        slots=[
            SlotView(
                notice_on=slot.notice_on,
                ends_on=slot.ends_on,
                debit_on=slot.debit_on,
                gate_on=slot.gate_on,
                paid_by=paid_by(rules, slot.debit_on),
            )
            for slot in found
        ],
    )


@endpoints.get("/plans/{plan}/forecast", EVERYONE)
async def show_forecast(call: Call, params: DayOf) -> ForecastView:
    """What members would share next, by the claims under notice and today's roster and caps: an estimate."""
    # One snapshot: what members do meanwhile changes nothing in it, and nothing waits for it.
    await call.connection.execution_options(isolation_level="REPEATABLE READ")
    plan, rules = await plan_and_rules(call, params.plan)
    on = params.on or call.today(rules.time_zone)
    return _forecast(await forecast(call.connection, plan, rules, on=on))


def _forecast(found: Forecast) -> ForecastView:
    return ForecastView(
        plan=found.plan_code,
        is_estimate=True,
        on=found.on,
        debit_on=found.debit_on,
        gates=list(found.gates),
        claims=ExpectedClaims(**found.claims._asdict()),
        sharers=found.sharers,
        share=found.share,
        shares=found.shares,
        aid=found.aid,
        fee=found.fee,
        carry_in=found.carry_in,
        pool=found.pool,
        charged=found.charged,
        sponsor=found.sponsor,
        carry_out=found.carry_out,
        unshared_claims=found.unshared,
    )


@endpoints.post("/plans", ADMINS, status=201, moves_money=True)
async def register_plan(call: Call, body: NewPlan) -> PlanView:
    """Register a plan of config/plans, or a new version of its rules; the same again changes nothing."""
    plan = await enter_plan(call.connection, load_plan(body.plan), actor=call.actor)
    call.created(f"/v1/plans/{plan.code}")
    return view(await facts_of(call.connection, plan))


@endpoints.post("/plans/{plan}/wind-down", FINANCE, status=201, moves_money=True)
async def wind_down_plan(call: Call, params: OfPlan, body: End) -> Proposal:
    """Propose to end a plan: refunds as its rules say, and closed books; done once somebody else approves."""
    plan, rules = await plan_and_rules(call, params.plan)
    on = happened_on(call, rules.time_zone, body.on)
    return proposal(call, await propose_wind_down(call.connection, plan, rules, on=on, actor=call.actor))


@endpoints.post("/plans/{plan}/levies", FINANCE, moves_money=True)
async def charge_levy(call: Call, params: OfPlan, body: NewLevy) -> LevyView:
    """Charge a levy of the plan to every member who owes it by a day; the same again changes nothing."""
    plan, rules = await plan_and_rules(call, params.plan)
    on = happened_on(call, rules.time_zone, body.on)
    made = await levy(call.connection, plan, rules, body.name, on=on, actor=call.actor)
    return LevyView(
        plan=plan.code,
        name=body.name,
        on=on,
        seats=made.seats,
        amount=made.amount_minor,
        short=made.short,
        short_amount=made.short_minor,
        repeated=made.repeated,
    )
