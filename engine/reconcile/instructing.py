"""Instructions: what members owe for a sealed run is asked of the plan's custodian, on their payers' accounts.

What is asked is what a seat still owes for the run, its charge and corrections. Mandates (SEPA) are asked for as FRST
where they are sure to be new: signed after the last day on which the plan asked for any debit, and for the payer's own
share. All others are RCUR, which the rulebook takes for a first debit too (since 2016), while a second FRST comes back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import structlog
from numpy.typing import NDArray
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files import SCHEMA, Batch
from engine.custodian.debit_files.batch import MandateSequence
from engine.custodian.desk import Desk
from engine.custodian.events import LETTERS
from engine.custodian.outbox import files_waiting
from engine.custodian.profile import Pain008Debits, Profile
from engine.custodian.reference import ATTEMPT_MAX, Kind, encode
from engine.custodian.registered import Custodian, custodian_of_plan
from engine.custodian.schedule import reachable_day
from engine.custodian.tokens import UNSIGNED, Tokens
from engine.errors import InvalidInput
from engine.members.collection import Debts, debts_by
from engine.members.shards import Shard, shards_of
from engine.plans.days import day_number
from engine.reconcile.payers import known_payers, tokens_of_payers
from engine.reconcile.writing import Part, write_batches
from engine.runs.instructions import Instructions, instructions_of
from engine.runs.run import Run, lock_run_or_wait, move
from engine.runs.states import NotNow, RunEvent, RunState
from engine.store.audit import record
from engine.store.tables import attempts, debit_batches, run_shards

log = structlog.get_logger()


@dataclass(frozen=True)
class Asking:
    """One asking of a run: how many files and instructions it came to, and minor units in all."""

    run_id: int
    kind: Kind
    attempt: int
    debit_on: date
    batches: int
    instructions: int
    amount_minor: int


async def instruct(
    connection: AsyncConnection, run_id: int, desk: Desk, *, on: date, now: datetime, actor: str
) -> Asking:
    """Ask for what members owe for a sealed run, on its debit day or, if that is past or cannot be reached, the next.

    The run is collecting then or, where nobody owes anything (prepaid draws, credit runs), settled. The same again is
    the same Asking. `now`: stands in the files, and says which debit day they still reach. Raises NotNow for a run that
    is not sealed, InvalidInput without a custodian or where an account is missing.
    """
    run = await lock_run_or_wait(connection, run_id)
    if (made := await asking_of(connection, run_id, Kind.DEBIT, 1)) is not None:
        return made
    nobody = Asking(run_id, Kind.DEBIT, 1, run.debit_on, 0, 0, 0)
    if run.state in (RunState.SETTLED, RunState.CLOSED):
        return nobody
    if run.state is not RunState.SEALED:
        raise NotNow(f"{run.name} is {run.state}; instructions are made for a sealed run")
    if not await _is_owed(connection, run):
        await move(connection, run, RunEvent.SETTLE)
        await record(connection, actor, "settle run", run.name, {"instructions": 0})
        return nobody
    asking = await _ask(connection, run, 1, None, desk, wanted=max(run.debit_on, on), now=now, actor=actor)
    await move(connection, run, RunEvent.COLLECT)
    return asking


async def ask_again(
    connection: AsyncConnection,
    run_id: int,
    positions: Mapping[int, NDArray[np.int32]],
    desk: Desk,
    *,
    debit_on: date,
    now: datetime,
    actor: str,
) -> Asking:
    """Ask once more, as the run's next attempt, for what seats still owe: `positions` int32[k] by shard, rising.

    `debit_on` moves to the next day that can be reached. Who owes nothing is not asked, nor whose payer has no account
    by now; where nobody is left no attempt is made. Raises NotNow for a run that is neither collecting nor settled,
    InvalidInput after 35 attempts.
    """
    run = await lock_run_or_wait(connection, run_id)
    last = await connection.scalar(
        select(func.max(attempts.c.attempt)).where(attempts.c.run_id == run_id, attempts.c.kind == LETTERS[Kind.DEBIT])
    )
    if run.state not in (RunState.COLLECTING, RunState.SETTLED):
        raise NotNow(f"{run.name} is {run.state} and nobody was asked yet; `fentan custodian instruct {run_id}`")
    last = last or 0  # settled before anybody owed anything
    if last >= ATTEMPT_MAX:
        raise InvalidInput(f"{run.name} was asked for {last} times; write off what is still owed")
    return await _ask(connection, run, last + 1, positions, desk, wanted=debit_on, now=now, actor=actor)


async def asking_of(connection: AsyncConnection, run_id: int, kind: Kind, attempt: int) -> Asking | None:
    """An attempt that was made; None when it was not."""
    asked = (attempts.c.run_id == run_id, attempts.c.kind == LETTERS[kind], attempts.c.attempt == attempt)
    debit_on = await connection.scalar(select(attempts.c.debit_on).where(*asked))
    if debit_on is None:
        return None
    files = debit_batches.c
    totals = await connection.execute(
        select(func.count(), func.coalesce(func.sum(files.count), 0), func.coalesce(func.sum(files.amount_minor), 0))
        .select_from(debit_batches)
        .where(files.run_id == run_id, files.kind == LETTERS[kind], files.attempt == attempt)
    )
    batches, instructions, amount_minor = totals.one()
    return Asking(run_id, kind, attempt, debit_on, batches, int(instructions), int(amount_minor))


_Chosen = Mapping[int, NDArray[np.int32]] | None
"""Positions by shard; None: all seats of the run that owe."""


async def _ask(
    connection: AsyncConnection,
    run: Run,
    attempt: int,
    chosen: _Chosen,
    desk: Desk,
    *,
    wanted: date,
    now: datetime,
    actor: str,
) -> Asking:
    custodian = await custodian_of_plan(connection, run.plan_id)
    files = await _files_before(connection, run, custodian, chosen, now)
    debit_on = reachable_day(custodian.profile, wanted, now=now, files=files)
    batch = Batch(run.run_id, attempt, debit_on, now)
    parts = _parts(connection, run, custodian, batch, chosen, desk)
    if (first := await anext(parts, None)) is None:
        return Asking(run.run_id, Kind.DEBIT, attempt, debit_on, 0, 0, 0)
    row = {"run_id": run.run_id, "kind": LETTERS[Kind.DEBIT], "attempt": attempt, "plan_id": run.plan_id}
    asked = {"custodian_id": custodian.custodian_id, "debit_on": debit_on, "created_at": now, "made_by": actor}
    await connection.execute(insert(attempts).values(**row, **asked))
    written = await write_batches(connection, custodian.profile, batch, beginning(first, parts), desk)
    count, amount_minor = sum(each.count for each in written), sum(each.amount_minor for each in written)
    detail = {"attempt": attempt, "files": len(written), "instructions": count, "amount_minor": amount_minor}
    await record(connection, actor, "instruct run", run.name, detail)
    return Asking(run.run_id, Kind.DEBIT, attempt, debit_on, len(written), count, amount_minor)


async def beginning(first: Part, others: AsyncIterator[Part]) -> AsyncIterator[Part]:
    """All parts, of which the first was taken already to see whether there are any."""
    yield first
    async for each in others:
        yield each


async def _parts(
    connection: AsyncConnection, run: Run, custodian: Custodian, batch: Batch, chosen: _Chosen, desk: Desk
) -> AsyncIterator[Part]:
    """What is asked of each shard's seats; without the `chosen` whose payers have no account."""
    last_asked = await _last_asked(connection, run, batch.attempt)
    for shard in await _shards(connection, run, chosen):
        charged, owed = await _debts(connection, run, shard, chosen)
        debits = await instructions_of(connection, run, shard.shard_id, owed)
        if not len(debits):
            continue
        if chosen is None:
            tokens = await tokens_of_payers(connection, custodian.profile, run.plan_id, debits.payer_seat, desk)
        else:
            debits, tokens = await with_accounts(connection, custodian.profile, run.plan_id, debits, desk)
        if not len(debits):
            continue
        if not isinstance(custodian.profile.debits, Pain008Debits):
            yield part_of_debits(shard, charged, debits, tokens, batch, "RCUR")
            continue
        is_first = debits.payer_seat == debits.seat
        if last_asked is not None:
            is_first &= _signed(tokens) > day_number(last_asked)
        split: list[tuple[MandateSequence, NDArray[np.bool_]]] = [("FRST", is_first), ("RCUR", ~is_first)]
        for sequence, which in split:
            if which.any():
                yield part_of_debits(
                    shard, charged, debits.chosen(which), tokens.taken(np.flatnonzero(which)), batch, sequence
                )


