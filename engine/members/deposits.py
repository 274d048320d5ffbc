"""What members pay in beforehand: top-ups from a file, and the first deposits of a whole shard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.ledger.journals import Journal, Segment, post
from engine.members.shards import Amounts, Shard, post_in_bulk, shard_of
from engine.money import to_minor
from engine.plans import PlanRules, date_of, day_number
from engine.plans.member_rules import Prepaid
from engine.roster.amounts import amounts_of
from engine.roster.changes import current_columns
from engine.roster.checks import check_refs
from engine.roster.columns import Columns
from engine.roster.files import DAY, PROBLEMS_MAX, TEXT, Column, PeopleFile, Problems, days_of, is_null
from engine.roster.imports import imported_rows, note_import
from engine.roster.members import last_seats
from engine.roster.plan import Plan, lock_living, rules_of
from engine.store.audit import record
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS

COLUMNS = {
    "member_ref": Column(TEXT),
    "amount": Column(TEXT),
    "paid_on": Column(DAY),
    "payer_ref": Column(TEXT, required=False, filled=False),
}
"""What a file of top-ups holds: the amount in major units, and who paid where that was another member."""


@dataclass(frozen=True)
class TakenTopUps:
    """What became of top-ups. `repeated`: they had been taken before, and nothing changed."""

    top_ups: int
    amount_minor: int
    repeated: bool = False


def prepaid_of(rules: PlanRules) -> Prepaid:
    """What the plan says of balances. Raises InvalidInput where nothing is prepaid."""
    if rules.prepaid is None:
        raise InvalidInput(f"{rules.code} is not prepaid: nobody pays in beforehand, each run is a debit")
    return rules.prepaid


async def take_top_ups(connection: AsyncConnection, plan: Plan, path: Path, *, on: date, actor: str) -> TakenTopUps:
    """Add every top-up of a Parquet or CSV file to its member's balance, on the latest day anything was paid.

    One transaction, the caller's: raises InvalidInput, with up to 20 wrong values by line and field (a day after `on`,
    today, is one), and then nothing may be committed. The same bytes again change nothing.
    """
    await lock_living(connection, plan.plan_id)
    prepaid_of(await rules_of(connection, plan.plan_id, plan.version))
    with PeopleFile(path, COLUMNS) as file:
        sha256 = await asyncio.to_thread(file.sha256)
        known = await imported_rows(connection, plan.plan_id, "top-ups", sha256)
        if known is not None:
            return TakenTopUps(known, 0, repeated=True)
        batches = []
        for batch in file.batches():
            late = days_of(batch["paid_on"], 0) > day_number(on)
            file.problems.add_where(batch, "paid_on", late, f"is still to come; it is {on}")
            batches.append(await _read(connection, plan, batch, file.problems))
            if file.problems.full:
                break
        file.problems.refuse()
        if not any(batch.num_rows for batch in batches):
            raise InvalidInput(f"{path.name}: holds no top-ups; nothing was changed")
        rows = pa.Table.from_batches(batches)
        by_shard = list(_by_shard(plan.plan_id, rows))
        for shard_id, there in by_shard:
            _, _, columns = await current_columns(connection, shard_id)
            _check_standing(columns, there, file.problems)
        file.problems.refuse()
    import_id = await note_import(connection, plan.plan_id, "top-ups", sha256, rows.num_rows)
    paid_on = pc.max(rows["paid_on"]).as_py()
    for shard_id, there in by_shard:
        await post(connection, _journal(await shard_of(connection, shard_id), there, f"top-ups:{import_id}", paid_on))
    taken = TakenTopUps(rows.num_rows, pc.sum(rows["amount_minor"]).as_py())
    detail = {"import": import_id, "top_ups": taken.top_ups, "amount_minor": taken.amount_minor}
    await record(connection, actor, "take top-ups", f"plan:{plan.code}", detail)
    return taken


async def _read(connection: AsyncConnection, plan: Plan, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
    """line, member_ref, seat, amount_minor, paid_on of each row; what is wrong with them goes to `problems`."""
    check_refs(batch, problems)
    seats = await _seats_of(connection, plan, batch, "member_ref", problems)
    await _seats_of(connection, plan, batch, "payer_ref", problems)
    return pa.RecordBatch.from_pydict(
        {
            "line": batch["line"],
            "member_ref": batch["member_ref"],
            "seat": seats,
            "amount_minor": amounts_of(batch, "amount", problems, _paid_in),
            "paid_on": batch["paid_on"],
        }
    )


def _paid_in(text: str) -> int:
    amount = to_minor(text)
    if amount <= 0:
        raise InvalidInput("is not above zero")
    return amount


async def _seats_of(
    connection: AsyncConnection, plan: Plan, batch: pa.RecordBatch, name: str, problems: Problems
) -> NDArray[np.int64]:
    """int64[n]: the last seat of each member named, -1 where none is; who is no member goes to `problems`."""
    stated = ~is_null(batch[name])
    seats = np.full(batch.num_rows, -1, dtype=np.int64)
    seats[stated] = await last_seats(connection, plan.plan_id, batch[name].filter(pa.array(stated)))
    problems.add_where(batch, name, stated & (seats < 0), f"is no member of {plan.code}")
    return seats


def _by_shard(plan_id: int, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    numbers = rows["seat"].to_numpy() // SHARD_SEATS + 1
    for number in np.unique(numbers).tolist():
        yield plan_id * PLAN_STRIDE + number, rows.filter(pa.array(numbers == number))


def _check_standing(columns: Columns, rows: pa.Table, problems: Problems) -> None:
    """Money is taken for who is a member on the day it was paid, and not frozen."""
    positions, paid_on = rows["seat"].to_numpy() % SHARD_SEATS, days_of(rows["paid_on"], 0)
    ended_on, frozen_from, frozen_to = (
        columns.filled(name)[positions] for name in ("ended_on", "frozen_from", "frozen_to")
    )
    gone = ended_on <= paid_on
    frozen = ~gone & (frozen_from <= paid_on) & (paid_on < frozen_to)
    for row in np.flatnonzero(gone | frozen)[:PROBLEMS_MAX].tolist():
        if gone[row]:
            wrong = f"left on {date_of(int(ended_on[row]))}; give the money back, or let them join again first"
        else:
            since = date_of(int(frozen_from[row]))
            wrong = f"is frozen since {since}; `fentan member return` takes it with the shares missed"
        problems.add(rows["line"][row].as_py(), "member_ref", rows["member_ref"][row].as_py(), wrong)


def _journal(shard: Shard, rows: pa.Table, key: str, on: date) -> Journal:
    positions, places = np.unique(rows["seat"].to_numpy() % SHARD_SEATS, return_inverse=True)
    paid_in = np.zeros(len(positions), dtype=np.int64)
    np.add.at(paid_in, places, rows["amount_minor"].to_numpy())
    return deposit_journal(shard, Account.CUSTODIAN_CASH, paid_in, positions.astype(np.int32), key=key, on=on)


def deposit_journal(
    shard: Shard,
    source: Account,
    paid_in: Amounts,
    positions: NDArray[np.int32] | None = None,
    *,
    key: str,
    on: date,
) -> Journal:
    """Debit where the money is, credit the members' deposits. `paid_in`: int64 minor units, by position or dense."""
    deposits = shard.account(Account.MEMBER_DEPOSITS)
    segment = Segment.of(deposits, -paid_in) if positions is None else Segment(deposits, -paid_in, positions)
    return Journal(
        shard_id=shard.shard_id,
        key=key,
        kind="deposit",
        effective_on=on,
        lines={shard.account(source): -segment.total, deposits: segment.total},
        segments=(segment,),
    )


async def open_deposits(
    connection: AsyncConnection, plan: Plan, shard_id: int, amounts: Amounts, *, on: date, key: str
) -> TakenTopUps:
    """The first deposits of a shard's seats, int64[n] minor units from its first seat on, in one journal.

    The same again under its key is a no-op. Raises InvalidInput for a plan that is not prepaid, or amounts below 0.
    """
    prepaid_of(await rules_of(connection, plan.plan_id, plan.version))
    if len(amounts) and int(amounts.min()) < 0:
        raise InvalidInput(f"shard {shard_id}: a first deposit is below zero")
    taken = TakenTopUps(int(np.count_nonzero(amounts)), int(amounts.sum()))
    if not taken.top_ups:
        return taken
    shard = await shard_of(connection, shard_id)
    journal = deposit_journal(shard, Account.CUSTODIAN_CASH, amounts, key=key, on=on)
    posted = await post_in_bulk(connection, shard, journal, Account.MEMBER_DEPOSITS)
    return taken if posted.is_new else TakenTopUps(taken.top_ups, taken.amount_minor, repeated=True)
