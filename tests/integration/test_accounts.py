"""Accounts on real PostgreSQL: brought in with a roster, changed by a file, sealed by shard, and opened by one key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.tokens import TamperedTokens, WrongAccountKey, key_id_of, read_tokens
from engine.errors import InvalidInput
from engine.roster.accounts import Changed, change_accounts
from engine.roster.change_files import change_roster
from engine.roster.imports import import_roster
from engine.roster.plan import Plan, register_plan
from engine.roster.presets import load_plan
from engine.roster.synth import write_synthetic
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, account_tokens, audit_log, members

pytestmark = pytest.mark.integration

TAG_KEY = b"a key of the tests"
KEY, OTHER = SecretStr("an account key of the tests"), SecretStr("another account key of the tests")
HEADER = "member_ref,born_on,joined_on,account,mandate_id,mandate_signed_on"
ACCOUNTS = "member_ref,account,mandate_id,mandate_signed_on"
SIGNED = date(2018, 12, 1)

Bring = Callable[..., Awaitable[Any]]


@pytest.fixture
async def plan(engine: AsyncEngine) -> Plan:
    async with engine.begin() as connection:
        return await register_plan(connection, load_plan("xianghubao"))


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


@pytest.fixture
def enrolled(engine: AsyncEngine, plan: Plan, tmp_path: Path) -> Bring:
    """Import members, each a line without its dates, in a transaction of its own."""

    async def bring(*lines: str, header: str = HEADER, key: SecretStr | None = KEY) -> None:
        rows = [line.replace(",", ",1990-05-05,2019-01-01,", 1) for line in lines]
        (tmp_path / "roster.csv").write_text("\n".join([header, *rows, ""]), "utf-8")
        async with engine.begin() as connection:
            await import_roster(connection, plan, tmp_path / "roster.csv", tag_key=TAG_KEY, account_key=key)

    return bring


@pytest.fixture
def changed(engine: AsyncEngine, plan: Plan, tmp_path: Path) -> Bring:
    """Change accounts by the lines, in a transaction of its own."""

    async def bring(*lines: str, header: str = ACCOUNTS, key: SecretStr = KEY) -> Changed:
        (tmp_path / "accounts.csv").write_text("\n".join([header, *lines, ""]), "utf-8")
        async with engine.begin() as connection:
            return await change_accounts(connection, plan, tmp_path / "accounts.csv", account_key=key, actor="anna")

    return bring


@pytest.fixture
def happened(engine: AsyncEngine, plan: Plan, tmp_path: Path) -> Bring:
    """Bring changes of members in."""

    async def bring(*lines: str) -> None:
        (tmp_path / "changes.csv").write_text("\n".join(["kind,member_ref,from,born_on", *lines, ""]), "utf-8")
        async with engine.begin() as connection:
            await change_roster(connection, plan, tmp_path / "changes.csv", tag_key=TAG_KEY)

    return bring


async def known(connection: AsyncConnection, plan: Plan, number: int = 1) -> list[tuple[Any, ...]]:
    """Account, mandate and day of signature of every seat of a shard."""
    tokens = await read_tokens(connection, plan.plan_id * PLAN_STRIDE + number, KEY)
    assert tokens is not None
    mandates = [None] * len(tokens) if tokens.mandate_id is None else tokens.mandate_id.to_pylist()
    return [*zip(tokens.account.to_pylist(), mandates, tokens.signed_dates.to_pylist(), strict=True)]


async def versions(connection: AsyncConnection) -> list[tuple[int, int]]:
    """(shard's number, version) of every blob there is."""
    found = await connection.execute(select(account_tokens).order_by(account_tokens.c.shard_id, text("version")))
    return [(row.shard_id % PLAN_STRIDE, row.version) for row in found]


async def test_accounts_come_in_with_a_roster(enrolled: Bring, connection: AsyncConnection, plan: Plan) -> None:
    await enrolled("M1,6222000000000001,MD1,2018-12-01", "M2,,,", "M3,DE89370400440532013000,MD-3,")
    assert await known(connection, plan) == [
        ("6222000000000001", "MD1", SIGNED),
        (None, None, None),
        ("DE89370400440532013000", "MD-3", None),
    ]
    row = (await connection.execute(select(account_tokens))).one()
    assert (row.shard_id, row.version, row.key_id) == (plan.plan_id * PLAN_STRIDE + 1, 1, key_id_of(KEY))
    assert b"6222" not in row.blob


async def test_a_roster_without_accounts_seals_nothing(
    enrolled: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,", header="member_ref,born_on,joined_on,account", key=None)
    assert await versions(connection) == []
    assert await read_tokens(connection, plan.plan_id * PLAN_STRIDE + 1, KEY) is None


async def test_seats_given_later_extend_the_shard(
    enrolled: Bring, happened: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,1,,", "M2,,,")
    await happened("join,M3,2019-02-01,1990-05-05")
    assert [account for account, *_ in await known(connection, plan)] == ["1", None, None]
    await enrolled("M4,", header="member_ref,born_on,joined_on,account")
    assert await versions(connection) == [(1, 1)]
    await enrolled("M5,55,MD5,2018-12-01", "M6,666,,")
    assert await versions(connection) == [(1, 1), (1, 2)]
    nobody = (None, None, None)
    assert await known(connection, plan) == [
        ("1", None, None), nobody, nobody, nobody, ("55", "MD5", SIGNED), ("666", None, None),
    ]  # fmt: skip


async def test_a_file_changes_accounts_and_the_old_version_stays(
    enrolled: Bring, changed: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,1,MD1,2018-12-01", "M2,2,MD2,2018-12-01", "M3,3,MD3,2018-12-01")
    assert await changed("M3,33333,NEW,2018-12-01", "M1,11,,") == Changed(2, 1)
    assert await known(connection, plan) == [
        ("11", None, None), ("2", "MD2", SIGNED), ("33333", "NEW", SIGNED),
    ]  # fmt: skip
    assert await versions(connection) == [(1, 1), (1, 2)]
    assert await changed("M3,33333,NEW,2018-12-01", "M1,11,,") == Changed(2, 0)
    assert await versions(connection) == [(1, 1), (1, 2)]
    # Back again is a change like any other.
    assert await changed("M1,1,MD1,2018-12-01") == Changed(1, 1)
    assert (await known(connection, plan))[0] == ("1", "MD1", SIGNED)
    log = (await connection.execute(select(audit_log).where(audit_log.c.act == "change accounts"))).all()
    assert [(row.actor, row.subject, row.detail) for row in log] == [
        ("anna", "plan:xianghubao", {"members": 2, "shards": 1}),
        ("anna", "plan:xianghubao", {"members": 1, "shards": 1}),
    ]


async def test_members_who_came_without_get_theirs_by_a_file(
    happened: Bring, changed: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await happened("join,M1,2019-02-01,1990-05-05", "join,M2,2019-02-01,1990-05-05")
    assert await changed("M2,2", header="member_ref,account") == Changed(1, 1)
    assert await known(connection, plan) == [(None, None, None), ("2", None, None)]


async def test_who_left_and_came_back_is_known_by_one_account_in_both_seats(
    enrolled: Bring, happened: Bring, changed: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,1,,", "M2,2,,")
    await happened("exit,M1,2019-02-01,", "exit,M2,2019-02-01,", "join,M1,2019-03-01,1990-05-05")
    # Who left may still owe a share.
    assert await changed("M1,11,,", "M2,22,,") == Changed(2, 1)
    assert [account for account, *_ in await known(connection, plan)] == ["11", "22", "11"]


async def test_only_the_shards_touched_get_a_new_version(
    engine: AsyncEngine, changed: Bring, connection: AsyncConnection, plan: Plan, tmp_path: Path
) -> None:
    path, count = tmp_path / "roster.parquet", 2 * SHARD_SEATS + 10
    rules = load_plan("xianghubao").model_copy(update={"currency": "EUR"})
    write_synthetic(path, count, 1, rules, joined_from=date(2018, 12, 1), joined_until=date(2019, 1, 1))
    async with engine.begin() as importing:
        await import_roster(importing, plan, path, tag_key=TAG_KEY, account_key=KEY)
    made = pyarrow.parquet.read_table(path)
    for number in (1, 2, 3):
        rows = made.slice((number - 1) * SHARD_SEATS, SHARD_SEATS)
        columns = [rows[name].to_pylist() for name in ("account", "mandate_id", "mandate_signed_on")]
        assert await known(connection, plan, number) == [*zip(*columns, strict=True)]
    refs = made["member_ref"].to_pylist()
    assert await changed(f"{refs[-1]},9,,", f"{refs[5]},5,,") == Changed(2, 2)
    assert await versions(connection) == [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2)]
    assert (await known(connection, plan))[4:6] == [
        (made["account"][4].as_py(), f"MD{refs[4]}", made["joined_on"][4].as_py()),
        ("5", None, None),
    ]
    assert (await known(connection, plan, 3))[-1] == ("9", None, None)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "holds no accounts; nothing was changed"),
        (("M1,9,,", "M7,7,,"), "line 3, member_ref: 'M7': is no member of xianghubao"),
        (("M1,9,,", "M2,8,,", "M1,7,,"), "line 4, member_ref: 'M1': stands here twice; which account is right?"),
        (("M1,,,",), "line 2, account: is missing; every line needs one"),
        (("M1,9 9,,",), "line 2, account: is not of 1 to 34 letters"),
        (("M1,9,,2018-12-01",), "line 2, mandate_signed_on: '2018-12-01': is given, and no mandate_id"),
    ],
)
async def test_a_refused_file_changes_nothing(
    enrolled: Bring, changed: Bring, connection: AsyncConnection, plan: Plan, lines: tuple[str, ...], said: str
) -> None:
    await enrolled("M1,1,,", "M2,2,,")
    with pytest.raises(InvalidInput) as refused:
        await changed(*lines)
    assert said in str(refused.value)
    assert await versions(connection) == [(1, 1)]


async def test_a_wrong_account_refuses_the_whole_roster(enrolled: Bring, connection: AsyncConnection) -> None:
    with pytest.raises(InvalidInput, match="line 3, account: is not of 1 to 34") as refused:
        await enrolled("M1,1,,", "M2,secret account,,")
    assert "secret" not in str(refused.value)
    with pytest.raises(InvalidInput, match="no key to seal them under"):
        await enrolled("M1,1,,", key=None)
    assert await versions(connection) == []
    assert await connection.scalar(select(func.count()).select_from(members)) == 0


async def test_another_key_opens_nothing_and_adds_nothing(
    enrolled: Bring, changed: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,1,,")
    shard_id = plan.plan_id * PLAN_STRIDE + 1
    said = f"sealed under the key {key_id_of(KEY)}, and account_key is {key_id_of(OTHER)}; set FENTAN_ACCOUNT_KEY"
    with pytest.raises(WrongAccountKey, match=said):
        await read_tokens(connection, shard_id, OTHER)
    with pytest.raises(WrongAccountKey):
        await changed("M1,2,,", key=OTHER)
    with pytest.raises(WrongAccountKey):
        await enrolled("M2,2,,", key=OTHER)
    assert await versions(connection) == [(1, 1)]
    assert await known(connection, plan) == [("1", None, None)]


async def test_a_blob_changed_or_moved_in_the_database_is_refused(
    engine: AsyncEngine, enrolled: Bring, changed: Bring, connection: AsyncConnection, plan: Plan
) -> None:
    await enrolled("M1,1,,")
    await changed("M1,2,,")
    for change in (
        "UPDATE account_tokens SET version = 3 WHERE version = 1",
        "UPDATE account_tokens SET blob = set_byte(blob, 30, get_byte(blob, 30) # 1) WHERE version = 3",
    ):
        async with engine.begin() as writing:
            await writing.execute(text(change))
        with pytest.raises(TamperedTokens, match="version 3 are not as they were sealed"):
            await known(connection, plan)
        await connection.rollback()
