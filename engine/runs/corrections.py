"""Corrections: a few seats that a sealed run charged wrongly are charged more, or given back, by decision of two.

The run itself stands as it was sealed. What each seat is corrected by is posted beside it, seat by seat, against the
sponsor or the carry, and counts towards the caps of the cap year that the decision's day lies in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Text, any_, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import UNLIMITED, DoesNotAddUp, OverCharged
from engine.apportion.seats import UNCOVERED, cover, spans
from engine.decisions import Decision, DecisionState, Kind, list_decisions, propose
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, account_of, first_seat, plan_shard, seat_shard, share_account
from engine.ledger.journals import Journal, Segment, post, posted_under
from engine.members.holds import refuse_while_held
from engine.money import grouped, to_minor
from engine.plans.answers import members_share, run_cap, terms
from engine.plans.days import day_number
from engine.roster.amounts import amounts_of
from engine.roster.changes import current_columns
from engine.roster.files import TEXT, Column, PeopleFile
from engine.roster.plan import lock_living
from engine.runs.allowance import by_gate, seats_now
from engine.runs.planning import carry_of
from engine.runs.run import Inputs, Run, inputs_of, lock_run_or_wait
from engine.runs.states import NotNow, RunState
from engine.store.tables import IN_THE_BOOKS, PLAN_STRIDE, SHARD_SEATS, journals, members, shards

SEATS_MAX = 10_000
"""More are not a few: void the run and plan it anew."""

_COLUMNS = {"member_ref": Column(TEXT), "amount": Column(TEXT)}


class Against(StrEnum):
    """Who bears what members are given back, and keeps what they are charged more."""

    SPONSOR = "sponsor"
    CARRY = "carry"

    @property
    def account(self) -> Account:
        """Where the net of a correction is posted."""
        return Account.SPONSOR_RECEIVABLE if self is Against.SPONSOR else Account.CARRY


class Change(NamedTuple):
    """What one seat is corrected by: + minor units are charged more, − are given back."""

    shard_id: int
    position: int
    amount_minor: int

    @property
    def seat(self) -> int:
        """Its number in the plan."""
        return first_seat(self.shard_id) + self.position


async def propose_correction(
    connection: AsyncConnection, run_id: int, path: Path, *, reason: str, against: Against, on: date, actor: str
) -> Decision:
    """Propose what a file says: a line for each member with an amount, effective `on`; nothing is posted yet.

    The same file again is the decision it was. Raises InvalidInput with every wrong line, OverCharged (I6) when it
    is only that caps or balances do not allow it, NotNow when the run is not sealed.
    """
    run = await lock_run_or_wait(connection, run_id)
    inputs = await inputs_of(connection, run)
    _check_correctable(inputs, on)
    with PeopleFile(path, _COLUMNS) as file:
        sha256 = file.sha256().hex()
        lines = _lines(file)
        known = await _proposed_before(connection, run, sha256, against)
        if known is not None:
            return known
        changes = await _seated(connection, run, file, lines)
        file.problems.refuse()
    labels = [f"{path.name}, line {line}, {ref}" for line, ref, _ in lines]
    detail = {"run": run_id, "reason": reason, "against": against, "sha256": sha256}
    return await _propose(connection, inputs, dict(zip(changes, labels, strict=True)), detail, on=on, actor=actor)


async def propose_correction_of_seats(
    connection: AsyncConnection,
    run_id: int,
    amounts: Mapping[int, int],
    *,
    reason: str,
    against: Against,
    on: date,
    actor: str,
) -> Decision:
    """The same of `amounts`: by the seat's number in the plan, + minor units charged more, − given back.

    The same amounts again are the decision they were. Raises InvalidInput, OverCharged (I6), NotNow alike.
    """
    run = await lock_run_or_wait(connection, run_id)
    inputs = await inputs_of(connection, run)
    _check_correctable(inputs, on)
    if not amounts or 0 in amounts.values():
        raise InvalidInput("an amount of 0 changes nothing; leave the seat out" if amounts else "no seat is named")
    sha256 = hashlib.sha256(repr(sorted(amounts.items())).encode()).hexdigest()
    known = await _proposed_before(connection, run, sha256, against)
    if known is not None:
        return known
    changes = [Change(seat_shard(run.plan_id, seat), seat % SHARD_SEATS, amount) for seat, amount in amounts.items()]
    wanted = {change.shard_id for change in changes}
    found = await connection.execute(select(shards.c.shard_id, shards.c.seats).where(shards.c.shard_id.in_(wanted)))
    seats = {row.shard_id: row.seats for row in found}
    if none := sorted(change.seat for change in changes if change.position >= seats.get(change.shard_id, 0)):
        raise InvalidInput(f"{run.plan_code} has no seat {', '.join(map(str, none[:10]))}; nothing was changed")
    detail = {"run": run_id, "reason": reason, "against": against, "sha256": sha256}
    labels = {change: f"seat {change.seat}" for change in changes}
    return await _propose(connection, inputs, labels, detail, on=on, actor=actor)


async def _propose(
    connection: AsyncConnection,
    inputs: Inputs,
    labels: Mapping[Change, str],
    detail: Mapping[str, Any],
    *,
    on: date,
    actor: str,
) -> Decision:
    await _check_room(connection, inputs, on, labels)
    whole = {**detail, **_sums(list(labels)), "seats": sorted(labels)}
    run = inputs.run
    return await propose(connection, run.plan_id, Kind.CORRECTION, run.name, whole, on=on, actor=actor)


async def correct(connection: AsyncConnection, decision: Decision) -> dict[str, Any]:
    """Post a correction: on each shard its seats, and their sum on the plan's own; what it came to.

    Raises NotNow when the run is no longer sealed, OverCharged (I6) when caps or balances no longer allow it,
    InvalidInput while a run holds the plan, and when the carry does not hold what is given back.
    """
    run = await lock_run_or_wait(connection, int(decision.detail["run"]))
    await lock_living(connection, run.plan_id)
    inputs, on = await inputs_of(connection, run), decision.effective_on
    _check_correctable(inputs, on)
    await refuse_while_held(connection, run.plan_id, "correct its members")
    against = Against(decision.detail["against"])
    changes = [Change(*each) for each in decision.detail["seats"]]
    net = sum(change.amount_minor for change in changes)
    if against is Against.CARRY and net < 0:
        carry = await carry_of(connection, run.plan_id)
        if carry + net < 0:
            raise InvalidInput(
                f"the carry holds {grouped(carry)} and {grouped(-net)} would be given back from it; "
                "refuse this decision and propose it against the sponsor"
            )
    await _check_room(connection, inputs, on, {change: f"seat {change.seat}" for change in changes})
    for journal in _journals(decision, inputs, against, changes):
        await post(connection, journal)
    await _check_suspense(connection, decision)
    return _sums(changes)


async def check_corrected_back(connection: AsyncConnection, run: Run) -> None:
    """Before a locked sealed run is mirrored: no seat stands corrected, and against whom. Raises InvalidInput."""
    left: Counter[tuple[Change, str]] = Counter()
    for decision in await _done(connection, run):
        for shard_id, position, amount in decision.detail["seats"]:
            left[Change(shard_id, position, 0), decision.detail["against"]] += amount
    for (change, against), amount in left.items():
        if amount:
            raise InvalidInput(
                f"seat {change.seat} of {run.name} was corrected by {grouped(amount)} against the {against}; "
                "correct it back first, so that a void leaves nothing behind"
            )


async def _done(connection: AsyncConnection, run: Run) -> list[Decision]:
    return [each for each in await _corrections(connection, run) if each.state is DecisionState.DONE]


async def _corrections(connection: AsyncConnection, run: Run) -> list[Decision]:
    about = await list_decisions(connection, run.plan_id, subject=run.name)
    return [decision for decision in about if decision.kind is Kind.CORRECTION]


def _check_correctable(inputs: Inputs, on: date) -> None:
    """Raises NotNow for a run that is not sealed, InvalidInput for one that is not a debit or a day before it."""
    run = inputs.run
    if run.state not in IN_THE_BOOKS:
        raise NotNow(f"{run.name} is {run.state}; only what a sealed run charged is corrected")
    if run.kind != "share":
        raise InvalidInput(f"{run.name} gave its members a surplus; corrections are of what members were charged")
    if on < run.debit_on:
        raise InvalidInput(f"--on {on}: {run.name} was debited on {run.debit_on}; a correction is not before that")


def _lines(file: PeopleFile) -> list[tuple[int, str, int]]:
    """Line, member reference and minor units of every line; what is wrong goes to the file's problems."""
    lines, seen = [], dict[str, int]()
    for batch in file.batches():
        amounts = amounts_of(batch, "amount", file.problems, _changed_by).tolist()
        for line, ref, amount in zip(batch["line"].to_pylist(), batch["member_ref"].to_pylist(), amounts, strict=True):
            if ref is None or not amount:
                continue  # the file said so itself
            if ref in seen:
                file.problems.add(line, "member_ref", ref, f"stands on line {seen[ref]} already; give one amount")
            seen.setdefault(ref, line)
            lines.append((line, ref, amount))
        if len(lines) > SEATS_MAX:
            raise InvalidInput(
                f"{file.path.name}: more than {SEATS_MAX:,} seats are not a few; void the run and plan it anew"
            )
    if not lines and not file.problems.found:
        raise InvalidInput(f"{file.path.name}: holds no seats to correct; nothing was changed")
    return lines


