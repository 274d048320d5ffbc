"""Credit runs: a period's premiums − claims − costs go back to the members (SCHEMES: zhonghui-surplus)."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.ledger.accounts import CURRENCY, open_accounts, share_unit
from engine.money import BIGINT_MAX, grouped
from engine.plans.calendar import slots
from engine.plans.days import day_number
from engine.plans.member_rules import Benefit
from engine.plans.rules import PlanRules
from engine.roster.plan import Plan, lock_living, rules_of
from engine.runs.planning import begin_run, check_debit_day
from engine.runs.run import Run, load_run
from engine.store.audit import record

KIND = "credit"
_NOTICE_WITHIN = timedelta(days=400)
"""A notice is not longer before the day it leads to."""


async def plan_credit_run(
    connection: AsyncConnection,
    plan: Plan,
    credit_on: date,
    *,
    premiums_minor: int,
    claims_minor: int,
    costs_minor: int,
    actor: str,
) -> Run:
    """A run that gives the members what a period's premiums left of claims and costs, on `credit_on`.

    In money, or in the cover it buys; from there on it is a run like any other. Raises InvalidInput when the plan
    gives no surplus, nothing is left to give, the day is none of the plan's, or the period has a run already.
    """
    await lock_living(connection, plan.plan_id)
    rules = await rules_of(connection, plan.plan_id, plan.version)
    shared = _surplus(rules, premiums_minor, claims_minor, costs_minor)
    check_debit_day(rules, credit_on)
    parts = {"premiums_minor": premiums_minor, "claims_minor": claims_minor, "costs_minor": costs_minor}
    surplus = parts | {"shared": shared, "unit": share_unit(rules)}
    case = {"aid_minor": shared, "gate_day": day_number(_gate(rules, credit_on))}
    run_id = await begin_run(connection, plan, rules, credit_on, [case], actor=actor, kind=KIND, surplus=surplus)
    await open_accounts(connection, plan.plan_id, sorted({CURRENCY, share_unit(rules)}))
    await record(connection, actor, "plan credit run", f"run:{run_id}", {"credit_on": str(credit_on), **surplus})
    return await load_run(connection, run_id)


def _surplus(rules: PlanRules, premiums_minor: int, claims_minor: int, costs_minor: int) -> int:
    """What there is to give, in minor units of money or of cover. Raises InvalidInput."""
    if rules.surplus is None:
        raise InvalidInput(f"{rules.code} debits its members; only plans with direction credit give them a surplus")
    for name, amount in (("premiums", premiums_minor), ("claims", claims_minor), ("costs", costs_minor)):
        if not 0 <= amount <= BIGINT_MAX:
            raise InvalidInput(f"--{name} {grouped(amount)}: give an amount that is not negative; costs come off")
    left = premiums_minor - claims_minor - costs_minor
    if left <= 0:
        raise InvalidInput(
            f"premiums of {grouped(premiums_minor)} less claims of {grouped(claims_minor)} and costs of "
            f"{grouped(costs_minor)} leave {grouped(left)}: there is no surplus to give"
        )
    shared = left * rules.surplus.cover_per_unit if rules.surplus.benefit is Benefit.COVER else left
    if shared > BIGINT_MAX:
        raise InvalidInput(f"a surplus of {grouped(left)} buys more cover than the ledger can hold")
    return shared


def _gate(rules: PlanRules, credit_on: date) -> date:
    """The gate of the period that ends with the day; the day itself where no notice leads to it."""
    before = slots(rules, credit_on - _NOTICE_WITHIN, credit_on)
    return next((slot.gate_on for slot in before if slot.debit_on == credit_on), credit_on)
