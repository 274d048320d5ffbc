"""Takes statements: kept, read, checked, matched and posted, or parked and nothing posted (I9, I10)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.ahead import ahead, awaited
from engine.custodian.break_rows import Opening, open_breaks
from engine.custodian.breaks import Code
from engine.custodian.flushed import flush
from engine.custodian.gates import Tally as Footed
from engine.custodian.gates import problems as wrong_in
from engine.custodian.lines import Lines
from engine.custodian.readers import recognised
from engine.custodian.registered import Custodian
from engine.custodian.routes import secret_of
from engine.custodian.statement import Fault, Footing, Part, Problem, Statement
from engine.custodian.statement_rows import (
    FileName,
    ImportedStatement,
    begin,
    copies_of,
    finish,
    last_taken,
    lock_custodian,
    next_parked,
    out_of_turn,
    statements_of_file,
)  # fmt: skip
from engine.custodian.turn import fits_between, taken_before
from engine.custodian.verdicts import Named, Sum
from engine.errors import FentanError, InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.reconcile.breaks import clear_breaks
from engine.reconcile.matched import Matched
from engine.reconcile.rejected import REJECTING
from engine.reconcile.settling import settle
from engine.store.audit import record
from engine.store.tables import breaks
from engine.store.views import journal_lines

_BLOCK_BYTES = 1 << 20
_PARTS_AHEAD = 3
_EARLIEST, _AHEAD = date(1990, 1, 1), timedelta(days=366)
"""What a statement may speak of: no day before this, none so long after the day it is taken."""

_NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Taken:
    """What became of one statement. `state`: taken, parked, or repeated, which changed nothing.

    `number`: 1, 2, … in its file. `tally`: its lines by what became of them; `problems`: why it is parked.
    """

    statement_id: int | None
    number: int
    state: str
    books: bool
    lines: int
    tally: tuple[tuple[Named, Sum], ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Taking:
    """What every statement of a file is taken with."""

    connection: AsyncConnection
    custodian: Custodian
    file: FileName
    actor: str
    on: date
    environment: Mapping[str, str]
    begins: bool


def folder_of(files: Path, custodian: Custodian) -> Path:
    """Where the custodian's statements are kept, each file under the hexadecimal SHA-256 of its bytes."""
    return files / custodian.code / "statements"


def kept_file(files: Path, statement: ImportedStatement) -> Path:
    """The kept file of a statement. Raises InvalidInput when it is gone."""
    path = files / statement.custodian / "statements" / statement.sha256.hex()
    if not path.is_file():
        raise InvalidInput(f"the file of statement {statement.statement_id} is no more among the kept ones")
    return path


async def take(
    engine: AsyncEngine,
    custodian: Custodian,
    path: Path,
    *,
    files: Path,
    actor: str,
    on: date,
    environment: Mapping[str, str] = _NO_ENVIRONMENT,
    begins: bool = False,
) -> list[Taken]:
    """Take every statement of a file, in one transaction; then those that were parked because they came too early.

    `files`: the folder of all custodians. `on`: today, the day of lines that name none. `environment`: where the
    number of the account stands, which each statement must be of. `begins`: the first statement of an account that
    held money before. The same file again changes nothing, but that parked statements of it are tried again. Raises
    InvalidInput for a file that cannot be read, NotSet where the environment lacks the number that a statement is held
    against: then only the audit log knows of it, as of a file that breaks an invariant.
    """
    copy, file = await asyncio.to_thread(_copy, path, folder_of(files, custodian))
    file = file._replace(name=_blackened(file.name, custodian, environment))
    try:
        async with engine.begin() as connection:
            await lock_custodian(connection, custodian.custodian_id)
            taking = _Taking(connection, custodian, file, actor, on, environment, begins)
            flushed = asyncio.create_task(asyncio.to_thread(flush, copy))
            try:
                taken = await _take_file(taking, copy)
            finally:
                await flushed
                await asyncio.to_thread(_keep, copy, file)
    except FentanError as error:
        async with engine.begin() as connection:
            detail = {"sha256": file.sha256.hex()}
            await record(connection, actor, "refuse statement file", f"custodian:{custodian.code}", detail)
        error.args = (str(error).replace(copy.name, path.name),)
        raise
    finally:
        copy.unlink(missing_ok=True)
    # An earlier file that cannot be read any more stays parked; it is no fault of this one.
    with suppress(InvalidInput):
        while (later := await _take_next(engine, custodian, files, actor, on, environment)) is not None:
            taken = [*(each for each in taken if each.statement_id != later.statement_id), later]
    return taken


