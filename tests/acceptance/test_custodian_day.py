"""`fentan custodian day` as a cron line runs it, against the simulated custodian: from the debits to a settled run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.reference import Kind, Reference
from engine.resources import config_dir
from engine.runs.run import Run
from tests.acceptance.console import Fentan, said, told
from tests.integration.bank_statement import HEAD, Line, statement
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.acceptance

ANNA = ("--as", "anna")


@pytest.fixture
async def run(engine: AsyncEngine) -> Run:
    """A sealed run of five members of xianghubao, each debited ten fen on 14 July 2019."""
    world: World = await build(engine, rules_of_preset(), alike(5))
    await world.claim()
    return await world.sealed()


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A profile whose custodian knows members by their references."""
    text = (config_dir() / "custodians" / "generic-csv.toml").read_text("utf-8")
    path = tmp_path / "known.toml"
    path.write_text(text.replace("[account]", 'payer_known_by = "member_ref"\n[account]', 1), "utf-8")
    return path


@pytest.fixture
def asked(fentan: Fentan, run: Run, known: Path, tmp_path: Path) -> Callable[[str, str], None]:
    """Its debits are sent; a call plays the custodian's days up to one."""
    fentan("custodian", "register", str(known), *ANNA)
    fentan("custodian", "assign", "generic-csv", "xianghubao", *ANNA)
    fentan("custodian", "instruct", str(run.run_id), *ANNA, "--on", "2019-07-13")
    fentan("custodian", "send", "generic-csv", "--on", "2019-07-13")
    folder = tmp_path / "data" / "custodian" / "generic-csv"

    def simulate(until: str, rates: str) -> None:
        folders = ("--in", str(folder / "out"), "--out", str(folder / "in"))
        said(fentan("simulate", "custodian", *folders, "--seed", "1", "--rates", rates, "--until", until))

    return simulate


def day(fentan: Fentan, on: str) -> tuple[int, str]:
    done = fentan("custodian", "day", "generic-csv", *ANNA, "--on", on)
    assert not done.err
    return done.code, done.words


def test_who_has_no_funds_is_asked_every_day_and_leaves(fentan: Fentan, asked: Callable[[str, str], None]) -> None:
    days = {}
    for number in range(14, 24):
        asked(f"2019-07-{number}", "all=0,insufficient_funds=1")
        code, days[number] = day(fentan, f"2019-07-{number}")
        assert code == 0
    ends = [days[number].split(" run 1 is ")[1] for number in range(14, 23)]
    nothing = "0 files sent to generic-csv, 0 instructions of 0.00; 0 wait"
    assert days[14] == f"2019-07-14-0001.csv: taken, 5 lines run 1 is collecting: nothing new {nothing}"
    asked_again = "1 files sent to generic-csv, 4 instructions of 0.40; 0 wait"
    assert ends[2] == f"collecting: 4 asked again for 2019-07-16 {asked_again}"
    # Five days of retries; the last returns come after them.
    left = [f"collecting: {count} left unpaid, 0.{count}0 written off {nothing}" for count in (1, 3)]
    assert ends[6:] == [*left, f"settled: 1 left unpaid, 0.10 written off {nothing}"]
    assert days[23] == f"run 1 is settled: nothing new {nothing}"


def test_what_is_missing_and_what_cannot_be_read_want_a_person(
    fentan: Fentan, asked: Callable[[str, str], None], tmp_path: Path
) -> None:
    asked("2019-07-14", "all=0,missing_line=1")
    box = tmp_path / "data" / "custodian" / "generic-csv" / "in"
    (box / "strange.txt").write_text("nothing that anybody knows\n", "utf-8")
    code, words = day(fentan, "2019-07-14")
    assert code == 1
    assert "strange.txt: line 1: is neither XML nor MT940" in words
    assert words.count("strange.txt") == 1
    assert "what was refused lies in in/taken" in words
    assert sorted(path.name for path in (box / "taken").iterdir()) == ["2019-07-14-0001.csv", "strange.txt"]
    code, words = day(fentan, "2019-07-18")
    assert (code, "run 1 is collecting: 5 missing at the custodian" in words) == (0, True)
    assert "nothing new" in day(fentan, "2019-07-18")[1]


