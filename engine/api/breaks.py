"""Breaks: what of the custodians' statements is not explained, who takes it on, and what is proposed about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from engine.access.roles import EVERYONE, FINANCE
from engine.api.break_views import (
    BreakView,
    CountView,
    Dossier,
    SeverityView,
    Suggestions,
    break_view,
    count_view,
    dossier_view,
    severity_view,
)
from engine.api.break_views import suggestions as suggestions_view
from engine.api.endpoint import Endpoints
from engine.api.fields import LIMIT_MAX, Code, Id, Model, Name, Numbered, Page, Paged, Seat, Text
from engine.api.proposed import Proposal, proposal
from engine.api.service import Call
from engine.custodian.actions import Action
from engine.custodian.aging import AGES, Age
from engine.custodian.break_rows import Selection, belonging_to, break_of, count_breaks, list_breaks, weigh_breaks
from engine.custodian.breaks import Code as BreakCode
from engine.custodian.breaks import SeverityName, State
from engine.custodian.registered import Custodian, custodian_of, list_custodians
from engine.errors import InvalidInput
from engine.reconcile import breaks as handling
from engine.reconcile.dossier import dossier_of
from engine.reconcile.effects import Target
from engine.reconcile.resolving import plan_of_target, propose_resolution
from engine.reconcile.suggesting import suggest
from engine.roster.plan import plan_of

IDS_MAX = 1_000
"""Of more breaks one says by what they are chosen."""

endpoints = Endpoints("breaks", "What a statement says that the books do not explain, until two people settled it.")


class AgeBand(StrEnum):
    """How old, in business days of the custodian."""

    NEW = "0-1"
    DAYS = "2-3"
    WEEK = "4-7"
    WEEKS = "8-30"
    OLDER = ">30"

    @property
    def age(self) -> Age:
        """The band of this name."""
        return next(age for age in AGES if str(age).replace(" ", "") == self.value)


class OfBreak(Model):
    """One break."""

    break_id: Id


class BreakFilter(Model):
    """Which breaks: those to which all applies that is given. `severity`: so bad, or worse.

    `text`: the number of one, an amount, a reference of ours, or another's that its line has.
    """

    custodian: Code | None = None
    plan: Code | None = None
    run_id: Id | None = None
    code: BreakCode | None = None
    severity: SeverityName | None = None
    age: AgeBand | None = None
    assigned_to: Name | None = None
    text: Text | None = None


class QueueFilter(BreakFilter):
    """Which breaks, in one state; without a state all that want somebody still."""

    state: State | None = None


Numbers = Annotated[
    str, Field(max_length=4_000, pattern=rf"^[1-9][0-9]{{0,17}}(,[1-9][0-9]{{0,17}}){{0,{LIMIT_MAX - 1}}}$")
]
"""The numbers of breaks, set apart by commas."""


class SomeBreaks(QueueFilter):
    """Which breaks; of those that are named by their `ids` in whatever state."""

    ids: Numbers | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that are named."""
        return tuple(map(int, self.ids.split(","))) if self.ids else ()


class QueuePage(SomeBreaks, Paged):
    """Which breaks, and which part of them."""

    after: Numbered = None


class Counts(Model):
    """The breaks by code and state, in the order of the codes."""

    counts: list[CountView]


class Severities(Model):
    """The breaks by custodian and severity, the worst first."""

    items: list[SeverityView]


class Belonging(Model):
    """Breaks, open or assigned, that one may be settled with; at most 20 of them."""

    items: list[BreakView]


class Assignment(Model):
    """Who takes it on."""

    to: Name


class Comment(Model):
    """What there is to say, for the record: no names of members."""

    text: Text


class WhoseMoney(Model):
    """The seat whose debit, or money, it is: of the run or, without one, of the plan."""

    seat: Seat
    run_id: Id | None = None
    plan: Code | None = None


class Resolution(Model):
    """What is to be done, and why, for who approves it. `target`: only to match, or give back, what names no seat."""

    action: Action
    reason: Text
    comment: Text | None = None
    target: WhoseMoney | None = None


