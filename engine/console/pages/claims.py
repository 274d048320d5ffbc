"""Claims: the work list, filing one, and the page of a claim from its filing to the runs that shared it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from urllib.parse import urlencode

from engine.access.roles import EVERYONE, SCHEDULERS
from engine.api.claims import (
    DEDUCTIONS_MAX,
    ClaimFilter,
    ClaimRecord,
    OfClaim,
    SomeClaims,
    list_of_claims,
    show_claim,
    show_claim_counts,
    show_stages,
)
from engine.api.fields import Code, Flag, Model
from engine.api.notices import BoardFilter, SomeBoards, list_of_notices, show_boards
from engine.api.plans import OfPlan, RulesOf, YearOf, show_calendar, show_plan, show_rules
from engine.claims import State
from engine.claims.states import Event, possible
from engine.console.page import Pages, Shown
from engine.console.views import plans_of, shown
from engine.console.visits import Visit
from engine.money import to_major

pages = Pages("/claims")

BOARD_MAX = 500
NOTICE_DAYS_SHOWN = 3

ENDED = (None, State.SHARED, State.REJECTED, State.WITHDRAWN)
"""What nobody works through: the latest comes first."""


class Listed(ClaimFilter):
    """Which claims; `due`: those that can pass."""

    due: Flag = False


class Filing(Model):
    """The plan of a claim to be filed."""

    plan: Code | None = None


@pages.get("/claims", EVERYONE)
async def show_claims(visit: Visit, params: Listed) -> Shown:
    """The work list: claims by state, those that can pass, and how long each notice still lasts."""
    call, kept = visit.call, {"plan": params.plan} if params.plan else {}
    notices: Mapping[int, object]
    counts = await show_claim_counts(call, SomeClaims(plan=params.plan))
    boards = (await show_boards(call, SomeBoards(plan=params.plan))).plans
    asked = params.model_dump(exclude={"due", "newest_first"})
    if params.due:
        board = await list_of_notices(call, BoardFilter(**{k: v for k, v in asked.items() if k != "state"}, due=True))
        found, notices = shown(board), {claim.claim_id: shown(claim) for claim in board.items}
    else:
        claims = await list_of_claims(call, ClaimFilter(**asked, newest_first=params.state in ENDED))
        found, notices = shown(claims), await _notices(visit, params, [each.claim_id for each in claims.items])
    context = {
        "claims": found,
        "on_board": notices,
        "counts": shown(counts),
        "plans": await plans_of(visit),
        "due": sum(board.due for board in boards),
        "due_by_plan": {board.plan: board.due for board in boards if board.due},
        "asked": params,
        "all_of_them": _claims_at(kept),
        "due_ones": _claims_at(kept | {"due": "true"}),
        "by_state": {state: _claims_at(kept | {"state": state}) for state in counts.by_state},
        "start": _claims_at(
            kept | ({"state": params.state} if params.state else {}) | ({"due": "true"} if params.due else {})
        ),
    }
    return Shown("claims/claims.html", context)


@pages.get("/claims/new", SCHEDULERS)
async def file_one(visit: Visit, params: Filing) -> Shown:
    """File a claim: of which plan, of whom, and what the plan asks to know."""
    plans = [plan for plan in await plans_of(visit) if plan["ended_on"] is None]
    if params.plan is None and len(plans) != 1:
        return Shown("claims/new.html", {"plans": plans, "plan": None})
    chosen = params.plan or str(plans[0]["plan"])
    plan = shown(await show_plan(visit.call, OfPlan(plan=chosen)))
    rules = shown(await show_rules(visit.call, RulesOf(plan=chosen)))["rules"]
    assert isinstance(rules, dict)
    context = {
        "plans": plans,
        "plan": plan,
        "rules": rules,
        "severities": sorted({band["severity"] for band in rules["aid"] if band["severity"]}),
        "today": visit.call.today(rules["time_zone"]).isoformat(),
        "deductions_max": DEDUCTIONS_MAX,
    }
    return Shown("claims/new.html", context)


@pages.get("/claims/{claim_id}", EVERYONE)
async def show_one(visit: Visit, params: OfClaim) -> Shown:
    """One claim: its life, its aid, what was decided and by whom, objections, the runs that carried it."""
    call = visit.call
    claim = await show_claim(call, params)
    plan = await show_plan(call, OfPlan(plan=claim.plan))
    rules = shown(await show_rules(call, RulesOf(plan=claim.plan)))["rules"]
    assert isinstance(rules, dict)
    today = call.today(rules["time_zone"])
    can = {str(event) for event in possible(claim.state)}
    open_objections = [each.number for each in claim.objections if each.resolved_on is None]
    context = {
        "claim": shown(claim),
        "view": claim,
        "currency": plan.currency,
        "can": can - _barred(claim, open_objections, today),
        "days_left": None if claim.notice_ends_on is None else max((claim.notice_ends_on - today).days, 0),
        "open_objections": open_objections,
        "unbilled": to_major(claim.aid - claim.due),
        "stages": shown(await show_stages(call, params))["stages"],
        "notice_days": await _notice_days(visit, claim, today),
        "today": today.isoformat(),
    }
    return Shown("claims/claim.html", context)


def _barred(claim: ClaimRecord, open_objections: Sequence[int], today: date) -> set[str]:
    """What the state allows and the days or amounts do not."""
    barred = set[str]()
    is_over = claim.notice_ends_on is not None and claim.notice_ends_on <= today
    if is_over or claim.notice_on is None or today < claim.notice_on:
        barred.add(Event.OBJECT)
    if open_objections or not is_over:
        barred.add(Event.PASS)
    if claim.aid == claim.due or (claim.state is State.PASSED and claim.stage_on is None):
        barred.add(Event.BILL)
    if claim.shared == claim.recovered:
        barred.add(Event.RECOVER)
    return barred


async def _notice_days(visit: Visit, claim: ClaimRecord, today: date) -> list[date]:
    """The next days on which a notice may begin, or the gate of a stage may lie; today where it is any day."""
    first = max(today, claim.filed_on, (claim.stage_on or claim.notice_on or today) + timedelta(days=1))
    if claim.state is State.FILED:
        first = max(today, claim.filed_on)
    found = list[date]()
    for year in (first.year, first.year + 1):
        calendar = await show_calendar(visit.call, YearOf(plan=claim.plan, year=year))
        if calendar.any_day:
            return [first]
        found += [slot.notice_on for slot in calendar.slots if slot.notice_on >= first]
    return sorted(set(found))[:NOTICE_DAYS_SHOWN]


async def _notices(visit: Visit, params: Listed, claims: Sequence[int]) -> Mapping[int, object]:
    """Of claims in a list, those on the notice board: what is left of their notice, and open objections."""
    if not claims or params.state not in (None, State.PUBLISHED):
        return {}
    asked = BoardFilter(plan=params.plan, after=str(min(claims) - 1) if min(claims) > 1 else None, limit=BOARD_MAX)
    board = (await list_of_notices(visit.call, asked)).items
    return {claim.claim_id: shown(claim) for claim in board if claim.claim_id in set(claims)}


def _claims_at(query: Mapping[str, object]) -> str:
    return "/claims" + (f"?{urlencode(query)}" if query else "")