def _copy(path: Path, folder: Path) -> tuple[Path, FileName]:
    """A copy of the file, and the SHA-256 of its bytes. Raises InvalidInput without one."""
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("rb") as source, NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as copy:
        try:
            for block in ahead(_copied(source, copy), 2):
                digest.update(block)
            copy.flush()
        except BaseException:  # a disk that is full is not to stay so
            Path(copy.name).unlink()
            raise
    return Path(copy.name), FileName(digest.digest(), path.name)


def _copied(source: IO[bytes], copy: IO[bytes]) -> Iterator[bytes]:
    while block := source.read(_BLOCK_BYTES):
        copy.write(block)
        yield block


def _keep(copy: Path, file: FileName) -> None:
    """Name the copy, flushed before, by its SHA-256: what has that name outlives a power cut."""
    copy.replace(copy.with_name(file.sha256.hex()))
    flush(copy.parent)


async def _take_file(taking: _Taking, copy: Path) -> list[Taken]:
    connection, custodian = taking.connection, taking.custodian
    known = {
        each.number: each for each in await statements_of_file(connection, custodian.custodian_id, taking.file.sha256)
    }
    subject = f"custodian:{custodian.code}"
    if known and all(each.is_taken for each in known.values()):
        detail = {"statements": [each.statement_id for each in known.values()]}
        await record(connection, taking.actor, "repeat statement file", subject, detail)
        return [_repeated(each) for each in known.values()]
    taken = [each async for each in _each_of(taking, copy, known)]
    became = {"statements": {str(each.statement_id): each.state for each in taken}}
    await record(connection, taking.actor, "import statement file", subject, became)
    return taken


async def _each_of(
    taking: _Taking, kept: Path, known: Mapping[int, ImportedStatement], only: int | None = None
) -> AsyncGenerator[Taken]:
    """Take the statements of a kept file that are not taken yet; `only`: the one of this number."""
    profile = taking.custodian.profile
    family, found = await asyncio.to_thread(recognised, kept, [(profile.layouts, profile.currency)])
    number = 0
    async with aclosing(awaited(_read(found), _PARTS_AHEAD)) as parts:
        while (first := await anext(parts, None)) is not None:
            number += 1
            before = known.get(number)
            if only in (None, number) and (before is None or not before.is_taken):
                yield await _take_one(taking, family, number, before, first, parts)
                continue
            while isinstance(first, Lines):
                first = await anext(parts)
            if before is not None and only is None:
                yield _repeated(before)


async def _take_one(
    taking: _Taking,
    family: str,
    number: int,
    before: ImportedStatement | None,
    part: Lines | _Read,
    parts: AsyncGenerator[Lines | _Read],
) -> Taken:
    """One statement, matched while it is read; whether it may be posted shows only at its end."""
    connection, custodian = taking.connection, taking.custodian
    books = family == custodian.profile.books_from
    statement_id = (
        before.statement_id
        if before is not None
        else await begin(connection, custodian.custodian_id, taking.file, number, books=books, actor=taking.actor)
    )
    undone = await connection.begin_nested()
    rejects = family in REJECTING
    matched = Matched(connection, custodian, statement_id, books=books, rejects=rejects, on=taking.on)
    if books:
        await matched.take_pending()
    while isinstance(part, Lines):
        await matched.take(part)
        part = await anext(parts)
    await matched.finish()
    footed, days, ids = part.footed, part.days, part.ids
    said = days.filled(part.footing.statement)
    identity = _blackened(said.identity, custodian, taking.environment)
    footing = replace(part.footing, statement=replace(said, identity=identity))
    problems = [*days.problems(footing.statement, taking.on), *wrong_in(footing, footed), *_of_another(taking, footing)]
    if books:
        problems += await _out_of_turn(taking, footing, footed, ids)
    problems = [_without_account(each) for each in problems]
    if problems:
        await undone.rollback()
        if before is None or before.problems != tuple(problems):
            await finish(connection, statement_id, footing, footed, ids=ids, problems=problems)
        if before is None:
            await _open_problem(taking, statement_id, footing, footed, problems)
        return Taken(statement_id, number, "parked", books, footed.lines, problems=tuple(problems))
    await settle(connection, matched, footed.net if books else 0, actor=taking.actor, on=taking.on)
    tally = tuple(matched.tally())
    await finish(connection, statement_id, footing, footed, ids=ids, became=tally)
    if books or before is not None:
        await _clear_problems(taking, statement_id, footing)
    await undone.commit()
    return Taken(statement_id, number, "taken", books, footed.lines, tally)


