"""`fentan run` as two people and a worker use it: a run from its plan to its seal, voided and planned again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
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

ANNA, BO = ("--as", "anna"), ("--as", "bo")
NO_RUN = "there is no run 404; `fentan run list` shows those there are"
NO_PLAN = "there is no plan 'nowhere'; none is registered yet; `fentan plan register` does"
PLAN = ("run", "plan", "--plan", "xianghubao", "--debit-on", "2019-07-14", *ANNA)


@pytest.fixture(autouse=True)
def settings(database_url: str, embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of this process and of the worker."""
    settings = {
        "FENTAN_DATABASE_URL": database_url,
        "FENTAN_REDIS_URL": embedded.redis_url,
        "FENTAN_SWEEP_SECONDS": "0.5",
        "FENTAN_LOG_LEVEL": "warning",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def claim(fentan: Fentan, tmp_path: Path) -> None:
    """A plan of four members and a claim of one of them that has passed its notice of 7 July."""
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    for arguments in (
        ("plan", "register", "xianghubao", *ANNA),
        ("roster", "import", "roster.csv", "--plan", "xianghubao"),
        ("claim", "file", "--plan", "xianghubao", "--member", "M1", "--diagnosed-on", "2019-06-01",
         "--on", "2019-07-01", *ANNA),
        ("claim", "publish", "1", "--on", "2019-07-07", *BO),
        ("claim", "pass", "1", "--on", "2019-07-10", *BO),
    ):  # fmt: skip
        done = fentan(*arguments)
        assert done.code == 0, done.err


@pytest.fixture
def worker(settings: dict[str, str], tmp_path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "engine.cli.main", "worker"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | settings, cwd=tmp_path, stdout=log, stderr=log)
    yield
    process.terminate()
    assert process.wait(15) == 0


def test_a_run_from_its_plan_to_its_seal_voided_and_planned_again(fentan: Fentan, claim: None, worker: None) -> None:
    assert said(fentan(*PLAN)) == "run 1 of xianghubao is planned for 2019-07-14; `fentan run watch 1`"
    assert said(fentan("run", "watch", "1")).endswith("run 1 is previewed")

    shown = told(fentan("run", "preview", "1", "--json"))
    assert {key: shown[key] for key in ("members", "sharers", "aid", "fee", "charged", "sponsor", "share")} == {
        "members": 4, "sharers": 3, "aid": "300000.00", "fee": "24000.00", "charged": "0.30",
        "sponsor": "323999.70", "share": "0.10",
    }  # fmt: skip
    assert shown["caps_hit"] == {"per_case": 3, "per_year": 0}
    assert shown["digest"] in fentan("run", "preview", "1").out

    assert refused(fentan("run", "approve", "1", *ANNA)).endswith("(run:1 was planned by anna) [I13]")
    assert "has another digest" in refused(fentan("run", "approve", "1", *BO, "--digest", "00"))
    approved = fentan("run", "approve", "1", *BO, "--digest", shown["digest"])
    assert said(approved) == "run 1 is approved by bo; `fentan run watch 1`"
    assert said(fentan("run", "watch", "1")).endswith("run 1 is sealed")

    sealed = told(fentan("run", "show", "1", "--json"))
    assert (sealed["state"], sealed["planned_by"], sealed["approved_by"]) == ("sealed", "anna", "bo")
    assert sealed["shards"] == {"all": 1, "done": 1, "working": 0, "failed": 0}
    assert sealed["cases"] == [{"claim": 1, "aid": "300000.00", "aid_paid": "300000.00", "fee": "24000.00"}]
    assert list(sealed["phases"]) == ["freeze", "measure", "solve", "post", "seal"]
    assert len(bytes.fromhex(sealed["sealed_root"])) == 32
    assert "sealed" in said(fentan("run", "show", "1"))

    assert "a sealed run cannot approve" in refused(fentan("run", "approve", "1", *BO))
    assert "there is nothing to pause" in refused(fentan("run", "pause", "1", *BO))
    assert said(fentan("run", "void", "1", *BO, "--reason", "wrong day")) == "run 1 is voiding"
    assert said(fentan("run", "watch", "1")).endswith("run 1 is voided")
    assert told(fentan("run", "show", "1", "--json"))["void_root"] is not None

    assert said(fentan(*PLAN)).startswith("run 2 of xianghubao is planned")
    assert said(fentan("run", "watch", "2")).endswith("run 2 is previewed")
    assert told(fentan("run", "list", "--json")) == [
        {
            "run": run,
            "plan": "xianghubao",
            "debit_on": "2019-07-14",
            "state": state,
            "paused": False,
            "planned_by": "anna",
            "approved_by": approver,
            "share": "0.10",
        }
        for run, state, approver in ((2, "previewed", None), (1, "voided", "bo"))
    ]
    assert "previewed" in said(fentan("run", "list", "--plan", "xianghubao"))
    assert "the ledger holds" in said(fentan("ledger", "verify"))


def test_a_claim_withdrawn_after_the_preview_forces_a_new_plan(fentan: Fentan, claim: None, worker: None) -> None:
    for arguments in (
        ("claim", "file", "--plan", "xianghubao", "--member", "M1", "--diagnosed-on", "2019-06-02",
         "--on", "2019-07-01", *ANNA),
        ("claim", "publish", "2", "--on", "2019-07-07", *BO),
        ("claim", "pass", "2", "--on", "2019-07-10", *BO),
        PLAN,
        ("run", "watch", "1"),
        ("claim", "withdraw", "2", "--reason", "recovered", "--on", "2019-07-11", *BO),
    ):  # fmt: skip
        assert fentan(*arguments).code == 0
    message = refused(fentan("run", "approve", "1", *BO))
    assert message == "claims 2 of run:1 were withdrawn; void it and plan anew [I13]"
    assert said(fentan("run", "void", "1", *ANNA, "--reason", "claim 2 was withdrawn")) == "run 1 is voided"


def test_a_surplus_is_given_by_the_same_commands(fentan: Fentan, tmp_path: Path, worker: None) -> None:
    lines = ["member_ref,born_on,joined_on,ended_on,tier", "M1,1990-05-05,2019-01-01,,0"]
    (tmp_path / "roster.csv").write_text("\n".join([*lines, "M2,1990-05-05,2019-01-01,,3", ""]), "utf-8")
    credit = ("run", "plan", "--plan", "zhonghui-surplus", "--debit-on", "2019-07-15", *ANNA)
    said(fentan("plan", "register", "zhonghui-surplus", *ANNA))
    assert fentan("roster", "import", "roster.csv", "--plan", "zhonghui-surplus").code == 0
    assert refused(fentan(*credit)) == (
        "zhonghui-surplus gives its members a surplus; say what it comes from with --premiums, --claims and --costs"
    )
    assert "leave -0.50: there is no surplus" in refused(fentan(*credit, "--premiums", "1", "--costs", "1.50"))
    planned = said(fentan(*credit, "--premiums", "1000", "--claims", "700", "--costs", "20"))
    assert planned.startswith("run 1 of zhonghui-surplus is planned for 2019-07-15")
    said(fentan("run", "watch", "1"))
    shown = told(fentan("run", "preview", "1", "--json"))
    assert (shown["charged"], shown["aid"], shown["share"]) == ("280.00", "280.00", "200.00")
    assert "premiums of the period" in said(fentan("run", "preview", "1"))
    said(fentan("run", "approve", "1", *BO))
    assert said(fentan("run", "watch", "1")).endswith("run 1 is sealed")
    assert "surplus" in said(fentan("run", "show", "1"))
    assert "the ledger holds" in said(fentan("ledger", "verify"))


def test_an_event_run_is_previewed_case_by_case(fentan: Fentan, tmp_path: Path, worker: None) -> None:
    lines = ["member_ref,born_on,joined_on,ended_on,deposit", "M1,1990-05-05,2019-01-01,,9.00"]
    (tmp_path / "roster.csv").write_text("\n".join([*lines, "M2,1990-05-05,2019-01-01,,9.00", ""]), "utf-8")
    said(fentan("plan", "register", "quark", *ANNA))
    assert fentan("roster", "import", "roster.csv", "--plan", "quark").code == 0
    for number, aid in (("1", "5"), ("2", "7")):
        filed = ("claim", "file", "--plan", "quark", "--member", "M1", "--diagnosed-on", f"2019-06-0{number}")
        said(fentan(*filed, "--on", "2019-07-01", "--aid", aid, *ANNA))
        said(fentan("claim", "publish", number, "--on", "2019-07-01", *BO))
        said(fentan("claim", "pass", number, "--on", "2019-07-08", *BO))
    said(fentan("run", "plan", "--plan", "quark", "--debit-on", "2019-07-08", *ANNA))
    said(fentan("run", "watch", "1"))
    shown = told(fentan("run", "preview", "1", "--json"))
    assert [(each["claim"], each["sharers"], each["shares"], each["aid"]) for each in shown["rounds"]] == [
        (1, 2, {"member": "2.50"}, "5.00"),
        (2, 2, {"member": "3.00"}, "6.00"),
    ]
    screen = said(fentan("run", "preview", "1"))
    assert "Case by case" in screen
    assert "member 2.50" in screen


def test_without_a_worker_a_run_is_planned_paused_and_dropped(fentan: Fentan, claim: None) -> None:
    assert fentan(*PLAN).code == 0
    assert refused(fentan("run", "preview", "1")) == "run 1 is planned and has no preview yet; `fentan run watch 1`"
    assert "a planned run cannot approve; possible: drop, fail, freeze" in refused(fentan("run", "approve", "1", *BO))
    assert said(fentan("run", "pause", "1", *BO)) == "run 1 is paused"
    watched = fentan("run", "watch", "1")
    assert (watched.code, watched.out.strip().splitlines()[-1]) == (1, "run 1 is planned, paused")
    assert "planned (paused)" in said(fentan("run", "list"))
    assert said(fentan("run", "resume", "1", *BO)) == "run 1 is going on"
    assert said(fentan("run", "retry", "1", *BO)) == "0 failed shards of run 1 are due again"
    assert said(fentan("run", "void", "1", *ANNA, "--reason", "a mistake")) == "run 1 is voided"
    assert "a voided run cannot drop" in refused(fentan("run", "void", "1", *ANNA, "--reason", "again"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "show", "404"), NO_RUN),
        (("run", "watch", "404"), NO_RUN),
        (("run", "approve", "404", *BO), NO_RUN),
        (("run", "void", "404", *BO, "--reason", "r"), NO_RUN),
        (("run", "list", "--plan", "nowhere"), NO_PLAN),
        (("run", "plan", "--plan", "nowhere", "--debit-on", "2019-07-14", *ANNA),
         NO_PLAN),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(fentan: Fentan, arguments: tuple[str, ...], message: str) -> None:
    assert refused(fentan(*arguments)) == message


@pytest.mark.parametrize(
    ("debit_on", "message"),
    [
        (
            "2019-07-15",
            ("2019-07-15 is no debit day of xianghubao; `fentan calendar xianghubao --year 2019` prints them"),
        ),
        (
            "2019-06-28",
            (
                "no passed claim of xianghubao waits for a run; "
                "`fentan claim list --plan xianghubao` shows where they stand"
            ),
        ),
    ],
)
def test_a_day_that_cannot_be_is_refused(fentan: Fentan, claim: None, debit_on: str, message: str) -> None:
    assert refused(fentan("run", "plan", "--plan", "xianghubao", "--debit-on", debit_on, *ANNA)) == message


def test_who_decides_must_be_said(fentan: Fentan) -> None:
    done = fentan("run", "approve", "1")
    assert (done.code, done.out) == (2, "")
    assert "Missing option '--as'" in done.err


def test_an_unreachable_database_is_named(fentan: Fentan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FENTAN_DATABASE_URL", "postgresql+asyncpg://nobody:secret@127.0.0.1:1/nowhere")
    message = refused(fentan("run", "list"))
    assert message.startswith("The database does not answer; check FENTAN_DATABASE_URL")
    assert "secret" not in message


def test_an_unreachable_redis_costs_a_sweep_and_a_remark(
    fentan: Fentan, claim: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FENTAN_REDIS_URL", "redis://127.0.0.1:1")
    done = fentan(*PLAN)
    assert done.code == 0
    assert done.err == "the doorbell does not answer; workers find the run by themselves within a sweep\n"
