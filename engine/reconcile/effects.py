"""What a resolution does to the books and to the instructions, a shard of one run at a time.

A journal balances inside its shard, and suspense is an account of the plan over all its shards: what a break put there
on the plan's own shard is taken off on the shard of the seat it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Integer, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from engine.custodian.actions import OF_DEBTS, OWED_ON, Action, Amounts, Effect, Stand, bars, effect_of
from engine.custodian.breaks import BreakRefused
from engine.custodian.calls import CALLS, asked_again
from engine.custodian.events import CAUSES, LETTERS, Event, append
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.custodian.registered import custodian_of_plan
from engine.custodian.standing import Standing, read_standing, sent_batches
from engine.decisions import Decision
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, Segment, post
from engine.members.collection import owed_by
from engine.members.shards import Shard, amounts_under, shard_of
from engine.money import grouped
from engine.reconcile.locking import first_open_day
from engine.runs.run import lock_run_or_wait
from engine.store.arrays import copy_out
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, debit_batches, instruction_events, shards, share_runs

_CHARGE, _BESIDE = 1, 0
"""In place of a kind: a charge; what names no instruction that there is."""

_LAST = -1
"""The attempt of who names none: the last one."""


@dataclass(frozen=True)
class Target:
    """A seat that a person names: of `run_id`, whose debit a line is; without, only whose the money is."""

    plan_id: int
    seat: int
    run_id: int | None = None


@dataclass(frozen=True)
class Group:
    """What breaks of one decision say of one shard and run, by position: int64[n] each, places rising.

    `kind`: `Kind`, _CHARGE or _BESIDE; the latter two stand on the plan's own shard, in one place. `suspense_minor`:
    credits positive; `attempt`: the last one named; `of_debt`: whether a break is about the debt itself; `times`: how
    many breaks have money on suspense.
    """

    plan_id: int
    kind: int
    run_id: int | None
    number: int
    place: NDArray[np.int32]
    suspense_minor: Amounts
    attempt: NDArray[np.int32]
    of_debt: NDArray[np.int32]
    times: NDArray[np.int32]

    @property
    def shard_id(self) -> int:
        """The shard it is about."""
        return plan_shard(self.plan_id) + self.number

    def label(self, at: int) -> str:
        """The element in words, for errors."""
        if self.kind == Kind.PAYOUT:
            return f"claim {self.place[at]} of the plan"
        return f"seat {(self.number - 1) * SHARD_SEATS + int(self.place[at])}"


class Books:
    """Posts what one decision comes to: each journal once, on the first day that is open."""

    def __init__(self, connection: AsyncConnection, decision: Decision) -> None:
        self.connection = connection
        self.decision = decision
        self.totals = Counter[str]()
        self._days: dict[int, date] = {}

    async def post(
        self,
        plan_id: int,
        number: int,
        key: str,
        postings: Mapping[Account, Amounts],
        place: NDArray[np.int32] | None = None,
    ) -> None:
        """Post amounts int64[n] by account at places int32[n], which only control accounts need."""
        lines, segments = {}, []
        for account, amounts in postings.items():
            at = np.flatnonzero(amounts)
            total = int(amounts.sum())
            if account.is_control and len(at) and place is not None:
                segments.append(Segment(account_id(plan_id, account), amounts[at], place[at]))
            elif not total:
                continue
            lines[account_id(plan_id, account)] = total
            self.totals[f"{account.name.lower()}_minor"] += total
        if lines:
            if plan_id not in self._days:
                self._days[plan_id] = await first_open_day(self.connection, plan_id, self.decision.effective_on)
            shard_id = plan_shard(plan_id) + number
            journal = Journal(shard_id, key, "resolution", self._days[plan_id], lines, tuple(segments))
            await post(self.connection, journal)

    def key(self, kind: int, run_id: int | None) -> str:
        """Begins with what it is about, so that what a seat owes for a run, or is owed by a refund, is with it."""
        if cause := _CAUSES.get(kind):
            return f"{cause}:{run_id}:{self.decision.name}"
        return f"{self.decision.name}:{_OTHERS[kind]}"


_CAUSES: Mapping[int, str] = {int(kind): cause for kind, cause in CAUSES.items()} | {int(Kind.BATCH): "run"}
_OTHERS = {_BESIDE: "beside", _CHARGE: "charges", Kind.TOP_UP: "seats"}


async def post_resolution(
    connection: AsyncConnection, decision: Decision, action: Action, target: Target | None
) -> dict[str, Any]:
    """Post what an action comes to for the breaks that the decision holds, and move on the instructions it is about.

    In the caller's transaction. Raises BreakRefused that names the first seat where it cannot be done, and why;
    InvalidInput for a target that there is not.
    """
    books = Books(connection, decision)
    groups = await _groups(connection, decision)
    if target is not None:
        groups = [await _aimed(books, groups, action, target)]
    for run_id in sorted({each.run_id for each in groups if each.run_id and each.kind in _OF_RUNS}):
        await lock_run_or_wait(connection, run_id)
    moved = 0
    for group in groups:
        if group.kind == Kind.BATCH and action is Action.ACCEPT:
            moved += await _accept_files(books, group)
        elif group.kind in (_CHARGE, _BESIDE, Kind.BATCH):
            await _beside(books, group, action)
        else:
            moved += await _of_instructions(books, group, action)
    return {"instructions": moved, **{name: amount for name, amount in books.totals.items() if amount}}


_OF_RUNS = (Kind.DEBIT, Kind.PAYOUT)

_IS_KNOWN = """CASE
    WHEN code = 'FEE_UNEXPECTED' THEN false
    WHEN kind NOT IN ('P', 'B') AND NOT EXISTS (
        SELECT FROM shards WHERE shards.shard_id = breaks.plan_id * 1000000 + breaks.seat / 65536 + 1
            AND shards.seats > breaks.seat % 65536
    ) THEN false
    WHEN kind IN ('D', 'P') THEN EXISTS (
        SELECT FROM share_runs WHERE share_runs.run_id = breaks.run_id AND share_runs.plan_id = breaks.plan_id
    )
    WHEN kind = 'B' THEN EXISTS (
        SELECT FROM debit_batches AS file JOIN attempts USING (run_id, kind, attempt)
        WHERE file.run_id = breaks.run_id AND file.attempt = breaks.attempt AND file.number = breaks.seat
            AND attempts.plan_id = breaks.plan_id
    )
    WHEN kind IN ('R', 'A', 'L') THEN EXISTS (
        SELECT FROM attempts WHERE attempts.run_id = breaks.run_id AND attempts.kind = breaks.kind
            AND attempts.plan_id = breaks.plan_id
    )
    WHEN kind = 'T' THEN run_id = plan_id
    ELSE false
