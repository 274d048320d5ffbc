"""Statements: uploaded, taken once or parked and why, and what became of each line that did not match by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from engine.access.roles import EVERYONE, FINANCE
from engine.api.custodians import said_on
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Digest, Flag, Id, Model, Moment, Money, Numbered, Page, Paged
from engine.api.jobs import JobView, asked
from engine.api.service import Call, Upload
from engine.custodian.raw_text import raw_bytes
from engine.custodian.registered import custodian_of, plan_codes
from engine.custodian.statement_rows import ImportedStatement, StatementState, list_statements, statement_of
from engine.custodian.verdicts import Stage
from engine.jobs.job import Kind
from engine.reconcile.statement_line import (
    LinePosting,
    StatementLine,
    all_lines,
    breaks_of,
    line_of,
    postings_of,
    stored_lines,
)
from engine.reconcile.taking import kept_file
from engine.store.tables import PLAN_STRIDE

endpoints = Endpoints("statements", "What custodians say happened: proved before anything is posted from it.")

FileName = Annotated[
    str, Field(max_length=80, pattern=r"^([A-Za-z]|[0-9]{1,8}[A-Za-z_.-])([0-9]{0,8}[A-Za-z_.-])*[0-9]{0,8}$")
]
"""A name of a file without the number of an account: no more than eight digits in a row."""


class NewStatement(Model):
    """A file of statements. `name`: what it was called; `on`: the day of lines that name none, today unless it is said.

    `begins`: it is the first of an account that held money before.
    """

    custodian: Code
    name: FileName = "statement"
    on: Day | None = None
    begins: Flag = False


class StatementFilter(Paged):
    """Which statements."""

    after: Numbered = None
    custodian: Code | None = None
    state: StatementState | None = None


class OfStatement(Model):
    """One statement."""

    statement_id: Id


class Which(StrEnum):
    """Which lines: those that did not match by themselves, of which each is kept, or all, read again in the file."""

    OPEN = "open"
    ALL = "all"


class LinesOfStatement(Paged, OfStatement):
    """Lines of a statement."""

    which: Which = Which.OPEN
    after: Numbered = None


class OfLine(OfStatement):
    """One line of a statement, by its number in it."""

    ordinal: Id


class TallyView(Model):
    """Lines that one thing became of: `code` says which break, `why` why they were ignored."""

    outcome: str
    code: str | None
    why: str | None
    count: int
    amount: Money


class ProblemView(Model):
    """Why a statement is parked: what is wrong, and where in the file."""

    code: str
    place: str
    message: str


class StatementView(Model):
    """A statement. `number`: in its file; `books`: it posts, else it only informs; `debits`: as a positive amount."""

    statement_id: int
    custodian: str
    file: str
    sha256: Digest
    number: int
    message: str
    first_on: Day | None
    last_on: Day | None
    books: bool
    state: StatementState
    lines: int
    opening: Money | None
    credits: Money
    debits: Money
    closing: Money | None
    tally: list[TallyView]
    problems: list[ProblemView]
    imported_by: str
    imported_at: Moment
    taken_at: Moment | None


class AboutView(Model):
    """The instruction that a line's reference names; of payouts `seat` is the claim's number, of batches the file's."""

    kind: str
    run_id: int
    attempt: int
    seat: int


class LineView(Model):
    """A line. `reference`: ours as it came, another's veiled; `place`: in the file; `about`: what it names of ours.

    `outcome`: matched, break, pending or ignored; null in a parked statement, or where only the statement's sums say
    which. `stage`: how it was decided, of a line that did not match by itself; `decided_by`: the later statement that
    decided what became of it.
    """

    statement_id: int
    ordinal: int
    place: str
    booked_on: Day | None
    amount: Money
    reference: str | None
    kind: str
    reason: str | None
    outcome: str | None
    code: str | None
    stage: str | None
    decided_by: int | None
    about: AboutView | None


class LinePostingView(Model):
    """One line of a journal that a statement's line is in, with others of its day; debit positive.

    `own`: of a line with detail, the part of the seat, or claim, that the statement's line is about. What the booking
    of a whole batch posted on all shards is one sum, of no shard and no plan.
    """

    plan: str | None
    shard_id: int | None
    seq: int | None
    key: str
    effective_on: Day
    account: str
    amount: Money
    own: Money | None


class LineDetail(LineView):
    """A line, what is about it, and what was posted for it."""

    value_on: Day | None
    batch_reference: str | None
    bank_reference: str | None
    original: Money | None
    charges: Money
    count: int
    breaks: list[int]
    postings: list[LinePostingView]


class RawLine(Model):
    """What stands in the file at a line's place, as the custodian wrote it.

    `offset`, `bytes`: where in the file it begins, from 0, and how long it is; of a packed file, of what was in it.
    """

    place: str
    offset: int
    bytes: int
    text: str


