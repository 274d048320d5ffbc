"""Balances, statements, entries, trial balances and proofs of posted journals, against plain Python."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id, plan_shard, seat_shard
from engine.ledger.balances import read_balance, read_year_usage, write_balance, write_year_usage
from engine.ledger.entries import Place, read_entries
from engine.ledger.journals import Journal, Segment, post
from engine.ledger.proof import prove, verify_proof
from engine.ledger.seal import leaf_hashes, sealed_root, tree_root
from engine.ledger.statement import read_statement
from engine.ledger.trial_balance import difference, trial_balance
from engine.ledger.verify import verify
from engine.store.arrays import copy_in
from engine.store.tables import SHARD_SEATS, member_columns
from tests.integration.books import DAY, charge, open_books

pytestmark = pytest.mark.integration

SEATS = (9, 4)
SUBLEDGERS = (Account.CONTRIBUTIONS_RECEIVABLE, Account.SPONSOR_WAIVERS, Account.MEMBER_DEPOSITS)

entry = st.tuples(st.sampled_from(SUBLEDGERS), st.integers(0, 8), st.integers(-(10**15), 10**15))
step = st.tuples(
    st.sampled_from([0, 1]),  # shard
    st.sampled_from(["charge", "void", "correction", "top-up", "levy"]),
    st.sampled_from([date(2018, 12, 31), date(2019, 1, 1), date(2019, 12, 31)]),
    st.lists(entry, max_size=12),
    st.booleans(),  # checkpoint afterwards
)


def journal_of(
    shard_id: int, key: str, kind: str, day: date, seats: int, entries: list[tuple[Account, int, int]]
) -> Journal:
    """Entries on any subledgers, against suspense and a bank account."""
    plan_id = shard_id // 1_000_000
    dense: dict[Account, list[int]] = defaultdict(lambda: [0] * seats)
    for code, position, amount in entries:
        dense[code][position % seats] += amount
    segments = tuple(Segment.of(account_id(plan_id, code), np.array(row)) for code, row in sorted(dense.items()))
    lines = {segment.account_id: segment.total for segment in segments}
    lines |= {account_id(plan_id, Account.SUSPENSE): 7, account_id(plan_id, Account.CUSTODIAN_CASH): -7}
    lines[account_id(plan_id, Account.SUSPENSE)] -= sum(segment.total for segment in segments)
    return Journal(shard_id, key, kind, day, lines, segments)


@given(steps=st.lists(step, max_size=10), data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_balances_are_those_of_a_dict_at_any_seq(
    engine: AsyncEngine,
    steps: list[tuple[int, str, date, list[tuple[Account, int, int]], bool]],
    data: st.DataObject,
) -> None:
    async with engine.begin() as connection:
        plan_id = await open_books(connection, SEATS)
        shards = [plan_shard(plan_id) + 1, plan_shard(plan_id) + 2]
        posted: dict[int, list[Journal]] = {shard: [] for shard in shards}
        for number, (which, kind, day, entries, is_checkpoint) in enumerate(steps):
            shard, seats = shards[which], SEATS[which]
            journal = journal_of(shard, f"step:{number}", kind, day, seats, entries)
            seq = (await post(connection, journal)).seq
            posted[shard].append(journal)
            assert seq == len(posted[shard])
            if is_checkpoint:
                for account in {segment.account_id for segment in journal.segments}:
                    balance = await read_balance(connection, shard, account, through_seq=seq, seats=seats)
                    await write_balance(connection, shard, account, balance)
                usage = await read_year_usage(connection, shard, day.year, through_seq=seq, seats=seats)
                await write_year_usage(connection, shard, day.year, usage)
        for shard, seats in zip(shards, SEATS, strict=True):
            through = data.draw(st.integers(0, len(posted[shard])))
            for code in SUBLEDGERS:
                account = account_id(plan_id, code)
                expected = sum_of(posted[shard][:through], account, seats)
                found = await read_balance(connection, shard, account, through_seq=through, seats=seats)
                assert found.amounts.tolist() == expected
            kinds = ("charge", "void", "correction")
            charges = [j for j in posted[shard] if j.kind in kinds and j.effective_on.year == 2019]
            usage = await read_year_usage(connection, shard, 2019, through_seq=len(posted[shard]), seats=seats)
            owed, drawn = (
                sum_of(charges, account_id(plan_id, code), seats)
                for code in (Account.CONTRIBUTIONS_RECEIVABLE, Account.MEMBER_DEPOSITS)
            )
            assert usage.amounts.tolist() == [a + b for a, b in zip(owed, drawn, strict=True)]
            seat = data.draw(st.integers(0, seats - 1)) + (SHARD_SEATS if shard == shards[1] else 0)
            statement = await read_statement(connection, shard, seat)
            assert [(e.seq, e.account_id, e.amount) for e in statement.entries] == [
                (seq, segment.account_id, amount)
                for seq, journal in enumerate(posted[shard], 1)
                for segment in journal.segments
                if (amount := int(segment.dense(seats)[seat % SHARD_SEATS]))
            ]
        lines = await trial_balance(connection, plan_id)
        assert difference(lines) == 0
        assert {line.account_id: line.debit - line.credit for line in lines} == totals(posted)
    assert (await verify(engine, plan_id)).problems == []


def sum_of(journals: list[Journal], account: int, seats: int) -> list[int]:
    sums = [0] * seats
    for journal in journals:
        for segment in journal.segments:
            if segment.account_id == account:
                sums = [a + b for a, b in zip(sums, segment.dense(seats).tolist(), strict=True)]
    return sums


def totals(posted: dict[int, list[Journal]]) -> dict[int, int]:
    sums: dict[int, int] = defaultdict(int)
    for journals in posted.values():
        for journal in journals:
            for account, amount in journal.lines.items():
                sums[account] += amount
    return sums


async def test_an_older_balance_is_read_past_a_newer_checkpoint(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        shard = plan_shard(await open_books(connection)) + 1
        receivable = shard // 1_000_000 * 1_000_000 + 1210
        for run_id in (1, 2, 3):
            await post(connection, charge(shard, [run_id] * 8, run_id=run_id))
        newest = await read_balance(connection, shard, receivable, through_seq=3, seats=8)
        await write_balance(connection, shard, receivable, newest)
        for through, each, segments in ((0, 0, 0), (1, 1, 1), (2, 3, 2), (3, 6, 0)):
            balance = await read_balance(connection, shard, receivable, through_seq=through, seats=8)
            assert (balance.amounts.tolist(), balance.segments) == ([each] * 8, segments)


async def test_a_shard_may_grow_after_its_checkpoint(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        shard = plan_shard(await open_books(connection, [10])) + 1
        receivable = shard // 1_000_000 * 1_000_000 + 1210
        await post(connection, charge(shard, [5, 6], run_id=1))
        await write_balance(
            connection, shard, receivable, await read_balance(connection, shard, receivable, through_seq=1, seats=2)
        )
        await post(connection, charge(shard, [1] * 10, run_id=2))
        balance = await read_balance(connection, shard, receivable, through_seq=2, seats=10)
        assert balance.amounts.tolist() == [6, 7, *[1] * 8]
        newcomer = await read_statement(connection, shard, 9)
        assert [(entry.run_id, entry.amount) for entry in newcomer.entries] == [(2, 1)]
    assert (await verify(engine)).problems == []


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30), place=st.integers(1, 40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_amount_at_is_a_subscript(engine: AsyncEngine, values: list[int], place: int) -> None:
    async with engine.connect() as connection:
        read = text("SELECT amount_at(CAST(:values AS bigint[]), CAST(:place AS integer))")
        found = await connection.scalar(read, {"values": values, "place": place})
        assert (found or 0) == (values[place - 1] if place <= len(values) else 0)


async def test_amount_at_reads_a_stored_array_in_part(engine: AsyncEngine) -> None:
    amounts = np.random.default_rng(1).integers(1, 99, SHARD_SEATS)
    async with engine.begin() as connection:
        shard = plan_shard(await open_books(connection, [SHARD_SEATS])) + 1
        await post(connection, charge(shard, amounts.tolist()))
        read = "SELECT amount_at(amounts, 40001) FROM posting_segments"
        assert await connection.scalar(text(read)) == amounts[40_000]
        plan = (await connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {read}"))).scalar_one()
        assert plan[0]["Plan"]["Shared Hit Blocks"] < 10  # all of it are 70


@pytest.fixture
async def two_runs(engine: AsyncEngine) -> int:
    """A plan with two runs on two shards, each seat charged 100 · run + position; the first seat's are waived."""
    async with engine.begin() as connection:
        plan_id = await open_books(connection, SEATS)
        for run_id, day in ((1, DAY), (2, DAY.replace(month=2))):
            for number, seats in enumerate(SEATS, 1):
                amounts = [100 * run_id + position for position in range(seats)]
                waived = [amounts[0], *[0] * (seats - 1)] if number == 1 else None
                owed = [0, *amounts[1:]] if number == 1 else amounts
                await post(
                    connection,
                    charge(plan_shard(plan_id) + number, owed, waived=waived, run_id=run_id, effective_on=day),
                )
    return plan_id