END"""

_GROUPS = f"""
WITH named AS (
    SELECT plan_id, code, suspense_minor, coalesce(attempt, -1)::int AS attempt, kind, run_id, seat,
        {_IS_KNOWN} AS known
    FROM breaks WHERE decision_id = $1
), placed AS (
    SELECT plan_id, suspense_minor, attempt, code,
        CASE WHEN known THEN ascii(kind) WHEN code = 'FEE_UNEXPECTED' THEN {_CHARGE} ELSE {_BESIDE} END AS kind,
        CASE WHEN known AND kind <> 'T' THEN run_id END AS run_id,
        CASE WHEN known AND kind NOT IN ('P', 'B') THEN seat / {SHARD_SEATS} + 1 ELSE 0 END AS number,
        CASE WHEN NOT known THEN 0 WHEN kind IN ('P', 'B') THEN seat ELSE seat % {SHARD_SEATS} END AS place
    FROM named
), summed AS (
    SELECT plan_id, kind, run_id, number, place::int AS place, sum(suspense_minor)::bigint AS suspense,
        max(attempt) AS attempt, max((code IN ({", ".join(f"'{code}'" for code in sorted(OF_DEBTS))}))::int) AS of_debt,
        (count(*) FILTER (WHERE suspense_minor <> 0))::int AS times
    FROM placed GROUP BY plan_id, kind, run_id, number, place
)
SELECT plan_id, kind, run_id, number::int, packed(array_agg(place ORDER BY place)),
    packed(array_agg(suspense ORDER BY place)), packed(array_agg(attempt ORDER BY place)),
    packed(array_agg(of_debt ORDER BY place)), packed(array_agg(times ORDER BY place))
