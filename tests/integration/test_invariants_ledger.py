"""I1 to I4 and I14, each kept by the database itself: raw SQL that goes around our Python is refused, or found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.balances import read_balance, read_year_usage, write_balance, write_year_usage
from engine.ledger.journals import Journal, KeyReused, Posted, Segment, post, post_all
from engine.ledger.seal import leaf_hashes, sealed_root, tree_root
from engine.ledger.verify import Problem, verify
from engine.store.database import driver_of, engine_on, migrate
from engine.store.embedded import Embedded
from engine.store.tables import member_columns
from tests.integration.books import DAY, charge, open_books

pytestmark = pytest.mark.integration

TAGS = bytes(range(16)) * 8


@pytest.fixture(scope="module")
async def shared(embedded: Embedded) -> AsyncIterator[AsyncEngine]:
    """An engine on one database for all that only sees refusals."""
    async with engine_on(embedded.database_url) as engine:
        await migrate(engine)
        yield engine


async def execute(engine: AsyncEngine, script: str) -> None:
    """Statements of raw SQL in one transaction, deferred triggers and all."""
    async with engine.begin() as connection:
        driver = await driver_of(connection)
        async with driver.transaction():
            await driver.execute(script)


async def fresh(engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        return await open_books(connection)


def journal_sql(plan_id: int, accounts: str, amounts: str) -> str:
    """INSERT of journal 1 on the plan's first shard; `:r`, `:c`, … stand for accounts of the plan."""
    for code, sign in ((1210, ":r"), (1310, ":w"), (3111, ":c"), (2311, ":k")):
        accounts = accounts.replace(sign, str(plan_id * 1_000_000 + code))
    return (
        "INSERT INTO journals (shard_id, seq, idempotency_key, fingerprint, kind, effective_on, prev_digest, digest,"
        f" accounts, amounts) VALUES ({plan_shard(plan_id) + 1}, 1, 'raw', '', 'raw', '2019-01-21', '', '',"
        f" {accounts}, {amounts});"
    )


def segment_sql(plan_id: int, positions: str, amounts: str, total: int, account: int = 1210) -> str:
    return (
        "INSERT INTO posting_segments (shard_id, seq, account_id, positions, amounts, total, digest) VALUES"
        f" ({plan_shard(plan_id) + 1}, 1, {plan_id * 1_000_000 + account}, {positions}, {amounts}, {total}, '');"
    )


@pytest.mark.parametrize(
    ("case", "accounts", "amounts"),
    [
        ("unbalanced", "'{:k,:c}'", "'{3,-2}'"),
        ("one line", "'{:k}'", "'{0}'"),
        ("no line", "'{}'", "'{}'"),
        ("65 lines", "ARRAY(SELECT :k + n FROM generate_series(1, 65) n)", "array_fill(0, ARRAY[65])"),
        ("a NULL amount", "'{:k,:c}'", "'{0,NULL}'"),
        ("a NULL account", "'{:k,NULL}'", "'{3,-3}'"),
        ("fewer amounts than accounts", "'{:k,:c}'", "'{0}'"),
        ("more amounts than accounts", "'{:k,:c}'", "'{3,-3,0}'"),
        ("two dimensions", "'{{:k,:c},{:r,:w}}'", "'{{1,-1},{1,-1}}'"),
        ("two dimensions of amounts", "'{:k,:c}'", "'{{1},{-1}}'"),
        ("lower bound 0 of accounts", "'[0:1]={:k,:c}'", "'{3,-3}'"),
        ("lower bound 0 of amounts", "'{:k,:c}'", "'[0:1]={3,-3}'"),
        ("an account twice", "'{:k,:k}'", "'{3,-3}'"),
        ("an account of another plan", "'{:k,99002311}'", "'{3,-3}'"),
        ("both accounts of another plan", "'{99003111,99002311}'", "'{3,-3}'"),
        ("an account of another unit", "ARRAY[:k, :c + 10000]", "'{3,-3}'"),
        ("a sum that is 0 only modulo 2^64", "'{:k,:c,:w}'", "'{9223372036854775807,9223372036854775807,2}'"),
    ],
)
async def test_I1_the_database_refuses_an_unbalanced_journal(
    shared: AsyncEngine, case: str, accounts: str, amounts: str
) -> None:
    plan_id = await fresh(shared)
    with pytest.raises(asyncpg.CheckViolationError, match="journals_balanced_check"):
        await execute(shared, journal_sql(plan_id, accounts, amounts))


