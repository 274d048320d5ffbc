"""`fentan custodian day` as a cron line runs it, against the simulated custodian: from the debits to a settled run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.resources import config_dir
from engine.runs.run import Run
from tests.acceptance.console import Fentan, said
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
def asked(fentan: Fentan, run: Run, tmp_path: Path) -> Callable[[str, str], None]:
    """Its debits are sent; a call plays the custodian's days up to one."""
    text = (config_dir() / "custodians" / "generic-csv.toml").read_text("utf-8")
    known = tmp_path / "known.toml"
    known.write_text(text.replace("[account]", 'payer_known_by = "member_ref"\n[account]', 1), "utf-8")
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
    assert sorted(path.name for path in (box / "taken").iterdir()) == ["2019-07-14-0001.csv", "strange.txt"]
    code, words = day(fentan, "2019-07-18")
    assert (code, "run 1 is collecting: 5 missing at the custodian" in words) == (0, True)
    assert "nothing new" in day(fentan, "2019-07-18")[1]