FROM summed GROUP BY plan_id, kind, run_id, number ORDER BY plan_id, number, run_id, kind
"""  # noqa: S608  # numbers and codes of the program's own


async def _groups(connection: AsyncConnection, decision: Decision) -> list[Group]:
    wide, narrow = ARRAY(BigInteger), ARRAY(Integer)
    kinds: list[TypeEngine[Any]] = [
        BigInteger(),
        Integer(),
        BigInteger(),
        Integer(),
        narrow,
        wide,
        narrow,
        narrow,
        narrow,
    ]
    return [Group(*row) for row in await copy_out(connection, _GROUPS, [decision.decision_id], kinds)]


async def _aimed(books: Books, groups: Iterable[Group], action: Action, target: Target) -> Group:
    """All that stands on suspense as the target's: where another plan has it, that plan's cash goes with it."""
    connection = books.connection
    number, place = target.seat // SHARD_SEATS + 1, target.seat % SHARD_SEATS
    seats = await connection.scalar(
        select(shards.c.seats).where(shards.c.shard_id == plan_shard(target.plan_id) + number)
    )
    if seats is None or place >= seats:
        raise InvalidInput(f"the plan has no seat {target.seat}; refuse this decision and name another")
    if target.run_id is not None:
        plan_id = await connection.scalar(select(share_runs.c.plan_id).where(share_runs.c.run_id == target.run_id))
        if plan_id != target.plan_id:
            raise InvalidInput(f"run {target.run_id} is none of the plan's; refuse this decision and name another")
    suspense = Counter[int]()
    for group in groups:
        suspense[group.plan_id] += int(group.suspense_minor.sum())
    for plan_id, amount in suspense.items():
        if plan_id != target.plan_id:
            await _refuse_another_custodian(connection, plan_id, target.plan_id)
            sum_ = np.array([amount])
            key = f"{books.decision.name}:transfer"
            await books.post(plan_id, 0, key, {Account.SUSPENSE: sum_, Account.CUSTODIAN_CASH: -sum_})
            there = f"{key}:{plan_id}"
            await books.post(target.plan_id, 0, there, {Account.CUSTODIAN_CASH: sum_, Account.SUSPENSE: -sum_})
    return Group(
        target.plan_id,
        Kind.DEBIT if action is Action.MATCH else Kind.TOP_UP,
        target.run_id,
        number,
        np.array([place], np.int32),
        np.array([suspense.total()], np.int64),
        np.array([_LAST], np.int32),
        np.ones(1, np.int32),
        np.ones(1, np.int32),
    )


async def _refuse_another_custodian(connection: AsyncConnection, plan_id: int, other_id: int) -> None:
    here, there = [await custodian_of_plan(connection, each) for each in (plan_id, other_id)]
    if here != there:
        raise InvalidInput(f"the money is with {here.code} and the seat's plan with {there.code}; pay it over instead")


async def _of_instructions(books: Books, group: Group, action: Action) -> int:
    """Post on one shard what an action comes to for the instructions of a run; how many moved on."""
    shard = await shard_of(books.connection, group.shard_id)
    standing, stand = await _stand(books.connection, shard, group)
    _refuse_barred(group, action, stand)
    effect = effect_of(action, stand)
    key = books.key(stand.kind, group.run_id)
    await books.post(group.plan_id, group.number, key, effect.postings, group.place)
    if standing is None or group.run_id is None:
        return 0
    return await _move_on(books, group, stand.kind, standing, effect, source=books.decision.name)


async def _stand(connection: AsyncConnection, shard: Shard, group: Group) -> tuple[Standing | None, Stand]:
    """Where the instructions that a group is about stand; all 0 where it is only about whose money it is."""
    kind, n = Kind(group.kind), len(group.place)
    none = np.zeros(n, np.int64)
    of_debt = group.of_debt.astype(np.bool_)
    if kind is Kind.TOP_UP or group.run_id is None:
        state, is_last = np.zeros(n, np.uint8), np.ones(n, np.bool_)
        return None, Stand(kind, group.suspense_minor, none, none, state, is_last, of_debt, group.times)
    batches = await sent_batches(connection, group.run_id, kind)
    standing = await read_standing(connection, shard.shard_id, group.run_id, kind, batches=batches)
    standing = _reaching(standing, int(group.place[-1]) + 1)
    owed = none
    if kind.is_debit:
        owed = await _owed(connection, shard, kind, group.run_id, standing.amount_minor, group.place)
    is_last = np.isin(group.attempt, [_LAST]) | (group.attempt == standing.attempt[group.place])
    if kind in CALLS:  # of one attempt each: what came back is asked for by another call
        is_last &= ~(await asked_again(connection, shard.shard_id, shard.seats, kind, group.run_id))[group.place]
    asked, state = standing.amount_minor[group.place], standing.state[group.place]
    return standing, Stand(kind, group.suspense_minor, asked, owed, state, is_last, of_debt, group.times)


async def _owed(
    connection: AsyncConnection, shard: Shard, kind: Kind, run_id: int, asked: Amounts, place: NDArray[np.int32]
) -> Amounts:
    """int64[n]: what seats still owe for a run; of a call what is not in yet, of a levy as far as it is still owed."""
    under = f"starts_with(journals.idempotency_key, '{CAUSES[kind]}:{run_id}:')"
    posted = (await amounts_under(connection, shard, OWED_ON[kind], under))[place]
    if kind not in CALLS:
        return posted
    left = posted + asked[place]
    return np.minimum(left, (await owed_by(connection, shard, "levy"))[place]) if kind is Kind.LEVY else left


def _reaching(standing: Standing, n: int) -> Standing:
    """The same for at least n places: of payouts, up to a claim that none was asked for."""
    more = n - len(standing)
    if more <= 0:
        return standing
    return replace(
        standing,
        charged=np.pad(standing.charged, (0, more)),
        state=np.pad(standing.state, (0, more)),
        attempt=np.pad(standing.attempt, (0, more)),
        amount_minor=np.pad(standing.amount_minor, (0, more)),
        since=np.pad(standing.since, (0, more)),
        written_off_minor=np.pad(standing.written_off_minor, (0, more)),
        batch=np.pad(standing.batch, (0, more)),
        reason=np.pad(standing.reason, (0, more)),
    )


def _refuse_barred(group: Group, action: Action, stand: Stand) -> None:
    """Raises BreakRefused that names the first element where something bars the action."""
    for where, why in bars(action, stand):
        barred = np.flatnonzero(where)
        if len(barred):
            others = f" (and {len(barred) - 1:,} more)" if len(barred) > 1 else ""
            run = "" if group.run_id is None else f" of run {group.run_id}"
            raise BreakRefused(f"{group.label(int(barred[0]))}{run}{others}: {why}")


async def _move_on(books: Books, group: Group, kind: Kind, standing: Standing, effect: Effect, *, source: str) -> int:
    """Write down the states that the effect leads to; how many instructions they are of."""
    assert group.run_id is not None
    attempt = standing.attempt[group.place]
    events = []
    for code in np.unique(effect.state[effect.state != State.NONE]).tolist():
        for which in np.unique(attempt[effect.state == code]).tolist():
            chosen = (effect.state == code) & (attempt == which)
            at = group.place[chosen]
            if code == State.WRITTEN_OFF:
                let_go = effect.let_go_minor[chosen]
                events.append(Event(which, State.WRITTEN_OFF, source, positions=at, amounts=let_go))
            else:
                events.append(Event(which, State(code), source, positions=standing.compact(at)))
    await append(books.connection, group.run_id, kind, [(group.shard_id, event) for event in events])
    return int(np.count_nonzero(effect.state))


async def _beside(books: Books, group: Group, action: Action) -> None:
    """Post on the plan's own shard what an action comes to for what is about no instruction."""
    total = np.array([int(group.suspense_minor.sum())])
    match action:
        case Action.ACCEPT if group.kind == _CHARGE:
            against = Account.BANK_CHARGES
        case Action.WRITE_OFF:
            against = Account.BAD_DEBT
        case Action.EXPLAIN:
            return
        case Action.GIVE_BACK:
            raise BreakRefused(f"nobody is known to whom {grouped(int(total[0]))} belongs; name the seat with --seat")
        case _:
            raise BreakRefused(f"a break names no instruction of ours; {action!s} cannot be done about it")
    key = books.key(group.kind, group.run_id)
    await books.post(group.plan_id, 0, key, {Account.SUSPENSE: total, against: -total})