async def test_I1_a_balanced_journal_is_taken(shared: AsyncEngine) -> None:
    await execute(shared, journal_sql(await fresh(shared), "'{:k,:c}'", "'{3,-3}'"))


@pytest.mark.parametrize(
    ("case", "positions", "amounts", "total"),
    [
        ("another total", "NULL", "'{1,2}'", 4),
        ("a NULL amount", "NULL", "'{1,NULL,2}'", 3),
        ("two dimensions", "NULL", "'{{1,2}}'", 3),
        ("lower bound 0", "NULL", "'[0:1]={1,2}'", 3),
        ("no amount", "NULL", "'{}'", 0),
        ("more than a shard", "NULL", "array_fill(0, ARRAY[65537])", 0),
        ("positions that fall", "'{2,1}'", "'{1,2}'", 3),
        ("a position twice", "'{1,1}'", "'{1,2}'", 3),
        ("a position below 0", "'{-1,1}'", "'{1,2}'", 3),
        ("a NULL position", "'{1,NULL}'", "'{1,2}'", 3),
        ("fewer positions", "'{1}'", "'{1,2}'", 3),
        ("two dimensions of positions", "'{{1,2}}'", "'{1,2}'", 3),
        ("positions from 0", "'[0:1]={1,2}'", "'{1,2}'", 3),
    ],
)
async def test_I2_the_database_refuses_an_unsound_segment(
    shared: AsyncEngine, case: str, positions: str, amounts: str, total: int
) -> None:
    plan_id = await fresh(shared)
    journal = journal_sql(plan_id, "'{:r,:c}'", f"'{{{total},{-total}}}'")
    with pytest.raises(asyncpg.CheckViolationError, match="posting_segments_sound_check"):
        await execute(shared, journal + segment_sql(plan_id, positions, amounts, total))


@pytest.mark.parametrize(
    ("case", "segments"),
    [
        ("missing", []),
        ("of another total than its line", [("'{1,3}'", 4, 1210)]),
        ("of an account without a line", [("'{1,2}'", 3, 1210), ("'{1}'", 1, 1310)]),
        ("of a line without a subledger", [("'{1,2}'", 3, 1210), ("'{-3}'", -3, 3111)]),
    ],
)
async def test_I2_the_database_refuses_a_segment_that_does_not_tie(
    shared: AsyncEngine, case: str, segments: list[tuple[str, int, int]]
) -> None:
    plan_id = await fresh(shared)
    script = journal_sql(plan_id, "'{:r,:c}'", "'{3,-3}'")
    script += "".join(segment_sql(plan_id, "NULL", *segment) for segment in segments)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=r"\[I2\]"):
        await execute(shared, script)


async def test_I2_a_segment_without_a_journal_or_a_second_one_is_refused(engine: AsyncEngine) -> None:
    plan_id = await fresh(engine)
    segment = segment_sql(plan_id, "NULL", "'{1,2}'", 3)
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="posting_segments_journal_fkey"):
        await execute(engine, segment)
    journal = journal_sql(plan_id, "'{:r,:c}'", "'{3,-3}'")
    with pytest.raises(asyncpg.UniqueViolationError):
        await execute(engine, journal + segment + segment)
    await execute(engine, journal + segment)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=r"\[I2\]"):
        await execute(engine, segment_sql(plan_id, "NULL", "'{0}'", 0, account=1310))


async def posted(engine: AsyncEngine, journal: Journal) -> Posted:
    async with engine.begin() as connection:
        return await post(connection, journal)