class ByNumber(Model):
    """Just these breaks."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=IDS_MAX)]


class AllMatching(Model):
    """All breaks that are open or assigned, or just one of the two, and to which all applies that is given."""

    matching: QueueFilter


class Many(Model):
    """Some breaks. `expected`: how many were seen to match: nothing is done where there are more or fewer by now.

    A must, but for breaks that are named by their numbers.
    """

    breaks: ByNumber | AllMatching
    expected: Annotated[int, Field(ge=1, le=10**9)] | None = None

    @property
    def number(self) -> int:
        """How many there must be. Raises InvalidInput where nobody says."""
        if self.expected is not None:
            return self.expected
        if isinstance(self.breaks, AllMatching):
            raise InvalidInput("expected is missing: say how many breaks were seen to match")
        return len(set(self.breaks.ids))


class AssignmentOfMany(Many, Assignment):
    """Who takes them on."""


class ResolutionOfMany(Many, Resolution):
    """What is to be done about all of them, by one decision."""


class Assigned(Model):
    """How many breaks somebody took on."""

    number: int
    to: str


@dataclass(frozen=True)
class _Chosen:
    selection: Selection
    custodians: Sequence[Custodian]
    on: date


@endpoints.get("/breaks", EVERYONE)
async def list_of_breaks(call: Call, params: QueuePage) -> Page[BreakView]:
    """The queue: every break that waits for somebody, by its number."""
    chosen = await _chosen(call, params, params.state, params.numbers)
    found = await list_breaks(
        call.connection,
        chosen.selection,
        chosen.custodians,
        on=chosen.on,
        after=int(params.after or 0),
        limit=params.limit + 1,
    )
    return call.page(found, params.limit, break_view, lambda each: each.break_id)


@endpoints.get("/breaks/counts", EVERYONE)
async def count_of_breaks(call: Call, params: SomeBreaks) -> Counts:
    """How many breaks there are of each code and state, and what they come to."""
    chosen = await _chosen(call, params, params.state, params.numbers)
    found = await count_breaks(call.connection, chosen.selection, chosen.custodians, on=chosen.on)
    return Counts(counts=[count_view(each) for each in found])


@endpoints.get("/breaks/severities", EVERYONE)
async def severities_of_breaks(call: Call, params: SomeBreaks) -> Severities:
    """How many breaks there are of each custodian and severity, and what of them stands on suspense."""
    chosen = await _chosen(call, params, params.state, params.numbers)
    found = await weigh_breaks(call.connection, chosen.selection, chosen.custodians, on=chosen.on)
    return Severities(items=[severity_view(each) for each in found])


@endpoints.get("/breaks/{break_id}", EVERYONE)
async def show_break(call: Call, params: OfBreak) -> Dossier:
    """Everything about one break: its line, where that stands, what was posted, what can be done, and its history."""
    return dossier_view(await dossier_of(call.connection, params.break_id, on=await _today(call)))


@endpoints.get("/breaks/{break_id}/suggestions", EVERYONE)
async def suggest_matches(call: Call, params: OfBreak) -> Suggestions:
    """What a line without a reference might be: debits under way of the same payer and amount. Nothing is posted."""
    custodians = await list_custodians(call.connection)
    found = await break_of(call.connection, params.break_id, custodians, on=_day(call, custodians))
    of = next(each for each in custodians if each.code == found.custodian)
    suggested = await suggest(call.connection, of, call.service.desk, ids=[found.break_id])
    return suggestions_view(found.break_id, suggested)


@endpoints.get("/breaks/{break_id}/belonging", EVERYONE)
async def list_of_belonging(call: Call, params: OfBreak) -> Belonging:
    """Other breaks that one may be settled with: about the same instruction, or as much the other way round."""
    custodians = await list_custodians(call.connection)
    on = _day(call, custodians)
    found = await break_of(call.connection, params.break_id, custodians, on=on)
    others = await belonging_to(call.connection, found, custodians, on=on)
    return Belonging(items=[break_view(each) for each in others])


@endpoints.post("/breaks/{break_id}/assign", FINANCE, changes=show_break)
async def assign_break(call: Call, params: OfBreak, body: Assignment) -> Dossier:
    """Put a break into one person's hands."""
    on = await _today(call)
    await handling.assign(call.connection, [params.break_id], body.to, on=on, actor=call.actor)
    return await show_break(call, params)