async def _accept_files(books: Books, group: Group) -> int:
    """What was booked for whole files stands: their members are booked, and the difference is lost, or recovered."""
    moved = 0
    for place, amount, attempt in zip(
        group.place.tolist(), group.suspense_minor.tolist(), group.attempt.tolist(), strict=True
    ):
        moved += await _accept_file(books, group, place, attempt, amount)
    return moved


async def _accept_file(books: Books, group: Group, file: int, attempt: int, amount_minor: int) -> int:
    assert group.run_id is not None
    moved, left = 0, amount_minor
    key = f"{books.key(group.kind, group.run_id)}:file:{file}"
    async for of_shard, standing, stand in _members_of(books.connection, group, file, attempt):
        effect = effect_of(Action.ACCEPT, stand)
        member_key = f"{books.key(stand.kind, group.run_id)}:file:{file}"
        await books.post(group.plan_id, of_shard.number, member_key, effect.postings, of_shard.place)
        # Several files of a decision may have members on one shard, and a source says a state there once.
        source = f"{books.decision.name}:file:{file}"
        moved += await _move_on(books, of_shard, stand.kind, standing, effect, source=source)
        left -= int(stand.suspense_minor.sum())
    if not moved:
        raise BreakRefused(f"file {file} of run {group.run_id}: none of its members waits for it any more")
    rest = np.array([left])
    await books.post(group.plan_id, 0, f"{key}:difference", {Account.SUSPENSE: rest, Account.BAD_DEBT: -rest})
    return moved


