"""`fentan custodian` as ops and finance use it: register, assign, instruct, send, fetch, and what is in each file."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.debit_files.manifest import all_in
from engine.resources import config_dir
from engine.runs.run import Run
from tests.acceptance.console import Fentan, refused, said, told
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.acceptance

ANNA = ("--as", "anna")
KNOWN_BY_REFERENCE = 'payer_known_by = "member_ref"\n'


@pytest.fixture
async def run(engine: AsyncEngine) -> Run:
    """A sealed run of five members of xianghubao, each debited ten fen on 14 July 2019."""
    world: World = await build(engine, rules_of_preset(), alike(5))
    await world.claim()
    return await world.sealed()


@pytest.fixture
def small_files(tmp_path: Path) -> str:
    """A custodian that takes two debits a file and two files an hour, in a file of its own."""
    text = (config_dir() / "custodians" / "generic-csv.toml").read_text("utf-8")
    text = text.replace("max_items_per_file = 1_000_000", "max_items_per_file = 2")
    text = text.replace("files_per_hour = 60", "files_per_hour = 2")
    path = tmp_path / "small.toml"
    path.write_text(text.replace("[account]", f"{KNOWN_BY_REFERENCE}\n[account]", 1), "utf-8")
    return str(path)


def test_a_run_is_instructed_sent_and_listed(fentan: Fentan, run: Run, small_files: str, tmp_path: Path) -> None:
    assert "no custodian holds the money of xianghubao yet" in refused(fentan("custodian", "instruct", "1", *ANNA))
    assert "generic-csv is registered" in said(fentan("custodian", "register", small_files, *ANNA))
    assert said(fentan("custodian", "assign", "generic-csv", "xianghubao", *ANNA)).endswith("money of xianghubao")
    euros = tmp_path / "euros.toml"
    euros.write_text(Path(small_files).read_text("utf-8").replace('"CNY"', '"EUR"'), "utf-8")
    assert "holds plans kept in CNY" in refused(fentan("custodian", "register", str(euros), *ANNA))
    assert "xianghubao" not in said(fentan("custodian", "show", "generic-csv"))
    shown = told(fentan("custodian", "show", "generic-csv", "--json"))
    assert (shown["payer_known_by"], shown["transport"], shown["plans"]) == ("member_ref", {"kind": "folder"}, [1])
    assert "generic-csv" in said(fentan("custodian", "list"))

    assert "has no files" in said(fentan("custodian", "batches", "1"))
    done = said(fentan("custodian", "instruct", "1", *ANNA, "--on", "2019-07-13"))
    assert done == "run 1 asks for 5 debits of 0.50 in 3 files, to be debited on 2019-07-14"
    assert said(fentan("custodian", "instruct", "1", *ANNA)) == done

    files = told(fentan("custodian", "batches", "1", "--json"))
    assert [(each["count"], each["amount"]) for each in files] == [(2, "0.20"), (2, "0.20"), (1, "0.10")]
    assert {(each["state"], each["debit_on"]) for each in files} == {("waiting", "2019-07-14")}
    kept = all_in(tmp_path / "data" / "custodian" / "generic-csv" / "debits")
    assert [(each["file"], each["sha256"]) for each in files] == [(each.file, each.sha256) for each in kept]

    sent = said(fentan("custodian", "send", "generic-csv", "--on", "2019-07-13"))
    assert sent == "3 files sent to generic-csv, 5 instructions of 0.50; 0 wait"
    stored = told(fentan("custodian", "batches", "1", "--json"))
    # Midnight in Shanghai, two files; an hour later the third.
    assert [each["sent_at"] for each in stored] == ["2019-07-12T16:00:00+00:00"] * 2 + ["2019-07-12T17:00:00+00:00"]
    assert len(list((tmp_path / "data" / "custodian" / "generic-csv" / "out").glob("*.csv"))) == 3
    listed = fentan("custodian", "batches", "1").out
    assert kept[0].file in listed
    assert "sent (Asia/Shanghai)" in listed
    assert "2019-07-13 00:00" in listed


def test_what_missed_its_cut_off_is_withdrawn(fentan: Fentan, run: Run, small_files: str) -> None:
    fentan("custodian", "register", small_files, *ANNA)
    fentan("custodian", "assign", "generic-csv", "xianghubao", *ANNA)
    fentan("custodian", "instruct", "1", *ANNA, "--on", "2019-07-13")
    late = fentan("custodian", "send", "generic-csv", "--on", "2019-07-15")
    assert late.code == 1
    assert "3 cannot reach their debit day any more; `fentan custodian withdraw generic-csv`" in " ".join(
        late.out.split()
    )
    assert said(fentan("custodian", "withdraw", "generic-csv", *ANNA, "--on", "2019-07-15")) == "3 files are withdrawn"
    assert {each["state"] for each in told(fentan("custodian", "batches", "1", "--json"))} == {"withdrawn"}


def test_what_came_is_named_until_it_is_taken(fentan: Fentan, run: Run, small_files: str, tmp_path: Path) -> None:
    fentan("custodian", "register", small_files, *ANNA)
    box = tmp_path / "data" / "custodian" / "generic-csv" / "in"
    box.mkdir(parents=True)
    (box / "2019-07-14.csv").write_text("booked_on\n")
    assert said(fentan("custodian", "fetch", "generic-csv")).endswith("in/2019-07-14.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nobody"), "no custodian nobody is registered"),
        (("register", "nobody", *ANNA), "no custodian nobody; known: alipay"),
        (("send", "nobody"), "no custodian nobody is registered"),
        (("batches", "404"), "there is no run 404"),
        (("instruct", "404", *ANNA), "there is no run 404"),
        (("instruct", "1", *ANNA, "--on", "2999-01-01"), "--on 2999-01-01 is still to come"),
    ],
)
def test_what_cannot_be_says_what_to_do(fentan: Fentan, run: Run, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(fentan("custodian", *arguments))