def test_a_line_that_lost_its_reference_is_suggested_and_one_that_waits_too_long_is_a_break(
    fentan: Fentan, asked: Callable[[str, str], None], run: Run, tmp_path: Path
) -> None:
    asked("2019-07-13", "all=0")
    box = tmp_path / "data" / "custodian" / "generic-csv" / "in"
    references = [str(Reference(Kind.DEBIT, run.run_id, 1, seat)) for seat in range(5)]
    lines = [Line(10, reference) for reference in (*references[:2], references[2][:8], references[3])]
    text = statement([*lines, Line(-10, references[4], "return")])
    (box / "by-hand.csv").write_text(text.replace(HEAD, f"{HEAD},payer").replace(",1\n", ",1,m2\n"), "utf-8")
    assert day(fentan, "2019-07-15")[0] == 0
    (found,) = told(fentan("reconcile", "suggest", "--json"))["breaks"]
    assert (found["break"], found["booked_on"], found["amount"]) == (1, "2019-07-15", "0.10")
    (candidate,) = found["candidates"]
    assert candidate.pop("why") == "its payer and 0.10, 1 business days after it was sent"
    assert candidate == {"run": run.run_id, "seat": 2, "attempt": 1, "amount": "0.10", "score": 100}
    how = f"reconcile resolve 1 --action match --run {run.run_id} --seat 2"
    assert f"to propose one: fentan {how} --reason WHY --as NAME" in said(fentan("reconcile", "suggest", "1"))
    said(fentan(*how.split(), "--reason", "the payer and the day agree", *ANNA))
    assert said(fentan("reconcile", "suggest")) == "no open break is about a line that could be matched"
    assert "is done" in said(fentan("decision", "approve", "1", "--as", "bo"))
    code, words = day(fentan, "2019-07-19")
    assert (code, "1 lines have waited too long for what they name: breaks" in words) == (0, True)
    assert "waited" not in day(fentan, "2019-07-19")[1]
    queue = told(fentan("reconcile", "breaks", "--json", "--on", "2019-07-19"))["breaks"]
    # The one that came back without having been booked, and that it was not.
    assert [(each["code"], each["seat"], each["suspense"]) for each in queue] == [
        ("MISSING_IN_LEDGER", 4, "-0.10"),
        ("MISSING_AT_BANK", 4, "0.00"),
    ]


ROSTER = "member_ref,born_on,joined_on\nM1,1980-05-05,2019-01-01\nM2,1981-05-05,2019-01-01\n"
PAID = "member_ref,amount,paid_on\nM1,9,2019-01-02\nM2,2.50,2019-01-02\n"


def test_auto_top_ups_and_levies_are_asked_for_and_come_in(fentan: Fentan, known: Path, tmp_path: Path) -> None:
    for name, content in (("roster.csv", ROSTER), ("paid.csv", PAID)):
        (tmp_path / name).write_text(content, "utf-8")
    for plan in ("waterdrop", "jd-hubao"):
        fentan("roster", "import", str(tmp_path / "roster.csv"), "--plan", plan)
    fentan("member", "top-up", str(tmp_path / "paid.csv"), "--plan", "waterdrop", *ANNA)
    levied = fentan("member", "levy", "entry-premium-to-50", "--plan", "jd-hubao", "--on", "2019-02-01", *ANNA)
    assert "charged to 2 members, 18.00 together" in levied.words
    fentan("custodian", "register", str(known), *ANNA)
    for plan in ("waterdrop", "jd-hubao"):
        fentan("custodian", "assign", "generic-csv", plan, *ANNA)
    code, words = day(fentan, "2019-02-04")
    assert code == 0
    asked = re.findall(r"call (\d+): (.+?) asked for 2019-02-04", words)
    assert [what for _, what in asked] == ["1 auto top-ups of 10.00", "2 levies of 18.00"]
    assert "2 files sent to generic-csv, 3 instructions of 28.00; 0 wait" in words
    assert len(told(fentan("custodian", "batches", asked[0][0], "--json"))) == 1
    folder = tmp_path / "data" / "custodian" / "generic-csv"
    folders = ("--in", str(folder / "out"), "--out", str(folder / "in"))
    said(fentan("simulate", "custodian", *folders, "--seed", "1", "--rates", "all=0", "--until", "2019-02-05"))
    code, words = day(fentan, "2019-02-05")
    assert "taken, 3 lines" in words
    assert "call" not in words
    shown = fentan("member", "show", "M2", "--plan", "waterdrop", "--on", "2019-02-05")
    assert "balance 12.50" in shown.words
    assert "owes" not in fentan("member", "show", "M2", "--plan", "jd-hubao", "--on", "2019-02-05").words
    custody = told(fentan("reconcile", "custody", "waterdrop", "2019Q1", "--json"))
    assert custody["inflow"] == {"deposits paid in": "11.50", "auto top-ups collected": "10.00"}
    said(fentan("reconcile", "proof", "generic-csv", "2019-02-05"))
