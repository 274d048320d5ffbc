"""`fentan demo` as a newcomer runs it: a whole run in an empty folder, its data kept, nothing left running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

MEMBERS = 70_000
"""Two shards, so that both workers may have one."""

Done = subprocess.CompletedProcess[str]
Fentan = Callable[..., Done]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def fentan(folder: Path) -> Fentan:
    """Commands in a folder where nothing was ever run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENTAN_")}
    environment |= {"COLUMNS": "120", "NO_COLOR": "1"}

    def run(*arguments: str, **settings: str) -> Done:
        command = [sys.executable, "-m", "engine.cli.main", *arguments]
        return subprocess.run(
            command, env=environment | settings, cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )

    return run


@pytest.fixture(scope="module")
def demo(fentan: Fentan, folder: Path) -> Done:
    return fentan("demo", "--members", str(MEMBERS), "--report", "reports/demo.json", "--workers", "2")


@pytest.fixture(scope="module")
def report(demo: Done, folder: Path) -> dict[str, Any]:
    assert demo.returncode == 0, demo.stderr
    return read(folder / "reports" / "demo.json")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def ties_out(report: dict[str, Any]) -> None:
    """I5 in the report's own figures."""
    money = {name: Decimal(report[name]) for name in ("charged", "sponsor", "carry_in", "aid", "fee", "carry_out")}
    assert money["charged"] + money["sponsor"] + money["carry_in"] == money["aid"] + money["fee"] + money["carry_out"]
    assert report["trial_balance_difference"] == "0.00"


def running(folder: Path) -> list[str]:
    """Command lines of the processes that work in `folder` or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            at = (process / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in line or at.is_relative_to(folder):
            found.append(line)
    return found


def test_the_demo_ends_by_itself_and_reports(report: dict[str, Any]) -> None:
    assert {"members", "sharers", "aid", "fee", "carry_in", "carry_out", "sponsor", "charged", "share", "phases",
            "trial_balance_difference", "sealed_root"} <= report.keys()  # fmt: skip
    assert report["members"] == MEMBERS
    assert 0 < report["sharers"] <= MEMBERS
    assert len(bytes.fromhex(report["sealed_root"])) == 32
    for name in ("aid", "fee", "carry_in", "carry_out", "sponsor", "charged", "share"):
        whole, point, minor = report[name].partition(".")
        assert (point, len(minor), whole.isdecimal()) == (".", 2, True), name
    ties_out(report)


def test_its_share_is_what_quote_says_of_as_many_sharers(fentan: Fentan, report: dict[str, Any]) -> None:
    aids = ("--aid", "300000x2", "--aid", "50000")
    done = fentan("quote", "--plan", "xianghubao", "--members", str(report["sharers"]), *aids, "--json")
    quoted = json.loads(done.stdout)
    assert {name: report[name] for name in ("share", "fee", "carry_out", "charged", "sponsor")} == {
        name: quoted[name] for name in ("share", "fee", "carry_out", "charged", "sponsor")
    }


def test_every_phase_has_its_seconds_and_its_speed(report: dict[str, Any]) -> None:
    assert list(report["phases"]) == [
        *("roster", "freeze", "measure", "solve", "post", "seal"),
        *("instruct", "custodian", "statements", "reconcile", "close"),
    ]
    for name, phase in report["phases"].items():
        assert 0 < phase["seconds"] < 60, name
        assert phase["members_per_second"] == pytest.approx(MEMBERS / phase["seconds"], rel=0.1), name


def test_every_share_is_in_one_place_of_the_funnel(report: dict[str, Any]) -> None:
    """I12, in the report's own figures."""
    debits = report["debits"]
    parts = ("drawn", "settled", "in_flight", "returned", "written_off", "waived")
    assert debits["assessed"]["count"] == sum(debits[part]["count"] for part in parts) > 0
    amounts = [Decimal(debits[part]["amount"]) for part in parts]
    assert Decimal(debits["assessed"]["amount"]) == sum(amounts) == Decimal(report["charged"])
    assert debits["in_flight"]["count"] == 0


def test_its_statements_are_explained_to_the_last_fen(report: dict[str, Any]) -> None:
    """I10 and I11, and every fault that was planted."""
    lines = report["reconciliation"]
    assert lines["lines"] == lines["matched"] + lines["pending"] + lines["ignored"] + lines["in_breaks"] > 0
    assert (lines["difference"], report["proof"]["difference"]) == ("0.00", "0.00")
    faults = report["faults"]
    assert faults["planted"] == faults["found"]
    assert sum(faults["planted"].values()) > 0
    assert report["state"] == "closed"


def test_its_account_can_be_proved_afterwards(fentan: Fentan, report: dict[str, Any]) -> None:
    on = report["proof"]["date"]
    proof = json.loads(fentan("reconcile", "proof", "generic-csv", on, "--json").stdout)
    assert (proof["difference"], proof["closing"]) == ("0.00", report["proof"]["closing"])
    told = json.loads(fentan("reconcile", "show", str(report["run"]), "--json").stdout)
    assert told["run"] == report["run"]
    listed = json.loads(fentan("statement", "list", "--json").stdout)
    assert len(listed) > 3


def test_the_sponsor_pays_its_part_in(fentan: Fentan, report: dict[str, Any]) -> None:
    told = json.loads(fentan("reconcile", "sponsor", "xianghubao", "--json").stdout)
    assert (told["sponsor"], told["owed"]) == ("the platform", "0.00")
    on = date.fromisoformat(report["debit_on"])
    quarter = f"{on.year}Q{(on.month + 2) // 3}"
    custody = json.loads(fentan("reconcile", "custody", "xianghubao", quarter, "--json").stdout)
    assert custody["inflow"]["paid by the sponsor"] == report["sponsor"] != "0.00"
    assert Decimal(report["proof"]["closing"]) > 0


