"""The notice board: the claims that stand before their plans now."""

from __future__ import annotations

from engine.access.roles import EVERYONE
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Flag, Model, Money, Numbered, Page, Paged
from engine.api.service import Call
from engine.claims.board import Board, Posted, boards, posted
from engine.roster.plan import plan_of

endpoints = Endpoints("notices", "The claims that stand before their plans now, with nothing of the members.")


class SomeBoards(Model):
    """Whose board: of a plan, or of all."""

    plan: Code | None = None


class BoardFilter(SomeBoards, Paged):
    """Which part of the board. `due`: only claims that can pass, whose notice is over with no open objection."""

    after: Numbered = None
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


class BoardView(Model):
    """The board of a plan: claims whose notice lasts, that can pass, and that an open objection keeps from it."""

    plan: str
    under_notice: int
    due: int
    objected: int


class BoardViews(Model):
    """The same of every plan that has any, by code."""

    plans: list[BoardView]


def _board(board: Board) -> BoardView:
    return BoardView(plan=board.plan_code, under_notice=board.under_notice, due=board.due, objected=board.objected)


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
    plan_id = await _plan_id(call, params.plan)
    after = int(params.after or 0)
    limit = params.limit + 1
    found = await posted(call.connection, plan_id, call.now, is_due=params.due, after=after, limit=limit)
    return call.page(found, params.limit, _posted, lambda claim: claim.claim_id)


@endpoints.get("/notices/counts", EVERYONE)
async def show_boards(call: Call, params: SomeBoards) -> BoardViews:
    """How many claims are under notice, can pass, or are held by an objection, plan by plan."""
    found = await boards(call.connection, await _plan_id(call, params.plan), call.now)
    return BoardViews(plans=[_board(each) for each in found])


async def _plan_id(call: Call, code: str | None) -> int | None:
    return None if code is None else (await plan_of(call.connection, code)).plan_id
