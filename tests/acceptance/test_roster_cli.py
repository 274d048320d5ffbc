"""`fentan roster` as a person uses it: make members up, bring them in, change them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.tokens import read_tokens
from engine.ledger.accounts import Account
from engine.roster.columns import ALONE
from engine.roster.plan import register_plan
from engine.roster.presets import load_plan
from engine.settings import load_settings
from engine.store.tables import accounts, audit_log, members, plans
from tests.acceptance.console import Fentan
from tests.integration.prepaid import known
from tests.integration.worlds import alike, build

pytestmark = pytest.mark.acceptance


@pytest.fixture
def roster(fentan: Fentan) -> Fentan:
    """`fentan roster`."""
    return partial(fentan, "roster")


@pytest.fixture
async def plan(engine: AsyncEngine) -> str:
    async with engine.begin() as connection:
        return (await register_plan(connection, load_plan("xianghubao"))).code


async def counted(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(members)) or 0


async def test_made_up_members_come_in_once(roster: Fentan, plan: str, engine: AsyncEngine) -> None:
    made = roster("synth", "--members", "1000", "--seed", "1", "--out", "roster.parquet", "--until", "2019-01-21")
    assert made.out == (
        "roster.parquet: 1,000 members of xianghubao who joined from 2018-11-27 until 2019-01-21, seed 1\n"
    )
    first = roster("import", "roster.parquet", "--plan", plan)
    assert (first.code, first.out) == (0, "roster.parquet: 1,000 members imported into xianghubao\n")
    again = roster("import", "roster.parquet", "--plan", plan)
    assert (again.code, again.out) == (
        0,
        "roster.parquet: 1,000 members already imported, nothing changed\n",
    )
    assert await counted(engine) == 1_000


async def test_a_wrong_file_is_explained_and_changes_nothing(
    roster: Fentan, plan: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    lines = "member_ref,born_on,joined_on\nM1,1990-05-05,2019-01-01\nM 2,1990-05-05,2019-13-01\n"
    (tmp_path / "roster.csv").write_text(lines, "utf-8")
    refused = roster("import", "roster.csv", "--plan", plan)
    assert refused.code == 1
    assert "roster.csv, line 3, member_ref: 'M 2': must be 1 to 64 letters" in refused.err
    assert "roster.csv, line 3, joined_on: '2019-13-01': is not a date" in refused.err
    assert "nothing was changed" in refused.err
    assert "Traceback" not in refused.err
    assert await counted(engine) == 0


async def test_changes_come_in_once(roster: Fentan, plan: str, engine: AsyncEngine, tmp_path: Path) -> None:
    lines = "kind,member_ref,from,until,born_on,tier\njoin,M1,2019-01-01,,1990-05-05,\nexit,M1,2019-02-01,,,\n"
    (tmp_path / "changes.csv").write_text(lines, "utf-8")
    first = roster("change", "changes.csv", "--plan", plan)
    assert (first.code, first.out) == (
        0,
        "changes.csv: 2 changes recorded; the next run of xianghubao has them\n",
    )
    again = roster("change", "changes.csv", "--plan", plan)
    assert again.out == "changes.csv: 2 changes already recorded, nothing changed\n"
    assert await counted(engine) == 1


async def test_accounts_are_sealed_changed_and_shown_to_nobody(
    roster: Fentan, plan: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    lines = "member_ref,born_on,joined_on,account\nM1,1990-05-05,2019-01-01,6222000000000001\n"
    (tmp_path / "roster.csv").write_text(lines, "utf-8")
    assert roster("import", "roster.csv", "--plan", plan).code == 0
    (tmp_path / "accounts.csv").write_text("member_ref,account\nM1,6222000000000002\n", "utf-8")
    first = roster("accounts", "accounts.csv", "--plan", plan, "--as", "anna")
    assert (first.code, first.out) == (
        0,
        "accounts.csv: accounts of 1 members taken; the next debits of xianghubao go there\n",
    )
    again = roster("accounts", "accounts.csv", "--as", "anna")
    assert again.out == "accounts.csv: accounts of 1 members known already, nothing changed\n"
    async with engine.connect() as connection:
        tokens = await read_tokens(connection, 1_000_001, load_settings().account_key)
        decided = (await connection.execute(select(audit_log))).all()
    assert tokens is not None
    assert tokens.account.to_pylist() == ["6222000000000002"]
    assert [(entry.actor, entry.act, entry.detail) for entry in decided] == [
        ("anna", "change accounts", {"members": 1, "shards": 1})
    ]
    (tmp_path / "wrong.csv").write_text("member_ref,account\nM1,6222 0000\nM9,6222000000000009\n", "utf-8")
    refused = roster("accounts", "wrong.csv", "--as", "anna")
    assert (refused.code, refused.out) == (1, "")
    assert "wrong.csv, line 2, account: is not of 1 to 34 letters" in refused.err
    assert "nothing was changed" in refused.err
    for said in (first, again, refused):
        assert "62220000" not in (said.out + said.err).replace(" ", "")
    unnamed = roster("accounts", "accounts.csv", "--plan", plan)
    assert (unnamed.code, "--as" in unnamed.err) == (2, True)


def test_accounts_sealed_under_another_key_are_left_alone(
    roster: Fentan, plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert roster("synth", "--members", "20", "--seed", "3", "--out", "roster.csv").code == 0
    assert roster("import", "roster.csv", "--plan", plan).code == 0
    member_ref = (tmp_path / "roster.csv").read_text("utf-8").splitlines()[1].split(",")[0].strip('"')
    (tmp_path / "accounts.csv").write_text(f"member_ref,account\n{member_ref},6222000000000002\n", "utf-8")
    monkeypatch.setenv("FENTAN_ACCOUNT_KEY", "a key that sealed nothing")
    refused = roster("accounts", "accounts.csv", "--as", "anna")
    assert (refused.code, refused.out) == (1, "")
    assert "set FENTAN_ACCOUNT_KEY to the key they were sealed under" in refused.err
    assert "Traceback" not in refused.err
    assert "a key that" not in refused.err


async def test_the_only_plan_need_not_be_named(roster: Fentan, plan: str, engine: AsyncEngine, tmp_path: Path) -> None:
    lines = "kind,member_ref,from,born_on\njoin,M1,2019-01-01,1990-05-05\n"
    (tmp_path / "changes.csv").write_text(lines, "utf-8")
    assert f"1 changes recorded; the next run of {plan} has them" in roster("change", "changes.csv").out
    async with engine.begin() as connection:
        await register_plan(connection, load_plan("meituan"))
    assert "give --plan CODE; the plans here are meituan, xianghubao" in roster("change", "changes.csv").err


async def test_an_import_registers_a_plan_of_config_plans(roster: Fentan, engine: AsyncEngine, tmp_path: Path) -> None:
    assert roster("synth", "--members", "20", "--seed", "3").code == 0
    nobody = roster("import", "roster-20-3.parquet", "--plan", "nobody")
    assert "there is no plan 'nobody'; none is registered yet" in nobody.err
    (tmp_path / "wrong.csv").write_text("member_ref,born_on,joined_on\nM 1,1990-05-05,2019-01-01\n", "utf-8")
    assert roster("import", "wrong.csv", "--plan", "xianghubao").code == 1
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(plans)) == 0
    for _ in range(2):
        assert roster("import", "roster-20-3.parquet", "--plan", "xianghubao").code == 0
    assert await counted(engine) == 20
    async with engine.connect() as connection:
        [entry] = (await connection.execute(select(audit_log))).all()
        assert await connection.scalar(select(func.count()).select_from(accounts)) == len(Account)
    assert (entry.actor, entry.act, entry.subject) == ("roster import", "register plan", "plan:xianghubao")


@pytest.mark.parametrize("command", ["import", "change"])
def test_a_damaged_file_is_explained(roster: Fentan, plan: str, tmp_path: Path, command: str) -> None:
    table = pa.table({"member_ref": [f"M{number}" for number in range(5_000)]})
    pyarrow.parquet.write_table(table, tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "damaged.parquet").write_bytes(whole[:-100] + bytes(60) + whole[-40:])
    refused = roster(command, "damaged.parquet", "--plan", plan)
    assert (refused.code, refused.out) == (1, "")
    assert "damaged.parquet: cannot be read" in refused.err
    assert "write the file anew" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "absent.csv", "--plan", "xianghubao"), "absent.csv: cannot be read"),
        (("import", "absent.csv", "--plan", "nobody"), "no plan 'nobody'; the plans here are xianghubao"),
        (("synth", "--members", "0", "--seed", "1", "--out", "r.csv"), "0 members: ask for 1 to"),
        (("synth", "--members", "1", "--seed", "1", "--out", "r.txt"), "name the file .parquet or .csv"),
        (("synth", "--members", "1", "--seed", "1", "--out", "absent/r.csv"), "absent/r.csv: cannot be written"),
        (("synth", "--members", "1", "--seed", "1", "--out", "absent/r.parquet"), "absent/r.parquet: cannot be"),
        (("synth", "--members", "1", "--seed", "1", "--out", "r.csv", "--until", "2018-01-01"), "--until 2018-01-01"),
    ],
)
def test_what_cannot_be_done_is_said(roster: Fentan, plan: str, arguments: tuple[str, ...], said: str) -> None:
    assert plan == "xianghubao"
    refused = roster(*arguments)
    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err


def test_the_same_seed_writes_the_same_bytes(roster: Fentan, tmp_path: Path) -> None:
    for name in ("one.parquet", "two.parquet"):
        assert roster("synth", "--members", "500", "--seed", "7", "--out", name, "--until", "2020-01-01").code == 0
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert pyarrow.parquet.read_metadata(tmp_path / "one.parquet").num_rows == 500


async def test_what_is_paid_for_whom_is_told(fentan: Fentan, engine: AsyncEngine) -> None:
    family = replace(alike(5), payer=np.array([3, ALONE, ALONE, ALONE, 3], dtype=np.int32))
    world = await known(await build(engine, load_plan("xianghubao"), family))
    await world.claim(aid_minor=10)
    await world.sealed()

    def told(*arguments: str) -> str:
        done = fentan(*arguments)
        assert (done.code, done.err) == (0, "")
        return done.out

    assert told("run", "payers", "1") == (
        "run 1 of xianghubao, debited on 2019-07-14: 5 instructions on 3 accounts, 0.15\n"
        "2 of them, 0.06, pay for somebody else of the family\n"
    )
    assert json.loads(told("run", "payers", "1", "--json")) == {
        "run": 1, "plan": "xianghubao", "instructions": 5, "accounts": 3, "family_shares": 2, "amount": "0.15",
        "family_amount": "0.06",
    }  # fmt: skip
    assert told("run", "payers", "1", "--member", "M3").splitlines() == [
        "run 1 debits M3's account 3 times, 0.09",
        "   1          0.03  their own share",
        "   2          0.03  for M0",
        "   3          0.03  for M4",
    ]
    assert told("run", "payers", "1", "--member", "M4").splitlines() == [
        "run 1 debits M4's account 0 times, 0.00",
        "M4's own share is debited to M3's account",
    ]
    assert json.loads(told("run", "payers", "1", "--member", "M4", "--json")) == {
        "run": 1, "member": "M4", "paid_by": "M3", "debits": [],
    }  # fmt: skip
    assert "charge on M3's account    1  contributions receivable" in told("ledger", "member", "M4")
    assert told("ledger", "member", "M3").splitlines()[-2:] == [
        "paid 0.03 for M0 in run 1",
        "paid 0.03 for M4 in run 1",
    ]
    seat = json.loads(told("ledger", "member", "M3", "--json"))["seats"][0]
    assert seat["paid_for_others"][1] == {"run": 1, "date": "2019-07-14", "member": "M4", "amount": "0.03"}