async def test_I3_the_same_again_is_a_no_op(engine: AsyncEngine) -> None:
    journal = charge(plan_shard(await fresh(engine)) + 1, [3, 0, 4])
    assert await posted(engine, journal) == Posted(1, is_new=True)
    assert await posted(engine, journal) == Posted(1, is_new=False)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM posting_segments")) == 1
        assert await connection.scalar(text("SELECT max(seq) FROM shards")) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"amounts": [3, 0, 5]},
        {"amounts": [4, 0, 3]},
        {"amounts": [3, 4]},
        {"amounts": [3, 0], "waived": [0, 4]},
        {"amounts": [3, 0, 4], "effective_on": DAY.replace(day=22)},
    ],
)
async def test_I3_other_content_under_the_same_key_is_refused(engine: AsyncEngine, other: dict[str, Any]) -> None:
    shard_id = plan_shard(await fresh(engine)) + 1
    await posted(engine, charge(shard_id, [3, 0, 4]))
    with pytest.raises(KeyReused, match=r"run:7:charge .*\[I3\]"):
        await posted(engine, charge(shard_id, **other))
    assert (await verify(engine)).checked["journals"] == 1


async def test_I3_twenty_at_once_post_one(engine: AsyncEngine) -> None:
    journal = charge(plan_shard(await fresh(engine)) + 1, [3, 0, 4])
    results = await asyncio.gather(*(posted(engine, journal) for _ in range(20)))
    assert sorted(results) == [Posted(1, is_new=False)] * 19 + [Posted(1, is_new=True)]
    assert (await verify(engine)).problems == []


async def test_I3_of_several_those_posted_before_are_no_ops(engine: AsyncEngine) -> None:
    first, second = [charge(plan_shard(await fresh(engine)) + 1, [3, number]) for number in (1, 2)]
    await posted(engine, second)
    async with engine.begin() as connection:
        found = await post_all(connection, [second, first])
    assert found == [Posted(1, is_new=False), Posted(1, is_new=True)]
    other = replace(second, kind="other")
    with pytest.raises(KeyReused):
        async with engine.begin() as connection:
            await post_all(connection, [replace(first, key="run:8:charge"), other])
    checked = await verify(engine)
    assert (checked.problems, checked.checked["journals"]) == ([], 2)


async def test_I3_two_of_one_shard_are_not_posted_at_once(engine: AsyncEngine) -> None:
    plan_id = await fresh(engine)
    lines = {account_id(plan_id, Account.CUSTODIAN_CASH): 5, account_id(plan_id, Account.SUSPENSE): -5}
    journal = Journal(plan_shard(plan_id), "statement:1:2019-01-21", "settlement", DAY, lines)
    for other in (journal, replace(journal, effective_on=DAY.replace(day=22)), replace(journal, key="another")):
        async with engine.connect() as connection:
            with pytest.raises(ValueError, match="of one shard"):
                await post_all(connection, [journal, other])


async def test_I3_raw_sql_cannot_take_a_key_twice(engine: AsyncEngine) -> None:
    plan_id = await fresh(engine)
    journal = journal_sql(plan_id, "'{:k,:c}'", "'{3,-3}'")
    with pytest.raises(asyncpg.UniqueViolationError, match="journals_idempotency_key"):
        await execute(engine, journal + journal.replace(", 1, 'raw'", ", 2, 'raw'"))


APPEND_ONLY = ("journals", "posting_segments", "claim_events", "roster_changes", "audit_log", "plan_rules")


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET {column} = {column}",
        "DELETE FROM {table}",
        "TRUNCATE {table} CASCADE",
        "DELETE FROM {table} WHERE false",
        "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT DO NOTHING; DELETE FROM {table}",
    ],
)
async def test_I4_the_ledger_refuses_change(shared: AsyncEngine, table: str, statement: str) -> None:
    column = "recorded_at" if table != "posting_segments" else "digest"
    if statement.startswith("INSERT") and table in ("claim_events", "roster_changes", "audit_log"):
        statement = "DELETE FROM {table} USING (VALUES (1)) AS other"  # their identities are always generated
    with pytest.raises(asyncpg.RestrictViolationError, match=rf"{table} is append-only: .* refused \[I4\]"):
        await execute(shared, statement.format(table=table, column=column))


