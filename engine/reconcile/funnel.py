"""The funnel of a run: of everything it assessed, what came in, what is under way, what came back, what was let go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.break_rows import UNRESOLVED
from engine.custodian.breaks import Code
from engine.custodian.events import LETTERS, read_events
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.standing import SETTLED_THROUGH, SentBatch, Standing, fold, sent_batches
from engine.custodian.verdicts import Sum
from engine.errors import FentanError, InvalidInput
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Segment
from engine.money import grouped, to_major
from engine.runs.run import Run, load_run
from engine.store.arrays import copy_out
from engine.store.tables import IN_THE_BOOKS, PLAN_STRIDE, SHARD_SEATS, breaks, journals, posting_segments, run_shards

Amounts = NDArray[np.int64]

SETTLED = (State.BOOKED, State.SETTLED)
RETURNED = (State.RETURNED, State.REOPENED, State.REJECTED)

DECIDED = ("correction", "resolution", "refund")
"""Kinds of journals by which people change what a seat owes, beside what its instruction says."""

NO_REASON = "none given"

_NOTHING = Sum()


class FunnelLeaks(FentanError):
    """What became of a run's debits is not what the ledger says of them."""

    invariant = "I12"


@dataclass(frozen=True)
class Funnel:
    """A run's shares, each in one place, in seats and in minor units.

    I12: assessed = drawn + settled + in flight + returned + written off + waived. `sent`: of how many a file left so
    far, and what they were assessed; `rejected`: the part of `returned` that a status report refused. `by_reason`:
    `returned` by the custodian's code. `posted`: what the run's debts came to on other accounts, debit positive: cash,
    charges, suspense, bad debt.
    """

    run_id: int
    drawn: Sum = _NOTHING
    settled: Sum = _NOTHING
    in_flight: Sum = _NOTHING
    returned: Sum = _NOTHING
    written_off: Sum = _NOTHING
    waived: Sum = _NOTHING
    assessed: Sum = _NOTHING
    sent: Sum = _NOTHING
    rejected: Sum = _NOTHING
    by_reason: Mapping[str, Sum] = field(default_factory=dict)
    posted: Mapping[Account, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Counts as numbers, amounts as text in major units."""
        shown: dict[str, Any] = {name: shown_sum(getattr(self, name)) for name in (*PARTS, "sent", "rejected")}
        shown["by_reason"] = {reason: shown_sum(total) for reason, total in sorted(self.by_reason.items())}
        shown["posted"] = {account.title: to_major(amount) for account, amount in self.posted.items()}
        return shown


PARTS = ("assessed", "drawn", "settled", "in_flight", "returned", "written_off", "waived")
"""The funnel's parts as I12 names them, the whole first."""


def shown_sum(total: Sum) -> dict[str, Any]:
    """A count and an amount as JSON shows them."""
    return {"count": total.count, "amount": to_major(total.amount_minor)}


@dataclass(frozen=True)
class Debts:
    """What the members of a shard owe for a run, int64[n] minor units by position.

    `charged`, `corrected`: on what they owe; `owed`: what is left of both; `drawn`: taken from what they paid in.
    `decided` bool[n]: a decision of people (a correction, a resolution of breaks) posted on what the seat owes.
    """

    charged: Amounts
    corrected: Amounts
    owed: Amounts
    drawn: Amounts
    decided: NDArray[np.bool_]

    @property
    def assessed(self) -> Amounts:
        """What they were to pay, corrections in it."""
        return self.charged + self.corrected


async def funnel_of(connection: AsyncConnection, run_id: int) -> Funnel:
    """Where the shares of a sealed run are, a shard at a time.

    A seat counts once, where its newest instruction stands, before there is one in flight. Amounts split exactly, seat
    by seat: settled is what was booked, of all its instructions; what is still owed is returned where the newest came
    back, else in flight, asked for already or not; written off is what was let go. So a share that a correction raised
    after its debit was booked is settled in part. Assessed is what was charged and what corrections changed of it; what
    is to be given back is not the funnel's. A booking that the custodian took
    back (REVERSED) is in flight until somebody decides. A seat whose share the sponsor pays counts once as waived; if a
    correction charges its member besides, once more as that.

    Raises FunnelLeaks (I12) where a seat that no correction touched owes another amount than its instruction says, and
    where the run's debts are not those of its lines; InvalidInput for a run that is not sealed.
    """
    run = await load_run(connection, run_id)
    if run.state not in IN_THE_BOOKS:
        raise InvalidInput(f"{run.name} is {run.state}; only a sealed run has debits to follow")
    files = await sent_batches(connection, run_id, Kind.DEBIT)
    taken_back = await _taken_back(connection, run_id)
    funnel, owed = Funnel(run_id), 0
    for shard_id, seats in await _shards(connection, run_id):
        debts = await debts_of(connection, run_id, shard_id, seats)
        part = await _shard_part(connection, run, shard_id, debts, files, taken_back)
        funnel, owed = _added(funnel, part), owed + int(debts.owed.sum())
    posted = await _posted(connection, run)
    receivable = posted.pop(Account.CONTRIBUTIONS_RECEIVABLE, 0)
    if receivable != owed:
        raise FunnelLeaks(f"{run.name}: seats owe {grouped(owed)}, the journals' lines come to {grouped(receivable)}")
    return _with_waived(funnel, posted, await _waived(connection, run_id))


async def debts_of(connection: AsyncConnection, run_id: int, shard_id: int, seats: int) -> Debts:
    """What the seats of one shard owe for a run, by everything posted under its name."""
    plan_id = shard_id // PLAN_STRIDE
    receivable, deposits = (
        account_id(plan_id, code) for code in (Account.CONTRIBUTIONS_RECEIVABLE, Account.MEMBER_DEPOSITS)
    )
    columns = posting_segments.c
    rows = await copy_out(
        connection,
        "SELECT journals.kind, segment.account_id, packed(segment.positions), packed(segment.amounts)"  # noqa: S608  # numbers only
        " FROM posting_segments AS segment JOIN journals USING (shard_id, seq)"
        " WHERE segment.shard_id = $1 AND segment.account_id IN ($2, $3)"
        f" AND starts_with(journals.idempotency_key, 'run:{int(run_id)}:')",
        [shard_id, receivable, deposits],
        [journals.c.kind.type, columns.account_id.type, columns.positions.type, columns.amounts.type],
    )
    charged, corrected, owed, drawn = (np.zeros(seats, np.int64) for _ in range(4))
    debts = Debts(charged, corrected, owed, drawn, np.zeros(seats, np.bool_))
    for kind, account, positions, amounts in rows:
        dense = Segment(account, amounts, positions).dense(seats)
        if account == deposits:
            debts.drawn[:] += dense
            continue
        debts.owed[:] += dense
        debts.decided[:] |= (dense != 0) & (kind in DECIDED)
        if kind == "charge":
            debts.charged[:] += dense
        elif kind == "correction":
            debts.corrected[:] += dense
    return debts


async def _shard_part(
    connection: AsyncConnection,
    run: Run,
    shard_id: int,
    debts: Debts,
    files: Mapping[int, SentBatch],
    taken_back: Mapping[int, int],
) -> Funnel:
    events = await read_events(connection, shard_id, run.run_id, Kind.DEBIT)
    standing = fold(debts.charged, events, files, settled_through=SETTLED_THROUGH.get(run.state, 0))
    first_seat, on_suspense = (shard_id % PLAN_STRIDE - 1) * SHARD_SEATS, np.zeros(len(standing), np.int64)
    for seat, amount in taken_back.items():
        if 0 <= seat - first_seat < len(standing):
            on_suspense[seat - first_seat] = amount
    _refuse_leak(run, shard_id, debts, standing, on_suspense)
    return parted(run.run_id, debts, standing)


def parted(run_id: int, debts: Debts, standing: Standing) -> Funnel:
    """The funnel of one shard."""
    assessed, state = debts.assessed, standing.state
    is_owing = assessed > 0
    left = np.clip(debts.owed, 0, assessed)
    paid = assessed - left
    settled, returned, written_off, disputed = (
        is_owing & np.isin(state, states) for states in (SETTLED, RETURNED, (State.WRITTEN_OFF,), (State.DISPUTED,))
    )
    in_flight = is_owing & ~(settled | returned | written_off)
    is_back = disputed & (debts.owed <= 0)
    back = np.where(is_back, np.where(standing.amount_minor > 0, np.minimum(standing.amount_minor, paid), paid), 0)
    let_go = np.minimum(standing.written_off_minor, paid - back)[is_owing].sum()
    taken_back = back.sum()
    sent = is_owing & ((standing.attempt > 1) | (state > State.ASSESSED))

    def counted(seats: NDArray[np.bool_], amount: Any) -> Sum:
        return Sum(int(np.count_nonzero(seats)), int(amount))

    by_reason = {}
    for place, reason in enumerate(standing.reasons):
        those = returned & (standing.reason == place)
        if those.any():
            by_reason[reason or NO_REASON] = counted(those, left[those].sum())
    rejected = returned & (state == State.REJECTED)
    return Funnel(
        run_id,
        drawn=counted(debts.drawn > 0, debts.drawn.sum()),
        settled=counted(settled, paid[is_owing].sum() - let_go - taken_back),
        in_flight=counted(in_flight, left[is_owing & ~returned].sum() + taken_back),
        returned=counted(returned, left[returned].sum()),
        written_off=counted(written_off, let_go),
        assessed=counted(is_owing, assessed[is_owing].sum()),
        sent=counted(sent, assessed[sent].sum()),
        rejected=counted(rejected, left[rejected].sum()),
        by_reason=by_reason,
    )


def _refuse_leak(run: Run, shard_id: int, debts: Debts, standing: Standing, taken_back: Amounts) -> None:
    """What a seat owes is what its instruction says, unless people changed it beside the instruction.

    `taken_back` int64[n]: what the custodian took back of its bookings, below 0, which stands on suspense until it is
    decided, however often it booked the same again. Even then nothing is left of what is settled or written off, but
    what a correction added.
    """
    expected = np.where(standing.attempt > 0, standing.amount_minor, debts.charged)
    done = np.isin(standing.state, (*SETTLED, State.WRITTEN_OFF))
    expected[done] = 0
    expected += taken_back
    exempt = debts.decided & ~done | (debts.corrected != 0)
    leaks = np.flatnonzero((debts.owed != expected) & ~exempt)
    if leaks.size:
        at = int(leaks[0])
        raise FunnelLeaks(
            f"{run.name}, shard {shard_id}: {leaks.size} seats owe another amount than their debits say; position {at}"
            f" owes {grouped(int(debts.owed[at]))} and its debit is {State(standing.state[at]).name.lower()} with"
            f" {grouped(int(expected[at]))} left; post what is missing, or correct it by a decision"
        )


def _added(one: Funnel, other: Funnel) -> Funnel:
    names = (*PARTS, "sent", "rejected")
    reasons = {
        reason: one.by_reason.get(reason, Sum()) + other.by_reason.get(reason, Sum())
        for reason in {**one.by_reason, **other.by_reason}
    }
    return Funnel(one.run_id, **{name: getattr(one, name) + getattr(other, name) for name in names}, by_reason=reasons)


def _with_waived(funnel: Funnel, posted: Mapping[Account, int], waived: Sum) -> Funnel:
    parts = {name: getattr(funnel, name) for name in ("settled", "in_flight", "returned", "written_off", "sent")}
    whole = funnel.assessed + funnel.drawn + waived
    summed = sum((parts[name] for name in ("settled", "in_flight", "returned", "written_off")), funnel.drawn + waived)
    if whole != summed:
        raise FunnelLeaks(f"run:{funnel.run_id}: assessed {whole}, and the parts come to {summed}")
    return Funnel(
        funnel.run_id,
        drawn=funnel.drawn,
        waived=waived,
        assessed=whole,
        rejected=funnel.rejected,
        by_reason=funnel.by_reason,
        posted=posted,
        **parts,
    )


async def _shards(connection: AsyncConnection, run_id: int) -> list[tuple[int, int]]:
    """(shard, seats the run froze), in order."""
    chosen = select(run_shards.c.shard_id, run_shards.c.seats).where(run_shards.c.run_id == run_id)
    return [(row.shard_id, row.seats) for row in await connection.execute(chosen.order_by(run_shards.c.shard_id))]


async def _taken_back(connection: AsyncConnection, run_id: int) -> dict[int, int]:
    """By seat, what stands on suspense, below 0, of bookings that the custodian took back and nobody decided about."""
    of_debits = (breaks.c.run_id == run_id, breaks.c.kind == LETTERS[Kind.DEBIT], breaks.c.code == Code.REVERSED)
    sums = select(breaks.c.seat, func.sum(breaks.c.suspense_minor)).where(*of_debits, breaks.c.state.in_(UNRESOLVED))
    return {seat: int(amount) for seat, amount in await connection.execute(sums.group_by(breaks.c.seat))}


async def _waived(connection: AsyncConnection, run_id: int) -> Sum:
    sums = select(
        func.coalesce(func.sum(run_shards.c.waived_seats), 0), func.coalesce(func.sum(run_shards.c.waived_minor), 0)
    ).where(run_shards.c.run_id == run_id)
    seats, amount = (await connection.execute(sums)).one()
    return Sum(int(seats), int(amount))


_POSTED = text(
    "SELECT line.account % 10000 AS code, sum(line.amount) AS amount,"
    " sum(line.amount) FILTER (WHERE kind NOT IN ('charge', 'correction')) AS since"
    " FROM journals, unnest(accounts, amounts) AS line (account, amount)"
    " WHERE shard_id > :first AND shard_id < :stop AND starts_with(idempotency_key, :prefix)"
    " AND :receivable = ANY (accounts) GROUP BY code ORDER BY code"
)


async def _posted(connection: AsyncConnection, run: Run) -> dict[Account, int]:
    """Of the journals that move the run's debts: what is owed, and what came of it since it was charged, by account."""
    values = {
        "first": run.plan_id * PLAN_STRIDE,
        "stop": (run.plan_id + 1) * PLAN_STRIDE,
        "prefix": f"{run.name}:",
        "receivable": account_id(run.plan_id, Account.CONTRIBUTIONS_RECEIVABLE),
    }
    found = {}
    for code, amount, since in await connection.execute(_POSTED, values):
        moved = amount if code == Account.CONTRIBUTIONS_RECEIVABLE else since
        if moved:
            found[Account(code)] = int(moved)
    return found