async def test_a_statement_says_what_is_owed_and_what_was_waived(engine: AsyncEngine, two_runs: int) -> None:
    async with engine.connect() as connection:
        first = await read_statement(connection, seat_shard(two_runs, 0), 0)
        other = await read_statement(connection, seat_shard(two_runs, SHARD_SEATS + 2), SHARD_SEATS + 2)
        nobody = await read_statement(connection, seat_shard(two_runs, 50), 50)
    assert (first.owed, first.waived) == (0, 300)
    assert [(e.effective_on, e.kind, e.run_id, e.account, e.amount, balance) for e, balance in first.running()] == [
        (DAY, "charge", 1, Account.SPONSOR_WAIVERS, 100, 100),
        (DAY.replace(month=2), "charge", 2, Account.SPONSOR_WAIVERS, 200, 300),
    ]
    assert (other.owed, other.waived, len(other.entries)) == (102 + 202, 0, 2)
    assert nobody.entries == ()


async def test_statements_are_what_the_view_says(engine: AsyncEngine, two_runs: int) -> None:
    async with engine.connect() as connection:
        entries = [entry async for entry in read_entries(connection, two_runs, limit=1000)]
        for seat in {entry.seat for entry in entries}:
            statement = await read_statement(connection, seat_shard(two_runs, seat), seat)
            assert list(statement.entries) == [entry for entry in entries if entry.seat == seat]
    assert len(entries) == 2 * sum(SEATS)


