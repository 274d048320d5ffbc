"""Stage 5: what lines without a reference might be, worked out when somebody asks; posted by a decision of two.

Who paid a line is stored nowhere. It is read again in the kept file, and looked for among the accounts of who has a
debit under way, which are opened a shard at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.actions import POSSIBLE, Action
from engine.custodian.aging import business_days, until_of
from engine.custodian.breaks import State as Stands
from engine.custodian.desk import Desk
from engine.custodian.events import LETTERS
from engine.custodian.instructions import State
from engine.custodian.raw_text import raw_texts
from engine.custodian.reference import Kind
from engine.custodian.registered import Custodian
from engine.custodian.schedule import calendar_of
from engine.custodian.standing import read_standing, sent_batches
from engine.custodian.suggestions import Traits, likely, words_in
from engine.ledger.accounts import first_seat
from engine.money import grouped
from engine.plans.days import day_number
from engine.reconcile.payers import known_payers
from engine.runs.instructions import instructions_of
from engine.runs.run import load_run
from engine.runs.states import RunState
from engine.store.tables import attempts, breaks, debit_batches, run_shards, share_runs, statement_lines, statements


@dataclass(frozen=True)
class Candidate:
    """A debit that a line might be of: its payer and its amount agree. `among`: of how many as likely it is one.

    `days`: business days from when it was sent to when the line was booked; `is_late`: more than it had.
    """

    run_id: int
    seat: int
    attempt: int
    amount_minor: int
    days: int
    is_late: bool
    among: int

    @property
    def score(self) -> int:
        """100 where nothing else can be meant, 100 / n where n are as likely."""
        return 100 // self.among

    @property
    def why(self) -> str:
        """In words."""
        why = f"its payer and {grouped(self.amount_minor)}, {self.days} business days after it was sent"
        return why + ", which is late" * self.is_late + f"; one of {self.among}" * (self.among > 1)


@dataclass(frozen=True)
class Suggested:
    """A break about a line of money that came in, and what it might be, the likeliest first."""

    break_id: int
    booked_on: date
    amount_minor: int
    candidates: tuple[Candidate, ...]


class _Debits(NamedTuple):
    """Debits of one attempt under way whose payers' accounts some line names: `seat`, `amount_minor`, `payer` int64[k].

    `payer`: the place of the account among the words of the lines; `late_after`: the last day they have to be booked.
    """

    run_id: int
    attempt: int
    sent_on: date
    late_after: date
    seat: NDArray[np.int64]
    amount_minor: NDArray[np.int64]
    payer: NDArray[np.int64]


async def suggest(
    connection: AsyncConnection, custodian: Custodian, desk: Desk, *, ids: Sequence[int] = (), limit: int = 50
) -> list[Suggested]:
    """What a custodian's breaks that `match` is for might be, those of these numbers, or the first `limit` of all.

    The payer and the amount agree, and the debit was sent by then. Nothing is written. Of a line whose statement is no
    more among the kept files nothing is known. Raises WrongAccountKey, TamperedTokens.
    """
    rows = list(await connection.execute(_open_breaks(custodian, ids, limit)))
    words = await asyncio.to_thread(_words, rows, desk.folder(custodian.code, "statements"))
    accounts = sorted(set().union(*words))
    lines = _lines(rows, words, accounts)
    amounts = np.unique(lines.amount_minor)
    asked = [each async for each in _under_way(connection, custodian, desk, pa.array(accounts, pa.string()), amounts)]
    calendar = calendar_of(custodian.profile)
    debits = [(each, at) for each in asked for at in range(len(each.seat))]
    candidates: list[list[Candidate]] = [[] for _ in rows]
    for line, debit, is_late, among in zip(*(each.tolist() for each in likely(lines, _traits(asked))), strict=True):
        row, (of, at) = int(lines.place[line]), debits[debit]
        days = business_days(of.sent_on, rows[row].booked_on, **calendar)
        seat, amount = int(of.seat[at]), int(of.amount_minor[at])
        candidates[row].append(Candidate(of.run_id, seat, of.attempt, amount, days, is_late, among))
    return [
        Suggested(row.break_id, row.booked_on, row.amount_minor, tuple(candidates[n])) for n, row in enumerate(rows)
    ]


def _open_breaks(
    custodian: Custodian, ids: Sequence[int], limit: int
) -> Select[tuple[int, int, date, str, bytes, int]]:
    """The breaks that nobody decided on, about lines of money that came in and that may be matched by hand."""
    line, own = statement_lines.c, statements.c
    booked_on = func.coalesce(line.booked_on, own.to_on, func.date(own.taken_at)).label("booked_on")
    found = (
        select(breaks.c.break_id, line.amount_minor, booked_on, line.place, own.sha256, own.number)
        .join(statement_lines, (line.statement_id == breaks.c.statement_id) & (line.ordinal == breaks.c.ordinal))
        .join(statements, own.statement_id == line.statement_id)
        .where(
            breaks.c.custodian_id == custodian.custodian_id,
            breaks.c.state.in_([Stands.OPEN, Stands.ASSIGNED]),
            breaks.c.code.in_(POSSIBLE[Action.MATCH]),
            line.amount_minor > 0,
        )
        .order_by(breaks.c.break_id)
        .limit(limit)
    )
    return found.where(breaks.c.break_id.in_(ids)) if ids else found


def _words(rows: Sequence[Row[Any]], kept: Path) -> list[Collection[str]]:
    """What may be an account in each row's line, by the files as they came; each is read once."""
    by_statement: dict[tuple[bytes, int], set[str]] = {}
    for row in rows:
        by_statement.setdefault((row.sha256, row.number), set()).add(row.place)
    texts = {
        (sha256, number): raw_texts(kept / sha256.hex(), number, places) if (kept / sha256.hex()).is_file() else {}
        for (sha256, number), places in by_statement.items()
    }
    return [words_in(texts[row.sha256, row.number].get(row.place, ""), row.place) for row in rows]


