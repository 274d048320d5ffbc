"""Claims: filed, published, objected to, passed or refused, billed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from engine import claims
from engine.access.roles import EVERYONE, FINANCE, SCHEDULERS
from engine.api.days import happened_on
from engine.api.endpoint import Endpoints
from engine.api.fields import Amount, Code, Day, Flag, Id, Model, Money, Numbered, Page, Paged, Text, minor, whole
from engine.api.members import MemberRef
from engine.api.plans import OfPlan, plan_and_rules
from engine.api.proposed import Proposal, proposal
from engine.api.service import Call
from engine.claims import Claim, Event, Objection, State
from engine.errors import NotFound
from engine.plans import Accident, Deduction, PlanRules
from engine.roster.columns import membership_on
from engine.roster.plan import newest_rules, plan_of
from engine.runs.recovery import propose_recovery
from engine.runs.report import stages_of
from engine.runs.states import RunState

endpoints = Endpoints("claims", "Claims, from filing through public notice to the share run.")

Number = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(whole)]
DEDUCTIONS_MAX = 20
SEVERITY = r"^[^\x00-\x1f\x7f]+$"
FAULT_SHARE = r"^([01](\.[0-9]{1,18})?|[0-9]{1,9}/[1-9][0-9]{0,8})$"


class OfClaim(Model):
    """One claim."""

    claim_id: Id


class SomeClaims(Model):
    """Which claims: of a plan, or of all."""

    plan: Code | None = None


class ClaimFilter(SomeClaims, Paged):
    """Which claims, and in which state; `newest_first`: the latest filed first."""

    after: Numbered = None
    state: State | None = None
    newest_first: Flag = False


class ClaimCounts(Model):
    """How many claims there are, and how many in each state that any is in."""

    claims: int
    by_state: Mapping[State, int]


class ObjectionPart(Paged):
    """Which objections to a claim."""

    claim_id: Id
    after: Numbered = None


class OfObjection(OfClaim):
    """One objection to a claim."""

    number: Number


class ClaimView(Model):
    """A claim. Of its whole aid `due` is due so far, of that `shared` went into sealed runs, `next` waits for a run.

    `left`: not shared yet. `stage_on`: the notice day of a later stage, whose 00:00 is its gate. `run_id`: the run
    that carries it. `notice_ends_on`: the first day after its notice.
    """

    claim_id: int
    plan: str
    number: int
    seat: int
    state: State
    diagnosed_on: Day
    filed_on: Day
    severity: str | None
    aid: Money
    due: Money
    shared: Money
    next: Money
    left: Money
    recovered: Money
    stage_on: Day | None
    run_id: int | None
    notice_on: Day | None
    notice_ends_on: Day | None


class ObjectionView(Model):
    """An objection to a claim; open until it has a resolution."""

    claim_id: int
    number: int
    raised_on: Day
    reason: str
    resolved_on: Day | None
    resolution: str | None


class EventView(Model):
    """One decision on a claim, and what it rested on."""

    event: Event
    on: Day
    actor: str
    detail: Mapping[str, Any]


class ClaimRecord(ClaimView):
    """A claim with every objection to it and every decision on it, oldest first."""

    objections: list[ObjectionView]
    history: list[EventView]


class StageView(Model):
    """What a run carries of a claim, or carried; `aid_paid` after any cut, null before the run has a preview."""

    run_id: int
    state: RunState
    debit_on: Day
    gate_on: Day
    aid: Money
    aid_paid: Money | None
    fee: Money | None


class Stages(Model):
    """The runs that carried a claim, or carry it, in their order."""

    claim_id: int
    stages: list[StageView]


class AccidentFacts(Model):
    """Where the plan's aid goes by the fault share: the damage, the member's part of the fault, what others pay."""

    award: Amount
    fault_share: Annotated[str, Field(pattern=FAULT_SHARE)]
    compulsory: Amount = "0"
    third_party: Amount = "0"


class DeductionFact(Model):
    """What comes off the aid, and why."""

    amount: Amount
    reason: Text


class NewClaim(Model):
    """A claim of a member who was covered on the day of diagnosis, known by the reference or by the seat.

    `aid`: a part of what the plan gives for the age; all of it unless given. `on`: the day of filing, today unless
    one is given.
    """

    plan: Code
    member: Annotated[int, Field(ge=0, le=2**31 - 1)] | MemberRef
    diagnosed_on: Day
    on: Day | None = None
    aid: Amount | None = None
    severity: Annotated[str, Field(min_length=1, max_length=100, pattern=SEVERITY)] | None = None
    accident: AccidentFacts | None = None
    deductions: Annotated[tuple[DeductionFact, ...], Field(max_length=DEDUCTIONS_MAX)] = ()


class OnDay(Model):
    """The day it counts from; today unless one is given."""

    on: Day | None = None


class Reason(OnDay):
    """Why, for the record: no names, no medical details."""

    reason: Text


class Resolution(OnDay):
    """The answer to an objection; where it is upheld, the claim is rejected next."""

    resolution: Text


class Bill(OnDay):
    """The next stage of a claim: at most what is left of its aid. `on`: the notice day of its gate."""

    amount: Amount


class Recovery(Reason):
    """Aid that was paid wrongly and came back on a day: at most what was paid."""

    amount: Amount


class PassedView(Model):
    """The claims that passed, in filing order."""

    plan: str
    on: Day
    passed: list[int]


def view(claim: Claim) -> ClaimView:
    """A claim as answers show it."""
    return ClaimView(**_facts(claim))


def _facts(claim: Claim) -> dict[str, Any]:
    return {
        "claim_id": claim.claim_id,
        "plan": claim.plan_code,
        "number": claim.number,
        "seat": claim.seat,
        "state": claim.state,
        "diagnosed_on": claim.diagnosed_on,
        "filed_on": claim.filed_on,
        "severity": claim.severity,
        "aid": claim.aid_minor,
        "due": claim.due_minor,
        "shared": claim.shared_minor,
        "next": claim.next_minor,
        "left": claim.aid_minor - claim.shared_minor,
        "recovered": claim.recovered_minor,
        "stage_on": claim.stage_on,
        "run_id": claim.run_id,
        "notice_on": claim.notice.notice_on if claim.notice else None,
        "notice_ends_on": claim.notice.ends_on if claim.notice else None,
    }


def _objection(claim_id: int, objection: Objection) -> ObjectionView:
    return ObjectionView(
        claim_id=claim_id,
        number=objection.number,
        raised_on=objection.raised_on,
        reason=objection.reason,
        resolved_on=objection.resolved_on,
        resolution=objection.resolution,
    )


async def _rules(call: Call, claim_id: int) -> PlanRules:
    """The newest rules of the claim's plan. Raises NotFound."""
    return await newest_rules(call.connection, (await claims.claim_of(call.connection, claim_id)).plan_id)


