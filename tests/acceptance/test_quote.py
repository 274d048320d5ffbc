"""`fentan quote`, as a person runs it: without a database, at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.console import Fentan, told

pytestmark = pytest.mark.acceptance

PLANS = Path(__file__).parents[2] / "config" / "plans"
Quoted = Callable[..., dict[str, Any]]
KEYS = ["share", "exact", "charged", "fee", "carry_out", "sponsor", "aid_paid", "capped_by", "caps_hit"]


@pytest.fixture
def fentan(console: Fentan) -> Fentan:
    """It needs no database."""
    return console


@pytest.fixture
def quoted(fentan: Fentan) -> Quoted:
    def quoted(*arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = told(fentan("quote", *arguments, "--json"))
        assert list(answer) == KEYS
        return answer

    return quoted


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            "--plan xianghubao --members 23000000 --aid 300000x2",
            ["0.03", "0.0281739130", "690000.00", "48000.00", "42000.00", "0.00", "600000.00", None, []],
            id="published on 2019-01-21",
        ),
        pytest.param(
            "--plan xianghubao-2018 --members 1000000 --aid 300000x50",
            [
                "5.00",
                "5.0000000000",
                "5000000.00",
                "1500000.00",
                "0.00",
                "11500000.00",
                "15000000.00",
                "per_case",
                ["per_case"],
            ],
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
                ["per_case", "per_year"],
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
                ["per_case"],
            ],
            id="no yearly cap in 2018",
        ),
        pytest.param(
            "--plan xianghubao --members 3 --aid 0.10 --aid 0.05 --carry 1.00",
            ["0.00", "0.0000000000", "0.00", "0.01", "0.84", "0.00", "0.15", None, []],
            id="the carry pays for all",
        ),
    ],
)
def test_quote(quoted: Quoted, arguments: str, expected: list[Any]) -> None:
    assert list(quoted(*arguments.split()).values()) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            "--plan waterdrop --members 3 --aid 8x2",
            ["5.34", "5.3300000000", "16.02", "0.00", "0.02", "0.00", "16.00", None, []],
            id="8.00 / 3, then 7.99 / 3: what the first rounds up lowers the second",
        ),
        pytest.param(
            "--plan waterdrop --members 1000 --aid 2000x3 --balance 5",
            ["5.00", "5.0000000000", "5000.00", "0.00", "0.00", "0.00", "5000.00", "balance", ["balance"]],
            id="two at 2.00, then 1.00 is left, which the aid is cut to",
        ),
        pytest.param(
            "--plan waterdrop --members 1000 --aid 4000 --balance 2.50",
            ["2.50", "2.5000000000", "2500.00", "0.00", "0.00", "0.00", "2500.00", "balance", ["per_case", "balance"]],
            id="3.00 per case binds, 2.50 of balance decides",
        ),
        pytest.param(
            "--plan waterdrop --members 1000 --aid 4000 --aid 2000 --balance 9",
            ["5.00", "5.0000000000", "5000.00", "0.00", "0.00", "0.00", "5000.00", "per_case", ["per_case"]],
            id="3.00 of 4.00, then 2.00",
        ),
        pytest.param(
            "--plan waterdrop --members 1000 --aid 4000 --on 2021-03-26",
            ["0.00", "0.0000000000", "0.00", "0.00", "0.00", "4000.00", "4000.00", None, []],
            id="once its end is announced the platform pays",
        ),
        pytest.param(
            "--plan quark --members 10000 --aid 100000x2",
            ["6.00", "6.0000000000", "60000.00", "0.00", "0.00", "0.00", "60000.00", "per_case", ["per_case"]],
            id="3.00 × 10,000 of each 100,000",
        ),
        pytest.param(
            "--plan quark-driving --members 30000 --aid 80000 --carry 5000",
            ["2.50", "2.5000000000", "75000.00", "0.00", "0.00", "0.00", "80000.00", None, []],
            id="the carry first",
        ),
        pytest.param(
            "--plan qingsong --members 1000 --aid 6000x2 --balance 10",
            ["10.00", "10.0000000000", "10000.00", "0.00", "0.00", "0.00", "10000.00", "balance", ["balance"]],
            id="by the calendar all cases meet one balance",
        ),
        pytest.param(
            "--plan xianghubao --members 23000000 --aid 300000x2 --on 2021-12-28",
            ["0.00", "0.0000000000", "0.00", "48000.00", "0.00", "648000.00", "600000.00", None, []],
            id="the platform pays the debit of the notice's day",
        ),
        pytest.param(
            "--plan xianghubao --members 23000000 --aid 300000x2 --on 2021-12-27",
            ["0.03", "0.0281739130", "690000.00", "48000.00", "42000.00", "0.00", "600000.00", None, []],
            id="and no earlier one",
        ),
    ],
)
def test_what_hand_and_engine_work_out_alike(quoted: Quoted, arguments: str, expected: list[Any]) -> None:
    assert list(quoted(*arguments.split()).values()) == expected


def test_a_surplus_goes_by_premium_and_coefficient(fentan: Fentan) -> None:
    """1,000 over 3 × 1 + 7 × 0.6 = 7.2: 138.88 and 83.33 each, 999.95 together."""
    arguments = "--plan zhonghui-surplus --aid 400 --aid 600 --tier class-1=3 --tier class-3=7"
    answer = json.loads(fentan("quote", *arguments.split(), "--json").out)
    assert list(answer) == [*KEYS, "tiers"]
    assert [answer[key] for key in KEYS] == [
        "138.88", "138.8888888889", "999.95", "0.00", "0.05", "0.00", "999.95", None, [],
    ]  # fmt: skip
    assert {code: tier["share"] for code, tier in answer["tiers"].items()} == {"class-1": "138.88", "class-3": "83.33"}
    shown = fentan("quote", *arguments.split()).out
    for text in ("at most", "138.88 CNY", "given", "999.95", "7 get 83.33"):
        assert text in shown
    assert "aid paid" not in shown


def test_a_surplus_may_be_given_in_cover(fentan: Fentan, tmp_path: Path) -> None:
    file = tmp_path / "cover.toml"
    text = (PLANS / "zhonghui-surplus.toml").read_text("utf-8")
    file.write_text(text.replace('benefit = "money"', 'benefit = "cover"\ncover_per_unit = 100'), "utf-8")
    shown = fentan("quote", "--plan", str(file), "--aid", "1000", "--tier", "class-1=3", "--carry", "0.05").out
    for text in ("33333.35", "of cover", "100,000.05"):
        assert text in shown


def test_cover_in_steps_weighs(fentan: Fentan, tmp_path: Path) -> None:
    """SCHEMES: sina. 50,000 and 75,000 of cover share 2 : 3."""
    tiers = "".join(f'[[tiers]]\ncode = "{cover}"\ncover = "{cover}"\n' for cover in range(50_000, 400_001, 25_000))
    text = (
        (PLANS / "meituan.toml")
        .read_text("utf-8")
        .replace('[[tiers]]\ncode = "member" # everyone shares alike\nweight = 1\n', tiers)
    )
    file = tmp_path / "steps.toml"
    file.write_text(text.replace('gate = "notice_day"', 'key = "cover"\ngate = "notice_day"'), "utf-8")
    run = fentan("quote", "--plan", str(file), "--aid", "100", "--tier", "50000=6", "--tier", "75000=4", "--json")
    assert run.code == 0, run.err
    shares = {code: (tier["share"], tier["exact"]) for code, tier in json.loads(run.out)["tiers"].items()}
    assert shares == {"75000": ("13.50", "13.5000000000"), "50000": ("9.00", "9.0000000000")}


def test_aid_that_is_cut_stands_beside_what_was_asked(fentan: Fentan) -> None:
    shown = fentan("quote", "--plan", "quark", "--members", "10000", "--aid", "100000", "--balance", "3").out
    rows = {line[:12].strip(): line[12:].strip() for line in shown.splitlines()}
    assert (rows["aid asked"], rows["aid paid"]) == ("100,000.00", "30,000.00")
    whole = fentan("quote", "--plan", "quark", "--members", "100000", "--aid", "100000").out
    assert "aid asked" not in whole
    both = fentan("quote", "--plan", "waterdrop", "--members", "1000", "--aid", "4000", "--balance", "2.50").out
    assert "balance, also per case" in both


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            "--aid 300000 --cap-sum 5853400000 --own-cap 1300",
            ["0.08", "0.0732907370", "0.08", "30000.00", None, "0.00", "300000.00", None, []],
            id="published: 0.07329, so 0.08",
        ),
        pytest.param(
            "--aid 300000 --cap-sum 5853400000 --own-cap 1300 --members 3",
            ["0.08", "0.0732907370", "0.24", "30000.00", None, "0.00", "300000.00", None, []],
            id="published: three people 0.24",
        ),
        pytest.param(
            "--aid 300000x3 --cap-sum 500000 --own-cap 132",
            [
                "132.00",
                "132.0000000000",
                "132.00",
                "90000.00",
                None,
                "490000.00",
                "900000.00",
                "per_year",
                ["per_year"],
            ],
            id="over the caps the insurer pays",
        ),
        pytest.param(
            "--aid 300000 --cap-sum 5853400000 --own-cap 1300 --carry 330000",
            ["0.00", "0.0000000000", "0.00", "30000.00", None, "0.00", "300000.00", None, []],
            id="the carry pays for all",
        ),
    ],
)
def test_what_one_cap_among_all_pays(quoted: Quoted, arguments: str, expected: list[Any]) -> None:
    assert list(quoted("--plan", "jd-hubao", *arguments.split()).values()) == expected


def test_each_tier_has_its_share(fentan: Fentan) -> None:
    arguments = "--plan jd-hubao --aid 300000 --tier 46-50=1000000 --tier 66-70=20000 --json"
    run = fentan("quote", *arguments.split())
    assert run.code == 0, run.err
    answer = json.loads(run.out)
    assert list(answer) == [*KEYS, "tiers"]
    assert (answer["share"], answer["charged"], answer["carry_out"]) == ("0.48", "339600.00", "9600.00")
    assert answer["tiers"] == {
        "66-70": {"members": 20_000, "share": "0.48", "exact": "0.4743589744", "capped_by": None, "caps_hit": []},
        "46-50": {"members": 1_000_000, "share": "0.33", "exact": "0.3205128205", "capped_by": None, "caps_hit": []},
    }
    shown = fentan("quote", *arguments.split()[:-1]).out
    for text in ("1,020,000 members", "at most", "1,000,000 pay 0.33"):
        assert text in shown


def test_members_of_the_only_tier_are_members(quoted: Quoted) -> None:
    common = ("--plan", "xianghubao", "--aid", "300000x2")
    assert quoted(*common, "--tier", "member=23000000") == quoted(*common, "--members", "23000000")


def test_without_a_day_an_open_ended_yearly_cap_applies(quoted: Quoted) -> None:
    assert quoted("--plan", "xianghubao", "--members", "1000", "--aid", "300000x3000")["capped_by"] == "per_year"


def test_a_plan_of_ones_own_by_its_path(quoted: Quoted, tmp_path: Path) -> None:
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


def test_for_eyes_the_same_numbers_stand_in_a_table(fentan: Fentan) -> None:
    run = fentan("quote", "--plan", "xianghubao", "--members", "23000000", "--aid", "300000x2")
    assert run.code == 0, run.err
    for text in ("相互宝 (xianghubao), 23,000,000 members", "0.03 CNY", "690,000.00", "42,000.00", "nothing"):
        assert text in run.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--plan waterfall --members 1 --aid 1", "no plan 'waterfall'; known are jd-hubao, meituan, qingsong, quark,"),
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
        ("--plan meituan --aid 1 --members 2 --balance 5", "--balance 5: in meituan nothing is prepaid; leave it out"),
        (
            "--plan quark --aid 1 --members 2 --balance 2.99",
            "--balance 2.99: give 3.00 or more; below that quark freez",
        ),
        (
            "--plan quark --aid 6x3 --members 2 --balance 5",
            "nobody shares a case of 6.00: no balance reaches the floor",
        ),
        ("--plan quark --aid 1 --members 2 --balance much", "'much' is not an amount"),
    ],
)
def test_what_cannot_be_quoted_is_said_in_words(fentan: Fentan, arguments: str, said: str) -> None:
    run = fentan("quote", *arguments.split())
    assert run.code > 0
    assert said in run.err
    assert "Traceback" not in run.err


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
