"""Money out: what aid and refunds have in common on their way to the custodian."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files import SCHEMA, Batch
from engine.custodian.desk import Desk
from engine.custodian.events import LETTERS
from engine.custodian.outbox import files_waiting
from engine.custodian.profile import Profile
from engine.custodian.reference import ATTEMPT_MAX, Kind, encode
from engine.custodian.registered import Custodian
from engine.custodian.schedule import reachable_day
from engine.custodian.tokens import Tokens, read_tokens
from engine.decisions import Decision, DecisionState, list_decisions
from engine.decisions import Kind as DecisionKind
from engine.errors import InvalidInput
from engine.members.shards import Amounts
from engine.reconcile.writing import Part
from engine.store.tables import attempts, member_columns, shards

_ROWS = pa.schema([SCHEMA.field(name) for name in ("reference", "account", "amount_minor")])


async def refuse_second(connection: AsyncConnection, plan_id: int, kind: DecisionKind, subject: str) -> None:
    """Raises InvalidInput while another decision of the kind about the subject is open."""
    for each in await list_decisions(connection, plan_id, subject=subject):
        if each.kind is kind and each.state is DecisionState.PROPOSED:
            raise InvalidInput(
                f"decision {each.decision_id} proposes a {kind} of {subject} already: "
                f"`fentan decision approve {each.decision_id} --as NAME`, or refuse it first"
            )


async def begin_attempt(
    connection: AsyncConnection,
    custodian: Custodian,
    decision: Decision,
    kind: Kind,
    run_id: int,
    *,
    files: int,
    now: datetime,
    actor: str,
) -> Batch:
    """Note the next attempt of a kind and run, to be paid on the first day that its files reach.

    Who calls holds the run or the decision, so that nobody counts on beside. Raises InvalidInput after 35 attempts, and
    where no day can be reached.
    """
    letter = LETTERS[kind]
    made = select(func.coalesce(func.max(attempts.c.attempt), 0)).where(
        attempts.c.run_id == run_id, attempts.c.kind == letter
    )
    attempt = int(await connection.scalar(made) or 0) + 1
    if attempt > ATTEMPT_MAX:
        raise InvalidInput(f"{decision.subject} was asked for {ATTEMPT_MAX} times, all that its references can count")
    before = await files_waiting(connection, custodian, now=now)
    wanted = max(decision.effective_on, now.astimezone(ZoneInfo(custodian.profile.time_zone)).date())
    pay_on = reachable_day(custodian.profile, wanted, now=now, files=before + files)
    row = {"run_id": run_id, "kind": letter, "attempt": attempt, "plan_id": decision.plan_id, "debit_on": pay_on}
    await connection.execute(
        insert(attempts).values(**row, custodian_id=custodian.custodian_id, created_at=now, made_by=actor)
    )
    return Batch(run_id, attempt, pay_on, now, kind=kind)


def part_of(
    batch: Batch,
    shard_id: int,
    positions: NDArray[np.int32],
    seats: NDArray[np.int64],
    amounts: Amounts,
    accounts: pa.StringArray,
) -> Part:
    """What is paid on one shard.

    `positions` int32[k] rising, `seats` int64[k] as their references have them (of payouts both are claims' numbers),
    `amounts` int64[k] minor units, `accounts` string[k] without nulls.
    """
    references = encode(batch.kind, batch.run, batch.attempt, seats)
    rows = pa.record_batch([references, accounts, pa.array(amounts, pa.int64())], schema=_ROWS)
    return Part(shard_id, positions, amounts, rows)


async def accounts_of(connection: AsyncConnection, shard_id: int, profile: Profile, desk: Desk) -> pa.StringArray:
    """string[n]: by what the custodian knows each seat of a shard, null where nobody said. Raises as `read_tokens`."""
    if profile.payer_known_by == "member_ref":
        of_shard = select(member_columns.c.member_refs).where(member_columns.c.shard_id == shard_id)
        return pa.array((await connection.execute(of_shard)).scalar_one().split("\n"), pa.string())
    tokens = await read_tokens(connection, shard_id, desk.account_key)
    if tokens is None:
        seats = select(shards.c.seats).where(shards.c.shard_id == shard_id)
        tokens = Tokens.unknown((await connection.execute(seats)).scalar_one())
    return tokens.account
