"""The audit log: who did what, and what was there before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.access.roles import EVERYONE
from engine.api.endpoint import Endpoints
from engine.api.fields import Model, Moment, Numbered, Page, Paged, Text
from engine.api.service import Call
from engine.store.audit import Act, list_acts

endpoints = Endpoints("audit", "The audit log, which is only ever appended to.")

_OF_A_CALL = ("before", "after", "request", "token")


class AuditFilter(Paged):
    """Which acts: by whom, what, on what, from a moment on and before another."""

    actor: Text | None = None
    act: Text | None = None
    subject: Text | None = None
    since: Moment | None = None
    until: Moment | None = None
    after: Numbered = None


class ActView(Model):
    """What somebody did, in one transaction with what it changed.

    Over HTTP: what was there `before` and `after`, by which request and token; every other detail in `detail`.
    """

    audit_id: int
    recorded_at: Moment
    actor: str
    act: str
    subject: str
    before: Any = None
    after: Any = None
    request: str | None = None
    token_id: int | None = None
    detail: Mapping[str, Any]


@endpoints.get("/audit", EVERYONE)
async def list_audit(call: Call, params: AuditFilter) -> Page[ActView]:
    """What was done, newest first."""
    acts = await list_acts(
        call.connection,
        actor=params.actor,
        act=params.act,
        subject=params.subject,
        since=params.since,
        until=params.until,
        before=int(params.after) if params.after else None,
        limit=params.limit + 1,
    )
    return call.page(acts, params.limit, _view, lambda act: act.audit_id)


def _view(act: Act) -> ActView:
    detail = act.detail
    return ActView(
        audit_id=act.audit_id,
        recorded_at=act.recorded_at,
        actor=act.actor,
        act=act.act,
        subject=act.subject,
        before=detail.get("before"),
        after=detail.get("after"),
        request=detail.get("request"),
        token_id=detail.get("token"),
        detail={name: value for name, value in detail.items() if name not in _OF_A_CALL},
    )
