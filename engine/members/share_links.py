"""One-time links by which members, who have no account here, come to see their own shares.

Only the platform knows how to reach a member. So whoever asks gets nothing: a link goes to the platform as a webhook's
message, and the platform hands it to the member. Opened once, it shows that member's shares for a while to whoever
opened it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Text, Update, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.access.secret import digest_of, new_secret
from engine.errors import NotFound
from engine.members.member import no_member
from engine.roster.members import find_seats, ref_of
from engine.roster.plan import Plan
from engine.store.audit import record
from engine.store.outbox import Event, announce
from engine.store.tables import outbox, share_links

LINK_LASTS = timedelta(minutes=15)
VIEW_LASTS = timedelta(minutes=15)
LINKS_AN_HOUR = 5
"""So many unused ones of a seat: whoever knows a reference cannot have its holder flooded."""

_HOUR = timedelta(hours=1)


class LinkSpent(NotFound):
    """This link was used before, or is too old; ask for a new one."""


class Opened(NamedTuple):
    """Whose shares a link shows, the secret of whoever opened it, and until when it shows them."""

    plan_id: int
    seat: int
    viewer: str
    expires_at: datetime


async def request_link(connection: AsyncConnection, plan: Plan, member_ref: str, *, now: datetime) -> None:
    """Have the platform hand a member a link to their latest seat, where this is a member's reference.

    Nobody learns from it whether it is: where it is not, or had its links of this hour, all is done and taken back.
    """
    seats = await find_seats(connection, plan.plan_id, member_ref)
    seat = seats[-1][1] if seats else 0
    await _forget_old(connection, now)
    # One at a time for a reference, known or not: else many at once would pass the limit.
    key = func.hashtextextended(f"share link:{plan.plan_id}:{member_ref}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))
    unused = (share_links.c.seat == seat, share_links.c.used_at.is_(None), share_links.c.created_at > now - _HOUR)
    count = select(func.count()).select_from(share_links).where(share_links.c.plan_id == plan.plan_id, *unused)
    recent = (await connection.execute(count)).scalar_one()
    async with connection.begin_nested() as kept:
        secret = new_secret()
        # The outbox has the secret because the platform must: it shows one member, once, for a quarter of an hour, to
        # whom could read that seat's entries beside it, and it is blanked when it is used or an hour old.
        detail = {"plan": plan.code, "seat": seat, "path": _path(secret), "expires_at": (now + LINK_LASTS).isoformat()}
        message_id = await announce(connection, Event.SHARE_REQUESTED, f"plan:{plan.code}", detail)
        await _add(connection, plan.plan_id, seat, secret, now, message_id)
        if not seats or recent >= LINKS_AN_HOUR:
            await kept.rollback()


async def make_link(connection: AsyncConnection, plan: Plan, member_ref: str, *, now: datetime, actor: str) -> str:
    """The path of a link to a member's latest seat, for staff who hand it over themselves. Raises NotFound."""
    seats = await find_seats(connection, plan.plan_id, member_ref)
    if not seats:
        raise no_member(plan, member_ref)
    await _forget_old(connection, now)
    secret, seat = new_secret(), seats[-1][1]
    await _add(connection, plan.plan_id, seat, secret, now)
    await record(connection, actor, "make share link", f"plan:{plan.code}", {"seat": seat})
    return _path(secret)


async def open_link(connection: AsyncConnection, secret: str, *, now: datetime) -> Opened:
    """Use a link up: whose shares it shows, and the secret for a cookie that shows them. Raises LinkSpent."""
    viewer = new_secret()
    live = (share_links.c.digest == digest_of(secret), share_links.c.used_at.is_(None), share_links.c.expires_at > now)
    used = update(share_links).where(*live).values(used_at=now, viewer_digest=digest_of(viewer))
    row = (await connection.execute(used.returning(share_links))).one_or_none()
    if row is None:
        raise LinkSpent
    await connection.execute(_blanked().where(outbox.c.message_id == row.message_id))
    return Opened(row.plan_id, row.seat, viewer, now + VIEW_LASTS)


async def link_viewer(connection: AsyncConnection, viewer: str, *, now: datetime) -> tuple[int, list[int]]:
    """(plan_id, seats): of the member whose shares whoever opened a link may still look at, the latest seat first.

    Who left and joined again has had several. Raises LinkSpent.
    """
    of = share_links.c
    query = select(of.plan_id, of.seat).where(of.viewer_digest == digest_of(viewer), of.used_at > now - VIEW_LASTS)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise LinkSpent
    seats = await find_seats(connection, row.plan_id, await ref_of(connection, row.plan_id, row.seat))
    return row.plan_id, [seat for _, seat in reversed(seats)]


def _path(secret: str) -> str:
    return f"/share/{secret}"


async def _add(
    connection: AsyncConnection, plan_id: int, seat: int, secret: str, now: datetime, message_id: int | None = None
) -> None:
    values = {
        "digest": digest_of(secret),
        "plan_id": plan_id,
        "seat": seat,
        "created_at": now,
        "expires_at": now + LINK_LASTS,
        "message_id": message_id,
    }
    await connection.execute(insert(share_links).values(values))


async def _forget_old(connection: AsyncConnection, now: datetime) -> None:
    """Links of an hour ago show nothing and count for nothing any more."""
    old = select(share_links.c.digest).where(share_links.c.created_at <= now - _HOUR).with_for_update(skip_locked=True)
    gone = delete(share_links).where(share_links.c.digest.in_(old)).returning(share_links.c.message_id).cte("gone")
    await connection.execute(_blanked().where(outbox.c.message_id == gone.c.message_id))


def _blanked() -> Update:
    return update(outbox).values(detail=outbox.c.detail.op("-")(literal("path", Text)))
