"""Plans as the database knows them: their codes, and every version of their rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

from sqlalchemy import exists, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput, NotFound
from engine.ledger.accounts import open_accounts
from engine.plans import PlanRules, digest, from_json, to_json
from engine.store.audit import record
from engine.store.tables import PLAN_STRIDE, custodians, plan_rules, plans, shards


@dataclass(frozen=True, slots=True)
class Plan:
    """A registered plan and the newest version of its rules."""

    plan_id: int
    code: str
    version: int


async def register_plan(connection: AsyncConnection, rules: PlanRules) -> Plan:
    """Make the plan known, with its shard 0; a new version of its rules only when they differ from the newest.

    Raises InvalidInput for a plan that ended, and for what a plan keeps for life: the currency of its books and, once
    it has members, its tiers and where their shares are posted.
    """
    await connection.execute(
        insert_or_skip(plans)
        .values(code=rules.code, name=rules.name, currency=rules.currency)
        .on_conflict_do_nothing(constraint="plans_code_key")
    )
    known = (await connection.execute(select(plans).where(plans.c.code == rules.code).with_for_update())).one()
    if known.currency != rules.currency:
        raise InvalidInput(
            f"plan {rules.code} keeps its books in {known.currency}, not {rules.currency}; "
            "register a plan with another code"
        )
    await connection.execute(
        insert_or_skip(shards)
        .values(shard_id=known.plan_id * PLAN_STRIDE, plan_id=known.plan_id, number=0, first_seat=0, seats=0)
        .on_conflict_do_nothing(constraint="shards_pkey")
    )
    newest = (
        await connection.execute(
            select(plan_rules.c.version, plan_rules.c.digest)
            .where(plan_rules.c.plan_id == known.plan_id)
            .order_by(plan_rules.c.version.desc())
            .limit(1)
        )
    ).first()
    if newest is not None and newest.digest == digest(rules):
        return Plan(known.plan_id, rules.code, newest.version)
    await refuse_ended(connection, known.plan_id)
    if newest is not None and await _has_members(connection, known.plan_id):
        _refuse_another_plan(await rules_of(connection, known.plan_id, newest.version), rules)
    version = 1 if newest is None else newest.version + 1
    await connection.execute(
        insert(plan_rules).values(
            plan_id=known.plan_id,
            version=version,
            digest=digest(rules),
            rules=json.loads(to_json(rules)),
        )
    )
    return Plan(known.plan_id, rules.code, version)


async def enter_plan(connection: AsyncConnection, rules: PlanRules, *, actor: str) -> Plan:
    """Register the rules, as `register_plan` does, and open the plan's accounts; the same again changes nothing."""
    plan = await register_plan(connection, rules)
    await open_accounts(connection, plan.plan_id)
    await record(connection, actor, "register plan", f"plan:{plan.code}", {"version": plan.version})
    return plan


async def _has_members(connection: AsyncConnection, plan_id: int) -> bool:
    seated = exists().where(shards.c.plan_id == plan_id, shards.c.number > 0)
    return bool(await connection.scalar(select(seated)))


