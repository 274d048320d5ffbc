"""Statements as rows: what was imported, whether it was taken or parked and why, and the lines that did not match."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy import Row, func, insert, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.breaks import Code, State
from engine.custodian.gates import Tally as Footed
from engine.custodian.gates import follows
from engine.custodian.statement import SCHEMA, Declared, Fault, Footing, Problem, Statement, place_in_file
from engine.custodian.turn import IS_STILL
from engine.custodian.veiled import veiled
from engine.custodian.verdicts import Ignored, Named, Outcome, Sum
from engine.errors import NotFound
from engine.money import grouped
from engine.store.arrays import Row as Values
from engine.store.arrays import copy_in
from engine.store.tables import breaks, custodians, statement_lines, statements

_PAGE = 50_000


class StatementState(StrEnum):
    """Taken, or parked: then nothing of it is posted."""

    TAKEN = "taken"
    PARKED = "parked"


@dataclass(frozen=True)
class ImportedStatement:
    """A statement that came, as it stands. Amounts are minor units, debits positive.

    `file`: its name as it came; `number`: 1, 2, … in the file. `tally`: lines and sums by what became of them.
    """

    statement_id: int
    custodian: str
    sha256: bytes
    number: int
    file: str
    message: str
    identity: str
    sequence: int | None
    books: bool
    from_on: date | None
    to_on: date | None
    opening_minor: int | None
    closing_minor: int | None
    lines: int
    credits_minor: int
    debits_minor: int
    state: str
    problems: tuple[Problem, ...]
    tally: tuple[tuple[Named, Sum], ...]
    imported_by: str
    taken_at: datetime | None
    recorded_at: datetime

    @property
    def is_taken(self) -> bool:
        """Whether it is in the books, or what it says is known."""
        return self.taken_at is not None

    @property
    def waits_for_its_turn(self) -> bool:
        """Whether nothing is wrong with it but that statements before it are missing."""
        return all(each.code is Fault.STATEMENT_GAP and each.place in _TURN for each in self.problems)

    def footing(self) -> Footing:
        """What stands under it; not its account, which is stored nowhere."""
        said = Statement("", "", self.identity, self.from_on, self.to_on, self.opening_minor, self.closing_minor)
        return Footing(said, self.message, self.lines, declared=Declared(sequence=self.sequence))


class FileName(NamedTuple):
    """A file that came: SHA-256 of its bytes, under which it is kept, and its name, for people."""

    sha256: bytes
    name: str


_IMPORTED = select(statements, custodians.c.code.label("custodian")).join(
    custodians, custodians.c.custodian_id == statements.c.custodian_id
)


async def lock_custodian(connection: AsyncConnection, custodian_id: int) -> None:
    """Wait for the custodian's turn: what changes where its instructions stand goes one after the other."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtext('fentan custodian'), :custodian)"), {"custodian": custodian_id}
    )


async def statements_of_file(connection: AsyncConnection, custodian_id: int, sha256: bytes) -> list[ImportedStatement]:
    """The statements known of a file, by their number in it."""
    chosen = _IMPORTED.where(statements.c.custodian_id == custodian_id, statements.c.sha256 == sha256)
    return [_imported(row) for row in await connection.execute(chosen.order_by(statements.c.number))]


