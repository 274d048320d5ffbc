"""`fentan reconcile`: the queue of breaks, what is decided about them by two, and the lock of a period."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.custodian.breaks import Code
from engine.store.database import engine_on
from tests.acceptance.console import Fentan, told
from tests.integration.broken import sent
from tests.integration.worlds import alike

pytestmark = pytest.mark.acceptance

ANNA, BO = ("--as", "anna"), ("--as", "bo")
ON = ("--on", "2019-07-18")


@pytest.fixture
def broken(fentan: Fentan, database_url: str, tmp_path: Path) -> None:
    """Eight members asked for their share; 1 and 2 were booked twice, 3 is missing, and 0.55 came from nobody known."""

    async def build() -> None:
        async with engine_on(database_url) as engine:
            teller = await sent(engine, tmp_path, alike(8))
            async with engine.begin() as connection:
                charged = await teller.charged(connection, 1)
                await teller.book(connection, [1, 2])
                await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2], charged)
                await teller.breaks(connection, Code.MISSING_AT_BANK, [3], charged, on_suspense=False)
                await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], 55)

    asyncio.run(build())


def queue(fentan: Fentan, *arguments: str) -> list[int]:
    return [each["break"] for each in told(fentan("reconcile", "breaks", *ON, "--json", *arguments))["breaks"]]


@pytest.mark.usefixtures("broken")
def test_the_queue_and_one_break(fentan: Fentan) -> None:
    assert queue(fentan) == [1, 2, 3, 4]
    for arguments, expected in (
        (["--code", "DUPLICATE_AT_BANK"], [1, 2]),
        (["--run", "1"], [1, 2, 3]),
        (["--plan", "xianghubao", "--custodian", "generic-csv"], [1, 2, 3, 4]),
        (["--state", "resolved"], []),
        (["--age", "2-3"], [1, 2, 3, 4]),
        (["--age", "> 30"], []),
        (["--severity", "high"], []),
        (["--limit", "2"], [1, 2]),
        (["--limit", "2", "--after", "2"], [3, 4]),
    ):
        assert queue(fentan, *arguments) == expected, arguments
    page = told(fentan("reconcile", "breaks", *ON, "--json", "--limit", "2"))
    assert page["after"] == 2
    assert page["counts"][0] == {
        "code": "MISSING_AT_BANK", "state": "open", "count": 1, "amount": page["breaks"][0]["amount"],
        "suspense": "0.00",
    }  # fmt: skip
    shown = fentan("reconcile", "breaks", *ON).out
    for said in ("DUPLICATE_AT_BANK", "run 1, seat 2", "MISSING_IN_LEDGER", "0.55", "2-3", "low"):
        assert said in shown
    assert fentan("reconcile", "breaks", "--state", "resolved").out == "no break is so\n"
    one = told(fentan("reconcile", "break", "1", *ON, "--json"))
    assert (one["seat"], one["business_days"], one["actions"]) == (1, 2, ["give back", "write off", "explain"])
    assert "the custodian booked again" in fentan("reconcile", "break", "1", *ON).out


@pytest.mark.usefixtures("broken")
def test_breaks_are_assigned_remarked_on_and_resolved_by_two(fentan: Fentan) -> None:
    assert fentan("reconcile", "assign", "1", "2", "--to", "cara", *ANNA, *ON).out == "2 breaks assigned to cara\n"
    assert queue(fentan, "--mine", "cara") == [1, 2]
    assert fentan("reconcile", "comment", "1", "asked the bank", *BO, *ON).code == 0
    proposed = fentan(
        "reconcile", "resolve", "--code", "DUPLICATE_AT_BANK", "--action", "give back",
        "--reason", "booked twice", "--comment", "the bank agrees", *ANNA, *ON,
    )  # fmt: skip
    assert proposed.code == 0, proposed.err
    assert proposed.out.splitlines()[0].startswith("decision 1 proposes the resolution of run:1; 2 breaks: give back")
    assert proposed.out.splitlines()[1] == "somebody else approves: fentan decision approve 1 --as NAME"
    assert "ask somebody else" in fentan("decision", "approve", "1", *ANNA).err
    approved = fentan("decision", "approve", "1", *BO)
    assert "decision 1, resolution of run:1, is done" in approved.out
    shown = fentan("reconcile", "break", "1", *ON).out
    for said in ("resolved on 2019-07-18", "asked the bank", "booked twice", "refunds payable", "run:1:decision:1"):
        assert said in shown
    assert queue(fentan) == [3, 4]
    assert fentan("ledger", "verify").code == 0


@pytest.mark.usefixtures("broken")
def test_a_line_without_a_reference_is_matched_to_a_member(fentan: Fentan) -> None:
    resolve = ("reconcile", "resolve", "4", "--reason", "the payer called", *ANNA, *ON)
    refused = fentan(*resolve, "--action", "match")
    assert refused.code == 1
    assert "give --run RUN and --seat SEAT" in refused.err
    assert "give the run, or the plan" in fentan(*resolve, "--action", "give back", "--seat", "5").err
    assert fentan(*resolve, "--action", "give back", "--plan", "xianghubao", "--seat", "5").code == 0
    assert fentan("decision", "refuse", "1", "--reason", "not so", *BO).code == 0
    assert told(fentan("reconcile", "break", "4", "--json"))["state"] == "assigned"
    assert fentan(*resolve, "--action", "give back", "--plan", "xianghubao", "--seat", "99").code == 0
    assert "no seat 99" in fentan("decision", "approve", "2", *BO).err


@pytest.mark.usefixtures("broken")
def test_what_cannot_be_is_refused_with_what_to_do(fentan: Fentan) -> None:
    for arguments, said in (
        (("break", "99"), "there is no break 99; `fentan reconcile breaks`"),
        (("breaks", "--age", "9"), "give one of '0-1'"),
        (("resolve", "--action", "explain", "--reason", "x", *ANNA), "say which breaks"),
        (("resolve", "3", "--action", "explain", "--reason", "x", *ANNA), "possible: ask again or write off"),
        (("lock", "xianghubao", "2019-07-31", *ANNA, "--on", "2019-07-31"), "is not over"),
        (("lock", "xianghubao", "2019-07-16", *ANNA, *ON), "no statement of generic-csv speaks of 2019-07-16"),
        (("breaks", "--custodian", "nobody"), "no custodian nobody is registered"),
    ):
        done = fentan("reconcile", *arguments)
        assert done.code == 1
        assert said in done.err