def test_it_shows_what_a_person_wants_to_see(demo: Done, report: dict[str, Any]) -> None:
    shown = demo.stdout
    for words in ("each member pays", "seats at the per case cap", "sponsor", "fee", "carry out", "difference 0.00",
                  "members/s", "every fault planted was found, and nothing else", "run 1 is closed",
                  report["sealed_root"]):  # fmt: skip
        assert words in shown, words
    assert "Traceback" not in demo.stderr


def test_nothing_is_left_running(report: dict[str, Any], folder: Path) -> None:
    deadline = time.monotonic() + 5
    while (left := running(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_its_data_can_be_looked_at(fentan: Fentan, report: dict[str, Any], folder: Path) -> None:
    runs = json.loads(fentan("run", "list", "--json").stdout)
    assert [(run["plan"], run["state"]) for run in runs] == [("xianghubao", "closed")]
    shown = json.loads(fentan("run", "show", str(runs[0]["run"]), "--json").stdout)
    assert shown["sealed_root"] == report["sealed_root"]
    assert shown["planned_by"] != shown["approved_by"]
    balance = json.loads(fentan("ledger", "trial-balance", "--plan", "xianghubao", "--json").stdout)
    assert balance["difference"] == "0.00"
    verified = fentan("ledger", "verify")
    assert (verified.returncode, "the ledger holds" in verified.stdout) == (0, True)
    assert running(folder) == []


def test_the_next_demo_takes_the_place_of_the_last(fentan: Fentan, report: dict[str, Any], folder: Path) -> None:
    arguments = ("--members", "1000", "--plan", "xianghubao-2018", "--workers", "1", "--report", "next.json")
    done = fentan("demo", *arguments)
    assert done.returncode == 0, done.stderr
    following = read(folder / "next.json")
    assert following["members"] == 1_000
    ties_out(following)
    runs = json.loads(fentan("run", "list", "--json").stdout)
    assert [(run["plan"], run["state"]) for run in runs] == [("xianghubao-2018", "closed")]


@pytest.mark.parametrize(
    ("code", "adds", "words"),
    [
        pytest.param("waterdrop", {"rounds", "aid_asked", "deposits"},
                     ("Case by case", "drawn from balances", "is cut from the aid", "they are frozen"), id="event"),
        pytest.param("quark-driving", {"rounds", "aid_asked", "deposits", "aid_steps"},
                     ("award 169,720.00 × fault share 100 %",), id="fault"),
        pytest.param("qingsong", {"aid_asked", "deposits"}, ("members pay at most", "is cut from"), id="period"),
        pytest.param("meituan", {"stages"}, ("520,000.00 yuan is left to bill",), id="staged"),
        pytest.param("jd-hubao", {"payers"}, ("pay for somebody else of the family",), id="own-cap"),
        pytest.param("zhonghui-surplus", {"surplus"}, ("credit on", "Who gets what", "to give"), id="credit"),
    ],
)  # fmt: skip
def test_the_demo_of_every_kind_of_plan_shows_its_point(
    fentan: Fentan, report: dict[str, Any], folder: Path, code: str, adds: set[str], words: tuple[str, ...]
) -> None:
    done = fentan("demo", "--plan", code, "--members", "3000", "--workers", "1", "--report", f"{code}.json")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    kind = read(folder / f"{code}.json")
    assert set(report) - {"payers"} <= kind.keys()
    assert kind.keys() - set(report) | ({"payers"} & kind.keys()) == adds
    ties_out(kind)
    assert kind["faults"]["planted"] == kind["faults"]["found"]
    assert Decimal(kind["proof"]["closing"]) >= 0
    assert "difference 0.00" in done.stdout
    for each in words:
        assert each in done.stdout, each
    verified = fentan("ledger", "verify")
    assert (verified.returncode, "the ledger holds" in verified.stdout) == (0, True)


def test_a_small_replay_shows_who_the_platform_paid_for(fentan: Fentan, folder: Path) -> None:
    done = fentan("demo", "--replay", "--members", "3000", "--report", "replay.json")
    assert done.returncode == 0, done.stderr
    replay = read(folder / "replay.json")
    assert (replay["aid"], replay["fee"]) == ("600000.00", "48000.00")
    assert 0 < replay["waived_seats"] < replay["sharers"]
    assert "seats the sponsor pays for" in done.stdout
    told = json.loads(fentan("reconcile", "sponsor", "xianghubao", "--json").stdout)
    assert told["owed"] == "0.00"
    ties_out(replay)


def test_a_database_that_holds_other_plans_is_left_alone(fentan: Fentan, database_url: str) -> None:
    registered = fentan("plan", "register", "xianghubao", "--as", "anna", FENTAN_DATABASE_URL=database_url)
    assert registered.returncode == 0, registered.stderr
    refused = fentan("demo", "--members", "1000", FENTAN_DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines()[-1] == (
        "fentan: this database holds plans that no demo made; run the demo in another folder, or name another database"
    )
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan", "nowhere"), "nowhere"),
        (("--members", "1"), "may claim; give the demo more members"),
    ],
)
def test_a_demo_that_cannot_be_says_why(fentan: Fentan, arguments: tuple[str, ...], message: str) -> None:
    done = fentan("demo", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