async def _take_next(
    engine: AsyncEngine, custodian: Custodian, files: Path, actor: str, on: date, environment: Mapping[str, str]
) -> Taken | None:
    """A parked statement that came too early and whose turn it now is, from its kept file; None: there is none."""
    async with engine.begin() as connection:
        await lock_custodian(connection, custodian.custodian_id)
        cash = await _book_cash(connection, custodian)
        parked = await next_parked(connection, custodian.custodian_id, book_cash_minor=cash)
        if parked is None:
            return None
        file = FileName(parked.sha256, parked.file)
        taking = _Taking(connection, custodian, file, actor, on, environment, begins=False)
        kept = folder_of(files, custodian) / parked.sha256.hex()
        if not kept.is_file():
            return None
        taken = [each async for each in _each_of(taking, kept, {parked.number: parked}, only=parked.number)]
        detail = {"statements": {str(each.statement_id): each.state for each in taken}}
        await record(connection, actor, "take parked statement", f"custodian:{custodian.code}", detail)
    # What is parked again, for whatever reason, is not tried for ever.
    return taken[0] if taken and taken[0].state == "taken" else None


async def _out_of_turn(taking: _Taking, footing: Footing, footed: Footed, ids: bytes) -> tuple[Problem, ...]:
    """Whether a statement that books was taken before, or is not the next."""
    custodian, connection = taking.custodian, taking.connection
    last = await last_taken(connection, custodian.custodian_id)
    if last is None and taking.begins:
        return ()
    # First: one that comes to nothing opens as the statement after it does, and is in turn again.
    if (same := await taken_before(connection, custodian.custodian_id, footing, footed, ids)) is not None:
        message = f"says what statement {same} said, which was taken from another file"
        return (Problem(Fault.DUPLICATE_FILE, "statement", message),)
    turn = out_of_turn(footing, last, book_cash_minor=await _book_cash(connection, custodian) if last is None else 0)
    return () if turn and await fits_between(connection, custodian.custodian_id, footing) else turn


def _of_another(taking: _Taking, footing: Footing) -> Iterator[Problem]:
    """Whether a statement is of another account, or in another currency, than the custodian's."""
    profile, said = taking.custodian.profile, footing.statement
    variable = profile.account.stated_from or profile.account.number_from
    if said.account and not is_account(said.account, secret_of(taking.environment, variable), profile.currency):
        yield Problem(Fault.ACCOUNT_MISMATCH, "account", f"is of another account than {variable} names")
    if said.currency and said.currency != profile.currency:
        message = f"is in {said.currency[:3]}, and the account of {profile.code} in {profile.currency}"
        yield Problem(Fault.CURRENCY_MISMATCH, "currency", message)


def is_account(stated: str, number: str, currency: str) -> bool:
    """Whether a statement's account is this one, all of it.

    However it is spaced; behind its bank and a / or before its currency, as :25: of MT940 has it; blackened with *.
    """
    plain, own = (re.sub(r"[^0-9A-Z*/]", "", text.upper()) for text in (stated, number))
    return any(
        form == own or (len(form) - form.count("*") >= _SHOWN_LEAST and "*" in form and fnmatchcase(own, form))
        for whole in {plain, plain.rpartition("/")[2]}
        for form in {whole, whole.removesuffix(currency)}
    )


_SHOWN_LEAST = 4
"""Characters of a blackened number: fewer would be anybody's."""


def _blackened(text: str, custodian: Custodian, environment: Mapping[str, str]) -> str:
    """What a custodian calls a file or a statement, without the number of the account, which many put in there."""
    account = custodian.profile.account
    for variable in (account.number_from, account.stated_from):
        if number := environment.get(variable or "", ""):
            text = text.replace(number, "*" * len(number))
    return text


def _without_account(problem: Problem) -> Problem:
    """Numbers of accounts are stored nowhere: what a reader says of them, or shows of a torn line, is said without."""
    if problem.code is not Fault.ACCOUNT_MISMATCH:
        return problem._replace(message=_LONG_NUMBER.sub("…", problem.message))
    if "CUSTODIAN_" in problem.message:
        return problem
    return problem._replace(message="is of another account than was expected, or names several")


_LONG_NUMBER = re.compile("[0-9]{8,}(?=[0-9]{4})")
"""All digits but the last four of what has twelve or more."""


_STATEMENT_CODES = {Fault.STATEMENT_GAP: Code.STATEMENT_GAP, Fault.DUPLICATE_FILE: Code.DUPLICATE_FILE}