def _changed_by(text: str) -> int:
    amount = to_minor(text.removeprefix("+"))
    if amount == 0:
        raise InvalidInput("changes nothing; leave the line out")
    return amount


async def _proposed_before(connection: AsyncConnection, run: Run, sha256: str, against: Against) -> Decision | None:
    """The decision that these bytes are already, unless it was refused. Raises InvalidInput if against another."""
    for decision in await _corrections(connection, run):
        if decision.detail["sha256"] == sha256 and decision.state is not DecisionState.REFUSED:
            if decision.detail["against"] != against:
                raise InvalidInput(
                    f"this file is decision {decision.decision_id} already, against the {decision.detail['against']}"
                )
            return decision
    return None


async def _seated(
    connection: AsyncConnection, run: Run, file: PeopleFile, lines: Sequence[tuple[int, str, int]]
) -> list[Change]:
    """A change for each line; of several seats of a member it is the last that the run charged, else the last."""
    found = await connection.execute(
        select(members.c.member_ref, members.c.shard_id, members.c.seat)
        .where(members.c.plan_id == run.plan_id)
        .where(members.c.member_ref == any_(literal([ref for _, ref, _ in lines], ARRAY(Text))))
        .order_by(members.c.spell.desc())
    )
    seats: dict[str, list[tuple[int, int]]] = {}
    for row in found:
        seats.setdefault(row.member_ref, []).append((row.shard_id, row.seat % SHARD_SEATS))
    several = {shard_id for spells in seats.values() if len(spells) > 1 for shard_id, _ in spells}
    charged = {shard_id: await _charged(connection, run, shard_id) for shard_id in several}
    changes = []
    for line, ref, amount in lines:
        spells = seats.get(ref, [])
        if not spells:
            file.problems.add(line, "member_ref", ref, f"is no member of {run.plan_code}")
            continue
        paid = [spell for spell in spells if len(spells) > 1 and charged[spell[0]][spell[1]]]
        changes.append(Change(*(paid or spells)[0], amount))
    return changes