async def with_accounts(
    connection: AsyncConnection, profile: Profile, plan_id: int, debits: Instructions, desk: Desk
) -> tuple[Instructions, Tokens]:
    """Those of the debits, at least one, whose payers the custodian knows, and the payers' tokens."""
    tokens, missing = await known_payers(connection, profile, plan_id, debits.payer_seat, desk)
    known = ~np.logical_or.reduce([np.zeros(len(debits), np.bool_), *missing.values()])
    if known.all():
        return debits, tokens
    log.warning("not asked: payers without an account", plan_id=plan_id, payers=int(np.count_nonzero(~known)))
    return debits.chosen(known), tokens.taken(np.flatnonzero(known))


def part_of_debits(
    shard: Shard,
    charged: NDArray[np.int64],
    debits: Instructions,
    tokens: Tokens,
    batch: Batch,
    sequence: MandateSequence,
) -> Part:
    """Debits of one shard as they go into files. `charged`: int64[seats], by the run; `tokens`: of their payers."""
    at = debits.seat - np.int32(shard.first_seat)
    charged_of_each = charged[at]
    columns = {
        "reference": encode(batch.kind, batch.run, batch.attempt, debits.seat),
        "account": tokens.account,
        "amount_minor": pa.array(debits.amount_minor),
        "mandate_id": tokens.mandate_id,
        "signed_on": None if tokens.signed_on is None else tokens.signed_dates,
    }
    there = {name: column for name, column in columns.items() if column is not None}
    return Part(
        shard.shard_id,
        at,
        debits.amount_minor,
        pa.record_batch(list(there.values()), schema=pa.schema([SCHEMA.field(name) for name in there])),
        sequence,
        is_whole=len(at) == np.count_nonzero(charged) and bool(charged_of_each.all()),
        as_charged=bool((charged_of_each == debits.amount_minor).all()),
    )