async def _day(call: Call, claim_id: int, on: date | None) -> date:
    """The day something happened to the claim. Raises NotFound, InvalidInput for a day to come."""
    return happened_on(call, (await _rules(call, claim_id)).time_zone, on)


async def _plan_id(call: Call, code: str | None) -> int | None:
    return None if code is None else (await plan_of(call.connection, code)).plan_id


@endpoints.get("/claims", EVERYONE)
async def list_of_claims(call: Call, params: ClaimFilter) -> Page[ClaimView]:
    """Claims in filing order, or turned round."""
    states = tuple(State) if params.state is None else (params.state,)
    found = await claims.claims_of(
        call.connection,
        await _plan_id(call, params.plan),
        states,
        after=int(params.after or 0),
        limit=params.limit + 1,
        newest_first=params.newest_first,
    )
    return call.page(found, params.limit, view, lambda claim: claim.claim_id)


@endpoints.get("/claims/counts", EVERYONE)
async def show_claim_counts(call: Call, params: SomeClaims) -> ClaimCounts:
    """How many claims there are in each state."""
    found = await claims.count_claims(call.connection, await _plan_id(call, params.plan))
    return ClaimCounts(claims=sum(found.values()), by_state=found)


@endpoints.get("/claims/{claim_id}", EVERYONE)
async def show_claim(call: Call, params: OfClaim) -> ClaimRecord:
    """One claim with its notice, the objections to it and every decision on it."""
    claim_id = params.claim_id
    claim = await claims.claim_of(call.connection, claim_id)
    objections = await claims.objections_to(call.connection, claim_id)
    history = await claims.history(call.connection, claim_id)
    return ClaimRecord(
        **_facts(claim),
        objections=[_objection(claim_id, each) for each in objections],
        history=[
            EventView(event=each.event, on=each.happened_on, actor=each.actor, detail=each.detail) for each in history
        ],
    )


