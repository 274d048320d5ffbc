"""Reconciliation: proofs by custodian and day, funnels by run, what quarters came to; and money out, proposed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from engine.access.roles import EVERYONE, FINANCE
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Model, Money, Numbered, Page, Paged, Reasoned, Seat, Text, minor, whole
from engine.api.proposed import Proposal, day_of, proposal
from engine.api.run_views import RunView, run_view
from engine.api.runs import OfRun, show_run
from engine.api.service import Call
from engine.custodian.breaks import Code as BreakCode
from engine.custodian.instructions import State as InstructionState
from engine.custodian.registered import Custodian, custodian_of
from engine.custodian.verdicts import Outcome, Sum
from engine.errors import InvalidInput
from engine.reconcile.closing import Lack, Missing
from engine.reconcile.closing import close_run as close_settled
from engine.reconcile.custody import Quarter, custody_of
from engine.reconcile.funnel import PARTS, Funnel, funnel_of
from engine.reconcile.payouts import propose_payouts
from engine.reconcile.proof import Coverage, Proof, Waiting, proof_of, reconciled, strips
from engine.reconcile.refunds import propose_refunds
from engine.reconcile.run_outcome import outcome_of
from engine.reconcile.sponsor import sponsor_of
from engine.roster.plan import plan_of
from engine.runs.corrections import SEATS_MAX, Against, propose_correction_of_seats
from engine.runs.run import load_run
from engine.runs.states import RunState

DAYS_MAX = 100
"""Proofs of a page: each goes through all statements."""

DAYS_SHOWN = 31
"""Days that no statement speaks of, shown of more."""

endpoints = Endpoints("reconciliation", "That books and custodians agree, day by day and run by run; money out.")


class OfCustodian(Model):
    """One custodian."""

    custodian: Code


class OfPlan(Model):
    """One plan."""

    plan: Code


class ProofDay(OfCustodian):
    """The end of one day."""

    day: Day


class ProofDays(Paged):
    """Days of a custodian, the first and the last with them; today where no last is given."""

    custodian: Code
    first: Day
    last: Day | None = None
    after: Numbered = None
    limit: Annotated[int, Field(ge=1, le=DAYS_MAX), BeforeValidator(whole)] = DAYS_SHOWN


class QuarterOf(OfPlan):
    """A plan's quarter, like 2019Q3."""

    quarter: Annotated[str, Field(pattern=r"^2[01][0-9]{2}Q[1-4]$")]


class SumView(Model):
    """How many, and what they come to."""

    count: int
    amount: Money


class WaitingView(SumView):
    """What waits for people, or for a later statement; `suspense`: what of it stands there."""

    suspense: Money


class CoverageView(Model):
    """Which days statements speak of. `missing`: the first business days that none speaks of, of `missing_days`.

    `parked`: statements by then that post nothing and that nothing explained yet.
    """

    first_on: Day | None
    last_on: Day | None
    missing_days: int
    missing: list[Day]
    parked: int


class ProofView(Model):
    """A custodian's account at the end of a day, over all plans it holds; what it holds is positive (I11).

    opening + credits - debits = closing: as the statements say. `book`: cash by the books. `difference`: what none of
    `entered_by_hand`, `posted_later` and `on_later_statement` explains, 0.00.
    """

    custodian: str
    day: Day
    opening: Money
    credits: Money
    debits: Money
    closing: Money
    entered_by_hand: Money
    posted_later: Money
    on_later_statement: Money
    book: Money
    difference: Money
    in_transit: SumView
    payouts_in_transit: Money
    suspense: Money
    breaks: Mapping[BreakCode, WaitingView]
    pending: WaitingView
    coverage: CoverageView


class DayView(Model):
    """What of a proof tells whether somebody must look at the day."""

    day: Day
    difference: Money
    breaks: Mapping[BreakCode, WaitingView]
    pending: WaitingView
    coverage: CoverageView


class ReconciledView(Model):
    """What became of every line that came: lines = matched + pending + ignored + in breaks (I10).

    `breaks`: by code, how many were ever found. `last`: the proof of the last day that statements speak of.
    """

    custodian: str
    lines: int
    matched: int
    pending: int
    ignored: int
    in_breaks: int
    breaks: Mapping[BreakCode, int]
    last: ProofView | None


