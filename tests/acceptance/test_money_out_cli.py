"""`fentan reconcile pay`, `refund` and `close`: money out by two people, and the end of a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.custodian.desk import Desk
from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.reconcile.closing import settle_if_done
from engine.reconcile.instructing import instruct
from engine.roster.plan import plan_of, rules_of
from engine.settings import load_settings
from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told
from tests.integration import money_out
from tests.integration.money_out import NOW, out, paid, sent
from tests.integration.worlds import DEBIT, World

pytestmark = pytest.mark.acceptance

ROSTER = "member_ref,born_on,joined_on,account\n" + "".join(
    f"M{number},1990-05-05,2019-01-01,6222020000{number:06}\n" for number in range(20)
)
ANNA, BO = ("--as", "anna"), ("--as", "bo")
ON = ("--on", "2019-07-16")
DAY = date(2019, 7, 16)

InWorld = Callable[[Callable[[World], Any]], Any]


@pytest.fixture
def in_world(database_url: str) -> InWorld:
    """Do something with the plan's world that no command does."""

    def done(what: Callable[[World], Any]) -> Any:
        async def opened() -> Any:
            async with engine_on(database_url) as engine:
                async with engine.connect() as connection:
                    plan = await plan_of(connection, "xianghubao")
                    rules = await rules_of(connection, plan.plan_id, plan.version)
                return await what(World(engine, plan, rules))

        return asyncio.run(opened())

    return done


@pytest.fixture
def sealed(fentan: Fentan, in_world: InWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealed run that charged each of twenty members 0.06, and a custodian that holds the plan's money."""
    monkeypatch.setenv("CUSTODIAN_GENERIC_ACCOUNT", "6222000000000001")
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    for arguments in (
        ("plan", "register", "xianghubao", *ANNA),
        ("roster", "import", "roster.csv", "--plan", "xianghubao"),
        ("custodian", "register", "generic-csv", *ANNA),
        ("custodian", "assign", "generic-csv", "xianghubao", *ANNA),
        ("claim", "file", "--plan", "xianghubao", "--member", "M1", "--diagnosed-on", "2019-06-01", "--aid", "1.00",
         "--on", "2019-07-01", *ANNA),
        ("claim", "publish", "1", "--on", "2019-07-07", *BO),
        ("claim", "pass", "1", "--on", "2019-07-10", *BO),
    ):  # fmt: skip
        done = fentan(*arguments)
        assert done.code == 0, done.err
    in_world(lambda world: world.sealed())


async def collected(world: World) -> None:
    """Everybody was asked, and everybody paid."""
    async with world.engine.begin() as connection:
        await instruct(connection, 1, Desk.of(load_settings(), {"CUSTODIAN_GENERIC_ACCOUNT": "6222000000000001"}),
                       on=DEBIT, now=NOW, actor="anna")  # fmt: skip
    await sent(world)
    await paid(world, 1, 1, range(20), DAY, "statement:1")
    async with world.engine.begin() as connection:
        await settle_if_done(connection, 1, on=DAY, actor="anna")


async def payout_booked(world: World) -> None:
    await sent(world)
    await out(world, 1_00, DAY, "run:1:statement:2:2019-07-16")
    await money_out.told(world, Kind.PAYOUT, 1, world.shard(0), State.BOOKED, [1], "statement:2")


async def given(world: World) -> None:
    """Two members are owed 0.30 and 0.70 back."""
    refunds, cash = (account_id(world.plan_id, code) for code in (Account.REFUNDS_PAYABLE, Account.CUSTODIAN_CASH))
    segment = Segment(refunds, np.array([-30, -70], np.int64), np.array([3, 5], np.int32))
    async with world.engine.begin() as connection:
        await post(
            connection, Journal(world.shard(1), "given", "settlement", DAY, {cash: 100, refunds: -100}, (segment,))
        )


def test_the_aid_goes_out_and_the_run_is_closed(
    fentan: Fentan, in_world: InWorld, sealed: None, tmp_path: Path
) -> None:
    assert refused(fentan("reconcile", "pay", "1", *ON, *ANNA)) == (
        "run:1 is sealed; xianghubao pays aid once the run is settled (payout.when)"
    )
    in_world(collected)
    assert refused(fentan("run", "void", "1", "--reason", "no", *ANNA)).startswith(
        "run:1 is settled: its debits were asked of the custodian; correct what it charged"
    )
    assert refused(fentan("reconcile", "close", "1", *ON, *ANNA)) == (
        "run:1 cannot be closed yet:\n1.00 of aid is not paid, of 1 claim; "
        "`fentan reconcile pay 1 --as NAME` proposes it"
    )
    shown = told(fentan("run", "show", "1", "--json"))
    assert list(shown["since"]) == ["sealed", "collecting", "settled"]
    assert len(shown["missing_to_close"]) == 1
    words = said(fentan("run", "show", "1"))
    assert "before it can be closed: 1.00 of aid is not paid" in words
    assert "settled since" in words
    assert said(fentan("reconcile", "pay", "1", *ON, *ANNA)) == (
        "decision 1, effective on 2019-07-16: 1.00 of aid to 1 claimants "
        "it waits for somebody else: `fentan decision approve 1 --as NAME`"
    )
    assert "ask somebody else" in refused(fentan("decision", "approve", "1", *ANNA))
    assert "amount 1.00" in said(fentan("decision", "approve", "1", *BO))
    folder = tmp_path / "data" / "custodian" / "generic-csv" / "debits"
    assert any("6222020000000001,1.00" in file.read_text("utf-8") for file in folder.glob("*.csv"))
    in_world(payout_booked)
    assert said(fentan("reconcile", "close", "1", *ON, *ANNA)) == "run 1 is closed"
    shown = told(fentan("run", "show", "1", "--json"))
    assert (shown["state"], shown["missing_to_close"]) == ("closed", [])
    assert said(fentan("run", "watch", "1")).endswith("run 1 is closed")


def test_members_are_paid_what_they_are_owed_back(
    fentan: Fentan, in_world: InWorld, sealed: None, tmp_path: Path
) -> None:
    assert refused(fentan("reconcile", "refund", "xianghubao", *ON, *ANNA)) == "xianghubao owes no member anything back"
    in_world(given)
    assert said(fentan("reconcile", "refund", "xianghubao", *ON, *ANNA)).startswith(
        "decision 1, effective on 2019-07-16: 1.00 is paid back to 2 members"
    )
    assert "seats 2; amount 1.00" in said(fentan("decision", "approve", "1", *BO))
    (file,) = (tmp_path / "data" / "custodian" / "generic-csv" / "debits").glob("*.csv")
    lines = file.read_text("utf-8").splitlines()[1:]
    assert [line.split(",")[1:3] for line in lines] == [["6222020000000003", "0.30"], ["6222020000000005", "0.70"]]
    shown = told(fentan("decision", "show", "1", "--json"))
    assert "6222020000" not in json.dumps(shown), "no account stands in a decision"


def test_what_is_not_there_is_said(fentan: Fentan, sealed: None) -> None:
    assert (
        refused(fentan("reconcile", "pay", "404", *ANNA))
        == "there is no run 404; `fentan run list` shows those there are"
    )
    assert refused(fentan("reconcile", "close", "1", *ON, *ANNA)) == (
        "run:1 is sealed; a run is closed once it is settled"
    )
    assert refused(fentan("reconcile", "refund", "nowhere", *ANNA)).startswith("there is no plan 'nowhere'")
