"""Statements: what came of each custodian, one with its lines, and a line down to its bytes and its postings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.access.roles import EVERYONE
from engine.api.custodians import OfCustodian, SomeCustodians, list_of_custodians, show_coverage
from engine.api.fields import Id, Model, Numbered
from engine.api.jobs import OfJob, show_job
from engine.api.statements import (
    LinesOfStatement,
    OfLine,
    OfStatement,
    StatementFilter,
    Which,
    list_of_lines,
    list_of_statements,
    show_line,
    show_raw_line,
    show_statement,
)
from engine.console.page import Pages, Shown
from engine.console.views import shown
from engine.console.visits import Visit
from engine.custodian.statement_rows import StatementState
from engine.errors import FentanError

pages = Pages("/finance")

_CUSTODIANS_MAX = 20


class Statements(StatementFilter):
    """Which statements, and the import that was asked for just now."""

    after: Numbered = None
    job: Id | None = None


class ByName(Model):
    """A line, as `statement-ordinal`."""

    line_id: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,17}-[1-9][0-9]{0,17}$")]


@pages.get("/finance/statements", EVERYONE)
async def statements(visit: Visit, params: Statements) -> Shown:
    """What came, by custodian, and which days nothing speaks of."""
    custodians = (await list_of_custodians(visit.call, SomeCustodians(limit=_CUSTODIANS_MAX))).items
    listed = [each for each in custodians if params.custodian in (None, each.custodian)]
    coverage = [await show_coverage(visit.call, OfCustodian(custodian=each.custodian)) for each in listed]
    asked = StatementFilter(**params.model_dump(exclude={"job"}))
    found = await list_of_statements(visit.call, asked)
    job = None if params.job is None else await show_job(visit.call, OfJob(job_id=params.job))
    return Shown(
        "finance/statements.html",
        {
            "custodians": [(shown(of), shown(covered)) for of, covered in zip(listed, coverage, strict=True)],
            "choices": [(each.custodian, each.name) for each in custodians],
            "statements": shown(found),
            "states": list(StatementState),
            "filter": params,
            "job": None if job is None else shown(job),
        },
    )


@pages.get("/finance/statements/{statement_id}", EVERYONE)
async def statement(visit: Visit, params: LinesOfStatement) -> Shown:
    """One statement: whether it adds up, what became of its lines, and the lines."""
    found = await show_statement(visit.call, OfStatement(statement_id=params.statement_id))
    lines, gone = None, None
    try:
        lines = shown(await list_of_lines(visit.call, params))
    except FentanError as error:
        gone = str(error)
    return Shown(
        "finance/statement.html",
        {
            "statement": shown(found),
            "lines": lines,
            "gone": gone,
            "is_all": params.which is Which.ALL,
            "is_first": params.after is None,
        },
    )


@pages.get("/finance/lines/{line_id}", EVERYONE)
async def line(visit: Visit, params: ByName) -> Shown:
    """One line of a statement: what became of it, the bytes it is, and what was posted for it."""
    statement_id, ordinal = map(int, params.line_id.split("-"))
    named = OfLine(statement_id=statement_id, ordinal=ordinal)
    found = await show_line(visit.call, named)
    of = await show_statement(visit.call, OfStatement(statement_id=statement_id))
    raw, gone = None, None
    if visit.may("show_raw_line"):
        try:
            raw = shown(await show_raw_line(visit.call, named))
        except FentanError as error:
            gone = str(error)
    return Shown(
        "finance/line.html",
        {
            "line": shown(found),
            "statement": shown(of),
            "raw": raw,
            "gone": gone,
        },
    )