class FunnelView(Model):
    """Where a run's shares are, each in one place, in seats and amount (I12).

    assessed = drawn + settled + in flight + returned + written off + waived. `sent`: of how many a file left so far;
    `rejected`: the part of what is returned that a status report refused; `by_reason`: what is returned, by the
    custodian's code; `posted`: what the debts came to on other accounts, debit positive.
    """

    run_id: int
    assessed: SumView
    drawn: SumView
    settled: SumView
    in_flight: SumView
    returned: SumView
    written_off: SumView
    waived: SumView
    sent: SumView
    rejected: SumView
    by_reason: Mapping[str, SumView]
    posted: Mapping[str, Money]


class BreaksOfRunView(Model):
    """Breaks of one code: how many ever, how many want somebody still, and what these come to."""

    found: int
    unresolved: int
    amount: Money


class MissingView(Model):
    """One thing that keeps a run from being closed: which, in a sentence, and of how many and how much there is such.

    `claims`: the first numbers of the claims it is about; `breaks`: the code of the breaks it is about.
    """

    lack: Lack
    text: str
    count: int | None
    amount: Money | None
    claims: list[int]
    breaks: BreakCode | None


class ReconciliationOfRun(Model):
    """What became of a run's money, and what is missing to close it."""

    run_id: int
    plan: str
    state: RunState
    debit_on: Day
    funnel: FunnelView
    breaks: Mapping[BreakCode, BreaksOfRunView]
    payouts: Mapping[str, SumView]
    missing: list[MissingView]


class CustodyView(Model):
    """A plan's account over a quarter, as it is published: opening + inflow - outflow = closing = book."""

    plan: str
    quarter: str
    first_on: Day
    last_on: Day
    opening: Money
    inflow: Mapping[str, Money]
    outflow: Mapping[str, Money]
    inflow_total: Money
    outflow_total: Money
    closing: Money
    book: Money
    difference: Money


class SponsorView(Model):
    """What a plan's sponsor owes, below 0 is owed to it; and the reference that its payments are known by."""

    plan: str
    sponsor: str
    owed: Money
    reference: str


class PayDay(Model):
    """The day to pay on, not to come: then, or the next that the custodian can be reached. Today, if none is given."""

    on: Day | None = None


class SeatChange(Model):
    """What one seat is charged more or, below 0, is given back."""

    seat: Seat
    amount: Annotated[str, Field(pattern=r"^-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,2})?$")]


class Correction(Model):
    """Seats that a sealed run charged wrongly; who bears it, and why, for who approves it: no names."""

    reason: Text
    against: Against = Against.SPONSOR
    seats: Annotated[list[SeatChange], Field(min_length=1, max_length=SEATS_MAX)]


@endpoints.get("/custodians/{custodian}/proofs", EVERYONE)
async def list_of_proofs(call: Call, params: ProofDays) -> Page[ProofView]:
    """The proof of a custodian's account, day by day (I11)."""
    custodian, days = await _days(call, params)
    proofs = [] if days is None else await strips(call.connection, custodian, *days)
    return call.page(proofs, params.limit, _proof, lambda each: each.on.toordinal())


@endpoints.get("/custodians/{custodian}/days", EVERYONE)
async def list_of_days(call: Call, params: ProofDays) -> Page[DayView]:
    """The same days in short: as soon told however many debits are under way, which nobody has to add up for it."""
    custodian, days = await _days(call, params)
    proofs = [] if days is None else await strips(call.connection, custodian, *days, with_transit=False)
    return call.page(proofs, params.limit, _day, lambda each: each.on.toordinal())


async def _days(call: Call, params: ProofDays) -> tuple[Custodian, tuple[date, date] | None]:
    """The first and the last day of a page, and one more; None where no day is left."""
    custodian = await custodian_of(call.connection, params.custodian)
    last = _past(call, custodian, params.last)
    if params.first > last:
        raise InvalidInput(f"first {params.first} is after {last}; give the later day last")
    first = max(params.first.toordinal(), int(params.after or 0) + 1)
    stop = min(last.toordinal(), first + params.limit)
    return custodian, None if first > stop else (date.fromordinal(first), date.fromordinal(stop))


