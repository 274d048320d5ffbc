"""A scheduler sees a missed slot, finance ends the plan, and the books say what every balance is."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from engine.members.collection import collect
from engine.store.database import engine_on
from tests.acceptance.console import Fentan, refused, said, told
from tests.integration.worlds import DEBIT, LATE_JULY, World, alike, build, rules_of_preset

pytestmark = pytest.mark.acceptance

RULES: dict[str, Any] = {
    "ends_on": "2019-08-31",
    "wind_down": {"announced_on": "2019-08-10", "claims_within_days": 30, "refund": "shares"},
    "caps": {"per_case": None, "per_year": None},
    "exits": {"at_age": None, "after_aid": None},
}
ANNA, BO = ("--as", "anna"), ("--as", "bo")
PLAN = ("--plan", "xianghubao")


@pytest.fixture
async def shared(database_url: str) -> None:
    """Ten members paid 10.81 each for a claim of July, all but one; another claim waits since the end of July."""
    async with engine_on(database_url) as engine:
        world = await build(engine, rules_of_preset(**RULES), alike(10))
        await world.claim(100_03)
        run = await world.sealed(DEBIT)
        await _all_but_one_pay(world, run.run_id)
        await world.claim(20_00, LATE_JULY)


async def _all_but_one_pay(world: World, run_id: int) -> None:
    import numpy as np

    async with world.engine.begin() as connection:
        await collect(connection, run_id, world.shard(1), np.arange(9, dtype=np.int32), on=date(2019, 7, 15))


MISSED = (
    "2019-07-28 was missed: run it, late as it is, with `fentan run plan --plan xianghubao --debit-on 2019-07-28 "
    "--as NAME`, or decide to skip it with `fentan run skip --plan xianghubao --debit-on 2019-07-28 --reason TEXT "
    "--as NAME`"
)


def test_a_missed_slot_is_shown_and_skipped_by_decision(fentan: Fentan, shared: None) -> None:
    shown = said(fentan("run", "slots", *PLAN, "--on", "2019-08-10"))
    assert "run 1, sealed" in shown
    assert "no run, though something waited" in shown
    assert shown.endswith(f" {MISSED}")
    message = refused(fentan("run", "plan", *PLAN, "--debit-on", "2019-08-14", *ANNA))
    assert message.startswith("xianghubao would go past its slot of 2019-07-28, for which 1 passed claim waits; run")
    skip = ("run", "skip", *PLAN, "--debit-on", "2019-07-28", "--reason", "the bank was closed", *ANNA)
    assert said(fentan(*skip)) == (
        "xianghubao: the slot of 2019-07-28 is skipped by anna; 1 claim that waited for it will go with the next run"
    )
    assert refused(fentan(*skip)) == "the slot of 2019-07-28 was skipped already, by anna"
    answer = told(fentan("run", "slots", *PLAN, "--on", "2019-08-10", "--json"))
    assert (answer["on"], answer["any_day"], answer["overdue"]) == ("2019-08-10", False, [])
    assert answer["slots"] == [
        {
            "debit_on": "2019-07-14", "state": "run", "claims": 1, "run_id": 1, "run_state": "sealed",
            "skipped_by": None, "reason": None,
        },
        {
            "debit_on": "2019-07-28", "state": "skipped", "claims": 1, "run_id": None, "run_state": None,
            "skipped_by": "anna", "reason": "the bank was closed",
        },
        {
            "debit_on": "2019-08-14", "state": "open", "claims": 1, "run_id": None, "run_state": None,
            "skipped_by": None, "reason": None,
        },
    ]  # fmt: skip
    assert said(fentan("run", "plan", *PLAN, "--debit-on", "2019-08-14", *ANNA)).startswith("run 2 of xianghubao is")


@pytest.fixture
async def unpassed(database_url: str) -> None:
    """A claim whose notice ended on 10 July, and that nobody let pass."""
    async with engine_on(database_url) as engine:
        world = await build(engine, rules_of_preset(**RULES), alike(10))
        await world.claim(100_03)
        await world.sql("UPDATE claims SET state = 'published'")


@pytest.mark.parametrize(("on", "to_pass"), [("2019-07-09", []), ("2019-07-10", [1]), ("2019-07-20", [1])])
def test_slots_name_what_was_never_passed(fentan: Fentan, unpassed: None, on: str, to_pass: list[int]) -> None:
    assert told(fentan("run", "slots", *PLAN, "--on", on, "--json"))["to_pass"] == to_pass
    words = "the notice has ended of 1 claim not passed yet: `fentan claim pass --due --plan xianghubao --as NAME`"
    assert (words in fentan("run", "slots", *PLAN, "--on", on).out.splitlines()) is bool(to_pass)


BOOKS = """\
xianghubao: the books from the first journal to the last, debit + and credit -
account                         amount  what it is
1011 custodian cash
    opening                       0.00
    collection                   97.29
    closing                      97.29  held by the custodian