def _refuse_another_plan(before: PlanRules, rules: PlanRules) -> None:
    """Raises InvalidInput where the rules before left in rosters and books what these could not read."""
    code, wrong = rules.code, []
    tiers = [tier.code for tier in before.tiers]
    if [tier.code for tier in rules.tiers][: len(tiers)] != tiers:
        wrong.append(
            f"tiers: {code} has members in {', '.join(tiers)}, known by their order; "
            "keep these first, as they are ordered, and add others after them"
        )
    for key, stands, wanted in (
        ("direction", before.direction, rules.direction),
        ("funding", before.funding, rules.funding),
        ("surplus.benefit", before.surplus and before.surplus.benefit, rules.surplus and rules.surplus.benefit),
    ):
        if wanted != stands:
            wrong.append(f"{key}: {code} has members and keeps {stands or 'none'}; register another with another code")
    if wrong:
        raise InvalidInput("\n".join([*wrong, "nothing was changed"]))


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A registered plan as it stands. `seats`: ever given, also to members who have left since."""

    plan_id: int
    code: str
    name: str
    currency: str
    version: int
    seats: int
    custodian: str | None
    locked_through: date | None
    ended_on: date | None


_NEWEST = (
    select(plan_rules.c.plan_id, func.max(plan_rules.c.version).label("version"))
    .group_by(plan_rules.c.plan_id)
    .subquery()
)
_SEATED = select(shards.c.plan_id, func.sum(shards.c.seats).label("seats")).group_by(shards.c.plan_id).subquery()
_FACTS = (
    select(
        plans.c.plan_id,
        plans.c.code,
        plans.c.name,
        plans.c.currency,
        _NEWEST.c.version,
        _SEATED.c.seats,
        custodians.c.code.label("custodian"),
        plans.c.locked_through,
        plans.c.ended_on,
    )
    .join(_NEWEST, _NEWEST.c.plan_id == plans.c.plan_id)
    .join(_SEATED, _SEATED.c.plan_id == plans.c.plan_id)
    .outerjoin(custodians, custodians.c.custodian_id == plans.c.custodian_id)
    .order_by(plans.c.code)
)


async def list_plans(connection: AsyncConnection, *, after: str = "", limit: int | None = None) -> list[PlanFacts]:
    """Every plan by its code, those after one."""
    return [PlanFacts(*row) for row in await connection.execute(_FACTS.where(plans.c.code > after).limit(limit))]


async def facts_of(connection: AsyncConnection, plan: Plan) -> PlanFacts:
    """A plan as it stands."""
    return PlanFacts(*(await connection.execute(_FACTS.where(plans.c.plan_id == plan.plan_id))).one())


async def plan_of(connection: AsyncConnection, code: str) -> Plan:
    """The plan with this code. Raises InvalidInput that names the plans there are."""
    known = await _registered(connection)
    if code not in known:
        raise NotFound(f"there is no plan {code!r}; {_listed(known)}")
    return known[code]


async def code_of(connection: AsyncConnection, plan_id: int) -> str:
    """The code of a plan that is there."""
    return str((await connection.execute(select(plans.c.code).where(plans.c.plan_id == plan_id))).scalar_one())


async def plan_or_only(connection: AsyncConnection, code: str | None) -> Plan:
    """The plan with this code, or without one the only plan there is. Raises InvalidInput that names them."""
    if code is not None:
        return await plan_of(connection, code)
    known = await _registered(connection)
    if len(known) != 1:
        raise InvalidInput(f"give --plan CODE; {_listed(known)}")
    return next(iter(known.values()))


async def _registered(connection: AsyncConnection) -> dict[str, Plan]:
    """Every plan by its code, in their order."""
    newest = func.max(plan_rules.c.version)
    found = await connection.execute(
        select(plans.c.plan_id, plans.c.code, newest)
        .join(plan_rules, plan_rules.c.plan_id == plans.c.plan_id)
        .group_by(plans.c.plan_id, plans.c.code)
        .order_by(plans.c.code)
    )
    return {row.code: Plan(*row) for row in found}


async def rules_of(connection: AsyncConnection, plan_id: int, version: int) -> PlanRules:
    """One version of a plan's rules, as they were registered. Raises InvalidInput when there is none."""
    found = await connection.scalar(
        select(plan_rules.c.rules).where(plan_rules.c.plan_id == plan_id, plan_rules.c.version == version)
    )
    if found is None:
        raise NotFound(f"plan {plan_id} has no version {version} of its rules")
    return from_json(json.dumps(found), f"plan {plan_id}, version {version}")


async def newest_rules(connection: AsyncConnection, plan_id: int) -> PlanRules:
    """The newest version of a plan's rules. Raises InvalidInput when there is no such plan."""
    newest = select(func.coalesce(func.max(plan_rules.c.version), 0)).where(plan_rules.c.plan_id == plan_id)
    return await rules_of(connection, plan_id, (await connection.execute(newest)).scalar_one())


async def refuse_ended(connection: AsyncConnection, plan_id: int) -> None:
    """Raises InvalidInput once the plan's books are closed: nothing is planned, filed or paid in any more."""
    found = await connection.execute(select(plans.c.code, plans.c.ended_on).where(plans.c.plan_id == plan_id))
    plan = found.one()
    if plan.ended_on is not None:
        raise InvalidInput(f"plan {plan.code} ended on {plan.ended_on}, and its books are closed")


async def lock_roster(connection: AsyncConnection, plan_id: int) -> None:
    """Wait for the plan's turn: imports, changes and freezes of one plan go one after the other."""
    await connection.execute(select(plans.c.plan_id).where(plans.c.plan_id == plan_id).with_for_update())


async def lock_living(connection: AsyncConnection, plan_id: int) -> None:
    """`lock_roster` for what an ended plan has no more. Raises InvalidInput as `refuse_ended` does."""
    await lock_roster(connection, plan_id)
    await refuse_ended(connection, plan_id)


def _listed(known: dict[str, Plan]) -> str:
    return f"the plans here are {', '.join(known)}" if known else "none is registered yet; `fentan plan register` does"
