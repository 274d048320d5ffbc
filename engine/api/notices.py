"""The notice board: the claims that stand before their plans now."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Flag, Model, Money, Numbered, Page, Paged
from engine.api.service import Call
from engine.claims.board import Posted, posted
from engine.roster.plan import plan_of

endpoints = Endpoints("notices", "The claims that stand before their plans now, with nothing of the members.")


class BoardFilter(Paged):
    """Which part of the board. `due`: only claims that can pass, whose notice is over with no open objection."""

    after: Numbered = None
    plan: Code | None = None
    due: Flag = False


class PostedView(Model):
    """A claim under notice. `days_left`: 0 once the notice is over, while the claim waits to be decided on."""

    claim_id: int
    plan: str
    number: int
    aid: Money
    severity: str | None
    notice_on: Day
    ends_on: Day
    days_left: int
    open_objections: int


def _posted(claim: Posted) -> PostedView:
    return PostedView(
        claim_id=claim.claim_id,
        plan=claim.plan_code,
        number=claim.number,
        aid=claim.aid_minor,
        severity=claim.severity,
        notice_on=claim.notice_on,
        ends_on=claim.ends_on,
        days_left=claim.days_left,
        open_objections=claim.open_objections,
    )


@endpoints.get("/notices", EVERYONE)
async def list_of_notices(call: Call, params: BoardFilter) -> Page[PostedView]:
    """The notice board: claims under notice now, in filing order, for all to see."""
    plan_id = None if params.plan is None else (await plan_of(call.connection, params.plan)).plan_id
    after = int(params.after or 0)
    limit = params.limit + 1
    found = await posted(call.connection, plan_id, call.now, is_due=params.due, after=after, limit=limit)
    return call.page(found, params.limit, _posted, lambda claim: claim.claim_id)
