"""The audit log: who did what on what, and what was there before and after."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from engine.access.roles import EVERYONE
from engine.api.audit import AuditFilter, list_audit
from engine.api.fields import Day, Numbered, Paged, Text
from engine.console.page import Pages, Shown
from engine.console.rendering import zone_of
from engine.console.visits import OPERATIONS, Visit
from engine.decisions import Kind

pages = Pages("/ops")

CORE_ACTS = (
    "assign breaks",
    "assign custodian",
    "call auto top-ups",
    "call levies",
    "change accounts",
    "close run",
    "download file",
    "drop run",
    "end schedule",
    "import statement file",
    "levy",
    "make share link",
    "member returns",
    "plan by schedule",
    "plan credit run",
    "refuse statement file",
    "register custodian",
    "remove password",
    "repeat statement file",
    "retry shards",
    "set password",
    "set schedule",
    "settle run",
    "sign in",
    "sign out",
    "sweep",
    "take parked statement",
    "take top-ups",
    *(f"{act} {kind}" for act in ("propose", "approve", "refuse") for kind in Kind),
)
"""What is written down of what no request of the API asks for by itself."""

_PLACES = {
    "run": "/runs/{}",
    "claim": "/claims/{}",
    "decision": "/finance/decisions/{}",
    "break": "/finance/breaks/{}",
    "statement": "/finance/statements/{}",
    "custodian": "/finance/custodians/{}",
    "queue": "/ops/queues/{}",
    "webhook": "/ops/webhooks/{}",
    "schedule": "/ops/schedules?plan={}",
    "worker": "/ops/workers",
    "token": "/ops/tokens",
}
_SUBJECT = re.compile(rf"({'|'.join(_PLACES)})s?[:/]([a-z0-9-]+)(?:[/:].*)?")
_NO_PAGE = ("queues/pause", "queues/resume", "breaks/selection")


class ActsShown(Paged):
    """Which acts; on days of the console's zone, both included."""

    actor: Text | None = None
    act: Text | None = None
    subject: Text | None = None
    since: Day | None = None
    until: Day | None = None
    after: Numbered = None


@pages.get("/ops/audit", EVERYONE)
async def audit(visit: Visit, params: ActsShown) -> Shown:
    """What was done, newest first."""
    zone = zone_of(visit)
    since = None if params.since is None else datetime.combine(params.since, time(), zone)
    until = None if params.until is None else datetime.combine(params.until + timedelta(days=1), time(), zone)
    asked = AuditFilter(**params.model_dump() | {"since": since, "until": until})
    names = {name.replace("_", " ") for name, endpoint in OPERATIONS.items() if endpoint.writes}
    shown = {
        "acts": await list_audit(visit.call, asked),
        "asked": params,
        "names": sorted(names | set(CORE_ACTS)),
        "url_of": url_of,
        "is_later": params.after is not None,
    }
    return Shown("ops/audit.html", shown)


def url_of(subject: str) -> str | None:
    """Where the subject of an act is shown: `run:7`, `runs/7/approve`."""
    found = _SUBJECT.fullmatch(subject)
    if found is None or subject.startswith(_NO_PAGE):
        return None
    return _PLACES[found[1]].format(found[2])
