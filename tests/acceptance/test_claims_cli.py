"""`fentan claim` as a person uses it: two members, one plan, from filing to passing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli.quote import load_plan
from engine.roster.plan import register_plan

pytestmark = pytest.mark.acceptance

Fentan = Callable[..., subprocess.CompletedProcess[str]]

ROSTER = """member_ref,born_on,joined_on
M1,1990-05-05,2019-01-01
M2,1975-05-05,2019-01-01
"""


@pytest.fixture
def fentan(database_url: str, tmp_path: Path) -> Fentan:
    environment = os.environ | {"FENTAN_DATABASE_URL": database_url, "COLUMNS": "120", "NO_COLOR": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine.cli.main", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
async def plan(engine: AsyncEngine) -> str:
    rules = load_plan("xianghubao")
    async with engine.begin() as connection:
        return (await register_plan(connection, rules)).code


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.strip()


def test_two_claims_from_filing_to_passing(fentan: Fentan, plan: str, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER, "utf-8")
    assert fentan("roster", "import", "roster.csv", "--plan", plan).returncode == 0
    file = ("claim", "file", "--plan", plan, "--diagnosed-on", "2019-06-01", "--on", "2019-07-01")
    anna, bo = ("--as", "anna"), ("--as", "bo")

    assert said(fentan(*file, "--member", "M1", *anna)) == ("claim 1 (number 1 of xianghubao): filed, aid 300,000.00")
    assert said(fentan(*file, "--member", "M2", "--aid", "50000", *anna)) == (
        "claim 2 (number 2 of xianghubao): filed, aid 50,000.00"
    )
    assert "no such member of xianghubao" in refused(fentan(*file, "--member", "M3", *anna))
    assert "already filed for this diagnosis" in refused(fentan(*file, "--member", "M1", *anna))

    assert "2019-07-08 is not a notice day" in refused(fentan("claim", "publish", "1", "--on", "2019-07-08", *bo))
    for claim in ("1", "2"):
        assert said(fentan("claim", "publish", claim, "--on", "2019-07-07", *bo)).endswith(
            "notice from 2019-07-07 until before 2019-07-10"
        )

    objection = ("claim", "object", "1", "--reason", "a doubt [1]", "--on", "2019-07-08", "--as", "neighbour")
    assert said(fentan(*objection)) == "claim 1: objection 1 is open"
    due = ("claim", "pass", "--due", "--plan", plan, "--on", "2019-07-10", *bo)
    assert said(fentan(*due)) == "xianghubao: 1 passed: claims 2"
    assert "objections open: 1" in refused(fentan("claim", "pass", "1", "--on", "2019-07-10", *bo))
    resolution = ("claim", "resolve", "1", "1", "--resolution", "unfounded", "--on", "2019-07-10", *bo)
    assert said(fentan(*resolution)) == "claim 1: objection 1 is resolved"
    assert "passed, aid 300,000.00" in said(fentan("claim", "pass", "1", "--on", "2019-07-10", *bo))
    assert "cannot pass; possible now: withdraw, share" in refused(fentan("claim", "pass", "1", *bo))
    assert "cannot reject" in refused(fentan("claim", "reject", "1", "--reason", "late", *bo))
    assert "withdrawn" in said(fentan("claim", "withdraw", "2", "--reason", "recovered", *anna))

    shown = said(fentan("claim", "show", "1"))
    assert "a doubt [1]" in shown
    assert [line.split()[0] for line in shown.splitlines()[-6:]] == [
        "event", "file", "publish", "object", "resolve", "pass",
    ]  # fmt: skip
    detailed = json.loads(said(fentan("claim", "show", "1", "--json")))
    assert {key: detailed[key] for key in ("claim_id", "number", "state", "aid", "notice_on", "run_id")} == {
        "claim_id": 1, "number": 1, "state": "passed", "aid": "300000.00", "notice_on": "2019-07-07", "run_id": None,
    }  # fmt: skip
    assert "1990-05-05" not in json.dumps(detailed)

    assert said(fentan("claim", "list", "--plan", plan)).endswith("listed: 2, aid together 350,000.00")
    listed = json.loads(said(fentan("claim", "list", "--plan", plan, "--state", "passed", "--json")))
    assert [claim["claim_id"] for claim in listed] == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pass", "--due", "--as", "bo"), "give either one CLAIM, or --due and --plan CODE"),
        (("publish", "1", "--on", "7 July", "--as", "bo"), "'7 July' is not a day; write it like 2019-01-21"),
        (("show", "404"), "there is no claim 404; `fentan claim list --plan CODE` shows those of a plan"),
        (("list", "--plan", "nowhere"), "there is no plan 'nowhere'"),
    ],
)
def test_a_refusal_says_what_to_do(fentan: Fentan, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(fentan("claim", *arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", str(2**63)),
        ("show", "0"),
        ("pass", str(2**63), "--as", "bo"),
        ("resolve", "1", str(2**31), "--resolution", "none", "--as", "bo"),
    ],
)
def test_numbers_that_the_database_cannot_hold_are_refused(fentan: Fentan, arguments: tuple[str, ...]) -> None:
    done = fentan("claim", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for" in done.stderr
    assert "Traceback" not in done.stderr
