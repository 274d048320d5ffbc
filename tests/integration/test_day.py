"""A custodian's day as its timer runs it: one bad file stops nothing, what the environment lacks is no file's fault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.desk import Desk
from engine.custodian.routes import NotSet
from engine.ledger.accounts import Account, account_id, plan_shard
from engine.ledger.journals import Journal, post
from engine.reconcile.day import CustodianDay, play_day
from tests.integration.bank_statement import BOOKED_ON, TODAY, Line, statement
from tests.integration.custody import Custody, custody, debit
from tests.integration.test_taking import camt

pytestmark = pytest.mark.integration


async def day(world: Custody, environment: Mapping[str, str] | None = None) -> CustodianDay:
    desk = Desk(world.folder, SecretStr("a key of the tests"), environment or {})
    now = datetime.combine(TODAY, time(9), UTC)
    return await play_day(world.engine, world.custodian, desk, on=TODAY, now=now, actor="fay")


def came(world: Custody, name: str, text: str) -> Path:
    box = world.folder / "generic-csv" / "in"
    box.mkdir(parents=True, exist_ok=True)
    (box / name).write_text(text, "utf-8")
    return box / name


async def test_one_bad_file_stops_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 1)
    await world.owing([300])
    await world.asked({1: [0]})
    # As nothing should: the key of the first statement's journal is another's.
    lines = {
        account_id(world.world.plan_id, code): sign for code, sign in [(Account.SUSPENSE, 1), (Account.INTEREST, -1)]
    }
    async with engine.begin() as connection:
        shard = plan_shard(world.world.plan_id)
        await post(connection, Journal(shard, f"statement:1:{BOOKED_ON}", "entry", BOOKED_ON, lines))
    came(world, "1.txt", "nothing that anybody knows\n")
    came(world, "2.csv", statement([Line(-2, "", "charge")]))
    came(world, "3.csv", statement([Line(300, debit(0))]))
    done = await day(world)
    assert [(each.name, bool(each.refused), each.needs_a_person) for each in done.files] == [
        ("1.txt", True, True), ("2.csv", True, True), ("3.csv", False, False),
    ]  # fmt: skip
    assert done.files[0].refused.startswith("line 1: is neither XML nor MT940")
    assert f"statement:1:{BOOKED_ON}" in done.files[1].refused
    assert await world.states() == ["booked"]
    assert await world.rows("SELECT state, file FROM statements") == [("taken", "3.csv")]
    taken = world.folder / "generic-csv" / "in" / "taken"
    assert sorted(path.name for path in taken.iterdir()) == ["1.txt", "2.csv", "3.csv"]
    acts = "SELECT act FROM audit_log WHERE act LIKE '%statement file' ORDER BY audit_id"
    assert await world.rows(acts) == [("refuse statement file",)] * 2 + [("import statement file",)]


async def test_what_the_environment_lacks_stops_the_day_and_the_file_waits(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, books_from="camt.053")
    file = came(world, "one.xml", camt(1))
    with pytest.raises(NotSet, match="set CUSTODIAN_GENERIC_ACCOUNT in the environment"):
        await day(world)
    assert file.is_file()
    (told,) = (await day(world, {"CUSTODIAN_GENERIC_ACCOUNT": "6222000011"})).files
    assert [each.state for each in told.statements] == ["taken"]
