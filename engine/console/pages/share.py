"""Check my share: a member asks for a one-time link, opens it, and has the browser verify each share under its seal.

Whoever asks learns nothing: the answer is the same whether the reference is known or not. What is looked at afterwards
is what the link's own member shared, for as long as its cookie lasts.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from pydantic import Field

from engine.access.attempts import who_tries
from engine.api.fields import Code, Id, Model, Numbered, Seat
from engine.api.limits import RateLimits
from engine.api.members import MemberRef, OfProof, SharePart, list_of_shares, show_proof
from engine.api.plans import OfPlan, show_plan
from engine.api.problems import TooManyRequests
from engine.console.page import ANYONE, Cookie, Data, Elsewhere, Pages, Shown
from engine.console.proxies import client_address
from engine.console.views import plans_of, shown
from engine.console.visits import Visit
from engine.errors import NotFound
from engine.members.share_links import VIEW_LASTS, LinkSpent, link_viewer, open_link, request_link
from engine.roster.plan import code_of, plan_of

pages = Pages("")

VIEWER = "fentan_share"
"""The cookie of whoever opened a link."""

SHARES_SHOWN = 24

ASKED_A_MINUTE = 60
"""So many links may be asked for from one network: of a carrier that puts a town behind one address on a debit day."""

Secret = Annotated[str, Field(min_length=20, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


class Asking(Model):
    """The plan that a member chose already."""

    plan: Code | None = None


class Asked(Model):
    """Whose shares are to be seen."""

    plan: Code
    member_ref: MemberRef


class OfLink(Model):
    """One link."""

    secret: Secret


class Mine(Model):
    """Which of one's own shares."""

    after: Numbered = None


class OfRun(Model):
    """One run that one shared. `seat`: of somebody who had several; the latest unless it is given."""

    run_id: Id
    seat: Seat | None = None


@pages.get("/share", ANYONE)
async def ask(visit: Visit, params: Asking) -> Shown:
    """The form: of which plan, and who."""
    return await _form(visit, params.plan)


@pages.post("/share", ANYONE)
async def send_link(visit: Visit, params: Asked) -> Elsewhere | Shown:
    """Have the platform hand the member a link, where there is such a member; nobody learns whether there is."""
    try:
        address = client_address(visit.request, visit.service.settings)
        await count_asked(visit.service.limits, address, now=visit.now)
    except TooManyRequests as error:
        async with visit.reading():
            return await _form(visit, params.plan, params.member_ref, error.wait_seconds)
    async with visit.service.engine.begin() as connection:
        plan = await plan_of(connection, params.plan)
        await request_link(connection, plan, params.member_ref.strip(), now=visit.now)
    return Elsewhere("/share/sent")


async def count_asked(limits: RateLimits, address: str, *, now: datetime) -> None:
    """Let somebody at an IP address ask for a link, whoever it is of. Raises TooManyRequests."""
    await limits.count(f"share:{who_tries('', address).hex()}", now, per_minute=ASKED_A_MINUTE)


@pages.get("/share/sent", ANYONE)
async def show_sent(_: Visit) -> Shown:
    """That a link is on its way, to whoever asked."""
    return Shown("share/sent.html", {})


@pages.get("/share/mine", ANYONE)
async def show_mine(visit: Visit, params: Mine) -> Shown:
    """A member's share of each period, and a button for each that verifies it."""
    whose = await _whose(visit)
    if whose is None:
        return _spent()
    code, seats = whose
    parts = [SharePart(plan=code, seat=seat, after=params.after, limit=SHARES_SHOWN) for seat in seats]
    found = [await list_of_shares(visit.call, part) for part in parts]
    # The runs are the same for every seat, and each was in few of them.
    by_run = zip(*(each.items for each in found), strict=True)
    shares = [shown(one) | {"seat": seat} for of_run in by_run for seat, one in zip(seats, of_run, strict=True)]
    context = {
        "plan": shown(await show_plan(visit.call, OfPlan(plan=code))),
        "shares": [each for each in shares if each["share"] is not None],
        "has_several_seats": len(seats) > 1,
        "page": found[0],
        "asked": params,
    }
    return Shown("share/mine.html", context)


@pages.get("/share/mine/proofs/{run_id}", ANYONE)
async def show_mine_proved(visit: Visit, params: OfRun) -> Data | Shown:
    """The proof of one's own share in a run, for the browser to verify and for the member to keep."""
    whose = await _whose(visit)
    if whose is None:
        return _spent()
    code, seats = whose
    seat = seats[0] if params.seat is None else params.seat
    if seat not in seats:
        raise NotFound(f"seat {seat} is not of whom the link is")
    proof = await show_proof(visit.call, OfProof(plan=code, seat=seat, run_id=params.run_id))
    return Data(proof, file=f"share-{code}-{params.run_id}.json")


@pages.post("/share/mine/close", ANYONE)
async def close(_: Visit) -> Elsewhere:
    """Have this browser forget the view, on a machine that others use too."""
    return Elsewhere("/share", Cookie(VIEWER, "", "/share", 0))


@pages.get("/share/{secret}", ANYONE)
async def show_link(_: Visit, params: OfLink) -> Shown:
    """A button alone: what follows links in messages by itself must not use them up."""
    return Shown("share/open.html", {"secret": params.secret})


@pages.post("/share/{secret}", ANYONE)
async def use_link(visit: Visit, params: OfLink) -> Elsewhere | Shown:
    """Use the link up, and let this browser look for a while."""
    try:
        async with visit.service.engine.begin() as connection:
            opened = await open_link(connection, params.secret, now=visit.now)
    except LinkSpent:
        return _spent()
    return Elsewhere("/share/mine", Cookie(VIEWER, opened.viewer, "/share", int(VIEW_LASTS.total_seconds())))


async def _form(visit: Visit, plan: str | None, member_ref: str = "", wait_seconds: int | None = None) -> Shown:
    """The form; filled in as it was sent where it was too much."""
    context = {
        "plans": await plans_of(visit),
        "plan": plan,
        "member_ref": member_ref,
        "wait_seconds": wait_seconds,
    }
    status = HTTPStatus.OK if wait_seconds is None else HTTPStatus.TOO_MANY_REQUESTS
    return Shown("share/ask.html", context, status=status)


async def _whose(visit: Visit) -> tuple[str, list[int]] | None:
    """The plan's code and the seats that this browser may look at, the latest first; None where none, or no more."""
    try:
        plan_id, seats = await link_viewer(visit.call.connection, visit.request.cookies.get(VIEWER, ""), now=visit.now)
    except LinkSpent:
        return None
    return await code_of(visit.call.connection, plan_id), seats


def _spent() -> Shown:
    return Shown("share/spent.html", {}, status=HTTPStatus.GONE)