def _lines(rows: Sequence[Row[Any]], words: Sequence[Collection[str]], accounts: Sequence[str]) -> Traits:
    """A row for each word of a line."""
    numbers = {account: number for number, account in enumerate(accounts)}
    each = [
        (n, numbers[word], row.amount_minor, day_number(row.booked_on))
        for n, row in enumerate(rows)
        for word in words[n]
    ]
    place, payer, amount, on = np.array(each, np.int64).reshape(-1, 4).T
    return Traits(place, payer, amount, on, on)


def _traits(asked: Sequence[_Debits]) -> Traits:
    sizes = [len(each.seat) for each in asked]
    days = [[day_number(each.sent_on), day_number(each.late_after)] for each in asked]
    from_on, until_on = np.repeat(np.array(days, np.int64).reshape(-1, 2), sizes, axis=0).T
    nobody = np.empty(0, np.int64)
    payer, amount = (np.concatenate([nobody, *(getattr(each, name) for each in asked)]) for name in _SHARED)
    return Traits(np.arange(sum(sizes)), payer, amount, from_on, until_on)


_SHARED = ("payer", "amount_minor")


async def _under_way(
    connection: AsyncConnection, custodian: Custodian, desk: Desk, accounts: pa.StringArray, amounts: NDArray[np.int64]
) -> AsyncIterator[_Debits]:
    """The debits of these amounts that were sent and are neither booked nor back, on one of these accounts."""
    files = debit_batches.c
    sent = (
        select(attempts.c.run_id, attempts.c.attempt, attempts.c.debit_on, func.min(files.sent_on).label("sent_on"))
        .select_from(attempts.join(debit_batches).join(share_runs, share_runs.c.run_id == attempts.c.run_id))
        .where(attempts.c.custodian_id == custodian.custodian_id, attempts.c.kind == LETTERS[Kind.DEBIT])
        .where(files.sent_on.is_not(None), share_runs.c.state.in_([RunState.COLLECTING, RunState.SETTLED]))
        .group_by(attempts.c.run_id, attempts.c.attempt, attempts.c.debit_on)
        .order_by(attempts.c.run_id, attempts.c.attempt)
    )
    by_run: dict[int, dict[int, tuple[date, date]]] = {}
    for run_id, attempt, debit_on, sent_on in await connection.execute(sent):
        by_run.setdefault(run_id, {})[attempt] = debit_on, sent_on
    calendar = calendar_of(custodian.profile)
    for run_id, made in by_run.items():
        async for attempts_, seat, amount, payer in _on_accounts(
            connection, custodian, desk, run_id, accounts, amounts
        ):
            for which in np.unique(attempts_).tolist():
                debit_on, sent_on = made[which]
                late_after = until_of(custodian.profile.in_transit_days, max(debit_on, sent_on), **calendar)
                at = attempts_ == which
                yield _Debits(run_id, which, sent_on, late_after, seat[at], amount[at], payer[at])


async def _on_accounts(
    connection: AsyncConnection,
    custodian: Custodian,
    desk: Desk,
    run_id: int,
    accounts: pa.StringArray,
    amounts: NDArray[np.int64],
) -> AsyncIterator[tuple[NDArray[np.int64], ...]]:
    """By shard: the attempts, seats, amounts and payers (places in `accounts`) of the run's debits that agree."""
    run = await load_run(connection, run_id)
    files = await sent_batches(connection, run_id, Kind.DEBIT)
    of_run = select(run_shards.c.shard_id).where(run_shards.c.run_id == run_id).order_by(run_shards.c.shard_id)
    for shard_id in (await connection.scalars(of_run)).all():
        standing = await read_standing(connection, shard_id, run_id, Kind.DEBIT, batches=files)
        wanted = np.isin(standing.state, [State.SENT, State.DISPUTED]) & np.isin(standing.amount_minor, amounts)
        if not wanted.any():
            continue
        debits = await instructions_of(connection, run, shard_id, np.where(wanted, standing.amount_minor, 0))
        tokens, _ = await known_payers(connection, custodian.profile, run.plan_id, debits.payer_seat, desk)
        payer = pc.index_in(pc.ascii_upper(tokens.account), value_set=accounts).fill_null(-1).to_numpy()
        there = np.flatnonzero(payer >= 0)
        seat = debits.seat[there].astype(np.int64)
        attempt = standing.attempt[seat - first_seat(shard_id)].astype(np.int64)
        yield attempt, seat, debits.amount_minor[there], payer[there].astype(np.int64)
