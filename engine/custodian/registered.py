"""Custodians as they are registered, and the plans whose money each holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.profile import Profile
from engine.errors import InvalidInput, NotFound
from engine.store.audit import record
from engine.store.tables import custodians, plans


@dataclass(frozen=True)
class Custodian:
    """A custodian account. `plans`: the ids of the plans whose money it holds, in order."""

    custodian_id: int
    profile: Profile
    plans: tuple[int, ...]

    @property
    def code(self) -> str:
        """What it is called."""
        return self.profile.code

    @property
    def home_plan(self) -> int:
        """The plan whose books take what belongs to no plan that anybody knows. Raises InvalidInput without any."""
        if not self.plans:
            raise InvalidInput(f"{self.code} holds no plan's money yet; `fentan custodian assign {self.code} PLAN`")
        return self.plans[0]


async def register(connection: AsyncConnection, profile: Profile, *, actor: str) -> Custodian:
    """Register a custodian, or take its profile as it is now. Raises InvalidInput for another currency than held."""
    stored = {"code": profile.code, "profile": json.loads(profile.model_dump_json())}
    put = insert(custodians).values(stored)
    custodian_id = await connection.scalar(
        put.on_conflict_do_update(index_elements=["code"], set_={"profile": put.excluded.profile}).returning(
            custodians.c.custodian_id
        )
    )
    kept_in = await connection.scalar(select(plans.c.currency).where(plans.c.custodian_id == custodian_id).limit(1))
    if kept_in not in (None, profile.currency):
        raise InvalidInput(f"{profile.code} holds plans kept in {kept_in}: its currency cannot be {profile.currency}")
    await record(connection, actor, "register custodian", f"custodian:{profile.code}", {"custodian": custodian_id})
    return await custodian_of(connection, profile.code)


async def assign(
    connection: AsyncConnection, code: str, plan_id: int, *, actor: str, reason: str | None = None
) -> Custodian:
    """Let a custodian hold a plan's money. Raises InvalidInput for another currency, or where another holds it."""
    custodian = await custodian_of(connection, code)
    plan = (await connection.execute(select(plans).where(plans.c.plan_id == plan_id).with_for_update())).one()
    if plan.currency != custodian.profile.currency:
        raise InvalidInput(f"{plan.code} is kept in {plan.currency}, {code} in {custodian.profile.currency}")
    if plan.custodian_id not in (None, custodian.custodian_id):
        raise InvalidInput(f"another custodian holds the money of {plan.code}; a plan keeps the one it began with")
    await connection.execute(
        update(plans).where(plans.c.plan_id == plan_id).values(custodian_id=custodian.custodian_id)
    )
    held_by = {"custodian": custodian.custodian_id}
    await record(connection, actor, "assign custodian", f"plan:{plan.code}", held_by, reason=reason)
    return await custodian_of(connection, code)


async def custodian_of(connection: AsyncConnection, code: str) -> Custodian:
    """The custodian of this code. Raises InvalidInput that names those there are."""
    row = (await connection.execute(_REGISTERED.where(custodians.c.code == code))).one_or_none()
    if row is None:
        known = ", ".join(each.code for each in await list_custodians(connection)) or "none"
        raise NotFound(f"no custodian {code} is registered (`fentan custodian register`); there are: {known}")
    return _custodian(row)


async def custodian_by_id(connection: AsyncConnection, custodian_id: int) -> Custodian:
    """The custodian of this id, which is one."""
    return _custodian((await connection.execute(_REGISTERED.where(custodians.c.custodian_id == custodian_id))).one())


async def custodian_of_plan(connection: AsyncConnection, plan_id: int) -> Custodian:
    """Who holds the plan's money. Raises InvalidInput while nobody does."""
    of_plan = select(plans.c.custodian_id).where(plans.c.plan_id == plan_id).scalar_subquery()
    row = (await connection.execute(_REGISTERED.where(custodians.c.custodian_id == of_plan))).one_or_none()
    if row is None:
        code = await connection.scalar(select(plans.c.code).where(plans.c.plan_id == plan_id))
        raise InvalidInput(f"no custodian holds the money of {code} yet; `fentan custodian assign CUSTODIAN {code}`")
    return _custodian(row)


async def list_custodians(connection: AsyncConnection, *, after: str = "", limit: int | None = None) -> list[Custodian]:
    """All of them by code, those after one."""
    chosen = _REGISTERED.where(custodians.c.code > after).order_by(custodians.c.code).limit(limit)
    return [_custodian(row) for row in await connection.execute(chosen)]


async def plan_codes(connection: AsyncConnection) -> dict[int, str]:
    """The codes of the plans whose money any custodian holds, by their ids."""
    held = select(plans.c.plan_id, plans.c.code).where(plans.c.custodian_id.is_not(None))
    return {row.plan_id: row.code for row in await connection.execute(held)}


_HELD = (
    select(func.array_agg(plans.c.plan_id).label("plans"), plans.c.custodian_id)
    .where(plans.c.custodian_id.is_not(None))
    .group_by(plans.c.custodian_id)
    .subquery()
)
_REGISTERED = select(custodians, _HELD.c.plans).outerjoin(_HELD, _HELD.c.custodian_id == custodians.c.custodian_id)


def _custodian(row: Row[tuple[object, ...]]) -> Custodian:
    return Custodian(row.custodian_id, _profile(json.dumps(row.profile)), tuple(sorted(row.plans or ())))


@lru_cache(maxsize=256)
def _profile(stored: str) -> Profile:
    """Read once for all who ask: its patterns are tried out each time, and a page asks for it ten times."""
    return Profile.model_validate_json(stored)
