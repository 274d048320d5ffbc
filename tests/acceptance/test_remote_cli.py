"""Commands through the API: the same words, a token instead of --as, and no database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.store.embedded import Embedded
from tests.acceptance.console import Fentan, refused, said, told

pytestmark = pytest.mark.acceptance

ROSTER = """member_ref,born_on,joined_on,ended_on
M1,1990-05-05,2019-01-01,
M2,1975-05-05,2018-11-28,
M3,1985-05-05,2019-01-01,2019-07-07
M4,1985-05-05,2019-01-01,2019-07-08
"""
WORLD = (
    ("plan", "register", "xianghubao", "--as", "anna"),
    ("roster", "import", "roster.csv", "--plan", "xianghubao"),
    ("claim", "file", "--plan", "xianghubao", "--member", "M1", "--diagnosed-on", "2019-06-01", "--on", "2019-07-01",
     "--as", "anna"),
    ("claim", "publish", "1", "--on", "2019-07-07", "--as", "bo"),
    ("claim", "pass", "1", "--on", "2019-07-10", "--as", "bo"),
)  # fmt: skip
PLAN = ("run", "plan", "--plan", "xianghubao", "--debit-on", "2019-07-14")

Become = Callable[[str], None]


@pytest.fixture
def become(fentan: Fentan, embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Become]:
    """A plan of four members with a claim, an API and a worker on it; who a command is from then on."""
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    for arguments in WORLD:
        done = fentan(*arguments)
        assert done.code == 0, done.err
    tokens = {
        name: fentan("token", "issue", name, "--role", role, "--as", "root").out.strip()
        for name, role in (("anna", "scheduler"), ("bo", "approver"), ("fin", "finance"), ("olu", "ops"))
    }
    settings = {"FENTAN_REDIS_URL": embedded.redis_url, "FENTAN_SWEEP_SECONDS": "0.5"}
    command = [sys.executable, "-m", "engine.cli.main"]
    with (tmp_path / "log").open("wb") as log:
        worker, api = (
            subprocess.Popen(
                [*command, *each], env=os.environ | settings, stdout=subprocess.PIPE, stderr=log, text=True
            )
            for each in (("worker",), ("api", "--port", "0"))
        )
    assert api.stdout is not None
    url = api.stdout.readline().strip()
    monkeypatch.setenv("FENTAN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")

    def become(name: str) -> None:
        monkeypatch.setenv("FENTAN_API_URL", url)
        monkeypatch.setenv("FENTAN_API_TOKEN", tokens.get(name, name))

    yield become
    for process in (api, worker):
        process.terminate()
        process.communicate(timeout=30)
    # A worker that was still starting had nothing to put down first.
    assert (api.returncode, worker.returncode) in {(0, 0), (0, -signal.SIGTERM)}


def test_a_run_by_people_who_have_no_database(fentan: Fentan, become: Become) -> None:
    become("anna")
    assert said(fentan(*PLAN)) == "run 1 of xianghubao is planned for 2019-07-14; `fentan run watch 1`"
    assert said(fentan("run", "watch", "1")).endswith("run 1 is previewed")
    preview = told(fentan("run", "preview", "1", "--json"))
    assert (preview["charged"], preview["sponsor"], preview["caps_hit"]["per_case"]) == ("0.30", "323999.70", 3)
    assert preview["digest"] in said(fentan("run", "preview", "1"))
    assert "it takes the role admin, approver" in refused(fentan("run", "approve", "1"))
    assert said(fentan("run", "pause", "1")) == "run 1 is paused"
    assert said(fentan("run", "resume", "1", "--as", "anna")) == "run 1 is going on"
    assert "there is no run 404" in refused(fentan("run", "watch", "404"))

    become("bo")
    assert refused(fentan("run", "approve", "1", "--as", "anna")).startswith("--as anna: FENTAN_API_TOKEN is bo's")
    assert "has another digest" in refused(fentan("run", "approve", "1", "--digest", "0" * 64))
    assert said(fentan("run", "approve", "1")) == "run 1 is approved by bo; `fentan run watch 1`"
    assert said(fentan("run", "watch", "1")).endswith("run 1 is sealed")
    shown = said(fentan("run", "show", "1"))
    assert "sealed root" in shown
    assert "before it can be closed" in shown
    outcome = told(fentan("run", "show", "1", "--json"))
    assert (outcome["state"], outcome["totals"]["ties"], outcome["totals"]["charged"]) == ("sealed", True, "0.30")
    assert said(fentan("run", "list")).count("xianghubao") == 1
    assert [run["run_id"] for run in told(fentan("run", "list", "--plan", "xianghubao", "--json"))] == [1]


def test_books_decisions_breaks_and_slots(fentan: Fentan, become: Become) -> None:
    become("anna")
    assert told(fentan("run", "slots", "--plan", "xianghubao", "--json"))[0]["state"] in {"open", "missed"}
    assert "missed" in said(fentan("run", "slots", "--plan", "xianghubao"))
    assert "as of today" in refused(fentan("run", "slots", "--plan", "xianghubao", "--on", "2019-07-14"))
    skipped = fentan("run", "skip", "--plan", "xianghubao", "--debit-on", "2019-07-14", "--reason", "too late")
    assert said(skipped).startswith("xianghubao: the slot of 2019-07-14 is skipped by anna; 1 claims that waited")
    scheduled = fentan("schedule", "set", "xianghubao", "--at", "09:00")
    assert said(scheduled).endswith("runs are planned at 09:00 of each debit day, in the name of anna")
    assert "09:00" in said(fentan("schedule", "list"))
    assert [each["set_by"] for each in told(fentan("schedule", "list", "--json"))] == ["anna"]
    assert "skipped" in said(fentan("schedule", "slots", "xianghubao"))
    assert said(fentan("schedule", "end", "xianghubao")) == "xianghubao: the clock plans no more runs"

    become("fin")
    assert "difference 0.00" in said(fentan("ledger", "trial-balance", "--plan", "xianghubao"))
    assert (
        told(fentan("ledger", "trial-balance", "--as-of", "2019-07-14", "--json"))["plans"][0]["difference"] == "0.00"
    )
    assert said(fentan("reconcile", "breaks")) == "no break is so"
    assert told(fentan("reconcile", "breaks", "--severity", "high", "--age", "0-1", "--json")) == []
    assert told(fentan("decision", "list", "--json")) == []
    assert "there is no decision 7" in refused(fentan("decision", "show", "7"))


def test_queues_and_workers(fentan: Fentan, become: Become) -> None:
    become("olu")
    assert said(fentan("queue", "pause", "post", "--reason", "the bank asked")).startswith("post is paused: by olu at")
    assert said(fentan("queue", "list")).count("the bank asked") == 1
    assert "name one queue, or --all" in refused(fentan("queue", "resume"))
    assert said(fentan("queue", "resume", "--all", "--as", "olu")).count("is worked on") == 6
    assert [each["queue"] for each in told(fentan("queue", "list", "--json")) if each["pause"]["is_paused"]] == []
    assert said(fentan("queue", "failures", "post")) == "nothing failed in post"
    assert said(fentan("queue", "retry", "post", "--reason", "again", "--run", "1")) == "0 of post are due again"
    (worker,) = told(fentan("queue", "workers", "--json"))
    assert worker["worker"] in said(fentan("queue", "workers"))
    drained = fentan("queue", "drain", worker["worker"], "--reason", "goes home")
    assert said(drained) == f"{worker['worker']} ends after what it has in hand"
    become("anna")
    assert "it takes the role" in refused(fentan("queue", "pause", "--all", "--reason", "no"))


def test_what_works_on_the_database_says_so(fentan: Fentan, become: Become) -> None:
    become("anna")
    for command in (("claim", "list", "--plan", "xianghubao"), ("ledger", "verify"), ("token", "list"), ("migrate",)):
        words = refused(fentan(*command))
        assert words.startswith(
            "this works on the database itself, and FENTAN_API_URL says to go through http://127.0.0"
        )
        assert "unset FENTAN_API_URL" in words
    assert "0.1" in said(fentan("version"))


def test_who_is_let_in(fentan: Fentan, become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    become("fentan_1_nobody")
    assert "No valid token came with the request" in refused(fentan("run", "list"))
    become("")
    assert "the API wants a token" in refused(fentan("run", "list"))
    become("anna")
    monkeypatch.setenv("FENTAN_API_URL", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1 does not answer" in refused(fentan("run", "list"))


def test_help_says_that_as_may_be_left_out(fentan: Fentan, become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    become("anna")
    assert "[required]" not in said(fentan("run", "pause", "--help")).split("--as")[1]
    monkeypatch.delenv("FENTAN_API_URL")
    assert "[required]" in said(fentan("run", "pause", "--help")).split("--as")[1]