async def _check_room(connection: AsyncConnection, inputs: Inputs, on: date, labels: Mapping[Change, str]) -> None:
    """Raises OverCharged (I6) where a seat's gates, a cap or a balance leave less, InvalidInput where less goes back.

    NotNow where a closed run would have to ask for more.

    `labels`: how each change is called in what is said.
    """
    earlier: dict[int, list[Change]] = {}
    for decision in await _done(connection, inputs.run):
        for each in decision.detail["seats"]:
            earlier.setdefault(each[0], []).append(Change(*each))
    over, under = [], []
    owes = share_account(inputs.rules) is Account.CONTRIBUTIONS_RECEIVABLE
    if inputs.run.state is RunState.CLOSED and owes and any(change.amount_minor > 0 for change in labels):
        raise NotNow(f"{inputs.run.name} is closed: nobody is asked for what it charges any more; charge nobody more")
    if not members_share(inputs.rules, on) and any(change.amount_minor > 0 for change in labels):
        raise InvalidInput(f"on {on} the members of {inputs.run.plan_code} share no more; charge nobody more")
    for shard_id, changes in _by_shard(labels):
        charged = await _charged(connection, inputs.run, shard_id)
        for each in earlier.get(shard_id, ()):
            charged[each.position] += each.amount_minor
        room = await _room(connection, inputs, shard_id, charged, on)
        for change in changes:
            amount, stands = change.amount_minor, int(charged[change.position])
            if -amount > stands:
                under.append(f"{labels[change]}: {grouped(-amount)} back of {grouped(stands)} charged")
            for name, left in room.items():
                least = int(left[change.position]) if isinstance(left, np.ndarray) else left
                if amount > max(least, 0):
                    over.append(f"{labels[change]}: {grouped(amount)} more, {name} leaves {grouped(max(least, 0))}")
    if under:
        raise InvalidInput("\n".join([*under, *over, "nothing was changed; give back at most what was charged"]))
    if over:
        raise OverCharged("\n".join([*over, "nothing was changed; charge at most what caps and balance leave"]))


async def _charged(connection: AsyncConnection, run: Run, shard_id: int) -> NDArray[np.int64]:
    """What the run charged each seat of a shard itself, waived shares left out: int64[seats the shard has now]."""
    seats = await connection.scalar(select(shards.c.seats).where(shards.c.shard_id == shard_id))
    charged = np.zeros(seats or 0, dtype=np.int64)
    journal = await posted_under(connection, shard_id, f"{run.name}:charge")
    for segment in journal.segments if journal is not None else ():
        if account_of(segment.account_id) is not Account.SPONSOR_WAIVERS:
            charged += segment.dense(len(charged))
    return charged


