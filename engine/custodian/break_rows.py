"""Breaks as rows: opened in bulk by whoever found them, listed as the queue that people work off.

How old a break is and how bad follow from the day and the custodian's calendar; neither is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, case, false, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.aging import AGES, Age, age_of, business_days, since_of
from engine.custodian.breaks import AMOUNTS_MINOR, Code, Severity, State, severity
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian
from engine.custodian.schedule import calendar_of
from engine.custodian.searched import breaks_found
from engine.errors import NotFound
from engine.store.arrays import Row as Values
from engine.store.arrays import copy_in
from engine.store.outbox import Event, announce
from engine.store.tables import break_events, breaks, custodians, plans


@dataclass(frozen=True)
class Opening:
    """A break to open.

    `amount_minor`: what is not explained; `suspense_minor`: what of it stands on suspense; both as the account books
    it, credits positive. `statement_id`, `ordinal`: the line it is about, no ordinal where it is the whole statement.
    `run_id`, `kind`, `attempt`, `seat`: the instruction it is about, as its reference says; of payouts the claim's
    number stands in place of the seat, of batches the file's.
    """

    code: Code
    plan_id: int
    amount_minor: int
    suspense_minor: int
    opened_on: date
    statement_id: int | None = None
    ordinal: int | None = None
    run_id: int | None = None
    kind: Kind | None = None
    attempt: int | None = None
    seat: int | None = None

    def about(self, reference: Reference) -> Opening:
        """The same, about what a reference names."""
        run, attempt, seat = reference.run, reference.attempt, reference.seat
        return replace(self, run_id=run, kind=reference.kind, attempt=attempt, seat=seat)


_COLUMNS = (
    *("custodian_id", "plan_id", "code", "statement_id", "ordinal", "run_id", "kind", "attempt", "seat"),
    *("amount_minor", "suspense_minor", "opened_on"),
)


async def open_breaks(connection: AsyncConnection, custodian_id: int, openings: Iterable[Opening]) -> int:
    """Write breaks down, open, in the caller's transaction; how many there were. One message tells of all of them.

    Raises IntegrityError where a line has a break of this code already: who may come twice looks first.
    """
    openings = list(openings)
    rows: list[Values] = [
        (
            *(custodian_id, each.plan_id, each.code.value, each.statement_id, each.ordinal, each.run_id),
            *(None if each.kind is None else chr(each.kind), each.attempt, each.seat),
            *(each.amount_minor, each.suspense_minor, each.opened_on),
        )
        for each in openings
    ]
    if rows:
        await copy_in(connection, breaks, list(_COLUMNS), rows)
        await _announce(connection, custodian_id, openings)
    return len(rows)


async def _announce(connection: AsyncConnection, custodian_id: int, openings: Sequence[Opening]) -> None:
    """How many there are of each code; the statement only where all are about the same."""
    code = await connection.scalar(select(custodians.c.code).where(custodians.c.custodian_id == custodian_id))
    statements = {each.statement_id for each in openings}
    detail = {
        "custodian": code,
        "statement_id": statements.pop() if len(statements) == 1 else None,
        "breaks": Counter(each.code for each in openings),
    }
    await announce(connection, Event.BREAK_OPENED, f"custodian:{code}", detail)


UNRESOLVED = (State.OPEN, State.ASSIGNED, State.PROPOSED, State.APPROVED)
"""The states in which a break still wants somebody."""


@dataclass(frozen=True)
class Break:
    """One break as it stands on a day. `days`: how old, in business days of its custodian; the rest as in `breaks`."""

    break_id: int
    custodian: str
    plan: str
    code: Code
    statement_id: int | None
    ordinal: int | None
    run_id: int | None
    kind: str | None
    attempt: int | None
    seat: int | None
    amount_minor: int
    suspense_minor: int
    opened_on: date
    state: State
    assigned_to: str | None
    decision_id: int | None
    closed_on: date | None
    days: int
    severity: Severity

    @property
    def age(self) -> Age:
        """The band of its age."""
        return age_of(self.days)


NUMBERED_APART = tuple(chr(kind) for kind in Kind if not kind.is_of_run)
"""The letters of what is about no run, whatever `run_id` says."""


def is_of_run(kind: ColumnElement[str | None]) -> ColumnElement[bool]:
    """Whether the `run_id` of a break about this kind is a run's."""
    return func.coalesce(kind, "").not_in(NUMBERED_APART)


def of_run(run_id: int) -> ColumnElement[bool]:
    """The breaks about what a run asked for."""
    return and_(breaks.c.run_id == run_id, is_of_run(breaks.c.kind))