def _signed(tokens: Tokens) -> NDArray[np.int32]:
    """int32[n]: the days mandates were signed, UNSIGNED where nobody knows."""
    return np.full(len(tokens), UNSIGNED, np.int32) if tokens.signed_on is None else tokens.signed_on


async def _debts(connection: AsyncConnection, run: Run, shard: Shard, chosen: _Chosen) -> Debts:
    """What seats were charged, and what those who are asked owe: 0 for all others."""
    charged, owed = await debts_by(connection, shard, run.name)
    np.maximum(owed, 0, out=owed)
    if chosen is not None:
        asked = np.zeros(shard.seats, np.bool_)
        asked[chosen[shard.shard_id]] = True
        owed[~asked] = 0
    return Debts(charged, owed)


async def _is_owed(connection: AsyncConnection, run: Run) -> bool:
    for shard in await _shards(connection, run, None):
        if (await _debts(connection, run, shard, None)).owed.any():
            return True
    return False


async def _shards(connection: AsyncConnection, run: Run, chosen: _Chosen) -> list[Shard]:
    """The run's shards in order, or those of them that are `chosen`."""
    of_run = set(await connection.scalars(select(run_shards.c.shard_id).where(run_shards.c.run_id == run.run_id)))
    if chosen is not None:
        of_run &= chosen.keys()
    return [shard for shard in await shards_of(connection, run.plan_id) if shard.shard_id in of_run]


async def _files_before(
    connection: AsyncConnection, run: Run, custodian: Custodian, chosen: _Chosen, now: datetime
) -> int:
    """About how many files the custodian has been sent once the last of this attempt is."""
    seats = sum(map(len, chosen.values())) if chosen is not None else 0
    if chosen is None:
        charged = select(func.coalesce(func.sum(run_shards.c.sharers), 0)).where(run_shards.c.run_id == run.run_id)
        seats = int(await connection.scalar(charged) or 0)
    waiting = await files_waiting(connection, custodian, now=now)
    return waiting - (-seats // custodian.profile.limits.max_items_per_file)


async def _last_asked(connection: AsyncConnection, run: Run, attempt: int) -> date | None:
    """The last debit day on which the plan asked for any debit before this attempt."""
    asked = attempts.c
    this = (asked.run_id == run.run_id) & (asked.attempt == attempt)
    last: date | None = await connection.scalar(
        select(func.max(asked.debit_on)).where(
            asked.plan_id == run.plan_id,
            asked.kind.in_([letter for kind, letter in LETTERS.items() if kind.is_debit]),
            ~this,
        )
    )
    return last