@endpoints.post("/breaks/{break_id}/comment", FINANCE, changes=show_break)
async def comment_on_break(call: Call, params: OfBreak, body: Comment) -> Dossier:
    """Remark on a break; it stays where it stands."""
    await handling.comment(call.connection, params.break_id, body.text, on=await _today(call), actor=call.actor)
    return await show_break(call, params)


@endpoints.post("/breaks/{break_id}/propose", FINANCE, status=201, moves_money=True, changes=show_break)
async def propose_break(call: Call, params: OfBreak, body: Resolution) -> Proposal:
    """Propose what is done about a break; another approves it."""
    return await _proposed(call, _Chosen(Selection(ids=(params.break_id,)), (), await _today(call)), body)


@endpoints.post("/breaks/selection/assign", FINANCE)
async def assign_breaks(call: Call, body: AssignmentOfMany) -> Assigned:
    """Put many breaks into one person's hands, if they are still as many as were seen."""
    chosen = await _chosen_of(call, body.breaks)
    number = await handling.assign_all(
        call.connection, chosen.selection, body.to, expected=body.number, on=chosen.on, actor=call.actor
    )
    return Assigned(number=number, to=body.to)


@endpoints.post("/breaks/selection/propose", FINANCE, status=201, moves_money=True)
async def propose_breaks(call: Call, body: ResolutionOfMany) -> Proposal:
    """Propose what is done about many breaks at once, if they are still as many as were seen; another approves it."""
    return await _proposed(call, await _chosen_of(call, body.breaks), body, expected=body.number)


async def _proposed(call: Call, chosen: _Chosen, body: Resolution, expected: int | None = None) -> Proposal:
    target = None
    if body.target is not None:
        plan_id = await _plan_id(call, body.target.plan)
        of_plan = await plan_of_target(call.connection, plan_id, body.target.run_id)
        target = Target(of_plan, body.target.seat, body.target.run_id)
    decision = await propose_resolution(
        call.connection,
        chosen.selection,
        body.action,
        reason=body.reason,
        comment=body.comment or "",
        target=target,
        expected=expected,
        on=chosen.on,
        actor=call.actor,
    )
    return proposal(call, decision)


async def _chosen_of(call: Call, breaks: ByNumber | AllMatching) -> _Chosen:
    if isinstance(breaks, ByNumber):
        return _Chosen(Selection(ids=tuple(breaks.ids)), (), await _today(call))
    return await _chosen(call, breaks.matching, breaks.matching.state)


async def _chosen(call: Call, given: BreakFilter, state: State | None = None, ids: tuple[int, ...] = ()) -> _Chosen:
    """Raises NotFound for a custodian, or a plan, that there is not."""
    if given.custodian is not None:
        await custodian_of(call.connection, given.custodian)
    custodians = await list_custodians(call.connection)
    selection = Selection(
        ids=ids,
        custodian=given.custodian,
        plan_id=await _plan_id(call, given.plan),
        run_id=given.run_id,
        code=given.code,
        states=() if state is None else (state,),
        assigned_to=given.assigned_to,
        least=None if given.severity is None else given.severity.severity,
        age=None if given.age is None else given.age.age,
        text=given.text,
    )
    return _Chosen(selection, custodians, _day(call, custodians, given.custodian))


async def _plan_id(call: Call, code: str | None) -> int | None:
    return None if code is None else (await plan_of(call.connection, code)).plan_id


async def _today(call: Call) -> date:
    return _day(call, await list_custodians(call.connection))


def _day(call: Call, custodians: Sequence[Custodian], code: str | None = None) -> date:
    """The day it is where a custodian is, or the first of them."""
    zones = [each.profile.time_zone for each in custodians if code in (None, each.code)]
    return call.today(zones[0] if zones else "UTC")