def _view(known: ImportedStatement) -> StatementView:
    return StatementView(
        statement_id=known.statement_id,
        custodian=known.custodian,
        file=known.file,
        sha256=known.sha256.hex(),
        number=known.number,
        message=known.message,
        first_on=known.from_on,
        last_on=known.to_on,
        books=known.books,
        state=StatementState(known.state),
        lines=known.lines,
        opening=known.opening_minor,
        credits=known.credits_minor,
        debits=known.debits_minor,
        closing=known.closing_minor,
        tally=[
            TallyView(
                outcome=what.outcome.name.lower(),
                code=what.code,
                why=what.why and what.why.name.lower(),
                count=total.count,
                amount=total.amount_minor,
            )
            for what, total in known.tally
        ],
        problems=[ProblemView(**each._asdict()) for each in known.problems],
        imported_by=known.imported_by,
        imported_at=known.recorded_at,
        taken_at=known.taken_at,
    )


@endpoints.post("/custodians/{custodian}/statements", FINANCE, status=202, moves_money=True)
async def upload_statement(call: Call, params: NewStatement, body: Upload) -> JobView:
    """Take a file of statements: match and post every line, or park a statement and say why; a worker does it.

    Each file is taken once, by its bytes. The job's outcome names the statements; a file that cannot be read fails it.
    """
    custodian = await custodian_of(call.connection, params.custodian)
    detail = {
        "custodian": custodian.code,
        "file": params.name,
        "begins": params.begins,
        **said_on(call, custodian.profile.time_zone, params.on),
    }
    return await asked(call, Kind.STATEMENT, f"custodian:{custodian.code}", detail, body)


@endpoints.get("/statements", EVERYONE)
async def list_of_statements(call: Call, params: StatementFilter) -> Page[StatementView]:
    """The statements that came, the latest first."""
    if params.custodian is not None:
        await custodian_of(call.connection, params.custodian)
    before = int(params.after) if params.after else None
    found = await list_statements(
        call.connection, custodian=params.custodian, state=params.state, before=before, limit=params.limit + 1
    )
    return call.page(found, params.limit, _view, lambda each: each.statement_id)


@endpoints.get("/statements/{statement_id}", EVERYONE)
async def show_statement(call: Call, params: OfStatement) -> StatementView:
    """One statement: its balances, what became of its lines, and why it is parked."""
    return _view(await statement_of(call.connection, params.statement_id))


@endpoints.get("/statements/{statement_id}/lines", EVERYONE)
async def list_of_lines(call: Call, params: LinesOfStatement) -> Page[LineView]:
    """The lines of a statement in their order: those that did not match by themselves, or all that are in its file."""
    known = await statement_of(call.connection, params.statement_id)
    after, limit = int(params.after) if params.after else 0, params.limit + 1
    if params.which is Which.ALL:
        found = await all_lines(call.connection, call.service.desk.files, known, after=after, limit=limit)
    else:
        found = await stored_lines(call.connection, known, after=after, limit=limit)
    return call.page(found, params.limit, lambda each: LineView(**_said(known, each)), lambda each: each.ordinal)


@endpoints.get("/statements/{statement_id}/lines/{ordinal}", EVERYONE)
async def show_line(call: Call, params: OfLine) -> LineDetail:
    """One line of a statement: what it says, what became of it, and what was posted for it."""
    known = await statement_of(call.connection, params.statement_id)
    line = await line_of(call.connection, call.service.desk.files, known, params.ordinal)
    posted, plans = await postings_of(call.connection, known, line), await plan_codes(call.connection)
    return LineDetail(
        **_said(known, line),
        value_on=line.value_on,
        batch_reference=line.batch_reference,
        bank_reference=line.bank_reference,
        original=line.original_minor,
        charges=line.charges_minor,
        count=line.count,
        breaks=await breaks_of(call.connection, params.statement_id, params.ordinal),
        postings=[_posting(each, plans) for each in posted],
    )


@endpoints.get("/statements/{statement_id}/lines/{ordinal}/raw", FINANCE)
async def show_raw_line(call: Call, params: OfLine) -> RawLine:
    """A line as the custodian wrote it: it may name accounts and people."""
    known = await statement_of(call.connection, params.statement_id)
    line = await line_of(call.connection, call.service.desk.files, known, params.ordinal)
    file = kept_file(call.service.desk.files, known)
    raw = await asyncio.to_thread(raw_bytes, file, known.number, line.place)
    return RawLine(place=line.place, offset=raw.offset, bytes=len(raw.content), text=raw.text)


def _said(known: ImportedStatement, line: StatementLine) -> dict[str, Any]:
    about = line.about
    return {
        "statement_id": known.statement_id,
        **{name: getattr(line, name) for name in _SAID},
        "amount": line.amount_minor,
        "stage": None if line.stage is Stage.NONE else line.stage.name.lower(),
        "about": about and AboutView(kind=about.kind.words, run_id=about.run, attempt=about.attempt, seat=about.seat),
    }


_SAID = ("ordinal", "place", "booked_on", "reference", "kind", "reason", "outcome", "code", "decided_by")


def _posting(posted: LinePosting, plans: Mapping[int, str]) -> LinePostingView:
    plain = {name.removesuffix("_minor"): value for name, value in posted._asdict().items()}
    return LinePostingView(plan=None if posted.shard_id is None else plans[posted.shard_id // PLAN_STRIDE], **plain)
