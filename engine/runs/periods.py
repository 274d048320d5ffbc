"""What anybody may know of sealed runs: what each collected and paid, and nothing of a member.

The sums are those of the view `run_tie_out`, read from the posted journals; a run that was voided is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import DateTime, Row, Select, and_, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import NotFound
from engine.ledger.tie_out import TieOut
from engine.money import to_minor
from engine.plans.days import date_of
from engine.plans.member_rules import Benefit
from engine.store.tables import IN_THE_BOOKS, plan_rules, plans, run_cases, share_runs

COVER = "cover"
"""The unit of what a run gives that is not money."""


@dataclass(frozen=True)
class Period:
    """One sealed run. `share`: the most that one seat paid, or was given, in minor units; `cases`: how many it carried.

    `unit`: the currency, or `cover`. `root`: of its seal, which covers `previous_root`, of the plan's seal before.
    """

    run_id: int
    plan_code: str
    plan_name: str
    kind: str
    unit: str
    debit_on: date
    sealed_at: datetime
    members: int
    sharers: int
    cases: int
    share: int
    sums: TieOut
    previous_root: bytes | None
    root: bytes


class PaidCase(NamedTuple):
    """One case of a sealed run by its claim's number in the plan, None for a surplus; amounts in minor units.

    `gate_on`: the day whose 00:00 decided who shared it.
    """

    number: int
    claim_number: int | None
    gate_on: date
    aid: int
    aid_paid: int
    fee: int


class Helped(NamedTuple):
    """What the sealed runs of a plan came to: how many there are, the cases they carried, the aid in minor units."""

    plan_code: str
    plan_name: str
    currency: str
    runs: int
    cases: int
    aid: int


async def periods(
    connection: AsyncConnection, plan_id: int | None = None, *, before: int | None = None, limit: int
) -> list[Period]:
    """The latest sealed runs, newest first; of a plan, and before the run of a number."""
    chosen = _sealed().order_by(share_runs.c.run_id.desc()).limit(limit)
    if plan_id is not None:
        chosen = chosen.where(share_runs.c.plan_id == plan_id)
    if before is not None:
        chosen = chosen.where(share_runs.c.run_id < before)
    rows = (await connection.execute(chosen)).all()
    sums = {
        row.run_id: TieOut(*map(int, row[1:]))
        for row in await connection.execute(_SUMS, {"runs": [row.run_id for row in rows]})
    }
    return [_period(row, sums[row.run_id]) for row in rows if row.run_id in sums]


async def period_of(connection: AsyncConnection, run_id: int) -> Period:
    """One sealed run. Raises NotFound for any other."""
    row = (await connection.execute(_sealed().where(share_runs.c.run_id == run_id))).one_or_none()
    sums = (await connection.execute(_SUMS, {"runs": [run_id]})).one_or_none()
    if row is None or sums is None:
        raise NotFound(f"there is no sealed run {run_id}")
    return _period(row, TieOut(*map(int, sums[1:])))


async def paid_cases(connection: AsyncConnection, run_id: int, *, after: int = 0, limit: int) -> list[PaidCase]:
    """The cases of a sealed run in their order, those after a number. Raises NotFound for a run that is not sealed."""
    await period_of(connection, run_id)
    of = run_cases.c
    query = (
        select(
            of.number,
            of.claim_number,
            of.gate_day,
            of.aid_minor,
            func.coalesce(of.aid_paid_minor, 0),
            func.coalesce(of.fee_minor, 0),
        )
        .where(of.run_id == run_id, of.number > after)
        .order_by(of.number)
        .limit(limit)
    )
    return [PaidCase(*row[:2], date_of(row[2]), *row[3:]) for row in await connection.execute(query)]


async def helped(connection: AsyncConnection) -> list[Helped]:
    """What each plan's sealed runs came to, by code; also of plans that have none."""
    carried = (
        select(
            share_runs.c.plan_id,
            func.count(share_runs.c.run_id.distinct()).label("runs"),
            func.count(run_cases.c.claim_id).label("cases"),
            func.coalesce(func.sum(run_cases.c.aid_paid_minor).filter(run_cases.c.claim_id.is_not(None)), 0).label(
                "aid"
            ),
        )
        .join(run_cases, run_cases.c.run_id == share_runs.c.run_id)
        .where(share_runs.c.state.in_(IN_THE_BOOKS))
        .group_by(share_runs.c.plan_id)
        .subquery()
    )
    query = (
        select(
            plans.c.code,
            plans.c.name,
            plans.c.currency,
            func.coalesce(carried.c.runs, 0),
            func.coalesce(carried.c.cases, 0),
            func.coalesce(carried.c.aid, 0),
        )
        .outerjoin(carried, carried.c.plan_id == plans.c.plan_id)
        .order_by(plans.c.code)
    )
    return [Helped(*row[:5], int(row[5])) for row in await connection.execute(query)]


_SUMS = text("""
SELECT run_id, charged, sponsor, carry_in, aid, fee, carry_out
FROM run_tie_out WHERE run_id = ANY(CAST(:runs AS bigint[]))
""")


def _sealed() -> Select[Any]:
    """Of the preview only what stands below: all of it may be long, and so is the solution."""
    of, said = share_runs.c, share_runs.c.preview
    return (
        select(
            of.run_id,
            plans.c.code,
            plans.c.name,
            plans.c.currency,
            plan_rules.c.rules["surplus"]["benefit"].astext.label("benefit"),
            of.kind,
            of.debit_on,
            cast(of.moments["sealed"].astext, DateTime(timezone=True)).label("sealed_at"),
            func.coalesce(of.members, 0).label("members"),
            *(said[name].astext.label(name) for name in ("sharers", "cases", "share")),
            of.previous_root,
            of.root,
        )
        .join(plans, plans.c.plan_id == of.plan_id)
        .join(plan_rules, and_(plan_rules.c.plan_id == of.plan_id, plan_rules.c.version == of.rules_version))
        .where(of.state.in_(IN_THE_BOOKS), of.root.is_not(None))
    )


def _period(row: Row[Any], sums: TieOut) -> Period:
    return Period(
        run_id=row.run_id,
        plan_code=row.code,
        plan_name=row.name,
        kind=row.kind,
        unit=COVER if row.benefit == Benefit.COVER else row.currency,
        debit_on=row.debit_on,
        sealed_at=row.sealed_at,
        members=row.members,
        sharers=int(row.sharers),
        cases=int(row.cases),
        share=to_minor(row.share),
        sums=sums,
        previous_root=row.previous_root,
        root=row.root,
    )
