"""`fentan statement import`, `list` and `show`, as a finance person uses them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from engine.custodian.raw_text import raw_bytes, raw_text
from engine.errors import InvalidInput
from engine.store.database import engine_on
from tests.acceptance.console import Fentan
from tests.integration.bank_statement import Line, statement
from tests.integration.custody import custody, debit

pytestmark = pytest.mark.acceptance

ONE = statement([Line(300, debit(0)), Line(40, "X-9", "other"), Line(-2, "", "charge")])
TWO = statement([Line(300, debit(0)), Line(200, debit(1))], 338)


@pytest.fixture(autouse=True)
def asked(database_url: str, tmp_path: Path) -> None:
    """One custodian was asked for two debits, and two of its statements wait in a folder."""

    async def ask() -> None:
        async with engine_on(database_url) as engine:
            world = await custody(engine, tmp_path)
            await world.owing([300, 200])
            await world.asked({1: [0, 1]})

    asyncio.run(ask())
    for name, text in (("one.csv", ONE), ("two.csv", TWO)):
        (tmp_path / name).write_text(text, "utf-8")


def test_statements_are_taken_listed_and_shown(fentan: Fentan) -> None:
    done = fentan("statement", "import", "two.csv", "one.csv", "--as", "fay", "--json")
    assert done.code == 0, done.err
    assert {(each["statement"], each["state"]) for each in json.loads(done.out)} == {(1, "taken"), (2, "taken")}
    listed = fentan("statement", "list").out.splitlines()
    assert listed == [
        "2 · generic-csv · csv · 2019-07-15 to 2019-07-15 · 3 lines · taken",
        "1 · generic-csv · csv · 2019-07-15 to 2019-07-15 · 2 lines · taken",
    ]
    shown = fentan("statement", "show", "2").out
    assert "matched: 2 lines, 2.98" in shown
    assert "2 (line 4) 2019-07-15 0.40: other · #d437a02e200a: break MISSING_IN_LEDGER" in shown
    assert fentan("statement", "show", "2", "--line", "2").out == ONE.splitlines()[3] + "\n"
    told = json.loads(fentan("statement", "show", "1", "--json").out)
    assert (told["opening"], told["closing"], told["open_lines"][0]["code"]) == ("3.38", "8.38", "DUPLICATE_AT_BANK")


def test_what_is_parked_says_why_and_exits_with_1(fentan: Fentan) -> None:
    done = fentan("statement", "import", "two.csv", "--as", "fay")
    assert done.code == 1
    assert "statement 1: 2 lines · PARKED, nothing is posted" in done.out
    assert "STATEMENT_GAP at opening balance: opens with 3.38" in done.out
    assert "PARKED" in fentan("statement", "list", "--parked").out
    again = fentan("statement", "import", "one.csv", "one.csv", "--as", "fay")
    assert (again.code, again.out.count("came before, nothing changed")) == (0, 1)


def test_a_file_that_is_refused_stops_no_other(fentan: Fentan, tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_text("nothing that anybody knows\n", "utf-8")
    done = fentan("statement", "import", "noise.csv", "one.csv", "--as", "fay")
    assert done.code == 1
    assert done.err.startswith("fentan: noise.csv: line 1: ")
    assert done.err.count("noise.csv") == 1
    assert "statement 1: 3 lines · taken" in done.out


def test_a_statement_is_imported_as_on_a_day(fentan: Fentan) -> None:
    early = fentan("statement", "import", "one.csv", "--as", "fay", "--on", "2018-01-01")
    assert "speaks of 2019-07-15, which on 2018-01-01 can only be a slip" in early.out
    assert fentan("statement", "import", "one.csv", "--as", "fay", "--on", "2019-07-16").code == 0
    assert "is still to come" in fentan("statement", "import", "one.csv", "--as", "fay", "--on", "2999-01-01").err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "absent.csv", "--as", "fay"), "absent.csv: there is no such file"),
        (("import", "one.csv", "--custodian", "nobody", "--as", "fay"), "there are: generic-csv"),
        (("show", "9"), "there is no statement 9"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(fentan: Fentan, arguments: tuple[str, ...], said: str) -> None:
    done = fentan("statement", *arguments)
    assert done.code == 1
    assert said in done.err


@pytest.mark.parametrize(
    ("text", "number", "place", "found"),
    [
        ("a\nb\nc", 1, "line 2", "b"),
        (":60F:\n:61:a\n:86:b\nc\n:61:d\n:62F:e", 1, "line 2", ":61:a\n:86:b\nc"),
        (":60F:\n:61:a\n:86:b\nc\n:61:d\n:62F:e", 1, "line 5", ":61:d"),
        (
            "<S><Stmt><Ntry>1</Ntry></Stmt><Stmt><Ntry>2</Ntry><Ntry>3</Ntry></Stmt></S>",
            2,
            "entry 2 detail 1",
            "<Ntry>3</Ntry>",
        ),
        (
            "<n:S><n:TxInfAndSts a='1'>x\ny</n:TxInfAndSts></n:S>",
            1,
            "transaction 1",
            "<n:TxInfAndSts a='1'>x\ny</n:TxInfAndSts>",
        ),
    ],
)
def test_the_text_of_a_place_is_as_it_came(tmp_path: Path, text: str, number: int, place: str, found: str) -> None:
    path = tmp_path / "kept"
    path.write_text(text, "utf-8")
    assert raw_text(path, number, place) == found
    raw = raw_bytes(path, number, place)
    assert path.read_bytes()[raw.offset :].startswith(raw.content)
    for elsewhere in ("line 99", "end of the file"):
        with pytest.raises(InvalidInput):
            raw_text(path, number, elsewhere)
