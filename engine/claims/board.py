"""The notice board: the claims that stand before the plan now."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Posted(NamedTuple):
    """A claim on the board, with nothing of the member; the aid in minor units.

    `ends_on`: the first day after the notice. `days_left`: 0 once it is over, and the claim waits to be decided on.
    """

    claim_id: int
    plan_code: str
    number: int
    aid_minor: int
    severity: str | None
    notice_on: date
    ends_on: date
    days_left: int
    open_objections: int


class Board(NamedTuple):
    """How many claims of a plan are on the board: their notice lasts, they can pass, or an objection holds them."""

    plan_code: str
    under_notice: int
    due: int
    objected: int


# The day it is differs from plan to plan: each one's newest rules name its zone.
_ON_THE_BOARD = """
FROM claims
JOIN plans USING (plan_id)
JOIN notices USING (claim_id)
JOIN (
    SELECT DISTINCT ON (plan_id) plan_id,
        CAST(timezone(rules ->> 'time_zone', CAST(:now AS timestamptz)) AS date) AS day
    FROM plan_rules ORDER BY plan_id, version DESC
) AS today USING (plan_id)
LEFT JOIN (
    SELECT claim_id, count(*) AS open FROM objections WHERE resolved_on IS NULL GROUP BY claim_id
) AS objected USING (claim_id)
WHERE claims.state = 'published' AND notices.notice_on <= today.day
    AND (CAST(:plan_id AS bigint) IS NULL OR claims.plan_id = :plan_id)
"""

_POSTED = text(f"""
SELECT claims.claim_id, plans.code AS plan_code, claims.number, claims.aid_minor, claims.severity,
    notices.notice_on, notices.ends_on, greatest(notices.ends_on - today.day, 0) AS days_left,
    coalesce(objected.open, 0) AS open_objections
{_ON_THE_BOARD}
    AND claims.claim_id > :after
    AND NOT (CAST(:is_due AS boolean) AND (notices.ends_on > today.day OR coalesce(objected.open, 0) > 0))
ORDER BY claims.claim_id
LIMIT :limit
""")

_COUNTED = text(f"""
SELECT plans.code AS plan_code,
    count(*) FILTER (WHERE notices.ends_on > today.day) AS under_notice,
    count(*) FILTER (WHERE notices.ends_on <= today.day AND objected.open IS NULL) AS due,
    count(*) FILTER (WHERE notices.ends_on <= today.day AND objected.open > 0) AS objected
{_ON_THE_BOARD}
GROUP BY plans.code
ORDER BY plans.code
""")


async def posted(
    connection: AsyncConnection,
    plan_id: int | None,
    now: datetime,
    *,
    is_due: bool = False,
    after: int = 0,
    limit: int,
) -> list[Posted]:
    """Claims under notice at a moment, in filing order, those after a claim's id; of one plan, or of all.

    `is_due`: only those that can pass, whose notice is over with no open objection.
    """
    asked = {"plan_id": plan_id, "now": now, "is_due": is_due, "after": after, "limit": limit}
    return [Posted(*row) for row in await connection.execute(_POSTED, asked)]


async def boards(connection: AsyncConnection, plan_id: int | None, now: datetime) -> list[Board]:
    """How many claims stand on the board at a moment, by the code of their plan; of one plan, or of all."""
    return [Board(*row) for row in await connection.execute(_COUNTED, {"plan_id": plan_id, "now": now})]