async def statement_of(connection: AsyncConnection, statement_id: int) -> ImportedStatement:
    """The statement of this number. Raises InvalidInput when there is none."""
    row = (await connection.execute(_IMPORTED.where(statements.c.statement_id == statement_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no statement {statement_id}; `fentan statement list` shows those there are")
    return _imported(row)


async def list_statements(
    connection: AsyncConnection,
    *,
    custodian: str | None = None,
    state: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[ImportedStatement]:
    """The last statements, newest first, those before a number."""
    chosen = _IMPORTED.order_by(statements.c.statement_id.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(statements.c.statement_id < before)
    if custodian is not None:
        chosen = chosen.where(custodians.c.code == custodian)
    if state is not None:
        chosen = chosen.where(statements.c.state == state)
    return [_imported(row) for row in await connection.execute(chosen)]


async def last_taken(connection: AsyncConnection, custodian_id: int) -> ImportedStatement | None:
    """The statement with balances that was booked last: the next one follows it.

    One that comes to nothing may have come late, and leaves the balance where it is: it counts where there is no other.
    """
    chosen = _IMPORTED.where(
        statements.c.custodian_id == custodian_id,
        statements.c.books,
        statements.c.state == "taken",
        statements.c.closing_minor.is_not(None),
    ).order_by(IS_STILL, statements.c.taken_at.desc(), statements.c.statement_id.desc())
    row = (await connection.execute(chosen.limit(1))).one_or_none()
    return None if row is None else _imported(row)


def out_of_turn(statement: Footing, last: ImportedStatement | None, *, book_cash_minor: int) -> tuple[Problem, ...]:
    """What keeps a statement from being the next one; `last`: taken before it. Empty where it says no balance.

    Before the first, the account held what the books say, `book_cash_minor`, or nothing.
    """
    if last is not None:
        before = last.footing()
        said = Statement(statement.statement.account, "", "", closing_minor=last.closing_minor)
        return follows(statement, Footing(said, before.message, before.entries, declared=before.declared))
    opening = statement.statement.opening_minor
    if opening in (None, 0, book_cash_minor):
        return ()
    message = (
        f"opens with {grouped(opening)}, is the first, and the books hold {grouped(book_cash_minor)}: import those"
        " before it, or this with --begin where the account held that before"
    )
    return (Problem(Fault.STATEMENT_GAP, "opening balance", message),)


_TURN = ("opening balance", "sequence number")


async def next_parked(
    connection: AsyncConnection, custodian_id: int, *, book_cash_minor: int
) -> ImportedStatement | None:
    """A parked statement whose only problem was its turn, and whose turn it now is; None: there is none."""
    last = await last_taken(connection, custodian_id)
    chosen = _IMPORTED.where(
        statements.c.custodian_id == custodian_id, statements.c.state == "parked", statements.c.books
    ).order_by(statements.c.sequence, statements.c.from_on, statements.c.statement_id)
    for row in await connection.execute(chosen):
        parked = _imported(row)
        if parked.waits_for_its_turn and not out_of_turn(parked.footing(), last, book_cash_minor=book_cash_minor):
            return parked
    return None


async def begin(
    connection: AsyncConnection, custodian_id: int, file: FileName, number: int, *, books: bool, actor: str
) -> int:
    """A row for a statement that is about to be read, parked until it is taken; its id."""
    row = {
        "custodian_id": custodian_id,
        "sha256": file.sha256,
        "file": file.name,
        "number": number,
        "books": books,
        "imported_by": actor,
        "message": "",
        "identity": "",
        "lines": 0,
        "credits_minor": 0,
        "debits_minor": 0,
        "state": "parked",
    }
    return int(
        (await connection.execute(insert(statements).values(row).returning(statements.c.statement_id))).scalar_one()
    )


async def finish(
    connection: AsyncConnection,
    statement_id: int,
    footing: Footing,
    tally: Footed,
    *,
    ids: bytes,
    problems: Sequence[Problem] = (),
    became: Iterable[tuple[Named, Sum]] = (),
) -> None:
    """What a statement holds and, without problems, what became of its lines: with them it stays parked.

    `ids`: what its lines' own references come to.
    """
    said = footing.statement
    await connection.execute(
        update(statements)
        .where(statements.c.statement_id == statement_id)
        .values(
            message=footing.message,
            identity=said.identity,
            sequence=footing.declared.sequence,
            from_on=said.from_on,
            to_on=said.to_on,
            opening_minor=said.opening_minor,
            closing_minor=said.closing_minor,
            lines=tally.lines,
            credits_minor=tally.credits,
            debits_minor=tally.debits,
            ids=ids,
            state="parked" if problems else "taken",
            taken_at=None if problems else func.clock_timestamp(),
            problems=[each._asdict() for each in problems],
            tally=_stored(became),
        )
    )


class Decided(NamedTuple):
    """What became of a line of an earlier statement that waited."""

    statement_id: int
    ordinal: int
    amount_minor: int
    was: Named
    what: Named
    stage: int


LINE_COLUMNS = (
    *("ordinal", "place", "booked_on", "value_on", "amount_minor", "reference", "batch_reference", "bank_reference"),
    *("kind", "reason", "original_minor", "charges_minor", "count"),
)
"""Those of SCHEMA; `place` is in words, whatever the file is."""


async def add_lines(
    connection: AsyncConnection, statement_id: int, lines: pa.RecordBatch, became: Iterable[tuple[Named, int]]
) -> None:
    """Write down lines (SCHEMA) that did not match, with what became of each and at which stage."""
    for name in ("reference", "batch_reference", "bank_reference"):
        at = lines.schema.get_field_index(name)
        lines = lines.set_column(at, lines.schema.field(at), veiled(lines.column(at)))
    rows: list[Values] = [
        (statement_id, *_of_line(line), what.outcome.name.lower(), what.code, stage)
        for line, (what, stage) in zip(lines.to_pylist(), became, strict=True)
    ]
    await copy_in(connection, statement_lines, ["statement_id", *LINE_COLUMNS, "outcome", "code", "stage"], rows)


def _of_line(line: dict[str, Any]) -> list[Any]:
    return [place_in_file(line) if name == "place" else line[name] for name in LINE_COLUMNS]


class OpenLine(NamedTuple):
    """A line that did not match by itself. `decided_by`: the later statement that decided it."""

    ordinal: int
    place: str
    booked_on: date | None
    amount_minor: int
    reference: str | None
    kind: str
    reason: str | None
    outcome: str
    code: str | None
    decided_by: int | None


async def open_lines(
    connection: AsyncConnection, statement_id: int, *, after: int = 0, limit: int = 50
) -> list[OpenLine]:
    """A page of the lines of a statement that did not match by themselves, of those after an ordinal."""
    found = await connection.execute(
        select(*(statement_lines.c[name] for name in OpenLine._fields))
        .where(statement_lines.c.statement_id == statement_id, statement_lines.c.ordinal > after)
        .order_by(statement_lines.c.ordinal)
        .limit(limit)
    )
    return [OpenLine(*row) for row in found]


async def place_of(connection: AsyncConnection, statement_id: int, ordinal: int) -> str:
    """Where in its file a line stands. Raises NotFound for one that matched: of those only sums are kept."""
    found: str | None = await connection.scalar(
        select(statement_lines.c.place).where(
            statement_lines.c.statement_id == statement_id, statement_lines.c.ordinal == ordinal
        )
    )
    if found is None:
        raise NotFound(
            f"statement {statement_id} has no line {ordinal} that did not match; "
            f"`fentan statement show {statement_id}` lists those it has"
        )
    return found


class PendingLine(NamedTuple):
    """A line of an earlier statement that waits for a later one, since a day.

    `is_break`: for so long that it has a break, on which nobody decided yet.
    """

    statement_id: int
    ordinal: int
    since: date
    is_break: bool

    @property
    def was(self) -> Named:
        """What became of it until now."""
        return Named(Outcome.BREAK, OVERDUE) if self.is_break else Named(Outcome.PENDING)


OVERDUE = Code.MISSING_IN_LEDGER
"""The break of a line that waited too long for what it names: the custodian has it, the books have not."""

# As the index has it.
_MAY_WAIT = text("(outcome = 'pending' OR (outcome = 'break' AND stage = 7))")
_HAS_OPEN_BREAK = (
    select(breaks.c.break_id)
    .where(breaks.c.statement_id == statement_lines.c.statement_id, breaks.c.ordinal == statement_lines.c.ordinal)
    .where(breaks.c.code == OVERDUE, breaks.c.state.in_([State.OPEN, State.ASSIGNED]))
    .exists()
)


async def pending_lines(
    connection: AsyncConnection, custodian_id: int
) -> AsyncIterator[tuple[list[PendingLine], pa.RecordBatch]]:
    """The lines of earlier statements that wait, page by page: which they are, and SCHEMA."""
    line, own = statement_lines.c, statements.c
    after = (0, 0)
    while True:
        found = await connection.execute(
            select(statement_lines, func.coalesce(line.booked_on, own.to_on, func.date(own.taken_at)).label("since"))
            .join(statements, own.statement_id == line.statement_id)
            .where(
                own.custodian_id == custodian_id,
                _MAY_WAIT,
                or_(line.outcome == "pending", _HAS_OPEN_BREAK),
                tuple_(line.statement_id, line.ordinal) > after,
            )
            .order_by(line.statement_id, line.ordinal)
            .limit(_PAGE)
        )
        rows = [row._asdict() for row in found]
        if not rows:
            return
        names = [
            PendingLine(row["statement_id"], row["ordinal"], row["since"], row["outcome"] == "break") for row in rows
        ]
        after = names[-1][:2]
        lines = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
        yield names, pa.RecordBatch.from_pylist(lines, SCHEMA)


_DECIDE = text(
    "UPDATE statement_lines SET outcome = decided.outcome, code = decided.code, stage = decided.stage,"
    " decided_by = :decided_by FROM unnest(CAST(:statements AS bigint[]), CAST(:ordinals AS bigint[]),"
    " CAST(:outcomes AS text[]), CAST(:codes AS text[]), CAST(:stages AS smallint[]))"
    " AS decided (statement_id, ordinal, outcome, code, stage)"
    " WHERE statement_lines.statement_id = decided.statement_id AND statement_lines.ordinal = decided.ordinal"
)


async def decide_lines(connection: AsyncConnection, decided_by: int | None, decided: Sequence[Decided]) -> None:
    """Let lines that waited be what a later statement, None: the time, makes of them, and count them so (I10)."""
    await connection.execute(
        _DECIDE,
        {
            "decided_by": decided_by,
            "statements": [each.statement_id for each in decided],
            "ordinals": [each.ordinal for each in decided],
            "outcomes": [each.what.outcome.name.lower() for each in decided],
            "codes": [each.what.code for each in decided],
            "stages": [each.stage for each in decided],
        },
    )
    moved: dict[int, dict[Named, Sum]] = {}
    for each in decided:
        sums = moved.setdefault(each.statement_id, {})
        for what, sign in ((each.was, -1), (each.what, 1)):
            sums[what] = sums.get(what, Sum()) + Sum(sign, sign * each.amount_minor)
    for statement_id, sums in moved.items():
        tally = dict((await statement_of(connection, statement_id)).tally)
        for what, total in sums.items():
            tally[what] = tally.get(what, Sum()) + total
        await connection.execute(
            update(statements)
            .where(statements.c.statement_id == statement_id)
            .values(tally=_stored((what, total) for what, total in tally.items() if total.count))
        )


async def copies_of(connection: AsyncConnection, custodian_id: int, statement_id: int, footing: Footing) -> list[int]:
    """The parked statements that a statement makes good: broken copies of it, as where a file was cut off.

    They have its name and opening balance, and no day that it has not; what only waits for its turn is none.
    """
    said = footing.statement
    if said.opening_minor is None or said.from_on is None or said.to_on is None:
        return []
    found = await connection.execute(
        _IMPORTED.where(
            statements.c.custodian_id == custodian_id,
            statements.c.statement_id != statement_id,
            statements.c.state == "parked",
            statements.c.books,
            statements.c.identity == said.identity,
            statements.c.opening_minor == said.opening_minor,
            statements.c.from_on >= said.from_on,
            statements.c.to_on <= said.to_on,
        ).order_by(statements.c.statement_id)
    )
    return [each.statement_id for each in map(_imported, found) if not each.waits_for_its_turn]


def _stored(tally: Iterable[tuple[Named, Sum]]) -> list[dict[str, object]]:
    return [
        {
            "outcome": what.outcome.name.lower(),
            "code": what.code,
            "why": what.why and what.why.name.lower(),
            "count": total.count,
            "amount_minor": total.amount_minor,
        }
        for what, total in tally
    ]


def _imported(row: Row[Any]) -> ImportedStatement:
    values: Mapping[str, Any] = row._asdict()
    problems = tuple(Problem(Fault(each["code"]), each["place"], each["message"]) for each in row.problems)
    tally = tuple((_named(each), Sum(each["count"], each["amount_minor"])) for each in row.tally)
    known = {name: value for name, value in values.items() if name in ImportedStatement.__annotations__}
    return ImportedStatement(**known | {"problems": problems, "tally": tally})


def _named(stored: Mapping[str, Any]) -> Named:
    code, why = stored["code"], stored["why"]
    return Named(
        Outcome[stored["outcome"].upper()], Code(code) if code else None, Ignored[why.upper()] if why else None
    )