@endpoints.get("/custodians/{custodian}/proofs/{day}", EVERYONE)
async def show_proof_of_day(call: Call, params: ProofDay) -> ProofView:
    """The proof of one day: statements, books, and what lies between (I11)."""
    custodian = await custodian_of(call.connection, params.custodian)
    return _proof(await proof_of(call.connection, custodian, _past(call, custodian, params.day)))


@endpoints.get("/custodians/{custodian}/reconciled", EVERYONE)
async def show_reconciled(call: Call, params: OfCustodian) -> ReconciledView:
    """What became of every line of a custodian's statements (I10), and the proof of the last day."""
    custodian = await custodian_of(call.connection, params.custodian)
    found = await reconciled(call.connection, custodian)
    return ReconciledView(
        custodian=custodian.code,
        lines=found.lines,
        matched=found.outcomes[Outcome.MATCHED],
        pending=found.outcomes[Outcome.PENDING],
        ignored=found.outcomes[Outcome.IGNORED],
        in_breaks=found.outcomes[Outcome.BREAK],
        breaks={BreakCode(code): number for code, number in found.breaks.items()},
        last=None if found.last is None else _proof(found.last),
    )


@endpoints.get("/runs/{run_id}/funnel", EVERYONE)
async def show_funnel(call: Call, params: OfRun) -> FunnelView:
    """Where a sealed run's shares are, in seats and amount (I12)."""
    return _funnel(await funnel_of(call.connection, params.run_id))


@endpoints.get("/runs/{run_id}/reconciliation", EVERYONE)
async def show_reconciliation(call: Call, params: OfRun) -> ReconciliationOfRun:
    """A sealed run's funnel, its breaks, its payouts, and what is missing to close it."""
    found = await outcome_of(call.connection, params.run_id)
    return ReconciliationOfRun(
        run_id=found.run_id,
        plan=found.plan,
        state=found.state,
        debit_on=found.debit_on,
        funnel=_funnel(found.funnel),
        breaks={
            code: BreaksOfRunView(found=each.found, unresolved=each.unresolved, amount=each.amount_minor)
            for code, each in found.breaks.items()
        },
        payouts={_word(state): _sum(total) for state, total in found.payouts.items()},
        missing=[_missing(each) for each in found.missing],
    )


@endpoints.get("/plans/{plan}/custody", EVERYONE)
async def show_custody(call: Call, params: QuarterOf) -> CustodyView:
    """The custody report of a quarter: what came in and went out by kind, and the balance, equal to the books."""
    plan = await plan_of(call.connection, params.plan)
    found = await custody_of(call.connection, plan, Quarter.read(params.quarter))
    return CustodyView(
        plan=found.plan,
        quarter=str(found.quarter),
        first_on=found.quarter.first_on,
        last_on=found.quarter.last_on,
        opening=found.opening,
        inflow=found.inflow,
        outflow=found.outflow,
        inflow_total=sum(found.inflow.values()),
        outflow_total=sum(found.outflow.values()),
        closing=found.closing,
        book=found.book,
        difference=found.difference,
    )


@endpoints.get("/plans/{plan}/sponsor", EVERYONE)
async def show_sponsor(call: Call, params: OfPlan) -> SponsorView:
    """What a plan's sponsor still owes by the books, and the reference that its payments need."""
    plan = await plan_of(call.connection, params.plan)
    found = await sponsor_of(call.connection, plan.plan_id)
    return SponsorView(plan=plan.code, sponsor=found.name, owed=found.owed_minor, reference=str(found.reference))


@endpoints.post("/runs/{run_id}/payouts", FINANCE, status=201, moves_money=True)
async def pay_aid(call: Call, params: OfRun, body: PayDay) -> Proposal:
    """Propose to pay a run's aid that is not paid yet to its claimants; another approves it."""
    run = await load_run(call.connection, params.run_id)
    on = await day_of(call, run.plan_id, body.on)
    return proposal(call, await propose_payouts(call.connection, run.run_id, on=on, actor=call.actor))