async def sealed_books(engine: AsyncEngine) -> int:
    """A plan of two shards with three runs posted and sealed, a payment, and checkpoints of some of it."""
    async with engine.begin() as connection:
        plan_id = await open_books(connection, code="sealed")
        first = plan_shard(plan_id) + 1
        for shard_id, seats in ((first, 8), (first + 1, 5)):
            await connection.execute(
                member_columns.insert(),
                {"shard_id": shard_id, "born_on": b"", "member_refs": "", "tags": TAGS[: 16 * seats]},
            )
        root = None
        for number, year in ((1, 2018), (2, 2019), (3, 2019)):
            root = await seal_run(connection, plan_id, previous_root=root, debit_on=f"{year}-0{number}-21")
        receivable = account_id(plan_id, Account.CONTRIBUTIONS_RECEIVABLE)
        usage = await read_year_usage(connection, first, 2019, through_seq=3, seats=8)
        await write_year_usage(connection, first, 2019, usage)
        balance = await read_balance(connection, first, receivable, through_seq=2, seats=8)
        await write_balance(connection, first, receivable, balance)
    return plan_id


async def seal_run(connection: AsyncConnection, plan_id: int, *, previous_root: bytes | None, debit_on: str) -> bytes:
    """Post 1, 2, … to the seats of both shards, the last one waived; seal."""
    first = plan_shard(plan_id) + 1
    run_id = await connection.scalar(
        text(
            "INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by, previous_root, carry_in,"
            " ledger_seq) SELECT :plan, 1, CAST(:day AS text)::date, 'sealed', 'a', :root, 0, seq FROM shards"
            " WHERE plan_id = :plan AND number = 0 RETURNING run_id"
        ),
        {"plan": plan_id, "day": debit_on, "root": previous_root},
    )
    assert isinstance(run_id, int)
    roots, day, total = [], DAY.fromisoformat(debit_on), 0
    for shard_id, seats in ((first, 8), (first + 1, 5)):
        amounts = np.arange(1, seats + 1)
        owed, waived = amounts * (amounts < seats), amounts * (amounts == seats)
        journal = charge(shard_id, owed.tolist(), waived=waived.tolist(), run_id=run_id, effective_on=day)
        await post(connection, journal)
        roots.append(tree_root(leaf_hashes(amounts, TAGS[: 16 * seats])))
        total += int(amounts.sum())
        await connection.execute(
            text(
                "INSERT INTO run_shards (shard_id, run_id, phase, state, roster_version, ledger_seq, seats, root)"
                " VALUES (:shard, :run, 'post', 'done', 1, 0, :seats, :root)"
            ),
            {"shard": shard_id, "run": run_id, "seats": seats, "root": roots[-1]},
        )
    aid = Segment(account_id(plan_id, Account.AID_PAYABLE), np.array([-total]), np.array([run_id], dtype=np.int32))
    await post(
        connection,
        Journal(
            shard_id=plan_shard(plan_id),
            key=f"run:{run_id}:seal",
            kind="seal",
            effective_on=day,
            lines={account_id(plan_id, Account.RUN_CLEARING): total, aid.account_id: -total},
            segments=(aid,),
            run_id=run_id,
        ),
    )
    root = sealed_root(previous_root, tree_root(roots))
    values = {"root": root, "run": run_id, "plan": plan_id}
    await connection.execute(text("UPDATE share_runs SET root = :root WHERE run_id = :run"), values)
    await connection.execute(text("UPDATE plans SET last_root = :root WHERE plan_id = :plan"), values)
    return root


async def test_I14_what_we_post_verifies(engine: AsyncEngine) -> None:
    plan_id = await sealed_books(engine)
    found = await verify(engine)
    assert found.problems == []
    assert dict(found.checked) == {
        "plans": 1,
        "shards": 3,
        "accounts": 4,
        "journals": 9,
        "lines": 6 * 3 + 3 * 2,
        "segments": 6 * 2 + 3,
        "entries": 3 * 13 + 3,
        "checkpoints": 2,
        "shard roots": 6,
        "carries": 3,
        "seals": 3,
    }
    assert (await verify(engine, plan_id)) == found
    assert (await verify(engine, plan_id + 1)).checked == {}


FIRST = "shard_id % 1000000 = 1"
OWED = f"{FIRST} AND account_id % 10000 = 1210"
LAST_SEAL = "shard_id % 1000000 = 0 AND seq = 3"
UNCHECKED = "ALTER TABLE {0}s DROP CONSTRAINT {0}s_{1}_check;"

