"""`fentan quote`, as a person runs it: without a database, at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

PLANS = Path(__file__).parents[2] / "config" / "plans"
KEYS = ["share", "exact", "charged", "fee", "carry_out", "sponsor", "aid_paid", "capped_by"]


def fentan(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def quoted(*arguments: str) -> dict[str, str | None]:
    run = fentan("quote", *arguments, "--json")
    assert run.returncode == 0, run.stderr
    answer: dict[str, str | None] = json.loads(run.stdout)
    assert list(answer) == KEYS
    return answer


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            "--plan xianghubao --members 23000000 --aid 300000x2",
            ["0.03", "0.0281739130", "690000.00", "48000.00", "42000.00", "0.00", "600000.00", None],
            id="published on 2019-01-21",
        ),
        pytest.param(
            "--plan xianghubao-2018 --members 1000000 --aid 300000x50",
            ["5.00", "5.0000000000", "5000000.00", "1500000.00", "0.00", "11500000.00", "15000000.00", "per_case"],
            id="the cap binds and the insurer pays",
        ),
        pytest.param(
            "--plan xianghubao --members 1000 --aid 300000x3000 --on 2019-06-28",
            [
                "188.00",
                "188.0000000000",
                "188000.00",
                "72000000.00",
                "0.00",
                "971812000.00",
                "900000000.00",
                "per_year",
            ],
            id="the yearly cap binds",
        ),
        pytest.param(
            "--plan xianghubao --members 1000 --aid 300000x3000 --on 2018-12-28",
            [
                "300.00",
                "300.0000000000",
                "300000.00",
                "72000000.00",
                "0.00",
                "971700000.00",
                "900000000.00",
                "per_case",
            ],
            id="no yearly cap in 2018",
        ),
        pytest.param(
            "--plan xianghubao --members 3 --aid 0.10 --aid 0.05 --carry 1.00",
            ["0.00", "0.0000000000", "0.00", "0.01", "0.84", "0.00", "0.15", None],
            id="the carry pays for all",
        ),
    ],
)
def test_quote(arguments: str, expected: list[str | None]) -> None:
    assert list(quoted(*arguments.split()).values()) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            "--aid 300000 --cap-sum 5853400000 --own-cap 1300",
            ["0.08", "0.0732907370", "0.08", "30000.00", None, "0.00", "300000.00", None],
            id="published: 0.07329, so 0.08",
        ),
        pytest.param(
            "--aid 300000 --cap-sum 5853400000 --own-cap 1300 --members 3",
            ["0.08", "0.0732907370", "0.24", "30000.00", None, "0.00", "300000.00", None],
            id="published: three people 0.24",
        ),
        pytest.param(
            "--aid 300000x3 --cap-sum 500000 --own-cap 132",
            ["132.00", "132.0000000000", "132.00", "90000.00", None, "490000.00", "900000.00", "per_year"],
            id="over the caps the insurer pays",
        ),
        pytest.param(
            "--aid 300000 --cap-sum 5853400000 --own-cap 1300 --carry 330000",
            ["0.00", "0.0000000000", "0.00", "30000.00", None, "0.00", "300000.00", None],
            id="the carry pays for all",
        ),
    ],
)
def test_what_one_cap_among_all_pays(arguments: str, expected: list[str | None]) -> None:
    assert list(quoted("--plan", "jd-hubao", *arguments.split()).values()) == expected


def test_each_tier_has_its_share() -> None:
    arguments = "--plan jd-hubao --aid 300000 --tier 46-50=1000000 --tier 66-70=20000 --json"
    run = fentan("quote", *arguments.split())
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert list(answer) == [*KEYS, "tiers"]
    assert (answer["share"], answer["charged"], answer["carry_out"]) == ("0.48", "339600.00", "9600.00")
    assert answer["tiers"] == {
        "66-70": {"members": 20_000, "share": "0.48", "exact": "0.4743589744", "capped_by": None},
        "46-50": {"members": 1_000_000, "share": "0.33", "exact": "0.3205128205", "capped_by": None},
    }
    shown = fentan("quote", *arguments.split()[:-1]).stdout
    for text in ("1,020,000 members", "at most", "1,000,000 pay 0.33"):
        assert text in shown


def test_members_of_the_only_tier_are_members() -> None:
    common = ("--plan", "xianghubao", "--aid", "300000x2")
    assert quoted(*common, "--tier", "member=23000000") == quoted(*common, "--members", "23000000")


def test_without_a_day_an_open_ended_yearly_cap_applies() -> None:
    assert quoted("--plan", "xianghubao", "--members", "1000", "--aid", "300000x3000")["capped_by"] == "per_year"


def test_a_plan_of_ones_own_by_its_path(tmp_path: Path) -> None:
    own = (PLANS / "xianghubao.toml").read_text("utf-8")
    file = tmp_path / "own.toml"
    file.write_text(own.replace('per_case = "0.10"', 'per_case = "1"\nper_run = "0.02"'), "utf-8")
    answer = quoted("--plan", str(file), "--members", "23000000", "--aid", "300000x2")
    assert (answer["share"], answer["capped_by"], answer["sponsor"]) == ("0.02", "per_run", "188000.00")
    file.write_text(own.replace('over_cap = "sponsor"', 'over_cap = "reduce_aid"'), "utf-8")
    answer = quoted("--plan", str(file), "--members", "1000", "--aid", "300000")
    assert (answer["charged"], answer["aid_paid"], answer["fee"], answer["sponsor"]) == (
        "100.00",
        "92.59",
        "7.41",
        "0.00",
    )


def test_for_eyes_the_same_numbers_stand_in_a_table() -> None:
    run = fentan("quote", "--plan", "xianghubao", "--members", "23000000", "--aid", "300000x2")
    assert run.returncode == 0, run.stderr
    for text in ("相互宝 (xianghubao), 23,000,000 members", "0.03 CNY", "690,000.00", "42,000.00", "nothing"):
        assert text in run.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--plan waterfall --members 1 --aid 1", "no plan 'waterfall'; known are jd-hubao, meituan, qingsong, quark, q"),
        ("--plan xianghubao --members 1 --aid lots", "--aid lots: write an amount above 0, or amount x count"),
        ("--plan xianghubao --members 1 --aid 0.001", "'0.001' has more than 2 decimal places"),
        ("--plan xianghubao --members 1 --aid 1x999999999", "more than 100,000 cases"),
        ("--plan xianghubao --members 1 --aid 1 --on someday", "--on someday: write the day like 2018-11-27"),
        ("--plan xianghubao --members 1 --aid 1 --carry -1", "never negative"),
        ("--plan xianghubao --members 1 --aid 90000000000000000x2", "split the run"),
        ("--plan xianghubao --members 0 --aid 1", "--members"),
        ("--plan xianghubao --members 9223372036854775808 --aid 1", "--members"),
        ("--plan xianghubao --members 1 --aid 300000x0", "--aid 300000x0: write an amount above 0"),
        ("--plan xianghubao --members 1 --aid 0", "--aid 0: write an amount above 0"),
        ("--plan xianghubao --members 1 --aid 1 --carry 1E999999", "'1E999999' is not an amount"),
        ("--plan xianghubao --aid 1", "say who shares: --members N, or --tier CODE=COUNT, or --cap-sum AMOUNT --own-c"),
        ("--plan xianghubao --aid 1 --members 2 --tier member=2", "say who shares"),
        ("--plan jd-hubao --aid 1 --cap-sum 5", "say who shares"),
        ("--plan jd-hubao --aid 1 --members 2", "jd-hubao has 13 tiers; say how many members are of each"),
        ("--plan jd-hubao --aid 1 --tier 46-50", "--tier 46-50: write CODE=COUNT; the tiers of jd-hubao are 0-1, 2-4,"),
        ("--plan jd-hubao --aid 1 --tier 46-51=3", "--tier 46-51=3: write CODE=COUNT"),
        ("--plan jd-hubao --aid 1 --tier 46-50=0", "--tier 46-50=0: write CODE=COUNT"),
        ("--plan jd-hubao --aid 1 --cap-sum 5 --own-cap 6", "1 × --own-cap 6.00 is not above 0 and within --cap-sum"),
        ("--plan meituan --aid 1 --cap-sum 5 --own-cap 1", "meituan does not share by own cap"),
    ],
)
def test_what_cannot_be_quoted_is_said_in_words(arguments: str, said: str) -> None:
    run = fentan("quote", *arguments.split())
    assert run.returncode > 0
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_neither_a_database_nor_its_libraries_are_loaded() -> None:
    code = (
        "import sys; sys.argv = ['fentan', 'quote', '--plan', 'xianghubao', '--members', '9', '--aid', '1', '--json'];"
        "from engine.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'sqlalchemy', 'pyarrow', 'asyncpg', 'arq', 'redis'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"
