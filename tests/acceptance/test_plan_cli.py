"""`fentan plan` and `fentan calendar`, as a person reads rules: without a database, at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.resources import config_dir

pytestmark = pytest.mark.acceptance

PLANS = config_dir() / "plans"


def fentan(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def said(*arguments: str) -> str:
    done = fentan(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_list_names_every_preset() -> None:
    codes = sorted(path.stem for path in PLANS.glob("*.toml"))
    assert [line.split()[0] for line in said("plan", "list").splitlines()] == codes
    listed = json.loads(said("plan", "list", "--json"))
    assert [plan["code"] for plan in listed] == codes
    assert {"code": "xianghubao", "name": "相互宝", "starts_on": "2018-11-27", "ends_on": "2022-01-28"} in listed


def test_show_explains_in_words() -> None:
    words = "each member pays at most 0.10 yuan per case; the insurer pays the rest"
    assert words in said("plan", "show", "xianghubao-2018")
    assert json.loads(said("plan", "show", "xianghubao-2018", "--json"))["cap per case"] == words


def test_check_says_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    text = (PLANS / "xianghubao.toml").read_text("utf-8")
    file = tmp_path / "own.toml"
    file.write_text(text.replace('rounding = "up"', 'rounding = "upp"').replace('fee = "0.08"', "fee = 0.08"), "utf-8")
    done = fentan("plan", "check", str(file))
    assert done.returncode == 1
    assert "own.toml: share.fee: write the rate as exact text" in done.stderr
    assert "own.toml: share.rounding: Input should be 'up', 'half_up', 'down' or 'exact'" in done.stderr
    assert "Traceback" not in done.stderr
    file.write_text(text, "utf-8")
    assert "own.toml: the rules of 相互宝 (xianghubao) are sound" in said("plan", "check", str(file))


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_check_reads_utf_8_only_and_says_so(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text((PLANS / "xianghubao.toml").read_text("utf-8"), encoding)
    done = fentan("plan", "check", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith("fentan: own.toml: not text in UTF-8 (byte ")


def test_check_takes_what_editors_of_windows_save(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    text = (PLANS / "xianghubao.toml").read_text("utf-8")
    file.write_text(text.replace("\n", "\r\n"), "utf-8-sig", newline="")
    assert "are sound" in said("plan", "check", str(file))


def test_diff_names_old_and_new(tmp_path: Path) -> None:
    shown = said("plan", "diff", "xianghubao-2018", "xianghubao")
    assert "fee: 10 % of the aid, on top of it → 8 % of the aid, on top of it" in shown
    assert said("plan", "diff", "xianghubao", "xianghubao") == "no rule differs\n"
    other = tmp_path / "meituan.toml"
    other.write_text(
        (PLANS / "meituan.toml").read_text("utf-8").replace('over_cap = "sponsor"', 'over_cap = "reduce_aid"')
    )
    without_effect = "no rule differs; the files do, in what has no effect in these plans\n"
    assert said("plan", "diff", "meituan", str(other)) == without_effect, "meituan has no cap that aid could be over"
    (plan, *_) = json.loads(said("plan", "diff", "xianghubao-2018", "xianghubao", "--json"))
    assert plan == {"topic": "plan", "old": "相互保 (xianghubao-2018), in yuan", "new": "相互宝 (xianghubao), in yuan"}


def test_calendar_prints_the_year() -> None:
    shown = said("calendar", "xianghubao", "--year", "2018")
    assert "2018-12-21 Fri   2018-12-24 Mon   2018-12-28 Fri   2018-12-21 Fri" in shown
    answer = json.loads(said("calendar", "xianghubao", "--year", "2022", "--json"))
    assert (answer["plan"], answer["year"], answer["time_zone"]) == ("xianghubao", 2022, "Asia/Shanghai")
    assert [slot["debit_on"] for slot in answer["slots"]][:2] == ["2022-01-14", "2022-01-28"]
    assert "no notice begins in this year" in said("calendar", "xianghubao", "--year", "2017")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "show", "waterfall"), "no plan 'waterfall'; known are"),
        (("plan", "check", "waterfall.toml"), "waterfall.toml: name a TOML file that is there"),
        (("calendar", "waterfall", "--year", "2019"), "no plan 'waterfall'"),
        (("calendar", "xianghubao", "--year", "0"), "--year"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(arguments: tuple[str, ...], message: str) -> None:
    done = fentan(*arguments)
    assert done.returncode > 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["plan", "show", "xianghubao"], ["calendar", "xianghubao", "--year", "2019"]])
def test_neither_a_database_nor_its_libraries_are_loaded(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['fentan', *{arguments!r}];"
        "from engine.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'sqlalchemy', 'pyarrow', 'asyncpg', 'arq', 'redis'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("group", ["claim", "member", "roster"])
def test_a_group_needs_nothing_that_others_imported(group: str) -> None:
    """Their own tests run them in one process, where all is loaded."""
    assert f"{group} [OPTIONS] COMMAND" in said(group, "--help")