async def _room(
    connection: AsyncConnection, inputs: Inputs, shard_id: int, charged: NDArray[np.int64], on: date
) -> dict[str, NDArray[np.int64] | int]:
    """What each cap leaves, by its name in words: of the run's own caps beyond `charged`, of the others on the day."""
    # Locked, so that nothing else draws on the same balance between this look and the posting.
    seq = await connection.scalar(select(shards.c.seq).where(shards.c.shard_id == shard_id).with_for_update())
    on_the_day = replace(inputs, run=replace(inputs.run, debit_on=on))
    caps = (await seats_now(connection, on_the_day, shard_id, through_seq=seq or 0)).caps
    room = {_WORDS[name]: left for name, left in caps.items() if name in _WORDS}
    room["the cap per case over the gates it covers"] = await _most_for_cases(connection, inputs, shard_id) - charged
    if (most := run_cap(inputs.rules)) is not None:
        room["the cap per run"] = most - charged
    return room


_WORDS = {"per_year": "the yearly cap", "balance": "the balance"}


async def _most_for_cases(connection: AsyncConnection, inputs: Inputs, shard_id: int) -> NDArray[np.int64]:
    """int64[n]: the sum of the per-case caps of the cases that each seat shares by today's roster.

    0 for who covers no gate, UNLIMITED where a case has no cap.
    """
    _, _, columns = await current_columns(connection, shard_id)
    seats = columns.seats(first_seat(shard_id), on_day=day_number(inputs.run.debit_on))
    coverage, money = cover(by_gate(inputs, seats), inputs.gates), terms(inputs.rules)
    tiers = len(money.weights)

    def most(kind: int) -> int:
        code, tier = divmod(kind, tiers)
        class_ = int(coverage.classes[code])
        shared = () if class_ == UNCOVERED else spans(class_)
        gates = {gate for first, stop in shared for gate in inputs.gates[first:stop]}
        caps = [money.cap_of(case.cap, tier) for case in inputs.cases if case.gate in gates]
        return UNLIMITED if None in caps else sum(cap for cap in caps if cap is not None)

    kinds, kind_of = np.unique(coverage.codes * tiers + seats.tier, return_inverse=True)
    return np.array([most(kind) for kind in kinds.tolist()], dtype=np.int64)[kind_of]


def _by_shard(changes: Iterable[Change]) -> Iterator[tuple[int, Iterator[Change]]]:
    return groupby(sorted(changes), key=attrgetter("shard_id"))


def _journals(decision: Decision, inputs: Inputs, against: Against, changes: Sequence[Change]) -> Iterator[Journal]:
    """One on each shard, over suspense because a journal balances inside its shard, and one that clears suspense."""
    plan_id = decision.plan_id
    share, suspense, borne_by = (
        account_id(plan_id, code) for code in (share_account(inputs.rules), Account.SUSPENSE, against.account)
    )

    def journal(shard_id: int, lines: Mapping[int, int], segments: tuple[Segment, ...] = ()) -> Journal:
        return Journal(shard_id, _key(decision), "correction", decision.effective_on, lines, segments)

    for shard_id, group in _by_shard(changes):
        _, positions, amounts = zip(*group, strict=True)
        segment = Segment(share, np.array(amounts, dtype=np.int64), np.array(positions, dtype=np.int32))
        yield journal(shard_id, {share: segment.total, suspense: -segment.total}, (segment,))
    if net := sum(change.amount_minor for change in changes):
        yield journal(plan_shard(plan_id), {suspense: net, borne_by: -net})


def _key(decision: Decision) -> str:
    """`run:7:correction:3`: under the run's name, so that what a seat owes for the run is with its correction."""
    return f"{decision.subject}:correction:{decision.decision_id}"


async def _check_suspense(connection: AsyncConnection, decision: Decision) -> None:
    """What the decision's journals put on suspense they took off again. Raises DoesNotAddUp."""
    first = plan_shard(decision.plan_id)
    posted = await connection.execute(
        select(journals.c.accounts, journals.c.amounts)
        .where(journals.c.shard_id.between(first, first + PLAN_STRIDE - 1))
        .where(journals.c.idempotency_key == _key(decision))
    )
    suspense = account_id(decision.plan_id, Account.SUSPENSE)
    left = sum(amount for row in posted for account, amount in zip(*row, strict=True) if account == suspense)
    if left != 0:
        raise DoesNotAddUp(f"{decision.name}: suspense is left with {left} minor units, not 0")


def _sums(changes: Sequence[Change]) -> dict[str, int]:
    amounts = [change.amount_minor for change in changes]
    return {
        "members": len(amounts),
        "charged_more_minor": sum(amount for amount in amounts if amount > 0),
        "given_back_minor": -sum(amount for amount in amounts if amount < 0),
    }