1210 contributions receivable
    opening                       0.00
    charge                      108.10
    collection                  -97.29
    wind-down                   -10.81
    closing                       0.00  settled
1311 sponsor receivable
    opening                       0.00
    wind-down                   108.03
    closing                     108.03  the platform still to pay
2210 aid payable
    opening                       0.00
    seal                       -100.03
    closing                    -100.03  aid to be paid out for 1 claim
2311 carry
    opening                       0.00
    seal                         -0.07
    wind-down                     0.07
    closing                       0.00  settled
2410 refunds payable
    opening                       0.00
    wind-down                   -97.29
    closing                     -97.29  to be paid back to 9 members
3111 run clearing
    opening                       0.00
    charge                     -108.10
    seal                        108.10
    closing                       0.00  settled
4111 management fee income
    opening                       0.00
    seal                         -8.00
    wind-down                     8.00
    closing                       0.00  settled
9111 retained result
    opening                       0.00
    wind-down                    -8.00
    closing                      -8.00  earned over the plan's life
difference 0.00
"""


def test_a_plan_is_ended_by_two_and_its_books_explain_every_fen(fentan: Fentan, shared: None) -> None:
    wind_down = ("plan", "wind-down", "xianghubao", *ANNA, "--on")
    assert refused(fentan(*wind_down, "2019-09-30")) == (
        "xianghubao takes claims until 2019-09-30; it ends on a day after that, not on 2019-09-30"
    )
    assert refused(fentan(*wind_down, "2999-10-01")).startswith("--on 2999-10-01 is still to come; it is ")
    assert refused(fentan(*wind_down, "2019-10-01")) == (
        "xianghubao cannot end yet: claims are under way (1 passed): share, reject or withdraw them"
    )
    said(fentan("claim", "withdraw", "2", "--reason", "a test", "--on", "2019-08-01", *ANNA))
    first, rules, last = fentan(*wind_down, "2019-10-01").out.splitlines()
    assert first == "xianghubao is to end: memberships on 2019-08-31, the books on 2019-10-01"
    assert rules.startswith("its rules: ")
    assert rules.endswith("the platform pays each member all shares back")
    assert last == "decision 1 waits for somebody else: `fentan decision approve 1 --as NAME`"
    assert "ask somebody else" in refused(fentan("decision", "approve", "1", *ANNA))
    said(fentan("decision", "approve", "1", *BO))
    assert fentan("ledger", "books", *PLAN).out == BOOKS
    answer = told(fentan("ledger", "books", *PLAN, "--json"))
    assert (answer["plan"], answer["difference"]) == ("xianghubao", "0.00")
    assert answer["accounts"][5] == {
        "account": "refunds payable", "code": 2410, "unit": 0, "closing": "-97.29", "by_kind": {"wind-down": "-97.29"},
        "holders": 9, "explanation": "to be paid back to 9 members",
    }  # fmt: skip
    assert "the ledger holds" in said(fentan("ledger", "verify", *PLAN))
    ended = "plan xianghubao ended on 2019-10-01, and its books are closed"
    assert refused(fentan(*wind_down, "2019-10-02")) == ended
    assert refused(fentan("member", "sweep", *PLAN, "--on", "2019-10-02", *ANNA)) == ended, "it could refund balances"
    assert refused(fentan("run", "plan", *PLAN, "--debit-on", "2019-08-14", *ANNA)) == ended
