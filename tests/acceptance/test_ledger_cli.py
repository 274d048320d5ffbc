"""`fentan ledger` as finance uses it: a plan of three members after one sealed run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.ledger.accounts import Account, account_id, open_accounts, plan_shard
from engine.ledger.journals import Journal, post
from engine.ledger.seal import climb, leaf_hash, sealed_root, tree_root
from engine.roster.columns import read_tags
from engine.roster.plan import plan_of, register_plan
from engine.roster.presets import load_plan
from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told
from tests.integration.books import DAY, charge

pytestmark = pytest.mark.acceptance

ROSTER = """member_ref,born_on,joined_on
M1,1990-05-05,2019-01-01
M2,1975-05-05,2018-11-01
M3,1985-05-05,2019-01-01
"""


@pytest.fixture
async def registered(database_url: str) -> None:
    async with engine_on(database_url) as engine, engine.begin() as connection:
        await open_accounts(connection, (await register_plan(connection, load_plan("xianghubao"))).plan_id)


@pytest.fixture
def imported(fentan: Fentan, registered: None, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", "xianghubao").code == 0


@pytest.fixture
async def sealed(fentan: Fentan, imported: None, database_url: str) -> Fentan:
    """`fentan` on a database where one run charged M1 and M3 1,234.56 each and the sponsor for M2."""
    async with engine_on(database_url) as engine, engine.begin() as connection:
        plan_id = (await plan_of(connection, "xianghubao")).plan_id
        shard = plan_shard(plan_id) + 1
        await post(connection, charge(shard, [123_456, 0, 123_456], waived=[0, 123_456, 0], run_id=1))
        clearing, fee = account_id(plan_id, Account.RUN_CLEARING), account_id(plan_id, Account.MANAGEMENT_FEE_INCOME)
        lines = {clearing: 3 * 123_456, fee: -3 * 123_456}
        await post(connection, Journal(plan_shard(plan_id), "run:1:seal", "seal", DAY, lines, run_id=1))
        amounts = b"".join(amount.to_bytes(8, "little") for amount in [123_456] * 3)
        root = leaf_hash(amounts + await read_tags(connection, shard, 3))
        await connection.execute(
            text(
                "INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by, root, carry_in,"
                " ledger_seq) VALUES (:plan, 1, '2019-01-21', 'sealed', 'anna', :root, 0, 0)"
            ),
            {"plan": plan_id, "root": sealed_root(None, tree_root([root]))},
        )
        await connection.execute(
            text(
                "INSERT INTO run_shards (shard_id, run_id, phase, state, roster_version, ledger_seq, seats, root)"
                " VALUES (:shard, 1, 'post', 'done', 1, 0, 3, :root)"
            ),
            {"shard": shard, "root": root},
        )
        await connection.execute(text("UPDATE plans SET last_root = (SELECT root FROM share_runs)"))
    return fentan


PLAN = ("--plan", "xianghubao")


def test_trial_balance(sealed: Fentan) -> None:
    assert sealed("ledger", "trial-balance", *PLAN).out.splitlines() == [
        "xianghubao",
        "code  account                      debit    credit",
        "1210  contributions receivable  2,469.12",
        "1310  sponsor waivers           1,234.56",
        "3111  run clearing",
        "4111  management fee income               3,703.68",
        "                                3,703.68  3,703.68",
        "difference 0.00",
    ]
    found = told(sealed("ledger", "trial-balance", *PLAN, "--json"))
    assert (found["debit"], found["credit"], found["difference"]) == ("3703.68", "3703.68", "0.00")
    assert found["accounts"][0] == {
        "account": 1210,
        "name": "contributions receivable",
        "debit": "2469.12",
        "credit": "0.00",
    }
    assert told(sealed("ledger", "trial-balance", "--json")) == {"plans": [found]}
    before = told(sealed("ledger", "trial-balance", *PLAN, "--as-of", "2019-01-20", "--json"))
    assert (before["accounts"], before["difference"], before["as_of"]) == ([], "0.00", "2019-01-20")


def test_a_members_statement(sealed: Fentan) -> None:
    assert sealed("ledger", "member", "M3", *PLAN).out.splitlines() == [
        "M3, seat 2",
        "date        kind    run  account                     amount   balance",
        "2019-01-21  charge    1  contributions receivable  1,234.56  1,234.56",
        "owes 1,234.56; the sponsor paid 0.00 that was waived",
    ]
    waived = told(sealed("ledger", "member", "M2", *PLAN, "--json"))
    assert waived == {
        "plan": "xianghubao",
        "member": "M2",
        "seats": [
            {
                "seat": 1,
                "owed": "0.00",
                "waived": "1234.56",
                "entries": [
                    {
                        "seq": 1,
                        "date": "2019-01-21",
                        "kind": "charge",
                        "run": 1,
                        "account": 1310,
                        "name": "sponsor waivers",
                        "amount": "1234.56",
                        "balance": "1234.56",
                        "paid_by": None,
                    }
                ],
                "paid_for_others": [],
            }
        ],
    }
    assert "M9: no such member of the plan" in refused(sealed("ledger", "member", "M9", *PLAN))
    assert "no plan 'nowhere'" in refused(sealed("ledger", "member", "M1", "--plan", "nowhere"))


def test_entries(sealed: Fentan) -> None:
    everything = told(sealed("ledger", "entries", "--json"))
    assert [(row["seat"], row["account"], row["amount"]) for row in everything] == [
        (0, 1210, "1234.56"),
        (2, 1210, "1234.56"),
        (1, 1310, "1234.56"),
    ]
    rows = list(csv.DictReader(io.StringIO(sealed("ledger", "entries", *PLAN, "--run", "1", "--csv").out)))
    assert [{key: str(value) for key, value in row.items()} for row in everything] == rows
    assert told(sealed("ledger", "entries", *PLAN, "--member", "M3", "--json")) == everything[1:2]
    assert told(sealed("ledger", "entries", *PLAN, "--seat", "1", "--json")) == everything[2:]
    assert told(sealed("ledger", "entries", "--run", "2", "--json")) == []
    assert said(sealed("ledger", "entries", "--limit", "2")).endswith("2 entries; --limit allows no more")
    assert told(sealed("ledger", "entries", "--seat", "1", "--json")) == everything[2:]
    assert "either --seat N or --member" in refused(sealed("ledger", "entries", "--seat", "1", "--member", "M3"))


ONE_PLAN = [("member", "M3"), ("entries", "--member", "M3"), ("entries", "--seat", "2"), ("proof", "1", "M3")]


@pytest.mark.parametrize("command", ONE_PLAN)
def test_the_only_plan_need_not_be_named(sealed: Fentan, command: tuple[str, ...]) -> None:
    assert told(sealed("ledger", *command, "--json")) == told(sealed("ledger", *command, *PLAN, "--json"))


@pytest.fixture
async def two_plans(sealed: Fentan, database_url: str) -> Fentan:
    async with engine_on(database_url) as engine, engine.begin() as connection:
        await register_plan(connection, load_plan("meituan"))
    return sealed


@pytest.mark.parametrize("command", ONE_PLAN)
def test_one_of_several_plans_must_be_named(two_plans: Fentan, command: tuple[str, ...]) -> None:
    assert refused(two_plans("ledger", *command)) == "give --plan CODE; the plans here are meituan, xianghubao"


@pytest.mark.parametrize(
    "command",
    [("entries", "--run", str(2**63)), ("entries", "--seat", str(2**31)), ("proof", str(2**63), "M1")],
)
def test_numbers_that_the_database_cannot_hold_are_refused(fentan: Fentan, command: tuple[str, ...]) -> None:
    done = fentan("ledger", *command)
    assert done.code == 2
    assert "Invalid value for" in done.err


def test_a_proof_can_be_checked_by_hand(sealed: Fentan) -> None:
    proof = told(sealed("ledger", "proof", "1", "M2", *PLAN, "--json"))
    assert (proof["holds"], proof["amount"], proof["seat"]) == (True, "1234.56", 1)
    assert proof["tag"] == proof["leaf"]["tags"][1]
    amounts = [int(amount.replace(".", "")).to_bytes(8, "little") for amount in proof["leaf"]["amounts"]]
    leaf = leaf_hash(b"".join(amounts) + b"".join(map(bytes.fromhex, proof["leaf"]["tags"])))
    assert proof["steps"] == []
    assert sealed_root(proof["previous_root"], climb(leaf, [])).hex() == proof["root"]
    assert said(sealed("ledger", "proof", "1", "M2", *PLAN)).endswith(f"{proof['root']}: it holds")
    assert "not a sealed run" in refused(sealed("ledger", "proof", "2", "M2", *PLAN))


def test_verify(sealed: Fentan) -> None:
    assert said(sealed("ledger", "verify", *PLAN)).endswith("the ledger holds")
    assert told(sealed("ledger", "verify", "--json"))["ok"] is True


@pytest.fixture
async def forged(sealed: Fentan, database_url: str) -> Fentan:
    async with engine_on(database_url) as engine, engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("UPDATE posting_segments SET digest = 'forged' WHERE account_id % 10000 = 1310"))
    return sealed


def test_verify_fails_where_something_was_forged(forged: Fentan) -> None:
    failed = forged("ledger", "verify")
    assert failed.code == 1
    assert "[I2] shard 1000001 journal 1: the segment of account 1001310 does not hash to its digest" in failed.out
    failed = forged("ledger", "verify", "--json")
    assert failed.code == 1
    assert json.loads(failed.out)["problems"][0]["place"] == "shard 1000001 journal 1"
