"""What an export holds: the tables about one run, and those about a custodian's account over some days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import BigInteger, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import NUMBERED_APART
from engine.custodian.events import LETTERS, read_events
from engine.custodian.instructions import State
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import Custodian
from engine.custodian.standing import charged_by
from engine.custodian.verdicts import Sum
from engine.ledger.accounts import Account, account_id, first_seat
from engine.reconcile.exports.tables import AMOUNT, COUNT, DAY, TEXT, Rows, Table, batch_of, columns, of_rows, selected
from engine.reconcile.funnel import PARTS, funnel_of
from engine.reconcile.proof import Proof, strips
from engine.runs.run import load_run
from engine.store.tables import PLAN_STRIDE, shards

SUMMARY, BREAKS, RETURNS = ("summary", "Summary proof"), ("breaks", "Breaks"), ("returns", "Returns")
LINES, POSTINGS, AUDIT = ("lines", "Lines"), ("postings", "Postings"), ("audit", "Audit")
FILES = ("files", "File hashes")

_FUNNEL = columns(part=TEXT, reason=TEXT, count=COUNT, amount=AMOUNT)
_STRIP = columns(
    account=TEXT, date=DAY, opening=AMOUNT, credits=AMOUNT, debits=AMOUNT, closing=AMOUNT, book=AMOUNT,
    entered_by_hand=AMOUNT, posted_later=AMOUNT, on_later_statement=AMOUNT, difference=AMOUNT, in_transit=AMOUNT,
    payouts_in_transit=AMOUNT, suspense=AMOUNT, breaks=COUNT, pending=COUNT, days_missing=COUNT, parked=COUNT,
)  # fmt: skip
_BREAKS = columns(
    break_id=TEXT, code=TEXT, plan=TEXT, statement=TEXT, line=TEXT, run=TEXT, kind=TEXT, attempt=TEXT, seat=TEXT,
    amount=AMOUNT, suspense=AMOUNT, opened_on=DAY, state=TEXT, assigned_to=TEXT, decision=TEXT, closed_on=DAY,
)  # fmt: skip
_RETURNS = columns(
    run=TEXT, kind=TEXT, seat=TEXT, attempt=TEXT, state=TEXT, reason=TEXT, said_by=TEXT, amount=AMOUNT
)  # fmt: skip
_LINES = columns(
    statement=TEXT, line=TEXT, place=TEXT, booked_on=DAY, value_on=DAY, amount=AMOUNT, reference=TEXT,
    batch_reference=TEXT, bank_reference=TEXT, kind=TEXT, reason=TEXT, original=AMOUNT, charges=AMOUNT, count=COUNT,
    outcome=TEXT, code=TEXT, decided_by=TEXT,
)  # fmt: skip
_POSTINGS = columns(
    plan=TEXT, shard=TEXT, seq=TEXT, key=TEXT, kind=TEXT, effective_on=DAY, account=TEXT, name=TEXT, amount=AMOUNT
)
_AUDIT = columns(recorded_at=TEXT, actor=TEXT, act=TEXT, subject=TEXT, detail=TEXT)
_FILES = columns(kind=TEXT, file=TEXT, sha256=TEXT, count=COUNT, amount=AMOUNT, state=TEXT, on=DAY)


async def tables_of_run(connection: AsyncConnection, run_id: int) -> list[Table]:
    """Everything about one sealed run. Raises InvalidInput where it is not sealed, FunnelLeaks (I12)."""
    run, funnel = await load_run(connection, run_id), await funnel_of(connection, run_id)
    parts: list[tuple[str, str | None, Sum]]
    parts = [(name.replace("_", " "), None, getattr(funnel, name)) for name in (*PARTS, "sent", "rejected")]
    parts += [("returned", reason, total) for reason, total in sorted(funnel.by_reason.items())]
    rows = [(name, reason, total.count, total.amount_minor) for name, reason, total in parts]
    own = str(Reference(Kind.DEBIT, run_id, 0, 0))[1:7]  # stands after the letter in each of its references
    values = {
        "run": run_id, "name": run.name, "own": f"_{own}%", "first": run.plan_id * PLAN_STRIDE,
        "stop": (run.plan_id + 1) * PLAN_STRIDE, "sources": None,
    }  # fmt: skip
    of_run = "run_id = :run AND kind IN ('D', 'P')"
    return [
        Table(*SUMMARY, _FUNNEL, of_rows(_FUNNEL, rows)),
        _table(connection, BREAKS, _BREAKS, values, _BREAKS_WHERE.format(_OF_THIS_RUN)),
        Table(*RETURNS, _RETURNS, _returns(connection, of_run, values)),
        _table(connection, LINES, _LINES, values, _LINES_WHERE.format(_NAMED)),
        _table(connection, POSTINGS, _POSTINGS, values, _POSTINGS_WHERE.format(_OF_RUN)),
        _table(
            connection, AUDIT, _AUDIT, values, _LOG_WHERE.format("subject = :name"),
            _STEPS_WHERE.format(_OF_THIS_RUN),
        ),
        _table(
            connection, FILES, _FILES, values, _SENT_WHERE.format(of_run),
            _STATEMENTS_WHERE.format(_SAID),
        ),
    ]  # fmt: skip


async def tables_of_account(connection: AsyncConnection, custodian: Custodian, first: date, last: date) -> list[Table]:
    """Everything about a custodian's account from a day to another: what its statements of those days led to.

    Of the audit log all that was ever done about the account: it knows the days of the computer, not of the bank.
    """
    values: dict[str, Any] = {
        "custodian": custodian.custodian_id, "name": f"custodian:{custodian.code}", "from_on": first, "to_on": last,
        "plans": list(custodian.plans),
        "moved": [account_id(plan, code) for plan in custodian.plans for code in _MOVED],
    }  # fmt: skip
    shown = await connection.scalars(text(f"SELECT statement_id FROM statements WHERE {_IN_DAYS}"), values)  # noqa: S608
    values["statements"] = list(shown)
    values["sources"] = [f"statement:{each}" for each in values["statements"]]
    proofs = await strips(connection, custodian, first, last)
    opened = "breaks.custodian_id = :custodian AND opened_on <= :to_on AND (closed_on IS NULL OR closed_on >= :from_on)"
    asked = "(run_id, kind, attempt) IN (SELECT run_id, kind, attempt FROM attempts WHERE custodian_id = :custodian)"
    return [
        Table(*SUMMARY, _STRIP, of_rows(_STRIP, map(_strip, proofs))),
        _table(connection, BREAKS, _BREAKS, values, _BREAKS_WHERE.format(opened)),
        Table(*RETURNS, _RETURNS, _returns(connection, asked, values)),
        _table(connection, LINES, _LINES, values, _LINES_WHERE.format("statement_id = ANY (:statements)")),
        _table(connection, POSTINGS, _POSTINGS, values, _POSTINGS_WHERE.format(_OF_ACCOUNT)),
        _table(
            connection, AUDIT, _AUDIT, values, _LOG_WHERE.format("subject = :name"),
            _STEPS_WHERE.format("breaks.custodian_id = :custodian AND happened_on BETWEEN :from_on AND :to_on"),
        ),
        _table(
            connection, FILES, _FILES, values,
            _SENT_WHERE.format(f"{asked} AND (sent_on IS NULL OR sent_on BETWEEN :from_on AND :to_on)"),
            _STATEMENTS_WHERE.format(_IN_DAYS),
        ),
    ]  # fmt: skip


_MOVED = (Account.CUSTODIAN_CASH, Account.SUSPENSE)
_OF_THIS_RUN = "breaks.run_id = :run AND coalesce(breaks.kind, '') NOT IN ({})".format(
    ", ".join(f"'{letter}'" for letter in NUMBERED_APART)
)
_NAMED = "reference LIKE :own OR batch_reference LIKE :own"
_SAID = (
    "statement_id IN (SELECT CAST(substring(source FROM 11) AS bigint) FROM instruction_events"
    " WHERE run_id = :run AND kind IN ('D', 'P') AND starts_with(source, 'statement:'))"
)
_IN_DAYS = (
    "custodian_id = :custodian AND coalesce(from_on, to_on, recorded_at::date) <= :to_on"
    " AND coalesce(to_on, from_on, recorded_at::date) >= :from_on"
)
_BREAKS_WHERE = (
    "SELECT break_id, breaks.code, plans.code, statement_id, ordinal, run_id, kind, attempt, seat, amount_minor,"
    " suspense_minor, opened_on, state, assigned_to, decision_id, closed_on FROM breaks JOIN plans USING (plan_id)"
    " WHERE {} ORDER BY break_id"
)
_LINES_WHERE = (
    "SELECT statement_id, ordinal, place, booked_on, value_on, amount_minor, reference, batch_reference,"
    " bank_reference, kind, reason, original_minor, charges_minor, count, outcome, code, decided_by"
    " FROM statement_lines WHERE {} ORDER BY statement_id, ordinal"
)
_OF_RUN = "(run_id = :run OR starts_with(idempotency_key, :name || ':')) AND shard_id >= :first AND shard_id < :stop"
_OF_ACCOUNT = "shard_id / 1000000 = ANY (:plans) AND effective_on BETWEEN :from_on AND :to_on AND accounts && :moved"
_POSTINGS_WHERE = (
    "SELECT plans.code, shard_id, seq, idempotency_key, kind, effective_on, line.account % 10000, accounts.name,"
    " line.amount FROM journals CROSS JOIN unnest(journals.accounts, journals.amounts) WITH ORDINALITY"
    " AS line (account, amount, place) JOIN accounts ON accounts.account_id = line.account"
    " JOIN plans ON plans.plan_id = accounts.plan_id WHERE {} ORDER BY shard_id, seq, line.place"
)
_LOG_WHERE = (
    "SELECT to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.US\"Z\"'), actor, act, subject,"
    " detail::text FROM audit_log WHERE {} ORDER BY audit_id"
)
_STEPS_WHERE = (
    "SELECT to_char(break_events.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.US\"Z\"'), actor,"
    " event || ' break', 'break:' || break_id, concat_ws(', ', 'on ' || happened_on, nullif(reason, ''),"
    " nullif(comment, ''), 'decision ' || break_events.decision_id) FROM break_events JOIN breaks USING (break_id)"
    " WHERE {} ORDER BY break_id, event_id"
)
_SENT_WHERE = (
    "SELECT 'sent, ' || kind, file, encode(sha256, 'hex'), count, amount_minor, CASE WHEN sent_on IS NULL THEN 'waits'"
    " ELSE 'sent' END, sent_on FROM debit_batches WHERE {} ORDER BY batch_id"
)
_STATEMENTS_WHERE = (
    "SELECT 'statement ' || statement_id, file, encode(sha256, 'hex'), lines, credits_minor - debits_minor, state,"
    " to_on FROM statements WHERE {} ORDER BY statement_id"
)
_RETURNS_WHERE = (
    "SELECT run_id, kind, shard_id FROM instruction_events WHERE {} AND state IN (3, 6, 7)"
    " AND (CAST(:sources AS text[]) IS NULL OR source = ANY (:sources))"
    " GROUP BY run_id, kind, shard_id ORDER BY run_id, kind, shard_id"
)
_LISTS = ("plans", "moved", "statements")


def _table(
    connection: AsyncConnection, name: tuple[str, str], schema: pa.Schema, values: Mapping[str, Any], *queries: str
) -> Table:
    made = []
    for query in queries:
        lists = [bindparam(each, type_=ARRAY(BigInteger)) for each in _LISTS if f":{each}" in query]
        made.append(text(query).bindparams(*lists))
    return Table(*name, schema, selected(connection, schema, *made, values=values))


def _strip(proof: Proof) -> tuple[Any, ...]:
    balances = (proof.opening, proof.credits, proof.debits, proof.closing, proof.book)
    explained = (proof.by_hand, proof.posted_later, proof.ahead, proof.difference)
    beside = (proof.in_transit.amount_minor, proof.payouts_in_transit, proof.suspense)
    counts = (sum(each.count for each in proof.breaks.values()), proof.pending.count)
    covered = (len(proof.coverage.missing), proof.coverage.parked)
    return (proof.account, proof.on, *balances, *explained, *beside, *counts, *covered)


_BACK = (State.REJECTED, State.RETURNED, State.REOPENED)
_KINDS = {letter: kind for kind, letter in LETTERS.items()}


def _returns(connection: AsyncConnection, where: str, values: Mapping[str, Any]) -> Rows:
    """Every instruction that came back, each time that it did, a shard at a time."""

    async def read() -> AsyncIterator[pa.RecordBatch]:
        found = await connection.execute(text(_RETURNS_WHERE.format(where)), values)
        for run_id, letter, shard_id in found.all():
            async for batch in _returned(connection, run_id, _KINDS[letter], shard_id, values["sources"]):
                yield batch

    return read


async def _returned(
    connection: AsyncConnection, run_id: int, kind: Kind, shard_id: int, sources: Sequence[str] | None
) -> AsyncIterator[pa.RecordBatch]:
    events = await read_events(connection, shard_id, run_id, kind)
    if kind is Kind.PAYOUT:
        places = 1 + max((int(each.positions[-1]) for each in events if each.positions is not None), default=-1)
    else:
        places = await connection.scalar(select(shards.c.seats).where(shards.c.shard_id == shard_id)) or 0
    asked, charged = np.zeros(places, np.int64), np.zeros(places, np.int64)
    if kind is Kind.DEBIT:
        charged = await charged_by(connection, shard_id, run_id, places)
    first = 0 if kind is Kind.PAYOUT else first_seat(shard_id)
    for each in events:
        at = np.flatnonzero(charged).astype(np.int32) if each.positions is None else each.positions
        if each.state is State.ASSESSED:
            asked[at] = charged[at] if each.amounts is None else each.amounts
        if each.state in _BACK and (sources is None or each.source in sources):
            same = (each.attempt, each.state.name.lower(), each.reason, each.source)
            rows = zip((at + first).tolist(), asked[at].tolist(), strict=True)
            yield batch_of(_RETURNS, ((run_id, LETTERS[kind], seat, *same, amount) for seat, amount in rows))