@endpoints.post("/plans/{plan}/refunds", FINANCE, status=201, moves_money=True)
async def pay_refunds(call: Call, params: OfPlan, body: PayDay) -> Proposal:
    """Propose to pay every member of a plan what they are owed back; another approves it."""
    plan = await plan_of(call.connection, params.plan)
    on = await day_of(call, plan.plan_id, body.on)
    return proposal(call, await propose_refunds(call.connection, plan.plan_id, on=on, actor=call.actor))


@endpoints.post("/runs/{run_id}/corrections", FINANCE, status=201, moves_money=True)
async def correct_run(call: Call, params: OfRun, body: Correction) -> Proposal:
    """Propose to charge a few seats of a sealed run more, or give them back; another approves it."""
    run = await load_run(call.connection, params.run_id)
    amounts = {each.seat: minor(each.amount) for each in body.seats}
    if len(amounts) < len(body.seats):
        raise InvalidInput("a seat is named twice; give one amount for each")
    decision = await propose_correction_of_seats(
        call.connection,
        run.run_id,
        amounts,
        reason=body.reason,
        against=body.against,
        on=await day_of(call, run.plan_id),
        actor=call.actor,
    )
    return proposal(call, decision)


@endpoints.post("/runs/{run_id}/close", FINANCE, moves_money=True, changes=show_run)
async def close_run(call: Call, params: OfRun, body: Reasoned) -> RunView:
    """Close a settled run: its aid is paid, its breaks are resolved, and every debit is accounted for."""
    run = await load_run(call.connection, params.run_id)
    on = await day_of(call, run.plan_id)
    await close_settled(call.connection, run.run_id, on=on, actor=call.actor, reason=body.reason)
    return run_view(await load_run(call.connection, run.run_id))


def _past(call: Call, custodian: Custodian, day: date | None) -> date:
    """A day that has come where the custodian is, today for None. Raises InvalidInput."""
    today = call.today(custodian.profile.time_zone)
    if day is not None and day > today:
        raise InvalidInput(f"{day} is still to come; it is {today} in {custodian.profile.time_zone}")
    return day or today


def _proof(found: Proof) -> ProofView:
    return ProofView(
        custodian=found.account,
        day=found.on,
        opening=found.opening,
        credits=found.credits,
        debits=found.debits,
        closing=found.closing,
        entered_by_hand=found.by_hand,
        posted_later=found.posted_later,
        on_later_statement=found.ahead,
        book=found.book,
        difference=found.difference,
        in_transit=_sum(found.in_transit),
        payouts_in_transit=found.payouts_in_transit,
        suspense=found.suspense,
        breaks={code: _waiting(each) for code, each in found.breaks.items()},
        pending=_waiting(found.pending),
        coverage=_coverage(found.coverage),
    )


def _day(found: Proof) -> DayView:
    return DayView(
        day=found.on,
        difference=found.difference,
        breaks={code: _waiting(each) for code, each in found.breaks.items()},
        pending=_waiting(found.pending),
        coverage=_coverage(found.coverage),
    )


def _coverage(found: Coverage) -> CoverageView:
    return CoverageView(
        first_on=found.first_on,
        last_on=found.last_on,
        missing_days=len(found.missing),
        missing=list(found.missing[:DAYS_SHOWN]),
        parked=found.parked,
    )


def _missing(found: Missing) -> MissingView:
    return MissingView(
        lack=found.lack,
        text=found.text,
        count=found.count,
        amount=found.amount_minor,
        claims=list(found.claims),
        breaks=found.breaks,
    )


def _waiting(found: Waiting) -> WaitingView:
    return WaitingView(count=found.count, amount=found.amount_minor, suspense=found.suspense_minor)


def _sum(found: Sum) -> SumView:
    return SumView(count=found.count, amount=found.amount_minor)


def _word(state: InstructionState) -> str:
    return state.name.lower().replace("_", " ")


def _funnel(found: Funnel) -> FunnelView:
    parts: dict[str, Any] = {name: _sum(getattr(found, name)) for name in (*PARTS, "sent", "rejected")}
    return FunnelView(
        run_id=found.run_id,
        **parts,
        by_reason={reason: _sum(total) for reason, total in sorted(found.by_reason.items())},
        posted={account.title: amount for account, amount in found.posted.items()},
    )
