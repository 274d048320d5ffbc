"""`fentan schedule` as a scheduler uses it, and a worker that plans by the clock."""

from __future__ import annotations

from time import monotonic, sleep

import pytest

from tests.acceptance.console import Fentan, refused, said, told
from tests.acceptance.test_run_cli import claim, settings, worker

__all__ = ["claim", "settings", "worker"]

pytestmark = pytest.mark.acceptance

ANNA, BO = ("--as", "anna"), ("--as", "bo")
SET = ("schedule", "set", "xianghubao", "--at", "00:00")


def test_a_worker_plans_what_the_clock_was_told_to_and_somebody_else_approves(
    fentan: Fentan, claim: None, worker: None
) -> None:
    assert said(fentan(*SET, *ANNA)) == ("xianghubao: runs are planned at 00:00 of each debit day, in the name of anna")
    until = monotonic() + 60
    while not told(fentan("run", "list", "--json")):
        assert monotonic() < until, "no worker planned the run"
        sleep(0.2)
    assert said(fentan("run", "watch", "1")).endswith("run 1 is previewed")
    (run,) = told(fentan("run", "list", "--json"))
    assert (run["planned_by"], run["debit_on"]) == ("anna", "2019-07-14")
    assert refused(fentan("run", "approve", "1", *ANNA)).endswith("(run:1 was planned by anna) [I13]")
    assert said(fentan("run", "approve", "1", *BO)).startswith("run 1 is approved by bo")
    assert said(fentan("run", "watch", "1")).endswith("run 1 is sealed")


def test_schedules_are_set_listed_and_ended(fentan: Fentan, claim: None) -> None:
    assert told(fentan("schedule", "list", "--json")) == []
    assert refused(fentan("schedule", "set", "nowhere", "--at", "09:00", *ANNA)).startswith(
        "there is no plan 'nowhere'"
    )
    assert refused(fentan("schedule", "set", "xianghubao", "--at", "9", *ANNA)) == (
        "'9' is no time of the day; write it like 09:00"
    )
    said(fentan(*SET, *ANNA))
    (listed,) = told(fentan("schedule", "list", "--json"))
    assert {name: listed[name] for name in ("plan", "plans_at", "set_by", "claims_waiting", "refusal")} == {
        "plan": "xianghubao",
        "plans_at": "00:00",
        "set_by": "anna",
        "claims_waiting": 1,
        "refusal": None,
    }
    assert listed["missed_slots"] > 0
    assert "xianghubao │ 00:00" in said(fentan("schedule", "list"))
    (first, *_) = told(fentan("schedule", "slots", "xianghubao", "--json"))["slots"]
    assert (first["debit_on"], first["state"]) == ("2019-07-14", "missed")
    assert said(fentan("schedule", "end", "xianghubao", *BO)) == "xianghubao: the clock plans no more runs"
    assert refused(fentan("schedule", "end", "xianghubao", *BO)).startswith("the clock plans no runs of xianghubao")