TAMPERS = [
    ("I14", "position 2", "UPDATE balances SET amounts[3] = amounts[3] + 1"),
    ("I14", "balances", "UPDATE balances SET amounts = amounts || 0::bigint"),
    ("I14", "positions from 5 on", "UPDATE balances SET amounts = amounts[1:5]"),
    ("I14", "balances", "UPDATE balances SET as_of_seq = 1"),
    ("I14", "which is not there", "UPDATE balances SET as_of_seq = 9"),
    ("I14", "year_usage 2019", "UPDATE year_usage SET amounts[1] = 0"),
    (
        "I2",
        "does not hash to its digest",
        f"UPDATE posting_segments SET amounts[1] = amounts[1] + 1, amounts[2] = amounts[2] - 1 WHERE {OWED}",
    ),
    (
        "I2",
        "sums to 127, not 28",
        UNCHECKED.format("posting_segment", "sound") + f"UPDATE posting_segments SET amounts[1] = 100 WHERE {OWED}",
    ),
    ("I2", "digest", f"UPDATE posting_segments SET digest = 'x' WHERE {FIRST} AND seq = 2"),
    ("I2", "control lines", f"DELETE FROM posting_segments WHERE {FIRST} AND account_id % 10000 = 1310"),
    ("I4", "outside", f"UPDATE posting_segments SET seq = 77 WHERE {FIRST} AND seq = 3"),
    ("I2", "the shard's 4 places", "UPDATE shards SET seats = 4 WHERE number = 2"),
    (
        "I1",
        "trial balance differs by 35",
        UNCHECKED.format("journal", "balanced") + f"UPDATE journals SET amounts[3] = -1 WHERE {FIRST} AND seq = 1",
    ),
    ("I1", "not in the chart", f"UPDATE journals SET accounts[3] = accounts[3] + 8 WHERE {FIRST}"),
    (
        "I2",
        "array",
        UNCHECKED.format("journal", "balanced") + f"UPDATE journals SET amounts[3] = NULL WHERE {FIRST} AND seq = 1",
    ),
    ("I4", "fingerprint", f"UPDATE journals SET effective_on = '2019-06-01' WHERE {FIRST} AND seq = 2"),
    ("I4", "fingerprint", f"UPDATE journals SET run_id = 99 WHERE {FIRST} AND seq = 2"),
    ("I4", "does not follow", f"UPDATE journals SET idempotency_key = 'x' WHERE {FIRST} AND seq = 2"),
    ("I4", "journal 2 is missing", f"DELETE FROM journals WHERE {FIRST} AND seq = 2"),
    ("I4", "head", f"DELETE FROM journals WHERE {FIRST} AND seq = 3"),
    ("I4", "outside the shard's journals", "UPDATE shards SET seq = 2 WHERE number = 1"),
    ("I4", "outside the shard's journals", "DELETE FROM shards WHERE number = 1"),
    ("I4", "head", "UPDATE shards SET head = 'x' WHERE number = 1"),
    ("I7", "Merkle root", "UPDATE run_shards SET root = 'x' WHERE run_id = 2"),
    ("I7", "seal does not follow", "UPDATE member_columns SET tags = overlay(tags PLACING 'x' FROM 9)"),
    ("I7", "seal does not follow", "UPDATE member_columns SET tags = ''"),
    ("I7", "one chain", "UPDATE share_runs SET root = 'x' WHERE run_id = 2"),
    ("I7", "run 3 charge", "UPDATE share_runs SET previous_root = NULL WHERE run_id = 3"),
    ("I7", "run 2 charge", f"DELETE FROM run_shards WHERE run_id = 2 AND {FIRST}"),
    ("I7", "frozen seats", "UPDATE run_shards SET seats = 3 WHERE run_id = 2"),
    ("I7", "one chain", "UPDATE plans SET last_root = NULL"),
    (
        "I5",
        "clearing stands at",
        f"DELETE FROM journals WHERE {LAST_SEAL}; DELETE FROM posting_segments WHERE {LAST_SEAL}",
    ),
    ("I5", "run 2 carried 1 in where the carry", "UPDATE share_runs SET carry_in = 1 WHERE run_id = 2"),
    ("I5", "run 2 carried None in", "UPDATE share_runs SET carry_in = NULL WHERE run_id = 2"),
    ("I5", "journal 9, which is not there", "UPDATE share_runs SET ledger_seq = 9 WHERE run_id = 2"),
    ("I5", "journal None", "UPDATE share_runs SET carry_in = NULL, ledger_seq = NULL WHERE run_id = 2"),
]