@endpoints.get("/claims/{claim_id}/stages", EVERYONE)
async def show_stages(call: Call, params: OfClaim) -> Stages:
    """Which runs carried a claim, and how much of it; those that were voided too."""
    claim_id = (await claims.claim_of(call.connection, params.claim_id)).claim_id
    found = await stages_of(call.connection, claim_id)
    return Stages(claim_id=claim_id, stages=[StageView(**each._asdict()) for each in found])


@endpoints.post("/claims", SCHEDULERS, status=201, moves_money=True)
async def file_claim(call: Call, body: NewClaim) -> ClaimView:
    """File a claim of a member who was covered on the day of diagnosis."""
    plan, rules = await plan_and_rules(call, body.plan)
    cover = await membership_on(call.connection, plan.plan_id, body.member, body.diagnosed_on)
    if cover is None:
        raise NotFound(f"{plan.code} has no such member; check the reference, or the seat")
    claim = await claims.file(
        call.connection,
        plan.plan_id,
        rules,
        cover,
        diagnosed_on=body.diagnosed_on,
        on=happened_on(call, rules.time_zone, body.on),
        actor=call.actor,
        aid_minor=None if body.aid is None else minor(body.aid),
        severity=body.severity,
        accident=None if body.accident is None else _accident(body.accident),
        deductions=[Deduction(minor(each.amount), each.reason) for each in body.deductions],
    )
    call.created(f"/v1/claims/{claim.claim_id}")
    return view(claim)


def _accident(facts: AccidentFacts) -> Accident:
    return Accident(
        award_minor=minor(facts.award),
        fault_share=Fraction(facts.fault_share),
        compulsory_minor=minor(facts.compulsory),
        third_party_minor=minor(facts.third_party),
    )


@endpoints.post("/claims/{claim_id}/publish", SCHEDULERS, moves_money=True, changes=show_claim)
async def publish_claim(call: Call, params: OfClaim, body: OnDay) -> ClaimView:
    """Begin the public notice of a claim, on a notice day of its plan."""
    rules = await _rules(call, params.claim_id)
    on = body.on or call.today(rules.time_zone)
    return view(await claims.publish(call.connection, params.claim_id, rules, on=on, actor=call.actor))


@endpoints.get("/claims/{claim_id}/objections", EVERYONE)
async def list_of_objections(call: Call, params: ObjectionPart) -> Page[ObjectionView]:
    """The objections to a claim, in the order raised."""
    claim_id = (await claims.claim_of(call.connection, params.claim_id)).claim_id
    after = int(params.after or 0)
    found = await claims.objections_to(call.connection, claim_id, after=after, limit=params.limit + 1)
    return call.page(found, params.limit, lambda each: _objection(claim_id, each), lambda each: each.number)


