"""Bring a roster in: a file of members becomes seats, shards and the first versions of their columns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import SecretStr
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ahead import awaited
from engine.custodian.tokens import Tokens, replace_tokens, write_tokens
from engine.errors import InvalidInput
from engine.plans import NEVER, PlanRules, date_of
from engine.roster.accounts import ACCOUNT_COLUMNS, check_accounts, tokens_of
from engine.roster.changes import current_columns
from engine.roster.checks import check_refs, check_spells, read_deposits, tiers_of
from engine.roster.columns import Columns, Version, write_columns
from engine.roster.files import CODE, DAY, TEXT, Column, PeopleFile, Problems, days_of
from engine.roster.members import AlreadyMember, Newcomers, Place, enrol, newcomers, next_place
from engine.roster.payers import Payers
from engine.roster.plan import Plan, lock_living, rules_of
from engine.store.tables import SHARD_SEATS, imports

COLUMNS = {
    "member_ref": Column(TEXT),
    "born_on": Column(DAY),
    "joined_on": Column(DAY),
    "ended_on": Column(DAY, required=False, filled=False),
    "tier": Column(CODE, required=False, filled=False),
    "payer_ref": Column(TEXT, required=False, filled=False),
    "deposit": Column(TEXT, required=False, filled=False),
} | ACCOUNT_COLUMNS
"""What a roster file holds; `ended_on` is the first day no longer covered, `tier` counts the plan's tiers from 0.

Where the plan gives tiers by the age at joining, `tier` may be left out, or must agree. `payer_ref` is for plans with
family payers: who pays, another member of the file or of the plan; empty, the member. `deposit` is for prepaid plans:
what the member begins with, in major units; empty, nothing was paid in yet. By `account` the custodian knows the member
as a payer, for whom it may ask a mandate; empty, nothing can be debited to them until `change_accounts` names one.
"""


def columns_of(rules: PlanRules) -> dict[str, Column]:
    """The columns that a roster file of this plan may have."""
    foreign = {"payer_ref": not rules.family_payers, "deposit": rules.prepaid is None}
    return {name: column for name, column in COLUMNS.items() if not foreign.get(name, False)}


class TakeDeposits(Protocol):
    """Posts the first deposits of a shard: int64[n] minor units, from its first seat on (`engine.members.deposits`)."""

    async def __call__(
        self, connection: AsyncConnection, plan: Plan, shard_id: int, amounts: NDArray[np.int64], *, on: date, key: str
    ) -> object:
        """Under the key `key` at most once, on the day the last of them joined."""


Progress = Callable[[int], None]
"""Told how many members came in since it was told last."""


class Imported(NamedTuple):
    """What became of a file. `repeated`: it had been imported before and changed nothing."""

    rows: int
    repeated: bool


@dataclass(frozen=True)
class _Shardful:
    """`payer_refs`: string[n], `deposits`: int64[n] minor units; None where the file may not have any.

    `tokens`: of the `n`; None where it names no account.
    """

    people: Newcomers
    columns: Columns
    payer_refs: pa.StringArray | None
    deposits: NDArray[np.int64] | None
    tokens: Tokens | None


async def import_roster(
    connection: AsyncConnection,
    plan: Plan,
    path: Path,
    *,
    tag_key: bytes,
    progress: Progress = lambda _count: None,
    take_deposits: TakeDeposits | None = None,
    account_key: SecretStr | None = None,
) -> Imported:
    """Enrol every member of a Parquet or CSV file, in its order, after those the plan has.

    One transaction, the caller's: raises InvalidInput, with up to 20 wrong values by line and field, and then
    nothing may be committed, for a plan that ended, and where there are deposits that nobody takes, or accounts and no
    `account_key` to seal them under. The same bytes again change nothing. Memory is bounded by a shard or two, and by
    the payers who sit in another shard than those they pay for.
    """
    await lock_living(connection, plan.plan_id)
    rules = await rules_of(connection, plan.plan_id, plan.version)
    with PeopleFile(path, columns_of(rules)) as file:
        sha256 = await asyncio.to_thread(file.sha256)
        known = await imported_rows(connection, plan.plan_id, "roster", sha256)
        if known is not None:
            return Imported(known, repeated=True)
        place = await next_place(connection, plan.plan_id)
        rows, payers, key = 0, Payers(plan.plan_id, file.problems), f"roster:{sha256.hex()[:16]}:deposits"
        async with aclosing(awaited(_shardfuls(file, rules, plan.plan_id, place, tag_key), 1)) as shardfuls:
            async for shardful in shardfuls:
                await _bring_in(connection, shardful, payers, file.problems)
                await _deposit(connection, plan, shardful, take_deposits, key)
                await _seal(connection, shardful, account_key)
                rows += len(shardful.people)
                progress(len(shardful.people))
        file.problems.refuse()
        if rows == 0:
            raise InvalidInput(f"{path.name}: holds no members; nothing was changed")
        import_id = await note_import(connection, plan.plan_id, "roster", sha256, rows)
        await payers.settle(connection, import_id)
        file.problems.refuse()
    return Imported(rows, repeated=False)


async def imported_rows(connection: AsyncConnection, plan_id: int, kind: str, sha256: bytes) -> int | None:
    """How many rows the file with these bytes had when the plan took it; None when it never did."""
    rows: int | None = await connection.scalar(
        select(imports.c.rows).where(imports.c.plan_id == plan_id, imports.c.kind == kind, imports.c.sha256 == sha256)
    )
    return rows


class Import(NamedTuple):
    """A file that a plan took. `kind`: roster, changes, top-ups; `sha256`: of its bytes."""

    import_id: int
    kind: str
    sha256: bytes
    rows: int
    recorded_at: datetime


async def list_imports(
    connection: AsyncConnection, plan_id: int, *, before: int | None = None, limit: int = 50
) -> list[Import]:
    """The files that a plan took, the latest first, those before an import."""
    chosen = select(*(imports.c[name] for name in Import._fields)).where(imports.c.plan_id == plan_id)
    chosen = chosen if before is None else chosen.where(imports.c.import_id < before)
    found = await connection.execute(chosen.order_by(imports.c.import_id.desc()).limit(limit))
    return [Import(*row) for row in found]


async def note_import(connection: AsyncConnection, plan_id: int, kind: str, sha256: bytes, rows: int) -> int:
    """Remember that the plan took the file; the import's id."""
    import_id: int | None = await connection.scalar(
        insert(imports).values(plan_id=plan_id, kind=kind, sha256=sha256, rows=rows).returning(imports.c.import_id)
    )
    assert import_id is not None, "the database numbers imports"
    return import_id