@pytest.mark.parametrize(("invariant", "words", "script"), TAMPERS)
async def test_I14_verify_finds_what_was_tampered_with(
    engine: AsyncEngine, invariant: str, words: str, script: str
) -> None:
    plan_id = await sealed_books(engine)
    await execute(engine, f"SET LOCAL session_replication_role = replica; {script}")
    problems = (await verify(engine, plan_id)).problems
    assert [problem for problem in problems if problem.invariant == invariant and words in " ".join(problem)], problems


async def test_I14_a_forger_who_hashes_everything_again_still_breaks_the_seal(engine: AsyncEngine) -> None:
    plan_id = await sealed_books(engine)
    shard_id = plan_shard(plan_id) + 1
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table in ("balances", "year_usage", "posting_segments", "journals"):
            await connection.execute(text(f"DELETE FROM {table} WHERE shard_id = {shard_id}"))
        await connection.execute(text(f"UPDATE shards SET seq = 0, head = '' WHERE shard_id = {shard_id}"))
        for run_id, day in ((1, "2018-01-21"), (2, "2019-02-21"), (3, "2019-03-21")):
            forged = [1, 2, 3, 4, 5, 6 + run_id, 7 - run_id, 0]
            on = DAY.fromisoformat(day)
            await post(connection, charge(shard_id, forged, waived=[0] * 7 + [8], run_id=run_id, effective_on=on))
    problems = (await verify(engine)).problems
    assert {problem.invariant for problem in problems} == {"I7"}
    assert Problem("I7", f"run 1 shard {shard_id}", "its Merkle root is not that of what was posted") in problems
    assert [problem.place for problem in problems if "seal" in problem.what] == [
        "run 1 charge",
        "run 2 charge",
        "run 3 charge",
        "plan sealed",
    ]


async def test_I14_a_voided_run_verifies_too(engine: AsyncEngine) -> None:
    plan_id = await sealed_books(engine)
    first = plan_shard(plan_id) + 1
    async with engine.begin() as connection:
        roots = []
        for shard_id, seats in ((first, 8), (first + 1, 5)):
            amounts = -np.arange(1, seats + 1)
            owed, waived = amounts * (amounts > -seats), amounts * (amounts == -seats)
            day = DAY.replace(month=3)
            mirror = charge(shard_id, owed.tolist(), waived=waived.tolist(), run_id=3, kind="void", effective_on=day)
            await post(connection, mirror)
            roots.append(tree_root(leaf_hashes(amounts, TAGS[: 16 * seats])))
            await connection.execute(
                text("UPDATE run_shards SET phase = 'reverse', root = :root WHERE shard_id = :shard AND run_id = 3"),
                {"root": roots[-1], "shard": shard_id},
            )
        clearing, aid = account_id(plan_id, Account.RUN_CLEARING), account_id(plan_id, Account.AID_PAYABLE)
        await post(
            connection,
            replace(
                charge(plan_shard(plan_id), [1], run_id=3),
                key="run:3:void",
                kind="void",
                lines={clearing: -51, aid: 51},
                segments=(Segment(aid, np.array([51]), np.array([3], dtype=np.int32)),),
            ),
        )
        last = await connection.scalar(text("SELECT last_root FROM plans"))
        assert isinstance(last, bytes)
        root = {"root": sealed_root(last, tree_root(roots))}
        await connection.execute(text("UPDATE plans SET last_root = :root"), root)
        await connection.execute(
            text("UPDATE share_runs SET state = 'voided', void_root = :root WHERE run_id = 3"), root
        )
    found = await verify(engine)
    assert found.problems == []
    assert found.checked["seals"] == 4