@endpoints.post("/claims/{claim_id}/objections", SCHEDULERS, status=201, moves_money=True, changes=show_claim)
async def object_to_claim(call: Call, params: OfClaim, body: Reason) -> ObjectionView:
    """Object to a claim while its notice lasts; it does not pass before the objection is resolved."""
    claim_id = params.claim_id
    on = await _day(call, claim_id, body.on)
    raised = await claims.object_to(call.connection, claim_id, reason=body.reason, on=on, actor=call.actor)
    call.created(f"/v1/claims/{claim_id}")
    return _objection(claim_id, raised)


@endpoints.post("/claims/{claim_id}/objections/{number}/resolve", SCHEDULERS, moves_money=True, changes=show_claim)
async def resolve_objection(call: Call, params: OfObjection, body: Resolution) -> ClaimView:
    """Answer an objection to a claim, once."""
    on = await _day(call, params.claim_id, body.on)
    number, resolution = params.number, body.resolution
    return view(
        await claims.resolve(call.connection, params.claim_id, number, resolution=resolution, on=on, actor=call.actor)
    )


@endpoints.post("/claims/{claim_id}/pass", SCHEDULERS, moves_money=True, changes=show_claim)
async def pass_claim(call: Call, params: OfClaim, body: OnDay) -> ClaimView:
    """Pass a claim whose notice has ended with no open objection."""
    on = await _day(call, params.claim_id, body.on)
    return view(await claims.pass_(call.connection, params.claim_id, on=on, actor=call.actor))


@endpoints.post("/claims/{claim_id}/reject", SCHEDULERS, moves_money=True, changes=show_claim)
async def reject_claim(call: Call, params: OfClaim, body: Reason) -> ClaimView:
    """Reject a claim before it passes. Final."""
    on = await _day(call, params.claim_id, body.on)
    return view(await claims.reject(call.connection, params.claim_id, reason=body.reason, on=on, actor=call.actor))


@endpoints.post("/claims/{claim_id}/withdraw", SCHEDULERS, moves_money=True, changes=show_claim)
async def withdraw_claim(call: Call, params: OfClaim, body: Reason) -> ClaimView:
    """Withdraw a claim, from a run too until that is approved. Final; of one shared in part, only what waits."""
    on = await _day(call, params.claim_id, body.on)
    return view(await claims.withdraw(call.connection, params.claim_id, reason=body.reason, on=on, actor=call.actor))


@endpoints.post("/claims/{claim_id}/bill", SCHEDULERS, moves_money=True, changes=show_claim)
async def bill_claim(call: Call, params: OfClaim, body: Bill) -> ClaimView:
    """Put the next stage of a claim in, where the plan pays aid as bills come."""
    rules = await _rules(call, params.claim_id)
    on, amount = body.on or call.today(rules.time_zone), minor(body.amount)
    return view(await claims.bill(call.connection, params.claim_id, rules, amount, on=on, actor=call.actor))


@endpoints.post("/claims/{claim_id}/recover", FINANCE, status=201, moves_money=True)
async def recover_claim(call: Call, params: OfClaim, body: Recovery) -> Proposal:
    """Propose that wrongly paid aid came back; it is posted once somebody else approves."""
    on, amount = await _day(call, params.claim_id, body.on), minor(body.amount)
    decision = await propose_recovery(call.connection, params.claim_id, amount, body.reason, on=on, actor=call.actor)
    return proposal(call, decision)


@endpoints.post("/plans/{plan}/claims/pass-due", SCHEDULERS, moves_money=True)
async def pass_due_claims(call: Call, params: OfPlan, body: OnDay) -> PassedView:
    """Pass every claim of a plan whose notice has ended with no open objection."""
    plan, rules = await plan_and_rules(call, params.plan)
    on = happened_on(call, rules.time_zone, body.on)
    passed = await claims.pass_due(call.connection, plan.plan_id, on=on, actor=call.actor)
    return PassedView(plan=plan.code, on=on, passed=passed)