@dataclass(frozen=True)
class Selection:
    """Which breaks: those to which all that is given applies.

    Without `states`, `ids` or `decision_id` only what still wants somebody. `least`: this bad or worse; `text`: what
    people type (`breaks_found`).
    """

    ids: tuple[int, ...] = ()
    custodian: str | None = None
    plan_id: int | None = None
    run_id: int | None = None
    code: Code | None = None
    states: tuple[State, ...] = ()
    assigned_to: str | None = None
    least: Severity | None = None
    age: Age | None = None
    text: str | None = None

    def where(self, custodians: Sequence[Custodian], on: date) -> ColumnElement[bool]:
        """The condition on `breaks`. `custodians`: all of them; ages are by the calendar of each, on a day."""
        given = {
            breaks.c.plan_id: self.plan_id,
            breaks.c.code: self.code,
            breaks.c.assigned_to: self.assigned_to,
        }
        conditions = [column == value for column, value in given.items() if value is not None]
        if self.run_id is not None:
            conditions.append(of_run(self.run_id))
        if self.ids:
            conditions.append(breaks.c.break_id.in_(self.ids))
        if self.text:
            conditions.append(breaks_found(self.text))
        states = self.states or (() if self.ids else UNRESOLVED)
        if states:
            conditions.append(breaks.c.state.in_(states))
        if self.custodian is None and self.age is None and not self.least:
            return and_(*conditions)
        chosen = [each for each in custodians if self.custodian in (None, each.code)]
        of_one = [and_(breaks.c.custodian_id == each.custodian_id, *self._aged(each, on)) for each in chosen]
        return and_(*conditions, or_(false(), *of_one))

    def _aged(self, custodian: Custodian, on: date) -> list[ColumnElement[bool]]:
        conditions = []
        if self.age is not None:
            conditions.append(breaks.c.opened_on <= _latest(self.age, custodian, on))
            if self.age.last is not None:
                conditions.append(breaks.c.opened_on >= since_of(self.age.last, on, **calendar_of(custodian.profile)))
        if self.least:
            conditions.append(or_(_is_large(self.least), _is_old(self.least, custodian, on)))
        return conditions


def _latest(age: Age, custodian: Custodian, on: date) -> date:
    """The last day on which a break was opened that is this old or older."""
    if age.first == 0:
        return date.max
    return since_of(age.first - 1, on, **calendar_of(custodian.profile)) - timedelta(days=1)


def _is_large(least: Severity) -> ColumnElement[bool]:
    """Whether its amount alone makes a break this bad, or worse."""
    return func.abs(breaks.c.amount_minor) >= AMOUNTS_MINOR[least - 1]


def _is_old(least: Severity, custodian: Custodian, on: date) -> ColumnElement[bool]:
    """Whether its age alone makes a break of a custodian this bad, or worse, while it is open."""
    return breaks.c.opened_on <= _latest(next(age for age in AGES if severity(0, age) >= least), custodian, on)


async def list_breaks(
    connection: AsyncConnection,
    selection: Selection,
    custodians: Sequence[Custodian],
    *,
    on: date,
    after: int = 0,
    limit: int = 50,
) -> list[Break]:
    """A page of breaks by their numbers, of those after the number `after`."""
    by_id = {each.custodian_id: each for each in custodians}
    found = await connection.execute(
        select(breaks, plans.c.code.label("plan"))
        .join(plans, plans.c.plan_id == breaks.c.plan_id)
        .where(selection.where(custodians, on), breaks.c.break_id > after)
        .order_by(breaks.c.break_id)
        .limit(limit)
    )
    return [_break(row, by_id[row.custodian_id], on) for row in found]


async def break_of(connection: AsyncConnection, break_id: int, custodians: Sequence[Custodian], *, on: date) -> Break:
    """The break of this number. Raises InvalidInput when there is none."""
    found = await list_breaks(connection, Selection(ids=(break_id,)), custodians, on=on)
    if not found:
        raise NotFound(f"there is no break {break_id}; `fentan reconcile breaks` shows those there are")
    return found[0]


BELONGING_MAX = 20
"""What is the other side of more breaks than this is a matter for a selection, not for the eye."""


async def belonging_to(
    connection: AsyncConnection, found: Break, custodians: Sequence[Custodian], *, on: date
) -> list[Break]:
    """Other breaks, open or assigned, that one may be settled with: those first that are about its instruction.

    Else those of its plan and custodian of which as much stands on suspense, the other way round.
    """
    by_id = {each.custodian_id: each for each in custodians}
    (own,) = (each.custodian_id for each in custodians if each.code == found.custodian)
    of = breaks.c
    named = found.run_id, found.kind, found.seat
    same = false() if None in named else tuple_(of.run_id, of.kind, of.seat) == named
    other_way = (of.suspense_minor == -found.suspense_minor) & (of.suspense_minor != 0)
    rows = await connection.execute(
        select(breaks, plans.c.code.label("plan"))
        .join(plans, plans.c.plan_id == of.plan_id)
        .where(of.custodian_id == own, of.state.in_([State.OPEN, State.ASSIGNED]), of.break_id != found.break_id)
        .where(plans.c.code == found.plan, or_(same, other_way))
        .order_by(func.coalesce(same, false()).desc(), of.break_id)
        .limit(BELONGING_MAX)
    )
    return [_break(row, by_id[row.custodian_id], on) for row in rows]