@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_entries_come_in_order_whatever_the_page(
    engine: AsyncEngine, two_runs: int, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.ledger.entries.PAGE_SEGMENTS", page)
    async with engine.connect() as connection:
        everything = [entry async for entry in read_entries(connection, limit=1000)]
        assert everything == sorted(everything)
        assert sum(entry.amount for entry in everything) == sum(sum(range(n)) * 2 + 300 * n for n in SEATS)
        assert [entry async for entry in read_entries(connection, limit=7)] == everything[:7]
        for number, entry in enumerate(everything):
            place = Place(entry.shard_id, entry.seq, entry.account_id, entry.seat)
            rest = [each async for each in read_entries(connection, after=place, limit=3)]
            assert rest == everything[number + 1 : number + 4]
        of_run = [entry async for entry in read_entries(connection, two_runs, run_id=2, limit=1000)]
        assert of_run == [entry for entry in everything if entry.run_id == 2]
        assert [entry async for entry in read_entries(connection, two_runs + 1, limit=9)] == []


async def test_a_trial_balance_stands_as_of_a_day(engine: AsyncEngine, two_runs: int) -> None:
    async with engine.connect() as connection:
        balances = {
            day: {
                int(line.account): line.debit - line.credit for line in await trial_balance(connection, two_runs, day)
            }
            for day in (DAY.replace(year=2018), DAY, None)
        }
        view = await connection.execute(text("SELECT code, balance FROM trial_balance"))
        assert {row.code: int(row.balance) for row in view} == balances[None]
    first = sum(sum(range(n)) + 100 * n for n in SEATS)
    both = first + sum(sum(range(n)) + 200 * n for n in SEATS)
    assert balances == {
        DAY.replace(year=2018): {},
        DAY: {1210: first - 100, 1310: 100, 3111: -first},
        None: {1210: both - 300, 1310: 300, 3111: -both},
    }


async def test_a_proof_is_read_from_the_ledger(engine: AsyncEngine) -> None:
    seats = (SHARD_SEATS, SHARD_SEATS, 300)
    rng = np.random.default_rng(3)
    drawn = [rng.integers(0, 50, count) for count in seats]
    tags = [rng.bytes(16 * count) for count in seats]
    roots = [tree_root(leaf_hashes(amounts, tag)) for amounts, tag in zip(drawn, tags, strict=True)]
    root = sealed_root(b"\7" * 32, tree_root(roots))
    async with engine.begin() as connection:
        plan_id = await open_books(connection, seats)
        run_id = await connection.scalar(
            text(
                "INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by, previous_root, root)"
                " VALUES (:plan, 1, '2019-01-21', 'sealed', 'a', :previous, :root) RETURNING run_id"
            ),
            {"plan": plan_id, "previous": b"\7" * 32, "root": root},
        )
        assert isinstance(run_id, int)
        for number, amounts in enumerate(drawn):
            shard = plan_shard(plan_id) + 1 + number
            waives = rng.integers(0, 2, amounts.size)
            await post(
                connection,
                charge(shard, amounts * (1 - waives), waived=(amounts * waives).tolist(), run_id=run_id),  # type: ignore[arg-type]
            )
            # Seats that joined after the freeze have tags too, which no seal of this run covers.
            row = (shard, np.empty(0, np.int32), "", tags[number] + bytes(160))
            await copy_in(connection, member_columns, ["shard_id", "born_on", "member_refs", "tags"], [row])
            await connection.execute(
                text(
                    "INSERT INTO run_shards (shard_id, run_id, phase, state, roster_version, ledger_seq, seats, root)"
                    " VALUES (:shard, :run, 'post', 'done', 1, 0, :seats, :root)"
                ),
                {"shard": shard, "run": run_id, "seats": amounts.size, "root": roots[number]},
            )
        for seat in (0, 40_000, SHARD_SEATS, 2 * SHARD_SEATS + 299):
            proof = await prove(connection, run_id, seat_shard(plan_id, seat), seat)
            number, position = divmod(seat, SHARD_SEATS)
            assert verify_proof(proof)
            assert proof.root == root
            assert proof.amount == drawn[number][position]
            assert proof.tag == tags[number][16 * position : 16 * position + 16]
        with pytest.raises(InvalidInput, match="joined after run"):
            await prove(connection, run_id, seat_shard(plan_id, 2 * SHARD_SEATS), 2 * SHARD_SEATS + 300)
        with pytest.raises(InvalidInput, match="is not a sealed run"):
            await prove(connection, run_id + 1, seat_shard(plan_id, 0), 0)