def _shardfuls(file: PeopleFile, rules: PlanRules, plan_id: int, place: Place, key: bytes) -> Iterator[_Shardful]:
    """The file cut where shards end, each part ready to be written; none from the first problem on."""
    for batch in _cut(_sound(file, rules), place):
        people = newcomers(
            plan_id,
            place,
            batch["member_ref"],
            days_of(batch["born_on"], 0),
            batch["line"].to_numpy(),
            np.ones(batch.num_rows, np.int16),
            tag_key=key,
        )
        joined_on = days_of(batch["joined_on"], 0)
        columns = Columns(
            shares_from=joined_on,
            claims_from=joined_on + np.int32(rules.claims.waiting_days),
            ended_on=days_of(batch["ended_on"], NEVER),
            tier=tiers_of(batch, "joined_on", rules),
        )
        payer_refs = batch["payer_ref"] if rules.family_payers else None
        deposits = None if rules.prepaid is None else batch["deposit"].to_numpy()
        yield _Shardful(people, columns, payer_refs, deposits, tokens_of(batch))
        place = place.after(batch.num_rows)


def _sound(file: PeopleFile, rules: PlanRules) -> Iterator[pa.RecordBatch]:
    """The rows while nothing is wrong with them, `deposit` in minor units where the plan has any."""
    for batch in file.batches():
        check_refs(batch, file.problems)
        check_spells(batch, rules, file.problems)
        check_accounts(batch, file.problems)
        sound = batch if rules.prepaid is None else read_deposits(batch, rules, file.problems)
        if file.problems.full:
            return
        if not file.problems.found:
            yield sound


def _cut(batches: Iterable[pa.RecordBatch], place: Place) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that end where shards do."""
    held, rows, room = [], 0, place.room
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= room:
            table = pa.Table.from_batches(held).combine_chunks()
            yield table.slice(0, room).to_batches()[0]
            held, rows, room = table.slice(room).to_batches(), rows - room, SHARD_SEATS
    if rows:
        yield pa.Table.from_batches(held).combine_chunks().to_batches()[0]


async def _bring_in(connection: AsyncConnection, shardful: _Shardful, payers: Payers, problems: Problems) -> None:
    people, shard_id = shardful.people, shardful.people.shard_id
    # In a shard begun before, seats given by changes since its last fold come before these.
    newest, through, columns = await current_columns(connection, shard_id)
    try:
        await enrol(connection, people)
    except AlreadyMember as known:
        wrong = "is a member already, or stands here twice; a member who comes back goes through `fentan roster change`"
        for line in known.lines:
            problems.add(line, "member_ref", known.member_ref, wrong)
        problems.refuse()
        raise
    joined = shardful.columns
    if shardful.payer_refs is not None:
        joined = await payers.seated(connection, people, shardful.payer_refs, joined)
    await write_columns(connection, shard_id, Version(newest.version + 1, through), columns.extended(joined))


async def _deposit(
    connection: AsyncConnection, plan: Plan, shardful: _Shardful, take: TakeDeposits | None, key: str
) -> None:
    people, deposits = shardful.people, shardful.deposits
    if deposits is None or not deposits.any():
        return
    if take is None:
        raise InvalidInput("the roster has deposits, and nobody who would take them; nothing was changed")
    amounts = np.concatenate([np.zeros(people.place.seats, np.int64), deposits])
    on = date_of(int(shardful.columns.shares_from.max()))
    await take(connection, plan, people.shard_id, amounts, on=on, key=key)


async def _seal(connection: AsyncConnection, shardful: _Shardful, key: SecretStr | None) -> None:
    people, tokens = shardful.people, shardful.tokens
    if tokens is None:
        return
    if key is None:
        raise InvalidInput("the roster has accounts, and no key to seal them under; nothing was changed")
    if people.place.seats == 0:
        await write_tokens(connection, people.shard_id, tokens, key)
    else:
        positions = np.arange(people.place.seats, people.place.seats + len(people))
        await replace_tokens(connection, people.shard_id, positions, tokens, key)
