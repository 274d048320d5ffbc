"""By which account the custodian knows a member as a payer: what files say of it, and how members change it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.custodian.debit_files.batch import safe_words, unsafe_texts
from engine.custodian.tokens import ACCOUNT_MOST, MANDATE_MOST, UNSIGNED, Tokens, replace_tokens
from engine.errors import InvalidInput
from engine.roster.checks import check_refs
from engine.roster.files import DAY, TEXT, Column, PeopleFile, Problems, days_of, is_null
from engine.roster.members import all_seats
from engine.roster.plan import Plan, lock_living
from engine.store.audit import record
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS

ACCOUNT_COLUMNS = {
    "account": Column(TEXT, required=False, filled=False, shown=False),
    "mandate_id": Column(TEXT, required=False, filled=False, shown=False),
    "mandate_signed_on": Column(DAY, required=False, filled=False),
}
"""What any file of people may say of their accounts: the mandate, where the custodian asks for one, and when it was
signed."""

COLUMNS = {"member_ref": Column(TEXT)} | ACCOUNT_COLUMNS | {"account": Column(TEXT, shown=False)}
"""What a file of accounts holds. A line says all of its member's: a mandate that it leaves out is known no more."""

_MEMBERS_AT_ONCE = 65_536


class Changed(NamedTuple):
    """What became of a file of accounts. `shards`: how many have a new version of their tokens."""

    members: int
    shards: int


def check_accounts(batch: pa.RecordBatch, problems: Problems) -> None:
    """Accounts and mandates are texts that every debit file can hold; a mandate is of an account, a day of a mandate.

    Whether a day of signature has come is for the writer of debits to see: a file is brought in on any day.
    """
    given = {name: ~is_null(batch[name]) for name in ACCOUNT_COLUMNS}
    for name, most in (("account", ACCOUNT_MOST), ("mandate_id", MANDATE_MOST)):
        if given[name].any():
            wrong = unsafe_texts(batch[name], most).to_numpy(zero_copy_only=False)
            problems.add_where(batch, name, given[name] & wrong, safe_words(most))
    for name, needed in (("mandate_id", "account"), ("mandate_signed_on", "mandate_id")):
        problems.add_where(batch, name, given[name] & ~given[needed], f"is given, and no {needed}")


def tokens_of(batch: pa.RecordBatch) -> Tokens | None:
    """The tokens of the rows; None where no account is named."""
    if batch["account"].null_count == batch.num_rows:
        return None
    mandates, days = batch["mandate_id"], batch["mandate_signed_on"]
    return Tokens(
        batch["account"],
        None if mandates.null_count == batch.num_rows else mandates,
        None if days.null_count == batch.num_rows else days_of(days, UNSIGNED),
    )


async def change_accounts(
    connection: AsyncConnection, plan: Plan, path: Path, *, account_key: SecretStr, actor: str
) -> Changed:
    """Let members of the plan be known by the accounts of a Parquet or CSV file, in every seat they ever had.

    One transaction, the caller's: raises InvalidInput, with up to 20 wrong values by line and field, and for a plan
    that ended, and then nothing may be committed. What is as it was gets no new version, so that the same file again
    changes nothing.
    """
    await lock_living(connection, plan.plan_id)
    with PeopleFile(path, COLUMNS) as file:
        lines = await asyncio.to_thread(_lines, file)
        seated = []
        for start in range(0, lines.num_rows, _MEMBERS_AT_ONCE):
            rows, seats = await all_seats(connection, plan.plan_id, lines["member_ref"].slice(start, _MEMBERS_AT_ONCE))
            seated.append((rows + start, seats))
        rows, seats = (np.concatenate(both) for both in zip(*seated, strict=True))
        strangers = ~np.isin(np.arange(lines.num_rows), rows)
        file.problems.add_where(lines, "member_ref", strangers, f"is no member of {plan.code}")
        file.problems.refuse()
    tokens = tokens_of(lines)
    assert tokens is not None, "every line has an account"
    order = np.argsort(seats)
    rows, seats = rows[order], seats[order]
    ends = np.flatnonzero(np.diff(seats // SHARD_SEATS)) + 1
    shards = 0
    for of_shard, at in zip(np.split(rows, ends), np.split(seats, ends), strict=True):
        shard_id = plan.plan_id * PLAN_STRIDE + 1 + int(at[0]) // SHARD_SEATS
        shards += await replace_tokens(connection, shard_id, at % SHARD_SEATS, tokens.taken(of_shard), account_key)
    if shards:
        detail = {"members": lines.num_rows, "shards": shards}
        await record(connection, actor, "change accounts", f"plan:{plan.code}", detail)
    return Changed(lines.num_rows, shards)


def _lines(file: PeopleFile) -> pa.RecordBatch:
    """All lines, one a member. Raises InvalidInput where any is wrong, or there is none."""
    batches = []
    for batch in file.batches():
        check_refs(batch, file.problems)
        check_accounts(batch, file.problems)
        batches.append(batch)
        if file.problems.full:
            break
    file.problems.refuse()
    if not any(batch.num_rows for batch in batches):
        raise InvalidInput(f"{file.path.name}: holds no accounts; nothing was changed")
    lines = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    refs = lines["member_ref"]
    first = np.unique(pc.index_in(refs, value_set=refs.unique()).to_numpy(), return_index=True)[1]
    again = np.ones(lines.num_rows, np.bool_)
    again[first] = False
    file.problems.add_where(lines, "member_ref", again, "stands here twice; which account is right?")
    file.problems.refuse()
    return lines
