"""The migrations lead to the schema that engine/store/tables.py declares, once, whoever runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.store.database import engine_on, migrate
from engine.store.embedded import Embedded
from engine.store.tables import metadata
from engine.store.views import views

pytestmark = pytest.mark.integration


@pytest.fixture
async def empty(embedded: Embedded) -> AsyncIterator[AsyncEngine]:
    """An engine on a database without a schema."""
    async with engine_on(embedded.database_url) as server:
        autocommit = server.execution_options(isolation_level="AUTOCOMMIT")
        async with autocommit.connect() as connection:
            await connection.execute(text("CREATE DATABASE empty_fentan"))
        url = make_url(embedded.database_url).set(database="empty_fentan")
        async with engine_on(url.render_as_string(hide_password=False)) as engine:
            yield engine
        async with autocommit.connect() as connection:
            await connection.execute(text("DROP DATABASE empty_fentan WITH (FORCE)"))


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


async def names(engine: AsyncEngine, query: str) -> set[str]:
    async with engine.connect() as connection:
        return set((await connection.scalars(text(query))).all())


async def test_up_from_empty_is_what_the_tables_declare(empty: AsyncEngine) -> None:
    await migrate(empty)
    async with empty.connect() as connection:
        assert await connection.run_sync(differences) == []
    checks = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    # Alembic compares no CHECKs.
    assert await names(empty, "SELECT conname FROM pg_constraint WHERE contype = 'c'") >= checks
    for view in views.tables.values():
        columns = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{view.name}'"
        assert await names(empty, columns) == set(view.columns.keys())


async def test_up_from_the_release_before_keeps_what_it_wrote(empty: AsyncEngine) -> None:
    await migrate(empty, "0001")
    old = """
        INSERT INTO plans (code, name, currency) VALUES ('old', 'Old', 'CNY');
        INSERT INTO shards (shard_id, plan_id, number, first_seat, seats) VALUES (1000001, 1, 1, 0, 1);
        INSERT INTO roster (shard_id, version, shares_from, claims_from, ended_on, tier, folded_through)
            VALUES (1000001, 1, '\\x00000000', '\\x00000000', '\\x00000001', '\\x0000', 0);
        INSERT INTO roster_changes (shard_id, seat, kind, from_day, import_id) VALUES (1000001, 0, 'exit', 9, 1);
        INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by)
            VALUES (1, 1, '2019-07-14', 'sealed', 'anna');
        INSERT INTO claims (plan_id, number, shard_id, seat, diagnosed_on, filed_on, aid_minor, state, run_id) VALUES
            (1, 1, 1000001, 0, '2019-07-01', '2019-07-01', 500, 'shared', 1),
            (1, 2, 1000001, 0, '2019-07-02', '2019-07-02', 700, 'filed', NULL);
        INSERT INTO run_cases (run_id, number, claim_id, claim_number, aid_minor, gate_day) VALUES (1, 1, 1, 1, 500, 9);
    """
    async with empty.begin() as connection:
        for statement in filter(str.strip, old.split(";")):
            await connection.execute(text(statement.replace("\\\\", "\\")))
    await migrate(empty)
    async with empty.connect() as connection:
        assert await connection.run_sync(differences) == []
        claims = await connection.execute(text("SELECT aid_minor, shared_minor, due_minor FROM claims ORDER BY number"))
        assert [tuple(row) for row in claims] == [(500, 500, None), (700, 0, None)]
        kinds = await connection.execute(text("SELECT kind, surplus FROM share_runs"))
        assert [tuple(row) for row in kinds] == [("share", None)]
        roster = await connection.execute(text("SELECT payer, next_tier, octet_length(tier) FROM roster"))
        assert [tuple(row) for row in roster] == [(None, None, 2)]


async def test_up_from_the_api_keeps_its_tokens(empty: AsyncEngine) -> None:
    await migrate(empty, "0004")
    issued = """
        INSERT INTO api_tokens (name, role, digest, issued_by, expires_at)
        SELECT 'anna', role, sha256('one'), 'olga', '2029-01-01' FROM unnest(ARRAY['viewer', 'ops']) AS role
    """
    async with empty.begin() as connection:
        await connection.execute(text(issued))
    await migrate(empty)
    async with empty.begin() as connection:
        assert await connection.run_sync(differences) == []
        tokens = await connection.execute(text("SELECT name, role, password_hash FROM api_tokens ORDER BY token_id"))
        assert [tuple(row) for row in tokens] == [("anna", "viewer", None), ("anna", "ops", None)]
        await connection.execute(text(issued))  # workers of the release before issue tokens meanwhile


async def test_bulk_tables_carry_their_shard_first(engine: AsyncEngine) -> None:
    keys = """
        SELECT conrelid::regclass || '.' || conname FROM pg_constraint
        JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
        WHERE contype IN ('p', 'u') AND attname <> 'shard_id' AND EXISTS (
            SELECT FROM pg_attribute AS mine WHERE mine.attrelid = conrelid AND mine.attname = 'shard_id'
        )
    """
    by_identity = {"claims.claims_pkey", "claims.claims_number_key", "workers.workers_pkey"}
    assert await names(engine, keys) - by_identity == {"members.members_pkey"}  # it finds a member's shard


async def test_again_is_nothing(empty: AsyncEngine) -> None:
    await migrate(empty)
    before = await names(empty, "SELECT oid::text FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    await migrate(empty)
    assert await names(empty, "SELECT oid::text FROM pg_class WHERE relnamespace = 'public'::regnamespace") == before


async def test_two_migrators_take_turns(empty: AsyncEngine) -> None:
    await asyncio.gather(*(migrate(empty) for _ in range(4)))
    async with empty.connect() as connection:
        assert await connection.run_sync(differences) == []
        assert await connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1


async def test_a_failed_migration_leaves_nothing(empty: AsyncEngine) -> None:
    async with empty.begin() as connection:
        await connection.execute(text("CREATE VIEW trial_balance AS SELECT 1"))
    with pytest.raises(asyncpg.DuplicateTableError, match="trial_balance"):
        await migrate(empty)
    assert await names(empty, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == {
        "trial_balance"
    }