async def _members_of(
    connection: AsyncConnection, group: Group, file: int, attempt: int
) -> AsyncIterator[tuple[Group, Standing, Stand]]:
    """By shard, the members of a file that a line for all of them left disputed, as if each was carried out in full."""
    of_file = (debit_batches.c.run_id == group.run_id) & (debit_batches.c.number == file)
    row = (await connection.execute(select(debit_batches).where(of_file, debit_batches.c.attempt == attempt))).one()
    kind = next(kind for kind, letter in LETTERS.items() if letter == row.kind)
    events = instruction_events.c
    asked = (events.run_id == row.run_id) & (events.kind == row.kind) & (events.batch_id == row.batch_id)
    found = await connection.scalars(select(events.shard_id).where(asked).distinct().order_by(events.shard_id))
    for shard_id in found.all():
        shard = await shard_of(connection, shard_id)
        batches = await sent_batches(connection, row.run_id, kind)
        standing = await read_standing(connection, shard_id, row.run_id, kind, batches=batches)
        at = standing.where(State.DISPUTED)
        place = at[(standing.batch[at] == file) & (standing.attempt[at] == attempt)]
        if len(place):
            one = np.ones(len(place), np.int32)
            none = np.zeros(len(place), np.int64)
            number = shard_id % PLAN_STRIDE
            of_shard = Group(group.plan_id, kind, row.run_id, number, place, none, one * attempt, one, one)
            _, stand = await _stand(connection, shard, of_shard)
            paid = stand.owed_minor if kind.is_debit else -stand.asked_minor
            yield of_shard, standing, replace(stand, suspense_minor=paid)
