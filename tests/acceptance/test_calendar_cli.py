"""`fentan calendar` as a scheduler reads it: a year of periods, or that there are none to wait for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.cli.calendar import calendar
from engine.resources import config_dir

pytestmark = pytest.mark.acceptance


def said(*arguments: str) -> str:
    command = typer.Typer()
    command.command()(calendar)
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def plan_file(folder: Path, *changes: tuple[str, str]) -> str:
    """A small plan, written out, with texts of it exchanged."""
    text = (config_dir() / "plans" / "xianghubao-2018.toml").read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = folder / "own.toml"
    file.write_text(text, "utf-8")
    return str(file)


ANY_NOTICE = ("days_of_month = [7, 21]", "")
ANY_DEBIT = ("[debit]\ndays_of_month = [14, 28]", "[debit]")
BY_ITSELF = ("[share]\n", '[share]\ntrigger = "event"\n')
WIND_DOWN = (
    "[[tiers]]",
    '[wind_down]\nannounced_on = 2018-11-14\nclaims_within_days = 30\nrefund = "nothing"\n\n[[tiers]]',
)


def test_a_year_is_printed_slot_by_slot(tmp_path: Path) -> None:
    shown = said(plan_file(tmp_path), "--year", "2018").splitlines()
    assert (
        shown[0]
        == "相互保 (xianghubao-2018), 2018, days of Asia/Shanghai; the plan lives from 2018-10-16 until 2018-11-27"
    )
    assert shown[2:] == [
        "2018-10-21 Sun   2018-10-24 Wed   2018-10-28 Sun   2018-10-21 Sun",
        "2018-11-07 Wed   2018-11-10 Sat   2018-11-14 Wed   2018-11-07 Wed",
        "2018-11-21 Wed   2018-11-24 Sat   2018-11-28 Wed   2018-11-21 Wed",
    ]
    assert "no notice begins in this year" in said(plan_file(tmp_path), "--year", "2017")


def test_slots_go_on_while_a_plan_winds_down_and_say_who_pays(tmp_path: Path) -> None:
    file = plan_file(tmp_path, WIND_DOWN)
    shown = said(file, "--year", "2018").splitlines()[2:]
    assert [line.partition("paid by ")[2] for line in shown] == ["", *["the insurer"] * 4]
    assert shown[-1].startswith("2018-12-21"), "a claim may be filed until 2018-12-27, and noticed on 7 January"
    slots = json.loads(said(file, "--year", "2019", "--json"))["slots"]
    assert slots == [
        {
            "notice_on": "2019-01-07", "ends_on": "2019-01-10", "debit_on": "2019-01-14", "gate_on": "2019-01-07",
            "paid_by": "the insurer",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param(
            [ANY_NOTICE, ANY_DEBIT, BY_ITSELF],
            "each claim by itself: its notice begins on any day and lasts 3 days; it is shared on the day after",
            id="any day",
        ),
        pytest.param(
            [ANY_NOTICE, BY_ITSELF],
            "each claim by itself: its notice begins on any day and lasts 3 days; "
            "it is shared on the next of days 14, 28 of the month",
            id="debits on days",
        ),
        pytest.param(
            [ANY_NOTICE, ANY_DEBIT, BY_ITSELF, WIND_DOWN, ("length_days = 3", "length_days = 1")],
            "each claim by itself: its notice begins on any day and lasts 1 day; it is shared on the day after; "
            "from 2018-11-14 on the insurer pays; claims are taken until 2018-12-27",
            id="winding down",
        ),
    ],
)
def test_a_plan_that_shares_each_claim_by_itself_says_so_in_a_sentence(
    tmp_path: Path, changes: list[tuple[str, str]], sentence: str
) -> None:
    file = plan_file(tmp_path, *changes)
    assert said(file, "--year", "2018").splitlines()[1:] == [sentence]
    answer = json.loads(said(file, "--year", "2018", "--json"))
    assert (answer["any_day"], answer["slots"]) == (True, [])