def _break(row: Row[Any], custodian: Custodian, on: date) -> Break:
    values = {name: value for name, value in row._asdict().items() if name in Break.__annotations__}
    # What is closed aged until then; what a statement dated ahead opened is new.
    until = max(row.opened_on, row.closed_on or on)
    days = business_days(row.opened_on, until, **calendar_of(custodian.profile))
    return Break(
        **values | {"code": Code(row.code), "state": State(row.state)},
        custodian=custodian.code,
        days=days,
        severity=severity(row.amount_minor, age_of(days)),
    )


class Counted(NamedTuple):
    """How many breaks there are of a code in a state, and what they come to in minor units."""

    code: Code
    state: State
    number: int
    amount_minor: int
    suspense_minor: int


async def count_breaks(
    connection: AsyncConnection, selection: Selection, custodians: Sequence[Custodian], *, on: date
) -> list[Counted]:
    """The breaks by code and state, in the order of the codes."""
    sums = (func.count(), func.sum(breaks.c.amount_minor), func.sum(breaks.c.suspense_minor))
    found = await connection.execute(
        select(breaks.c.code, breaks.c.state, *sums)
        .where(selection.where(custodians, on))
        .group_by(breaks.c.code, breaks.c.state)
    )
    counted = [Counted(Code(code), State(state), *map(int, numbers)) for code, state, *numbers in found]
    return sorted(counted, key=lambda each: (list(Code).index(each.code), list(State).index(each.state)))


class Weighed(NamedTuple):
    """How many breaks of a custodian there are of a severity, and what of them stands on suspense, in minor units."""

    custodian: str
    severity: Severity
    number: int
    suspense_minor: int


async def weigh_breaks(
    connection: AsyncConnection, selection: Selection, custodians: Sequence[Custodian], *, on: date
) -> list[Weighed]:
    """The breaks by custodian and severity, the worst first; a severity that no break has is not there."""
    of = breaks.c

    def is_old(least: Severity) -> ColumnElement[bool]:
        of_one = [and_(of.custodian_id == each.custodian_id, _is_old(least, each, on)) for each in custodians]
        return or_(false(), *of_one)

    # What is open ages until the day, so that the database tells how bad it is; of what is closed, each two days do.
    is_closed = of.closed_on.is_not(None)
    by_amount = _worst_of(_is_large)
    known = case((is_closed, by_amount), else_=func.greatest(by_amount, _worst_of(is_old))).label("known")
    days = (of.custodian_id, case((is_closed, of.opened_on)).label("since"), of.closed_on, known)
    grouped = (
        select(*days, func.count(), func.sum(of.suspense_minor)).where(selection.where(custodians, on)).group_by(*days)
    )
    calendars = {each.custodian_id: calendar_of(each.profile) for each in custodians}
    codes = {each.custodian_id: each.code for each in custodians}

    @cache
    def by_age(custodian_id: int, since: date, until: date) -> Severity:
        return severity(0, age_of(business_days(since, max(since, until), **calendars[custodian_id])))

    numbers, suspense = Counter[tuple[str, Severity]](), Counter[tuple[str, Severity]]()
    for custodian_id, since, until, known, number, held in await connection.execute(grouped):
        worst = Severity(known) if since is None else max(Severity(known), by_age(custodian_id, since, until))
        numbers[codes[custodian_id], worst] += number
        suspense[codes[custodian_id], worst] += int(held)
    return [Weighed(*each, numbers[each], suspense[each]) for each in sorted(numbers, key=lambda at: (at[0], -at[1]))]


def _worst_of(told: Callable[[Severity], ColumnElement[bool]]) -> ColumnElement[int]:
    """The worst severity of which something tells that a break has it, or worse."""
    return case(*[(told(each), each.value) for each in reversed(Severity) if each], else_=Severity.LOW.value)


class Step(NamedTuple):
    """One step of a break's life: what was done, by whom, why, by which decision, and when."""

    event: str
    actor: str
    reason: str
    comment: str
    decision_id: int | None
    happened_on: date


async def history_of(connection: AsyncConnection, break_id: int) -> list[Step]:
    """Everything that was done about a break, in order."""
    found = await connection.execute(
        select(*(break_events.c[name] for name in Step._fields))
        .where(break_events.c.break_id == break_id)
        .order_by(break_events.c.event_id)
    )
    return [Step(*row) for row in found]