async def _open_problem(
    taking: _Taking, statement_id: int, footing: Footing, footed: Footed, problems: list[Problem]
) -> None:
    """The one break of a parked statement: what is missing, or doubled; anything else is that it does not add up."""
    faults = {problem.code for problem in problems}
    code = _STATEMENT_CODES.get(problems[0].code, Code.BALANCE_BREAK) if len(faults) == 1 else Code.BALANCE_BREAK
    said, amount = footing.statement, 0
    if code is Code.BALANCE_BREAK and said.opening_minor is not None and said.closing_minor is not None:
        amount = said.closing_minor - said.opening_minor - footed.net
    opening = Opening(
        code,
        taking.custodian.home_plan,
        amount,
        suspense_minor=0,
        opened_on=said.to_on or taking.on,
        statement_id=statement_id,
    )
    await open_breaks(taking.connection, taking.custodian.custodian_id, [opening])


async def _clear_problems(taking: _Taking, statement_id: int, footing: Footing) -> None:
    """The breaks about a statement that was parked before, and about broken copies of it, now that it is taken."""
    copies = await copies_of(taking.connection, taking.custodian.custodian_id, statement_id, footing)
    about = breaks.c.statement_id.in_([statement_id, *copies]) & breaks.c.ordinal.is_(None)
    await clear_breaks(taking.connection, about, on=taking.on, actor=taking.actor, reason="a statement explains it")


async def _book_cash(connection: AsyncConnection, custodian: Custodian) -> int:
    """What the books of all its plans say the custodian holds, in minor units."""
    cash = 0
    for plan_id in custodian.plans:
        line = journal_lines.c
        found = await connection.scalar(
            select(func.coalesce(func.sum(line.amount), 0)).where(
                line.shard_id >= plan_shard(plan_id),
                line.shard_id < plan_shard(plan_id + 1),
                line.account_id == account_id(plan_id, Account.CUSTODIAN_CASH),
            )
        )
        cash += int(found or 0)
    return cash


class _Days:
    """The first and last day of booking that lines name."""

    def __init__(self) -> None:
        self._first: date | None = None
        self._last: date | None = None

    def take(self, booked_on: pa.Array) -> None:
        found = pc.min_max(booked_on).as_py()
        if found["min"] is not None:
            self._first = min(self._first or found["min"], found["min"])
            self._last = max(self._last or found["max"], found["max"])

    def problems(self, statement: Statement, on: date) -> Iterator[Problem]:
        """Days, of the lines or of the statement itself, that can only be a slip: the books would be proved by them."""
        spoken_of = {statement.from_on, statement.to_on, self._first, self._last}
        for day in sorted(each for each in spoken_of if each is not None):
            if not _EARLIEST <= day <= on + _AHEAD:
                yield Problem(Fault.UNREADABLE, "days", f"speaks of {day}, which on {on} can only be a slip")

    def filled(self, statement: Statement) -> Statement:
        """The statement, with the days of its lines where it names none."""
        return replace(statement, from_on=statement.from_on or self._first, to_on=statement.to_on or self._last)


class _Ids:
    """What the lines' own references come to, however they came in batches."""

    def __init__(self) -> None:
        self._hashes = {name: hashlib.sha256() for name in ("reference", "bank_reference")}

    def take(self, lines: pa.RecordBatch) -> None:
        for name, whole in self._hashes.items():
            column = lines.column(name)
            _, bounds, data = column.buffers()
            if data is not None:
                first, last = np.frombuffer(bounds, np.int32)[[column.offset, column.offset + len(column)]].tolist()
                whole.update(memoryview(data)[first:last])

    def digest(self) -> bytes:
        return hashlib.sha256(b"".join(each.digest() for each in self._hashes.values())).digest()


@dataclass(frozen=True)
class _Read:
    """What stands under the lines of a statement, and what they come to."""

    footing: Footing
    footed: Footed
    days: _Days
    ids: bytes


def _read(parts: Iterator[Part]) -> Iterator[Lines | _Read]:
    """The parts, and all of what they say that hangs on nothing else: made while lines before them are matched."""
    footed, days, ids = Footed(), _Days(), _Ids()
    for part in parts:
        if isinstance(part, Footing):
            yield _Read(part, footed, days, ids.digest())
            footed, days, ids = Footed(), _Days(), _Ids()
        else:
            footed.take(part)
            days.take(part["booked_on"])
            ids.take(part)
            yield Lines.of(part)


def _repeated(known: ImportedStatement) -> Taken:
    return Taken(known.statement_id, known.number, "repeated", known.books, known.lines, known.tally, known.problems)
