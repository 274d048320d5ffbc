"""Members: looked up by their references, which no address ever holds; a seat's standing, statement and proofs."""

from __future__ import annotations

from http import HTTPStatus

from engine.access.roles import EVERYONE
from engine.api.fields import Code, Day, Model, Seat
from engine.api.members import (
    MemberOn,
    MemberRef,
    MemberView,
    OfMember,
    OfProof,
    Reference,
    SharePart,
    StatementPart,
    find_member,
    list_of_shares,
    show_member,
    show_member_statement,
    show_owed,
    show_proof,
    show_reference,
)
from engine.api.plans import OfPlan
from engine.console.page import Elsewhere, Pages, Shown
from engine.console.rendering import etag_of
from engine.console.views import plans_of, shown
from engine.console.visits import Visit
from engine.errors import FentanError, NotFound

pages = Pages("/finance")


class BySeat(Model):
    """Whose page is looked for, by the seat."""

    plan: Code | None = None
    seat: Seat | None = None


class ByReference(Model):
    """Who is looked for, by what the roster calls them: it comes in a form, and stands on no page that has it."""

    plan: Code
    member_ref: MemberRef


class Statement(StatementPart):
    """Which part of a seat's statement, beside how the seat stands on a day; today unless one is given."""

    on: Day | None = None


@pages.get("/finance/members", EVERYONE)
async def look_up(visit: Visit, params: BySeat) -> Shown | Elsewhere:
    """Where members are looked for."""
    if params.plan is not None and params.seat is not None:
        return Elsewhere(_address(params.plan, params.seat))
    return Shown("finance/members.html", {"plans": await plans_of(visit), "plan": params.plan, "found": None})


@pages.post("/finance/members", EVERYONE)
async def found(visit: Visit, params: ByReference) -> Shown | Elsewhere:
    """The seats of a member; straight to the seat where it is the only one."""
    async with visit.reading():
        context = {"plans": await plans_of(visit), "plan": params.plan}
        try:
            seats = await find_member(visit.call, OfPlan(plan=params.plan), Reference(member_ref=params.member_ref))
        except NotFound:
            return Shown("finance/members.html", context | {"found": []}, HTTPStatus.NOT_FOUND)
        if len(seats.spells) == 1:
            return Elsewhere(_address(params.plan, seats.spells[0].seat))
        standing = [await show_member(visit.call, MemberOn(plan=params.plan, seat=each.seat)) for each in seats.spells]
        return Shown("finance/members.html", context | {"found": [shown(each) for each in standing]})


@pages.get("/finance/members/{plan}/{seat}", EVERYONE)
async def member(visit: Visit, params: Statement) -> Shown:
    """How a seat stands, and every entry in its name."""
    seat = MemberOn(plan=params.plan, seat=params.seat, on=params.on)
    standing = await show_member(visit.call, seat)
    owed, is_late = None, False
    if standing.frozen_from is not None:
        try:
            owed = shown(await show_owed(visit.call, seat))
        except FentanError:
            # Too late is the one thing it can be: the seat is there, and frozen on that day.
            is_late = True
    part = StatementPart(**params.model_dump(exclude={"on"}))
    context = await _standing(visit, standing) | {
        "entries": shown(await show_member_statement(visit.call, part)),
        "is_first": params.after is None,
        "on": params.on.isoformat() if params.on else "",
        "owed": owed,
        "is_late": is_late,
        # What a form changes is the seat as it stands today, whichever day is shown.
        "seen": etag_of(await show_member(visit.call, MemberOn(plan=params.plan, seat=params.seat))),
    }
    return Shown("finance/member.html", context)


@pages.get("/finance/members/{plan}/{seat}/shares", EVERYONE)
async def shares(visit: Visit, params: SharePart) -> Shown:
    """What a seat was charged by each sealed run, each with its proof."""
    standing = await show_member(visit.call, MemberOn(plan=params.plan, seat=params.seat))
    context = await _standing(visit, standing) | {
        "shares": shown(await list_of_shares(visit.call, params)),
        "is_first": params.after is None,
    }
    return Shown("finance/member_shares.html", context)


@pages.get("/finance/members/{plan}/{seat}/proofs/{run_id}", EVERYONE)
async def proof(visit: Visit, params: OfProof) -> Shown:
    """That a seat's share stands under a run's seal: every hash on the way up."""
    return Shown("finance/member_proof.html", {"proof": shown(await show_proof(visit.call, params))})


async def _standing(visit: Visit, standing: MemberView) -> dict[str, object]:
    """The seat, and whose it is for whom the API tells it."""
    known = None
    if visit.may("show_reference"):
        known = (await show_reference(visit.call, OfMember(plan=standing.plan, seat=standing.seat))).member_ref
    return {"member": shown(standing), "member_ref": known, "here": _address(standing.plan, standing.seat)}


def _address(plan: str, seat: int) -> str:
    return f"/finance/members/{plan}/{seat}"
